"""Reading objects through obstore, its errors told apart."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from bidsplan.errors import StorageError, UnreachableError
from bidsplan.keys import printable
from bidsplan.storage.s3_answers import bare_etag, status_error
from bidsplan.storage.values import Wanted, Whole

if TYPE_CHECKING:
    from collections.abc import Iterator

    from obstore import GetOptions
    from typing_extensions import Buffer

__all__ = ["WholeReader", "open_stream", "storage_error"]

_CHUNK = 1 << 18
_CODE = re.compile(r"<Code>([A-Za-z0-9]{1,64})</Code>")
_NOT_PARTIAL = "non-partial response"
_STATUS = re.compile(r"\b(?:status|status code|HTTP status [a-z ]*\()\D{0,20}([345][0-9]{2})\b")


def storage_error(error: Exception, what: str) -> StorageError:
    """Make our error of one of obstore's.

    Parameters
    ----------
    error : Exception
    what : str
        What was asked for, as messages name it.

    Returns
    -------
    StorageError
    """
    from obstore import exceptions  # noqa: PLC0415 - loaded already

    named: list[tuple[type[Exception], int]] = [
        (exceptions.PreconditionError, 412),
        (exceptions.NotModifiedError, 412),
        (exceptions.PermissionDeniedError, 403),
        (exceptions.UnauthenticatedError, 401),
        (exceptions.NotFoundError, 404),
        (FileNotFoundError, 404),
    ]
    text = str(error)
    code = _CODE.search(text)
    word = code[1] if code else ""
    for kind, status in named:
        if isinstance(error, kind):
            return status_error(status, what, word)
    match = _STATUS.search(text)
    if match:
        return status_error(int(match[1]), what, word)
    return UnreachableError(f"{what}: it can't be reached, or the connection broke off")


def open_stream(
    store: Any,  # noqa: ANN401 - any of obstore's stores
    path: str,
    what: str,
    *,
    etag: str | None,
    version: str | None,
    start: int,
) -> ObstoreStream:
    """Open an object for reading.

    Parameters
    ----------
    store : obstore store
    path : str
    what : str
        The object, as messages name it.
    etag, version, start
        As `Store.stream`.

    Returns
    -------
    ObstoreStream

    Raises
    ------
    StorageError
    """
    import obstore  # noqa: PLC0415 - loaded with the store

    options = _options(etag, version)
    if start:
        options["range"] = {"offset": start}
    try:
        result = obstore.get(store, path, options=options)
    except (obstore.exceptions.BaseError, OSError, ValueError) as error:
        raise storage_error(error, printable(what)) from error
    return ObstoreStream(result, printable(what), start)


def _options(etag: str | None, version: str | None) -> GetOptions:
    options: GetOptions = {}
    if etag is not None:
        options["if_match"] = f'"{etag}"'
    if version is not None:
        options["version"] = version
    return options


class WholeReader:
    """Reads small objects whole, on an event loop, each in one try.

    Notes
    -----
    A range is one step of the loop, where an answer with headers and a body is two: a quarter of
    what a small object costs. But it comes without headers, and some servers ignore ranges.
    """

    def __init__(self) -> None:
        self._ranged = True

    async def read(
        self,
        store: Any,  # noqa: ANN401 - any of obstore's stores
        path: str,
        what: str,
        wanted: Wanted,
    ) -> Whole:
        """Read an object.

        Parameters
        ----------
        store : obstore store
        path : str
        what : str
            The object, as messages name it.
        wanted : Wanted

        Returns
        -------
        Whole

        Raises
        ------
        StorageError
        """
        import obstore  # noqa: PLC0415 - loaded with the store

        try:
            if self._ranged and wanted.digested and wanted.size and wanted.version is None:
                range_ = await self._range(store, path, wanted.size)
                if range_ is not None:
                    return Whole(range_, None)
            options = _options(wanted.etag, wanted.version)
            result = await obstore.get_async(store, path, options=options)
            # Made anew each time that it is asked for.
            meta = result.meta
            fits = meta["size"] == wanted.size
            data = await result.bytes_async() if fits else b""
        except (obstore.exceptions.BaseError, OSError, ValueError) as error:
            raise storage_error(error, printable(what)) from error
        if not fits:
            raise StorageError(f"{printable(what)}: it has another size now")
        return Whole(data, bare_etag(meta["e_tag"]))

    async def _range(self, store: Any, path: str, size: int) -> Buffer | None:  # noqa: ANN401
        """Read an object's first bytes; None where the server knows no ranges."""
        import obstore  # noqa: PLC0415 - loaded with the store

        try:
            return await obstore.get_range_async(store, path, start=0, length=size)
        except obstore.exceptions.GenericError as error:
            if _NOT_PARTIAL not in str(error):
                raise
            self._ranged = False
        return None


class ObstoreStream:
    """An object's bytes, counted: obstore passes a short body on without a word.

    Parameters
    ----------
    result : obstore.GetResult
    what : str
    start : int
        The first byte that was asked for.
    """

    def __init__(self, result: Any, what: str, start: int) -> None:  # noqa: ANN401
        self._result = result
        self._what = what
        first, last = result.range
        self._left = last - first
        if first != start:
            raise StorageError(f"{what}: byte {start} was asked for, and byte {first} came")
        self.size: int | None = result.meta["size"]
        self.etag = bare_etag(result.meta["e_tag"])

    def __iter__(self) -> Iterator[Buffer]:
        import obstore  # noqa: PLC0415 - loaded with the store

        try:
            for chunk in self._result.stream(min_chunk_size=_CHUNK):
                self._left -= len(chunk)
                yield chunk
        except (obstore.exceptions.BaseError, OSError, ValueError) as error:
            raise storage_error(error, self._what) from error
        if self._left:
            raise UnreachableError(f"{self._what}: the answer ended {self._left} bytes early")

    def close(self) -> None:
        """Drop the answer, and its connection with it."""
        self._result = None
