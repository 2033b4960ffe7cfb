"""The roots of a plan: each opened once, and written as the plan will name it."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from bidsplan.errors import Problem, UrlError
from bidsplan.plan import Root
from bidsplan.redaction import has_user_info
from bidsplan.urls import OBJECT_STORES, parse_url

if TYPE_CHECKING:
    from bidsplan.errors import Place
    from bidsplan.storage import Access, Store

__all__ = ["Opener", "Roots"]


class Opener(Protocol):
    """Opens a root, as `bidsplan.storage.open_store` does."""

    def __call__(
        self, url: str, *, access: Access, anonymous: bool | None, base: str | None
    ) -> Store:
        """Open a root."""
        ...


class Roots:
    """Opens the roots that a manifest names, and numbers them.

    Parameters
    ----------
    access : Access
    base : Path
        The directory that the manifest's relative URLs are relative to.
    plan_directory : Path
        The directory that the plan's relative URLs are relative to.
    opener : Opener
    """

    def __init__(self, access: Access, base: Path, plan_directory: Path, opener: Opener) -> None:
        self._access = access
        self._opener = opener
        self._base = base
        self._plan_directory = plan_directory
        self._stores: dict[Root, tuple[int, Store]] = {}

    def open(self, url: str, anonymous: bool | None, at: Place = ()) -> tuple[Store, int]:
        """Open a root, or give it again.

        Parameters
        ----------
        url : str
            As the manifest has it.
        anonymous : bool or None
            As the manifest has it; unsigned where it says nothing.
        at : tuple of str or int
            Where the manifest has it.

        Returns
        -------
        store : Store
        index : int
            Its place among the plan's roots.

        Raises
        ------
        UrlError
            Where the URL, or its host, is refused.
        """
        if has_user_info(url):
            # Also where it is taken for a local path: the plan would hold it.
            message = "the URL is refused: it holds a user name or password"
            hint = "credentials come from the environment"
            raise UrlError(problems=[Problem(message=message, hint=hint, at=at)])
        location = parse_url(url)
        signed = location.protocol in OBJECT_STORES
        root = Root(
            url=self._written(url) if location.protocol == "file" else url.rstrip("/"),
            anonymous=(anonymous is not False) if signed else None,
        )
        if root not in self._stores:
            try:
                store = self._opener(
                    url, access=self._access, anonymous=root.anonymous, base=str(self._base)
                )
            except UrlError as error:
                raise UrlError(problems=[Problem(message=str(error), at=at)]) from error
            self._stores[root] = (len(self._stores), store)
        index, store = self._stores[root]
        return store, index

    def _written(self, url: str) -> str:
        """Write a local path as the plan will: one that is relative stays so."""
        path = Path(parse_url(url).path)
        if path.is_absolute():
            return path.as_posix()
        return Path(os.path.relpath(self._base / path, self._plan_directory)).as_posix()

    @property
    def listed(self) -> list[Root]:
        """The roots, as the plan's header lists them."""
        return list(self._stores)

    @property
    def endpoints(self) -> tuple[str, ...]:
        """Where requests to object stores go, sorted."""
        return tuple(
            sorted({store.endpoint for _, store in self._stores.values() if store.endpoint})
        )

    def close(self) -> None:
        """Close every store."""
        for _, store in self._stores.values():
            store.close()
