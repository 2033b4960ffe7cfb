"""Listings that several compilations, or steps of one, share."""

from __future__ import annotations

from contextlib import suppress
from tempfile import SpooledTemporaryFile
from threading import Lock
from typing import TYPE_CHECKING, NamedTuple, Self

import msgspec

from bidsplan.errors import Problem
from bidsplan.plan.spool import explaining_full_disk
from bidsplan.storage.objects import ArchivedObject, Object
from bidsplan.storage.places import place_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from bidsplan.compile.survey.sources import Opener
    from bidsplan.storage import Access, Children, Store
    from bidsplan.storage.places import Place


_IN_MEMORY = 32 << 20
"""Bytes of listings that are kept in memory before they go to a temporary file."""


class Content(NamedTuple):
    """All files in a directory and its subdirectories.

    Parameters
    ----------
    files : mapping of str to Object
        By path below the dataset's root.
    refused : sequence of Problem
        The keys that can't become files.
    """

    files: Mapping[str, Object]
    refused: Sequence[Problem]


class _Columns(msgspec.Struct, array_like=True):
    """A directory's content, in the form in which it is stored."""

    paths: list[str]
    keys: list[str] | None
    sizes: list[int]
    etags: list[str | None]
    versions: list[str | None] | None
    archived: list[int]
    refused: list[str]


class SharedListings:
    """Listings that several compilations share, so that each directory is listed once.

    Run these compilations one after the other. All of them see the study as it was when the first
    of them listed it. Connections stay open, and listings stay in a temporary file, until you call
    `close` or leave the ``with`` statement.

    Examples
    --------
    >>> import bidsplan
    >>> loaded = bidsplan.load_manifest("manifests/demo.yaml")
    >>> with bidsplan.SharedListings() as listings:
    ...     plans = [
    ...         bidsplan.compile_manifest(loaded.manifest, base="manifests", listings=listings).plan
    ...         for _ in range(2)
    ...     ]
    >>> plans[0] == plans[1]
    True
    """

    def __init__(self) -> None:
        self._stores: dict[tuple[Place, bool | None, Access, Opener], Store] = {}
        self._children: dict[tuple[Store, str], Children] = {}
        self._places: dict[tuple[Store, str], tuple[int, int]] = {}
        self._file = SpooledTemporaryFile(_IN_MEMORY, prefix="bidsplan-")  # noqa: SIM115 - see close
        self._lock = Lock()

    def sharing(self, opener: Opener) -> Opener:
        """Return an opener that opens each root once, however its URL is spelt."""

        def opened(url: str, *, access: Access, anonymous: bool | None, base: str | None) -> Store:
            root = place_of(url, access, base or "."), anonymous, access, opener
            if root not in self._stores:
                self._stores[root] = opener(url, access=access, anonymous=anonymous, base=base)
            return self._stores[root]

        return opened

    def children(self, store: Store, prefix: str) -> Children:
        """List what is directly below a prefix, or return the earlier listing."""
        found = self._children.get((store, prefix))
        if found is None:
            found = self._children[store, prefix] = store.children(prefix)
        return found

    def has(self, store: Store, directory: str) -> bool:
        """Report whether a directory was listed."""
        return (store, directory) in self._places

    def add(self, store: Store, directory: str, content: Content) -> None:
        """Store the listing of a directory."""
        files = content.files
        keys, sizes, etags, versions = (
            [getattr(item, name) for item in files.values()] for name in Object.__struct_fields__
        )
        paths = list(files)
        data = msgspec.msgpack.encode(
            _Columns(
                paths,
                keys if keys != paths else None,
                sizes,
                etags,
                versions if any(versions) else None,
                [n for n, item in enumerate(files.values()) if isinstance(item, ArchivedObject)],
                [problem.message for problem in content.refused],
            )
        )
        with self._lock, explaining_full_disk():
            start = self._file.seek(0, 2)
            self._file.write(data)
            # Without this, a full disk would show only when the file is read.
            self._file.flush()
            self._places[store, directory] = start, len(data)

    def find(self, store: Store, directory: str) -> Content:
        """Return the content of a directory that was listed before."""
        start, length = self._places[store, directory]
        with self._lock:
            self._file.seek(start)
            data = self._file.read(length)
        found = msgspec.msgpack.decode(data, type=_Columns)
        versions = found.versions or [None] * len(found.paths)
        columns = found.keys or found.paths, found.sizes, found.etags, versions
        files = dict(zip(found.paths, map(Object, *columns), strict=True))
        for number in found.archived:
            item = files[found.paths[number]]
            files[found.paths[number]] = ArchivedObject(
                item.key, item.size, item.etag, item.version
            )
        return Content(files, [Problem(message=message) for message in found.refused])

    def close(self) -> None:
        """Close the stores, and remove the temporary file."""
        for store in self._stores.values():
            store.close()
        # On a full disk, closing fails to write a rest that nobody needs any more.
        with suppress(OSError):
            self._file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
