"""Opens the roots of a plan once, and writes them for the plan."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from bidsplan.errors import Problem, StorageError, UrlError
from bidsplan.paths import relative_path
from bidsplan.plan import Root
from bidsplan.urls import OBJECT_STORES, canonical_url, parse_url

if TYPE_CHECKING:
    from collections.abc import Iterator

    from bidsplan.errors import Place
    from bidsplan.storage import Access, Store


STUDY_URL = ("study", "url")
"""Where a manifest names its study."""


@contextmanager
def errors_at(place: Place) -> Iterator[None]:
    """Say of errors of the storage which place of the manifest they are about.

    Those that have a place keep it, and where the place is empty there is no manifest.
    """
    try:
        yield
    except StorageError as error:
        found = error.problems or (Problem(message=str(error), help_code=error.help_code),)
        if not place or all(problem.at for problem in found):
            raise
        placed = [problem if problem.at else replace(problem, at=place) for problem in found]
        raise type(error)(problems=placed) from error


class Opener(Protocol):
    """Opens a root, like `bidsplan.storage.open_store`."""

    def __call__(
        self, url: str, *, access: Access, anonymous: bool | None, base: str | None
    ) -> Store:
        """Open a root."""


class Roots:
    """Opens the roots that a manifest names, and numbers them.

    Parameters
    ----------
    base, plan_directory : Path
        The directories that the manifest's and the plan's relative URLs are relative to.
    keep_open : bool
        Whether others also use the stores, and close them later.
    """

    def __init__(
        self,
        access: Access,
        base: Path,
        plan_directory: Path,
        opener: Opener,
        *,
        keep_open: bool = False,
    ) -> None:
        self.access = access
        self._opener = opener
        self._keep_open = keep_open
        self._base = base
        self.plan_directory = plan_directory
        self._indices: dict[Root, int] = {}
        self._stores: list[Store] = []
        self._places: list[Place] = []

    def open(self, url: str, anonymous: bool | None, at: Place = ()) -> tuple[Store, int]:
        """Open a root once; return its store, and its index in the plan.

        Parameters
        ----------
        url, anonymous : str, bool or None
            The values in the manifest; requests are unsigned by default.
        at : tuple of str or int
            The URL's place in the manifest, for errors about the URL.
        """
        location = parse_url(url)
        signed = location.protocol in OBJECT_STORES
        root = Root(
            url=self._written(url) if location.protocol == "file" else canonical_url(url),
            anonymous=(anonymous is not False) if signed else None,
        )
        if root not in self._indices:
            try:
                with errors_at(at):
                    store = self._opener(
                        url, access=self.access, anonymous=root.anonymous, base=str(self._base)
                    )
            except UrlError as error:
                problem = Problem(message=str(error), at=at)
                raise UrlError(problems=[problem], help_code=error.help_code) from error
            self._indices[root] = len(self._stores)
            self._stores.append(store)
            self._places.append(at)
        index = self._indices[root]
        return self._stores[index], index

    def _written(self, url: str) -> str:
        """Write a local path for the plan; relative paths stay relative."""
        path = Path(canonical_url(url))
        if path.is_absolute():
            return path.as_posix()
        return canonical_url(relative_path(self._base / path, self.plan_directory))

    def store(self, index: int) -> Store:
        """Return the store of an opened root."""
        return self._stores[index]

    def place(self, index: int) -> Place:
        """Return where the manifest has the URL of an opened root."""
        return self._places[index]

    @property
    def listed(self) -> list[Root]:
        """The roots, as the plan's header lists them."""
        return list(self._indices)

    @property
    def endpoints(self) -> tuple[str, ...]:
        """The sorted URLs that requests to object stores are sent to."""
        return tuple(sorted({store.endpoint for store in self._stores if store.endpoint}))

    def close(self) -> None:
        """Close all stores, except those that others use."""
        for store in () if self._keep_open else self._stores:
            store.close()
