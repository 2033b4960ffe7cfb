"""Opens the stores of a plan's roots when they are needed."""

from __future__ import annotations

import os
import resource
from threading import Lock
from typing import TYPE_CHECKING, TypeVar

from bidsplan.errors import CredentialsError, RootMissingError, StorageError, UsageError
from bidsplan.events import Opened
from bidsplan.help_codes import HelpCode
from bidsplan.paths import printable
from bidsplan.transfer.download import asks_first
from bidsplan.urls import parse_url

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from bidsplan.events import Event
    from bidsplan.plan import Entry, Root
    from bidsplan.plan.integrity import VerifyMode
    from bidsplan.storage import Access, Store


T = TypeVar("T")

_FILES = 40
"""Open files that a run needs in addition to connections: directories, partial files and others."""


def max_connections() -> int:
    """Return how many connections may be open, given the open files.

    Raises UsageError if no connection may be open, because event loops then fail with unclear
    errors.
    """
    limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if limit == resource.RLIM_INFINITY:
        return 1024
    if limit <= _FILES:
        raise UsageError(
            f"only {limit} files may be open at a time, and more than {_FILES} are needed; raise "
            "the limit ('ulimit -n')",
            help_code=HelpCode.OPEN_FILES,
        )
    return max(1, (limit - _FILES) // 2)


class Roots:
    """Opens roots, keeps them open, and emits `Opened`.

    Relative URLs are relative to the directory `base`.
    """

    def __init__(
        self, roots: Sequence[Root], access: Access, base: str, emit: Callable[[Event], None]
    ) -> None:
        self._roots = roots
        self._access = access
        self._base = base
        self._emit = emit
        self._stores: dict[int, Store | StorageError] = {}
        self._lock = Lock()

    def store(self, number: int) -> Store:
        """Return the store of a root, by its index.

        Raises StorageError if the store can't be opened, and UsageError if its URL is refused.
        Opening is tried once, and not again for each entry.
        """
        store = self._stores.get(number)
        if store is None:
            with self._lock:
                if number not in self._stores:
                    self._stores[number] = self._open(number)
                store = self._stores[number]
        if isinstance(store, StorageError):
            raise store
        return store

    def async_store(self, entry: Entry, checking: VerifyMode) -> Store | None:
        """Return an entry's store if the event loop can read the entry; raises as `store`."""
        store = self.store(entry.root)
        asks = not store.abilities.async_reads or asks_first(entry, store, checking)
        return None if asks else store

    def _open(self, number: int) -> Store | StorageError:
        from bidsplan.storage import open_store  # not loaded by runs with nothing to do

        root = self._roots[number]
        try:
            store = open_store(
                root.url, access=self._access, anonymous=root.anonymous, base=self._base
            )
            _check_directory(root.url, self._base)
        except StorageError as error:
            return error
        self._emit(Opened(url=root.url, endpoint=store.endpoint))
        return store

    def renewing(self, entry: Entry, call: Callable[[], T]) -> T:
        """Call a function with `Store.renewing`, once the entry's store is open."""
        store = self._opened(entry)
        if store is None:
            try:
                return call()
            except CredentialsError:
                # The call has opened the store.
                store = self._opened(entry)
                if store is None:
                    raise
        return store.renewing(call)

    def _opened(self, entry: Entry) -> Store | None:
        store = None if entry.content is not None else self._stores.get(entry.root)
        return None if isinstance(store, StorageError) else store

    def close(self) -> None:
        """Close all stores."""
        for store in self._stores.values():
            if not isinstance(store, StorageError):
                store.close()


def _check_directory(url: str, base: str) -> None:
    """Raise an error if a local root is missing."""
    location = parse_url(url)
    if location.protocol != "file":
        return
    resolved = os.path.realpath(os.path.join(base, location.path))  # noqa: PTH118 - as opened
    if os.path.exists(resolved):  # noqa: PTH110 - as above
        return
    where = f"{printable(url)}: the plan's files come from the folder {printable(resolved)}"
    hint = "restore it, or compile the plan again"
    if not os.path.isabs(location.path):  # noqa: PTH117 - as above
        folder = printable(os.path.realpath(base))
        hint = (
            f"the plan's relative URL is relative to the plan's own folder, {folder}: put the plan "
            "back beside its sources, or compile it for this folder by 'bidsplan compile -o'"
        )
    raise RootMissingError(f"{where}, and there is no such folder; {hint}")
