"""Checks which file, and which bytes of it, a web server's answer contains."""

from __future__ import annotations

from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING
from urllib.parse import urlsplit, urlunsplit

from bidsplan.errors import SourceChangedError, StorageError
from bidsplan.paths import printable
from bidsplan.storage.headers import compared_etag, quoted_etag, strong_etag
from bidsplan.storage.objects import Identity

if TYPE_CHECKING:
    from collections.abc import Mapping


quotable = "%/:?#[]@!$&'()*+,;=~"
"""Characters of a URL that are not quoted: those with a meaning, and quoted ones."""

_MODIFIED = "modified "
"""The prefix of a tag made from a modification time, if the server gives no entity tag."""

_SETTLED = 60.0
"""The seconds after which a modification time identifies one content.

Times are given in whole seconds (RFC 9110, section 8.8.2.2).
"""


def conditions(tag: str | None) -> dict[str, str]:
    """Return headers that request only the file with a tag.

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
    """Return the identity of the file in an answer.

    None if the file has neither a strong entity tag nor a modification time that is long past.
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
    """Raise SourceChangedError if an answer's file has another tag.

    Some servers ignore the conditions of a request.
    """
    if tag is None:
        return
    if tag.startswith(_MODIFIED):
        differs = headers.get("Last-Modified") != tag.removeprefix(_MODIFIED)
    else:
        differs = compared_etag(headers.get("ETag")) not in {None, tag}
    if differs:
        raise SourceChangedError(f"{what}: it is no longer the file that was listed")


def is_encoded(headers: Mapping[str, str]) -> bool:
    """Report whether an answer is encoded, such as with gzip."""
    return (headers.get("Content-Encoding") or "identity").strip().lower() != "identity"


def check_not_encoded(headers: Mapping[str, str], what: str) -> None:
    """Raise StorageError for an encoded answer."""
    if is_encoded(headers):
        coding = printable(headers["Content-Encoding"][:24])
        raise StorageError(
            f"{what}: the server sends it encoded ({coding}); expected its own bytes, as they "
            "were requested"
        )
