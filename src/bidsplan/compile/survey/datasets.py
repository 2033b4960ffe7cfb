"""A dataset in storage, and what stands at its root."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from bidsplan.bids.names import subject_label
from bidsplan.paths import printable

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from bidsplan.storage import Object, Store


@dataclass(frozen=True, kw_only=True, slots=True)
class Dataset:
    """One BIDS dataset, raw or derivative, in storage.

    Parameters
    ----------
    store : Store
        The root that its keys are relative to.
    root : int
        That root's index in the plan.
    prefix : str
        Where in the store it lies: empty, or ending in ``/``.
    destination : str
        Where it lands below the destination: empty, or ending in ``/``.
    site : str or None
        Which of the manifest's listed sites it is.
    within : str
        What comes between a subject's directory and its files where they land: empty, or ending in
        ``/``.
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

    def landing(self, path: str) -> str:
        """Say where a file lands below the destination, by its path below the dataset's root."""
        subject, slash, rest = path.partition("/")
        return f"{self.destination}{subject}{slash}{self.within}{rest}"

    def unit(self, label: str) -> str:
        """Name a subject of this dataset among those of all sites."""
        return label if self.site is None else f"{self.site}/{label}"


@dataclass(frozen=True, kw_only=True, slots=True)
class RootListing:
    """What stands directly at a dataset's root.

    Parameters
    ----------
    files : mapping of str to Object
        By name.
    directories : tuple of str
        Names, sorted.
    subjects : tuple of str
        Labels, sorted.
    """

    files: Mapping[str, Object]
    directories: tuple[str, ...]
    subjects: tuple[str, ...]

    @property
    def empty(self) -> bool:
        """Whether there is nothing at all."""
        return not self.files and not self.directories


def subject_directories(directories: Iterable[str]) -> tuple[str, ...]:
    """List the labels of those directories that are subjects', sorted."""
    labels = (subject_label(directory) for directory in directories)
    return tuple(sorted(label for label in labels if label is not None))
