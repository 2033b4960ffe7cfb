"""What S3 answers: its headers, and the errors that its words stand for."""

from __future__ import annotations

import re
import time
from typing import TYPE_CHECKING, Any

from bidsplan.errors import (
    CredentialsError,
    DeniedError,
    RefusedHostError,
    SourceChangedError,
    SourceMissingError,
    StorageError,
    ThrottledError,
    UnreachableError,
)
from bidsplan.keys import printable
from bidsplan.storage.values import About, Checksum, Identity, Object

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = [
    "CHECKSUM_MODE",
    "about_of",
    "bare_etag",
    "compared_etag",
    "content_length",
    "error_code",
    "identity_of",
    "is_encrypted",
    "listed_version",
    "object_of",
    "quoted_etag",
    "status_error",
    "strong_etag",
    "whole_size",
]

CHECKSUM_MODE = {"x-amz-checksum-mode": "ENABLED"}
"""The header that asks for checksums."""

_ALGORITHMS = ("sha256", "sha1", "crc64nvme", "crc32c", "crc32")
"""The strongest first."""

_CREDENTIALS = frozenset(
    {
        "ExpiredToken",
        "ExpiredTokenException",
        "InvalidAccessKeyId",
        "InvalidToken",
        "RequestTimeTooSkewed",
        "SignatureDoesNotMatch",
        "TokenRefreshRequired",
    }
)
_LONGEST_SIZE = len(str(2**63 - 1))
_THROTTLED = frozenset({429, 503})

_LONGEST_TAG = 1024

_LONGEST_ASKED = 1e9
"""Seconds, thirty years, beyond which a number that a header holds says no more."""


def bare_etag(text: str | None) -> str | None:
    """Give the strong entity tag that a listing has, with or without quotes."""
    if not text or text.startswith("W/"):
        return None
    return _clean(text[1:-1] if text[0] == '"' == text[-1] else text.strip('"'))


def strong_etag(text: str | None) -> str | None:
    """Give an answer's entity tag, where it is written as a strong one is (RFC 9110, 8.8.3)."""
    if not text or len(text) < 3 or not text[0] == '"' == text[-1]:
        return None
    return _clean(text[1:-1])


def compared_etag(text: str | None) -> str | None:
    """Give an answer's entity tag in whatever form; one that differs is of another object."""
    return (text or "").removeprefix("W/").strip('"') or None


def quoted_etag(tag: str) -> str:
    """Write an entity tag as a request's condition has it.

    Raises
    ------
    StorageError
        Where no header could hold it.
    """
    if _clean(tag) is None:
        raise StorageError(
            f"{printable(tag[:80])!r} is no entity tag that a request could name; expected "
            "printable ASCII without quotes; compile the plan anew"
        )
    return f'"{tag}"'


def _clean(tag: str) -> str | None:
    """Refuse a tag that no request could hold in quotes, or that is several."""
    plain = tag.isascii() and tag.isprintable() and '"' not in tag
    return tag if plain and 0 < len(tag) <= _LONGEST_TAG else None


def identity_of(etag: str | None, version: str | None) -> Identity | None:
    """Tell by an answer's ``ETag`` and VersionId which object it is of."""
    tag = strong_etag(etag)
    return None if tag is None else Identity(tag, version)


def listed_version(text: str | None) -> str | None:
    """Give a listing's VersionId; None where it is none that a request could name."""
    return text if text and text.isprintable() and len(text) <= _LONGEST_TAG else None


def content_length(headers: Mapping[str, str]) -> int | None:
    """Give the length that an answer says it has; None where that is no number of bytes."""
    text = headers.get("Content-Length") or ""
    is_size = len(text) <= _LONGEST_SIZE and text.isascii() and text.isdecimal()
    return int(text) if is_size else None


def object_of(key: str, headers: Mapping[str, str]) -> Object:
    """Describe an object by the headers of its answer."""
    return Object(key, content_length(headers) or 0, bare_etag(headers.get("ETag")))


def is_encrypted(headers: Mapping[str, str]) -> bool:
    """Tell whether an answer is of an object that is encrypted so that its tag is no digest."""
    kind = headers.get("x-amz-server-side-encryption", "AES256")
    return kind != "AES256" or "x-amz-server-side-encryption-customer-algorithm" in headers


def about_of(headers: Mapping[str, str], etag: str | None) -> About:
    """Take what a storage tells of an object from its answer's headers.

    Parameters
    ----------
    headers : mapping
        By names in lower case, or whatever their case.
    etag : str or None
        The planned tag, if there is one; a checksum of an object with another is not given.

    Returns
    -------
    About
    """
    plain = not is_encrypted(headers)
    same = etag is None or bare_etag(headers.get("etag")) == etag
    if same and headers.get("x-amz-checksum-type", "FULL_OBJECT") == "FULL_OBJECT":
        for algorithm in _ALGORITHMS:
            value = headers.get(f"x-amz-checksum-{algorithm}", "")
            # One of parts' checksums ends with their number.
            if value and "-" not in value:
                return About(plain, Checksum(algorithm, value))
    return About(plain)


def whole_size(
    status: int, said: str | None, length: int | None, start: int, what: str
) -> int | None:
    """Tell how long the whole object is; refuse an answer of other bytes than were asked for.

    Parameters
    ----------
    status : int
        Of the answer.
    said : str or None
        Its ``Content-Range``.
    length : int or None
        Its ``Content-Length``.
    start : int
        The first byte that was asked for; all from there on were.
    what : str
        The object, as messages name it.

    Returns
    -------
    int or None
        None where an answer of the whole object does not say it.

    Raises
    ------
    StorageError
    """
    if not start:
        if status != 200:
            raise StorageError(
                f"{what}: the whole object was asked for, and the answer has the status {status}; "
                "expected 200"
            )
        return length
    text = (said or "").rpartition("/")[2]
    size = content_length({"Content-Length": text})
    whole = None if size is None else f"bytes {start}-{size - 1}/{text}"
    if status != 206 or said != whole or size is None or length not in {None, size - start}:
        raise StorageError(f"{what}: byte {start} was asked for, and another range came")
    return size


def status_error(status: int, what: str, code: str = "", headers: Any = None) -> StorageError:  # noqa: ANN401
    """Make the error that an HTTP status stands for.

    Parameters
    ----------
    status : int
    what : str
        What was asked for, as messages name it.
    code : str
        The storage's own word for the error.
    headers : mapping, optional
        Of the answer.

    Returns
    -------
    StorageError
    """
    said = f"{status} {code}".strip()
    if status in _THROTTLED or code in {"SlowDown", "RequestLimitExceeded"}:
        error = ThrottledError(f"{what}: the storage asks to slow down ({said})")
        error.retry_after = _retry_after(headers or {})
        return error
    if code in _CREDENTIALS:
        return CredentialsError(
            f"{what}: the credentials are refused ({said}); renew them (or set the clock), and run "
            "it again: it goes on where it stopped"
        )
    if 300 <= status < 400:
        return RefusedHostError(
            f"{what}: the storage sends the request elsewhere ({said}), and it was not followed: "
            "what is signed for one host is sent to no other; check --region and --endpoint-url"
        )
    if status in {401, 403}:
        return DeniedError(
            f"{what}: access is denied ({said}); check whether the bucket is public, or give "
            "credentials and say 'anonymous: false'"
        )
    if status == 404:
        return SourceMissingError(f"{what}: there is no such object or bucket ({said})")
    if status == 412:
        return SourceChangedError(f"{what}: it is no longer the object that was listed ({said})")
    if status >= 500 and status != 501:
        return UnreachableError(f"{what}: the storage failed ({said})")
    return StorageError(f"{what}: the storage refused ({said})")


def _retry_after(headers: Mapping[str, str]) -> float | None:
    """Read how many seconds an answer asks to wait; None where it says nothing of sense.

    The header has a number of seconds or a date, which is one of the server's clock.
    """
    text = headers.get("Retry-After", "").strip()
    if text.isascii() and text.isdecimal():
        return min(float(text), _LONGEST_ASKED)
    until = _moment(text)
    if until is None:
        return None
    now = _moment(headers.get("Date", ""))
    return min(max(0.0, until - (time.time() if now is None else now)), _LONGEST_ASKED)


def _moment(text: str) -> float | None:
    """Read a date of HTTP's as seconds since the epoch."""
    from email.utils import parsedate_to_datetime  # noqa: PLC0415 - only for what is throttled

    try:
        return parsedate_to_datetime(text).timestamp()
    except (ValueError, TypeError, IndexError, OverflowError):
        return None


def error_code(data: bytes) -> str:
    """Find the storage's word for an error in an answer's body; empty where there is none."""
    match = re.search(rb"<Code>([A-Za-z0-9]{1,64})</Code>", data)
    return match[1].decode() if match else ""
