"""Reads the names in a directory from a web server's index page."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urljoin, urlsplit

from bidsplan.errors import NoIndexError
from bidsplan.storage.http.client import origin

if TYPE_CHECKING:
    from collections.abc import Iterator


_TITLE = re.compile(r"index of|listing of|directory listing|^\s*directory:", re.IGNORECASE)
"""Servers' words for the index of a directory, in a title or heading."""


def linked_names(data: bytes, url: str, requested: str, what: str) -> set[str]:
    """Return the names in a directory, from the links of its index page.

    A link to a deeper path counts as its first directory.

    Parameters
    ----------
    url, requested : str
        The URL that answered, and the requested URL, both quoted.
    what : str
        The listing's name, for messages.

    Raises
    ------
    NoIndexError
        If the page is not an index of a directory, but an application, a login or an error.
    """
    page = _parsed(data)
    names = {name for name in _children(page, url) if name}
    # A redirect may lead to any page, and so may the links on that page.
    moved = _directory(url) != _directory(requested)
    if not (names and not moved) and not _is_titled(page):
        raise NoIndexError(
            f"{what}: the answer is a web page, but no index of a directory: it links to no file "
            "there; name a URL whose server lists its files"
        )
    return names


def _parsed(data: bytes) -> Any:
    from lxml import etree, html  # only if a web directory is listed

    try:
        data.decode()
        parser = html.HTMLParser(encoding="utf-8")
    except UnicodeDecodeError:
        # The page names its encoding; otherwise lxml assumes Latin-1.
        parser = html.HTMLParser()
    try:
        return html.document_fromstring(data, parser=parser)
    except (etree.ParserError, ValueError):
        return html.document_fromstring("<html/>")


def _is_titled(page: Any) -> bool:
    """Report whether a page looks like an index page."""
    titles = page.xpath("//title | //h1 | //h2")
    above = {link.strip() for link in page.xpath("//a/@href")} & {"..", "../"}
    return bool(above) or any(_TITLE.search(each.text_content()) for each in titles)


def _children(page: Any, url: str) -> Iterator[str | None]:
    try:
        base = urljoin(url, page.xpath("string(//base/@href)"))
    except ValueError:
        # Links are resolved against the page itself, as in browsers.
        base = url
    server, above = origin(url), _directory(url)
    for link in page.xpath("//a/@href"):
        try:
            target = urljoin(base, link.strip())
            if origin(target) == server:
                yield _below(_segments(target), above)
        except ValueError:
            # The link is not a URL, or names no server.
            continue


def _directory(url: str) -> list[str]:
    return _segments(url)[:-1]


def _segments(url: str) -> list[str]:
    return [unquote(segment, errors="surrogateescape") for segment in urlsplit(url).path.split("/")]


def _below(segments: list[str], above: list[str]) -> str | None:
    """Return the name of a file or directory that a link leads to, or None."""
    rest = segments[len(above) :]
    if segments[: len(above)] != above or not rest or rest[0] in {"", ".", ".."}:
        return None
    # A name that contains a slash is not a path, and is refused because of its empty segment.
    return rest[0].replace("/", "//") + "/" * (len(rest) > 1)
