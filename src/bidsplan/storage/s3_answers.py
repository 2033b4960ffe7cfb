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
from bidsplan.storage.values import About, Checksum, Object

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = [
    "CHECKSUM_MODE",
    "about_of",
    "bare_etag",
    "check_range",
    "content_length",
    "error_code",
    "is_encrypted",
    "object_of",
    "status_error",
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

_LONGEST_ASKED = 1e9
"""Seconds, thirty years, beyond which a number that a header holds says no more."""


def bare_etag(text: str | None) -> str | None:
    """Give an entity tag without its quotes."""
    if not text:
        return None
    if text[0] == '"' == text[-1]:
        return text[1:-1] or None
    return text.removeprefix("W/").strip('"') or None


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


def check_range(said: str | None, start: int) -> None:
    """Refuse an answer that does not start at the byte that was asked for.

    Parameters
    ----------
    said : str or None
        The answer's ``Content-Range``.
    start : int

    Raises
    ------
    StorageError
    """
    if start and not (said or "").startswith(f"bytes {start}-"):
        raise StorageError(f"byte {start} was asked for, and the whole object came")


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
