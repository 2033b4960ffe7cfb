"""A dataset in storage, and what its root holds."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from bidsplan.paths import printable

if TYPE_CHECKING:
    from collections.abc import Mapping

    from bidsplan.storage import Object, Store


@dataclass(frozen=True, kw_only=True, slots=True)
class Dataset:
    """One BIDS dataset, raw or derivative, in storage.

    Parameters
    ----------
    store, root : Store, int
        The root that its keys are relative to, and that root's index in the plan.
    prefix, destination : str
        Its directory in the store, and below the destination: empty, or ending in ``/``.
    site : str or None
        Which of the manifest's listed sites it is.
    within : str
        Directory between a subject's and its files at the destination: empty, or ending in ``/``.
    """

    store: Store
    root: int
    prefix: str = ""
    destination: str = ""
    site: str | None = None
    within: str = ""

    @property
    def where(self) -> str:
        """The dataset's URL, as messages name it."""
        return printable(f"{self.store.url.rstrip('/')}/{self.prefix}".rstrip("/"))

    def target_path(self, path: str) -> str:
        """Return a file's path below the destination, by its path below the dataset's root."""
        subject, slash, rest = path.partition("/")
        return f"{self.destination}{subject}{slash}{self.within}{rest}"

    def unit(self, label: str) -> str:
        """Name a subject of this dataset among those of all sites."""
        return label if self.site is None else f"{self.site}/{label}"


@dataclass(frozen=True, kw_only=True, slots=True)
class RootListing:
    """What is directly at a dataset's root: files by name, directories and subjects sorted."""

    files: Mapping[str, Object]
    directories: tuple[str, ...]
    subjects: tuple[str, ...]

    @property
    def empty(self) -> bool:
        """Whether there is nothing at all."""
        return not self.files and not self.directories
