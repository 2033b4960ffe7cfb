"""Index pages of web servers: the names of a directory's children, by the links of a page."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urljoin, urlsplit

from bidsplan.errors import NoIndexError
from bidsplan.storage.http.client import origin

if TYPE_CHECKING:
    from collections.abc import Iterator


_TITLE = re.compile(r"index of|listing of|directory listing|^\s*directory:", re.IGNORECASE)
"""What servers call the index of a directory, in its title or heading."""


def linked_names(data: bytes, url: str, requested: str, what: str) -> set[str]:
    """Return the names of a directory's children on its index page; directories end in a slash.

    A link to what is deeper stands for the directory that it is in.

    Parameters
    ----------
    url, requested : str
        The URLs that answered and that was requested, quoted.
    what : str
        The listing, for messages.

    Raises
    ------
    NoIndexError
        Where the page is no index of a directory: an application, a login, an error.
    """
    page = _parsed(data)
    names = {name for name in _children(page, url) if name}
    # The page that a redirect leads to may be anything, and its links too.
    moved = _directory(url) != _directory(requested)
    if not (names and not moved) and not _is_titled(page):
        raise NoIndexError(
            f"{what}: the answer is a web page, but no index of a directory: it links to no file "
            "there; name a URL whose server lists its files"
        )
    return names


def _parsed(data: bytes) -> Any:
    from lxml import etree, html  # only where a web directory is listed

    try:
        data.decode()
        parser = html.HTMLParser(encoding="utf-8")
    except UnicodeDecodeError:
        # The page says its encoding, or lxml takes it for Latin-1.
        parser = html.HTMLParser()
    try:
        return html.document_fromstring(data, parser=parser)
    except (etree.ParserError, ValueError):
        return html.document_fromstring("<html/>")


def _is_titled(page: Any) -> bool:
    """Report whether a page calls itself an index, or links to the directory above as one does."""
    titles = page.xpath("//title | //h1 | //h2")
    above = {link.strip() for link in page.xpath("//a/@href")} & {"..", "../"}
    return bool(above) or any(_TITLE.search(each.text_content()) for each in titles)


def _children(page: Any, url: str) -> Iterator[str | None]:
    try:
        base = urljoin(url, page.xpath("string(//base/@href)"))
    except ValueError:
        # Like browsers, resolve links against the page itself.
        base = url
    server, above = origin(url), _directory(url)
    for link in page.xpath("//a/@href"):
        try:
            target = urljoin(base, link.strip())
            if origin(target) == server:
                yield _below(_segments(target), above)
        except ValueError:
            # No URL, or one that names no server.
            continue


def _directory(url: str) -> list[str]:
    return _segments(url)[:-1]


def _segments(url: str) -> list[str]:
    return [unquote(segment, errors="surrogateescape") for segment in urlsplit(url).path.split("/")]


def _below(segments: list[str], above: list[str]) -> str | None:
    """Return the name of a child, a directory's with a slash; None for what is not below."""
    rest = segments[len(above) :]
    if segments[: len(above)] != above or not rest or rest[0] in {"", ".", ".."}:
        return None
    # A name that holds a slash is no path, and is refused by its empty segment.
    return rest[0].replace("/", "//") + "/" * (len(rest) > 1)
