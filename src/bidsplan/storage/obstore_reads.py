"""Reads objects with obstore, and translates its errors."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from bidsplan.errors import StorageError, UnreachableError
from bidsplan.help_codes import HelpCode
from bidsplan.paths import printable
from bidsplan.storage.certificates import HINT
from bidsplan.storage.headers import compared_etag, identity_of, quoted_etag
from bidsplan.storage.http_errors import Advice, error_code, status_error, unknown_access
from bidsplan.storage.objects import FetchedObject, FetchRequest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from obstore import GetOptions
    from typing_extensions import Buffer


_CHUNK = 1 << 18
_RANGE_CHUNK = 1 << 20
_CERTIFICATE = "InvalidCertificate("
_NOT_PARTIAL = "non-partial response"
_STATUS = re.compile(r"\b(?:status|status code|HTTP status [a-z ]*\()\D{0,20}([345][0-9]{2})\b")


class NoRangesError(StorageError):
    """A server sent the whole object instead of a range."""


class CertificateError(UnreachableError, help_code=HelpCode.CERTIFICATE):
    """obstore does not accept a certificate that OpenSSL may accept."""


class _NoSuchRangeError(StorageError):
    """An object ends before the start of the requested range."""


class TranslatedErrors:
    """Raises obstore's errors as `StorageError`."""

    # This costs a fifth of contextlib's version, for each of a million objects.
    def __init__(self, what: str, denied: Callable[[], Advice]) -> None:
        self._what = what
        self._denied = denied

    def __enter__(self) -> None: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: object
    ) -> None:
        found = None if error is None else storage_error(error, printable(self._what), self._denied)
        if found is not None:
            raise found from error


def storage_error(
    error: BaseException, what: str, denied: Callable[[], Advice] = unknown_access
) -> StorageError | None:
    """Return a `StorageError` for an obstore error; None for others.

    Parameters
    ----------
    error : BaseException
        The error, which may also be a Rust panic; Python does not treat that as an `Exception`.
    denied : callable
        As in `status_error`.
    """
    from obstore import exceptions  # loaded already

    if type(error).__module__ == "pyo3_runtime":
        return StorageError(f"{what}: obstore can't request it ({printable(str(error)[:200])})")
    if isinstance(error, StorageError) or not isinstance(
        error, exceptions.BaseError | OSError | ValueError
    ):
        return None
    named: list[tuple[type[Exception], int]] = [
        (exceptions.PreconditionError, 412),
        (exceptions.NotModifiedError, 412),
        (exceptions.PermissionDeniedError, 403),
        (exceptions.UnauthenticatedError, 401),
        (exceptions.NotFoundError, 404),
        (FileNotFoundError, 404),
    ]
    text = str(error)
    if _NOT_PARTIAL in text:
        return NoRangesError(f"{what}: a range was requested, and the whole object came")
    word = error_code(text.encode(errors="replace"))
    for kind, status in named:
        if isinstance(error, kind):
            return status_error(status, what, word, denied=denied)
    match = _STATUS.search(text)
    if match and match[1] == "416":
        return _NoSuchRangeError(f"{what}: it ends before the byte that was requested")
    if match:
        return status_error(int(match[1]), what, word, denied=denied)
    if _CERTIFICATE in text:
        return CertificateError(f"{what}: the server has a certificate that is not trusted; {HINT}")
    return UnreachableError(f"{what}: it can't be reached, or the connection broke off")


def open_stream(
    store: Any,
    path: str,
    what: str,
    denied: Callable[[], Advice],
    *,
    etag: str | None,
    version: str | None,
    span: tuple[int, int | None],
) -> ObstoreStream:
    """Open an object for reading; see `Store.stream` and `storage_error`.

    Raises
    ------
    NoRangesError
        If the server does not support range requests.
    StorageError
    """
    import obstore  # loaded with the store

    start, stop = span
    options = _options(etag, version)
    # A range is requested even from the first byte on, because only then does obstore check which
    # bytes the answer has.
    options["range"] = {"offset": start} if stop is None else (start, stop)
    try:
        with TranslatedErrors(what, denied):
            result = obstore.get(store, path, options=options)
    except _NoSuchRangeError:
        if start:
            raise
        # An empty object has no range.
        del options["range"]
        with TranslatedErrors(what, denied):
            result = obstore.get(store, path, options=options)
        if result.meta["size"]:
            raise
    return ObstoreStream(result, printable(what), span, denied)


def _options(etag: str | None, version: str | None) -> GetOptions:
    options: GetOptions = {}
    if etag is not None:
        options["if_match"] = quoted_etag(etag)
    if version is not None:
        options["version"] = version
    return options


class WholeReader:
    """Reads small objects on an event loop, with one attempt each.

    Notes
    -----
    A range takes one step of the event loop, and an answer with headers and a body takes two. This
    saves a quarter of the time of a small object. But a range comes without headers, and some
    servers ignore ranges. Objects without a digest are also requested by a range, because only then
    does obstore check which bytes arrive. If a server ignores ranges, `Store.stream` reads the
    object.
    """

    def __init__(self, denied: Callable[[], Advice]) -> None:
        self._denied = denied
        self._ranged = True

    async def read(self, store: Any, path: str, what: str, wanted: FetchRequest) -> FetchedObject:
        """Read an object; see `Store.whole`."""
        import obstore  # loaded with the store

        try:
            with TranslatedErrors(what, self._denied):
                if self._ranged and wanted.digested and wanted.size and wanted.version is None:
                    range_ = await self._range(store, path, wanted.size)
                    if range_ is not None:
                        return FetchedObject(range_, None)
                options = _options(wanted.etag, wanted.version)
                if wanted.size and not wanted.digested:
                    if not self._ranged:
                        raise NoRangesError(
                            f"{printable(what)}: the server does not support range requests"
                        )
                    options["range"] = 0, wanted.size
                result = await obstore.get_async(store, path, options=options)
                # obstore makes this object again for each access.
                meta = result.meta
                fits = meta["size"] == wanted.size
                data = await result.bytes_async() if fits else b""
        except NoRangesError:
            self._ranged = False
            raise
        if not fits:
            raise StorageError(f"{printable(what)}: it has another size now")
        if wanted.version is not None and meta["version"] not in {None, wanted.version}:
            raise StorageError(f"{printable(what)}: another version came")
        return FetchedObject(data, compared_etag(meta["e_tag"]))

    async def _range(self, store: Any, path: str, size: int) -> Buffer | None:
        """Read an object's first bytes; None if ranges are not supported."""
        import obstore  # loaded with the store

        try:
            return await obstore.get_range_async(store, path, start=0, length=size)
        except obstore.exceptions.GenericError as error:
            if _NOT_PARTIAL not in str(error):
                raise
            self._ranged = False
        return None


class ObstoreStream:
    """An object's bytes as a `Stream`, whose length is checked."""

    def __init__(
        self, result: Any, what: str, span: tuple[int, int | None], denied: Callable[[], Advice]
    ) -> None:
        start, stop = span
        self._result = result
        self._errors = TranslatedErrors(what, denied)
        self._what = what
        first, last = result.range
        self._left = last - first
        if first != start:
            raise StorageError(f"{what}: byte {start} was requested, and byte {first} came")
        meta = result.meta
        self.size: int | None = meta["size"]
        if last != (self.size if stop is None else stop):
            raise StorageError(f"{what}: other bytes came than were requested from {start} on")
        # Several ranges arrive at a time, and each of their chunks needs the interpreter.
        self._chunk = _CHUNK if stop is None else _RANGE_CHUNK
        self.etag = compared_etag(meta["e_tag"])
        self.identity = identity_of(meta["e_tag"], meta["version"])

    def __iter__(self) -> Iterator[Buffer]:
        with self._errors:
            for chunk in self._result.stream(min_chunk_size=self._chunk):
                self._left -= len(chunk)
                yield chunk
        if self._left:
            raise UnreachableError(f"{self._what}: the answer ended {self._left} bytes early")

    def close(self) -> None:
        """Drop the answer and its connection."""
        self._result = None
