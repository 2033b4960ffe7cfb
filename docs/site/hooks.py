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
    from mkdocs.config.defaults import MkDocsConfig
    from mkdocs.structure.files import Files
    from mkdocs.structure.pages import Page

_ROOT = Path(__file__).resolve().parents[2]
_DOCS = _ROOT / "docs"
_LINK = re.compile(
    r"(?:(?<=\]\()|(?<=\]: ))(?:https://github\.com/[^/]+/bidsplan/(?:blob|tree|raw)/[^/]+/|(?![a-z]+:|[#/]))"
    r"([^)\s#]+)"
)
"""Where a link leads: relative to its page, or from the root of the repository by its web page."""
_BOOSTS = {
    "troubleshooting/": 4,
    "reference/interface": 0.3,
    "reference/s3bids-interface": 0.3,
    "developer/": 0.2,
    "changelog": 0.2,
}
"""How pages are ranked by the search, by how their address begins."""
_DECLARATION = re.compile(r"^<!-- (?:page|block): .*? -->\n*", re.M | re.S)


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages that are made, and what pages of the repository link to."""
    for uri, make in MADE.items():
        files.append(File.generated(config, uri, content=make(_ROOT)))
    for name, uri in PAGES.items():
        files.append(File.generated(config, uri, content=(_ROOT / name).read_text("utf-8")))
    for file in list(files.documentation_pages()):
        for link in _LINK.finditer(file.content_string):
            target = _target(_source(file.src_uri), link)
            if target is not None and not target.is_relative_to(_DOCS):
                _add(files, config, target.relative_to(_ROOT).as_posix())
    return files


def _source(uri: str) -> Path:
    """Return where a page of the site is in the repository."""
    names = {place: name for name, place in PAGES.items()}
    return _ROOT / names[uri] if uri in names else _DOCS / uri


def _target(source: Path, link: re.Match[str]) -> Path | None:
    """Return the file or folder of the repository that a link of a page leads to, if any."""
    base = _ROOT if link[0].startswith("https:") else source.parent
    found = (base / link[1]).resolve()
    return found if found.is_relative_to(_ROOT) and found.exists() else None


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
    """Lead links to files of the repository to where they are in the site."""
    uri = page.file.src_uri
    boost = next((rank for start, rank in _BOOSTS.items() if uri.startswith(start)), 1)
    page.meta.setdefault("search", {"boost": boost})

    def lead(link: re.Match[str]) -> str:
        target = _target(_source(uri), link)
        if target is None:
            return link[0]
        inside = target.relative_to(_DOCS) if target.is_relative_to(_DOCS) else None
        found = _uri(target.relative_to(_ROOT).as_posix()) if inside is None else inside.as_posix()
        return posixpath.relpath(found, posixpath.dirname(uri))

    text = _LINK.sub(lead, _DECLARATION.sub("", markdown))
    return re.sub(r"^\|.*", lambda row: with_bars(row[0]), text, flags=re.M)
