"""Turns HTTP status codes, S3 error codes and botocore's exceptions into errors."""

from __future__ import annotations

import re
import time
from typing import TYPE_CHECKING, Any, NamedTuple

from bidsplan import errors
from bidsplan.help_codes import HelpCode
from bidsplan.storage.certificates import untrusted

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping


_RENEW = "renew them, and run it again"
_CREDENTIALS = {
    "ExpiredToken": _RENEW,
    "ExpiredTokenException": _RENEW,
    "InvalidAccessKeyId": "{endpoint} does not know the access key; check profile and endpoint",
    "InvalidToken": _RENEW,
    "RequestTimeTooSkewed": "this machine's clock is wrong; set it, and run it again",
    "SignatureDoesNotMatch": "the secret key is not that of the access key; correct it",
    "TokenRefreshRequired": _RENEW,
}
"""Codes for refused credentials, with the advice for each."""

_THROTTLED = frozenset({429, 503})
_FULL = frozenset({"InsufficientStorage", "QuotaExceeded", "XMinioStorageFull"})
_RESEND = frozenset(
    {
        "BadDigest",
        "ConditionalRequestConflict",
        "IncompleteBody",
        "OperationAborted",
        "RequestTimeout",
        "XAmzContentSHA256Mismatch",
    }
)

_LONGEST_RETRY_AFTER = 1e9
"""The most seconds that a header may ask for: thirty years."""


class RedirectedError(Exception):
    """The storage redirects a request of s3fs.

    Parameters
    ----------
    headers : dict of str to str
        The answer's headers, by names in lower case.
    """

    def __init__(self, status: int, headers: dict[str, str]) -> None:
        super().__init__(f"redirected ({status})")
        self.status = status
        self.headers = headers


class Advice(NamedTuple):
    """The advice to show if access is denied.

    Parameters
    ----------
    origin : str
        The origin of the credentials in use; empty if unknown.
    endpoint : str
        Where the request was sent.
    endpoint_has_path : bool
        Whether the endpoint has a path, which may be a bucket's name by mistake.
    """

    text: str
    help_code: HelpCode
    origin: str = ""
    endpoint: str = "this endpoint"
    endpoint_has_path: bool = False


def unknown_access() -> Advice:
    """Return the advice if access is denied for unknown reasons."""
    text = "check whether it is public, or which credentials have access to it"
    return Advice(text, errors.DeniedError.help_code)


def status_error(
    status: int,
    what: str,
    code: str = "",
    headers: Any = None,
    denied: Callable[[], Advice] = unknown_access,
) -> errors.StorageError:
    """Return the error for an HTTP status.

    Parameters
    ----------
    what : str
        The object or listing, as messages name it.
    code : str
        The storage's error code.
    headers : mapping, optional
        The answer's headers.
    denied : callable
        Returns advice for the case that access is denied.
    """
    response = _response_text(status, code)
    if status in _THROTTLED or code in {"SlowDown", "RequestLimitExceeded"}:
        error = errors.ThrottledError(f"{what}: the storage asks to slow down ({response})")
        error.retry_after = _retry_after(headers or {})
        return error
    if code in _CREDENTIALS:
        return _refused_credentials(what, response, code, denied())
    if 300 <= status < 400:
        return errors.RefusedHostError(
            f"{what}: the storage sends the request elsewhere ({response}), and it was not "
            "followed: what is signed for one host is sent to no other; check --region and "
            "--endpoint-url"
        )
    if code == "InvalidObjectState":
        return errors.ArchivedError(
            f"{what}: the object is archived ({response}); restore it (aws s3api restore-object), "
            "or exclude it in the manifest"
        )
    if status in {401, 403}:
        advice = denied()
        text = f"{what}: access is denied ({response}); {advice.text}"
        return errors.DeniedError(text, help_code=advice.help_code)
    if status == 404:
        return _missing(what, response, code, denied())
    if status == 412:
        return errors.SourceChangedError(
            f"{what}: it is no longer the object that was listed ({response})"
        )
    if status >= 500 and status != 501:
        return errors.UnreachableError(f"{what}: the storage failed ({response})")
    return errors.StorageError(f"{what}: the storage refused ({response})")


def _refused_credentials(
    what: str, response: str, code: str, advice: Advice
) -> errors.CredentialsError:
    used = f"the credentials in use ({advice.origin})" if advice.origin else "the credentials"
    text = _CREDENTIALS[code].format(endpoint=advice.endpoint)
    return errors.CredentialsError(f"{what}: {used} are refused ({response}); {text}")


def _missing(what: str, response: str, code: str, advice: Advice) -> errors.SourceMissingError:
    path = ""
    if advice.endpoint_has_path:
        path = (
            f"; the endpoint in use, {advice.endpoint}, has a path: if that is the name of a "
            "bucket, leave it out"
        )
    if code == "NoSuchBucket":
        return errors.SourceMissingError(
            f"{what}: there is no such bucket ({response}); check its name, and --endpoint-url"
            f"{path}",
            help_code=HelpCode.BUCKET_MISSING,
        )
    text = f"{what}: there is no such object or bucket ({response}){path}"
    return errors.SourceMissingError(text)


def _response_text(status: int, code: str) -> str:
    # If an answer has no body, libraries make a code from the status.
    return f"{status} {code}".strip() if code != str(status) else code


def write_error(
    status: int,
    what: str,
    code: str,
    headers: Any = None,
    denied: Callable[[], Advice] = unknown_access,
) -> errors.BidsplanError:
    """Return the error for the HTTP status of a request that writes."""
    response = _response_text(status, code)
    if status == 507 or code in _FULL:
        return errors.DiskFullError(f"{what}: the destination is full ({response})")
    if code in _RESEND or status == 409:
        return errors.UnreachableError(
            f"{what}: what was sent did not arrive whole or alone ({response})"
        )
    if status == 412:
        return errors.ExistingFileError(
            f"{what}: an object already exists there; it was not changed"
        )
    if code == "NoSuchUpload":
        return errors.MissingFileError(f"{what}: its upload was ended by someone else ({response})")
    if status == 404:
        return errors.DestinationError(
            f"{what}: there is no such bucket ({response}); check its name, and "
            "--dest-endpoint-url",
            help_code=HelpCode.BUCKET_MISSING,
        )
    found = status_error(status, what, code, headers, denied)
    if type(found) is errors.DeniedError:
        return errors.DeniedError(
            f"{what}: writing is denied ({response}); {denied().text}",
            help_code=HelpCode.WRITE_DENIED,
        )
    if type(found) is errors.StorageError:
        return errors.DestinationError(f"{what}: the destination refused ({response})")
    return found


def client_error(
    error: Exception, what: str, endpoint: str, denied: Callable[[], Advice] = unknown_access
) -> errors.StorageError:
    """Return our error for a botocore error, which s3fs may have wrapped.

    Parameters
    ----------
    what : str
        The object or listing, as messages name it.
    endpoint : str
        The endpoint's name, for messages.
    denied : callable
        As in `status_error`.
    """
    from botocore import exceptions  # loaded with s3fs

    from bidsplan.storage.fsspec_store import fsspec_error  # only for s3fs

    status, code, found = client_answer(error)
    if status:
        headers = {key.title(): text for key, text in found.items()}
        return status_error(status, what, code, headers, denied)
    if isinstance(error, exceptions.NoCredentialsError | exceptions.PartialCredentialsError):
        # What is incomplete can't be asked where it is from.
        origin = denied().origin if isinstance(error, exceptions.NoCredentialsError) else ""
        used = f" ({origin})" if origin else ""
        return errors.DeniedError(
            f"{what}: there are no AWS credentials to sign requests with{used}",
            help_code=HelpCode.NO_CREDENTIALS,
        )
    refused = getattr(error, "kwargs", {}).get("error")
    if isinstance(refused, errors.RefusedHostError):
        return errors.RefusedHostError(f"{what}: {refused}")
    if isinstance(error, exceptions.HTTPClientError | exceptions.ConnectionError):
        untrusting = untrusted(error)
        why = untrusting or "can't be reached; check the endpoint"
        return errors.UnreachableError(
            f"{what}: {endpoint} {why}",
            help_code=HelpCode.CERTIFICATE if untrusting else None,
        )
    if type(error).__name__ == "FileExpired":
        return errors.SourceChangedError(
            f"{what}: another object has taken its place since it was opened"
        )
    return fsspec_error(error, what)


def client_answer(error: Exception) -> tuple[int, str, Mapping[str, str]]:
    """Return status, error code and headers of a botocore error."""
    redirected = getattr(error, "kwargs", {}).get("error")
    if isinstance(redirected, RedirectedError):
        return redirected.status, "", redirected.headers
    found = error if hasattr(error, "response") else error.__cause__
    answer = getattr(found, "response", None)
    if not isinstance(answer, dict):
        return 0, "", {}
    meta = answer.get("ResponseMetadata", {})
    code = str(answer.get("Error", {}).get("Code", ""))
    return int(meta.get("HTTPStatusCode") or 0), code, meta.get("HTTPHeaders", {})


def _retry_after(headers: Mapping[str, str]) -> float | None:
    """Return the seconds to wait, from an answer's header."""
    text = headers.get("Retry-After", "").strip()
    if text.isascii() and text.isdecimal():
        return min(float(text), _LONGEST_RETRY_AFTER)
    until = _http_date(text)
    if until is None:
        return None
    # Both dates are from the server's clock.
    now = _http_date(headers.get("Date", ""))
    return min(max(0.0, until - (time.time() if now is None else now)), _LONGEST_RETRY_AFTER)


def _http_date(text: str) -> float | None:
    """Return an HTTP date in seconds since the epoch, or None."""
    from email.utils import parsedate_to_datetime  # only for throttled requests

    try:
        return parsedate_to_datetime(text).timestamp()
    except (ValueError, TypeError, IndexError, OverflowError):
        return None


def error_code(data: bytes) -> str:
    """Return the S3 error code in an answer's body, or an empty text."""
    match = re.search(rb"<Code>([A-Za-z0-9]{1,64})</Code>", data)
    return match[1].decode() if match else ""
