"""What answers of web servers say: which file they are of, and which bytes of it."""

from __future__ import annotations

from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit, urlunsplit

from bidsplan.errors import SourceChangedError, StorageError, UnreachableError
from bidsplan.paths import printable
from bidsplan.storage import network
from bidsplan.storage.headers import compared_etag, content_length, quoted_etag, strong_etag
from bidsplan.storage.objects import Identity

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping


quotable = "%/:?#[]@!$&'()*+,;=~"
"""Characters of a URL that stay: those with a meaning, and what is quoted already."""

_MODIFIED = "modified "
"""How a tag begins that is a time of modification, since the server gives no entity tag."""

_SETTLED = 60.0
"""Seconds that a time of modification must be past to tell one content from the next, since it is
given in whole seconds (RFC 9110, section 8.8.2.2)."""


def conditions(tag: str | None) -> dict[str, str]:
    """Give the headers that ask for the file of a tag, and for no other.

    Parameters
    ----------
    tag : str or None
        An entity tag without quotes, or that of an `Identity`.
    """
    if tag is None:
        return {}
    if tag.startswith(_MODIFIED):
        return {"If-Unmodified-Since": tag.removeprefix(_MODIFIED)}
    return {"If-Match": quoted_etag(tag)}


def identity(headers: Mapping[str, str], url: str) -> Identity | None:
    """Tell which file an answer is of.

    Parameters
    ----------
    url : str
        Where the answer came from.

    Returns
    -------
    Identity or None
        None where the answer has neither a strong entity tag nor a time of modification that is
        long past.
    """
    tag = strong_etag(headers.get("ETag")) or _modified(headers)
    where = urlunsplit(urlsplit(url)._replace(query="", fragment=""))
    return None if tag is None else Identity(tag, url=where)


def _modified(headers: Mapping[str, str]) -> str | None:
    modified = headers.get("Last-Modified") or ""
    try:
        age = parsedate_to_datetime(headers.get("Date") or "") - parsedate_to_datetime(modified)
        settled = age.total_seconds() >= _SETTLED
    except (ValueError, TypeError, OverflowError):
        settled = False
    return f"{_MODIFIED}{modified}" if settled else None


def check_tag(headers: Mapping[str, str], tag: str | None, what: str) -> None:
    """Refuse an answer that names another file than was asked for.

    Some servers heed no condition.

    Parameters
    ----------
    tag : str or None
        As in `conditions`.
    what : str
        The file, as messages name it.

    Raises
    ------
    SourceChangedError
    """
    if tag is None:
        return
    if tag.startswith(_MODIFIED):
        differs = headers.get("Last-Modified") != tag.removeprefix(_MODIFIED)
    else:
        differs = compared_etag(headers.get("ETag")) not in {None, tag}
    if differs:
        raise SourceChangedError(f"{what}: it is no longer the file that was listed")


def is_plain(headers: Mapping[str, str]) -> bool:
    """Tell whether an answer has a file's own bytes, and not those packed for the way."""
    return (headers.get("Content-Encoding") or "identity").strip().lower() == "identity"


def check_plain(answer: Any, what: str) -> int | None:
    """Give the length of an answer's body; refuse one that is packed.

    Raises
    ------
    StorageError
    """
    headers = answer.headers
    if not is_plain(headers):
        packed = printable(headers["Content-Encoding"][:24])
        raise StorageError(
            f"{what}: the server packs it on its way ({packed}); expected its own bytes, as they "
            "were asked for"
        )
    return content_length(headers)


def file_chunks(answer: Any, what: str, seconds: float) -> Iterator[bytes]:
    """Read a file's own bytes, for a limited time.

    Raises
    ------
    UnreachableError
        Where they break off, take longer, or are fewer than the answer says.
    StorageError
        Where they are packed.
    """
    left = check_plain(answer, what)
    try:
        for chunk in network.body_chunks(answer, seconds):
            left = None if left is None else left - len(chunk)
            yield chunk
    except UnreachableError as error:
        raise UnreachableError(f"{what}: {error}") from error
    if left:
        raise UnreachableError(f"{what}: the answer ended {left} bytes early")
