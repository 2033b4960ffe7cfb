"""What mkdocs does beside rendering: it makes pages, and adds files of the repository.

Pages of the repository that are not in ``docs`` are pages of the site too. What else pages link to,
such as schemas and examples, is copied to the folder ``repository`` of the site.
"""

from __future__ import annotations

import posixpath
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from mkdocs.structure.files import File

sys.path.insert(0, str(Path(__file__).parent))

from made_pages import MADE, PAGES
from markup import with_bars

if TYPE_CHECKING:
    from collections.abc import Iterator

    from mkdocs.config.defaults import MkDocsConfig
    from mkdocs.structure.files import Files
    from mkdocs.structure.pages import Page

_ROOT = Path(__file__).resolve().parents[2]
_DOCS = _ROOT / "docs"
_LINK = re.compile(r"(?<=\]\()(?![a-z]+:|[#/])([^)\s#]+)")
_DECLARATION = re.compile(r"^<!-- (?:page|block): .*? -->\n*", re.M | re.S)


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages that are made, and what pages of the repository link to."""
    for uri, make in MADE.items():
        files.append(File.generated(config, uri, content=make(_ROOT)))
    for name, uri in PAGES.items():
        files.append(File.generated(config, uri, content=(_ROOT / name).read_text("utf-8")))
    sources = {_DOCS / file.src_uri: file.content_string for file in files.documentation_pages()}
    for source, text in [*sources.items(), *((_ROOT / name, "") for name in PAGES)]:
        for target in _targets(source, text or source.read_text(encoding="utf-8")):
            _add(files, config, target)
    return files


def _targets(source: Path, text: str) -> Iterator[str]:
    """Yield the files of the repository, outside of ``docs``, that a page links to."""
    for link in _LINK.findall(text):
        path = (source.parent / link).resolve()
        if path.is_relative_to(_ROOT) and path.exists() and not path.is_relative_to(_DOCS):
            yield path.relative_to(_ROOT).as_posix()


def _add(files: Files, config: MkDocsConfig, name: str) -> None:
    """Add a file of the repository, or a list of the files of a folder, unless it is there."""
    uri = _uri(name)
    if files.get_file_from_path(uri) is not None:
        return
    path = _ROOT / name
    if not path.is_dir():
        files.append(File.generated(config, uri, content=path.read_bytes()))
        return
    below = sorted(file.name for file in path.iterdir() if file.is_file())
    listed = "".join(f"- [`{file}`]({file})\n" for file in below)
    page = f"---\nsearch: {{exclude: true}}\n---\n\n# Files of `{name}`\n\n{listed}"
    files.append(File.generated(config, uri, content=page))
    for file in below:
        _add(files, config, f"{name}/{file}")


def _uri(name: str) -> str:
    """Return where a file of the repository is in the site."""
    if name in PAGES:
        return PAGES[name]
    folder = "/index.md" if (_ROOT / name).is_dir() else ""
    return f"repository/{name}{folder}"


def on_page_markdown(markdown: str, page: Page, **_: object) -> str:
    """Lead links to files outside of ``docs`` to where they are in the site."""
    uri = page.file.src_uri
    names = {place: name for name, place in PAGES.items()}
    source = _ROOT / names[uri] if uri in names else _DOCS / uri

    def lead(match: re.Match[str]) -> str:
        target = (source.parent / match[1]).resolve()
        if not target.is_relative_to(_ROOT) or not target.exists():
            return match[1]
        name = target.relative_to(_ROOT).as_posix()
        inside = target.is_relative_to(_DOCS)
        found = name.removeprefix("docs/") if inside else _uri(name)
        return posixpath.relpath(found, posixpath.dirname(uri))

    text = _LINK.sub(lead, _DECLARATION.sub("", markdown))
    return re.sub(r"^\|.*", lambda row: with_bars(row[0]), text, flags=re.M)
