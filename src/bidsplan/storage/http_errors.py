"""HTTP status codes and S3 error codes, as errors."""

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

if TYPE_CHECKING:
    from collections.abc import Mapping


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
_THROTTLED = frozenset({429, 503})

_LONGEST_ASKED = 1e9
"""Seconds, thirty years, beyond which a number that a header holds says no more."""


def status_error(status: int, what: str, code: str = "", headers: Any = None) -> StorageError:
    """Make the error that an HTTP status stands for.

    Parameters
    ----------
    what : str
        What was asked for, as messages name it.
    code : str
        The storage's own word for the error.
    headers : mapping, optional
        Of the answer.
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
    from email.utils import parsedate_to_datetime  # only for what is throttled

    try:
        return parsedate_to_datetime(text).timestamp()
    except (ValueError, TypeError, IndexError, OverflowError):
        return None


def error_code(data: bytes) -> str:
    """Find the storage's word for an error in an answer's body; empty where there is none."""
    match = re.search(rb"<Code>([A-Za-z0-9]{1,64})</Code>", data)
    return match[1].decode() if match else ""
