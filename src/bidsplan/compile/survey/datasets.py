"""A dataset in storage, and the listing of its root."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from bidsplan.bids.names import owner_label, subject_label
from bidsplan.paths import printable

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from bidsplan.storage import Object, Store


@dataclass(frozen=True, kw_only=True, slots=True)
class Dataset:
    """One BIDS dataset, raw or derivative, in storage.

    Parameters
    ----------
    store, root : Store, int
        The root that its keys are relative to, and that root's index in the plan.
    prefix, destination : str
        The dataset's directory in the store, and in the destination: empty, or ending in ``/``.
    site : str or None
        The site, if the manifest lists sites.
    within : str
        The directory between a subject's directory and its files in the destination: empty, or
        ending in ``/``.
    derivative : bool
        Whether the dataset is a derivative, in which a subject may have several directories.
    """

    store: Store
    root: int
    prefix: str = ""
    destination: str = ""
    site: str | None = None
    within: str = ""
    derivative: bool = False

    @property
    def where(self) -> str:
        """The dataset's URL, as messages name it."""
        return printable(f"{self.store.url.rstrip('/')}/{self.prefix}".rstrip("/"))

    def target_path(self, path: str) -> str:
        """Return the destination path of a file, by its path in the dataset."""
        subject, slash, rest = path.partition("/")
        return f"{self.destination}{subject}{slash}{self.within}{rest}"

    def unit(self, label: str) -> str:
        """Return a subject's name among those of all sites."""
        return label if self.site is None else f"{self.site}/{label}"


@dataclass(frozen=True, kw_only=True, slots=True)
class RootListing:
    """The files and directories at a dataset's root, sorted.

    Parameters
    ----------
    files : mapping of str to Object
        By name.
    subjects : mapping of str to tuple of str
        The names of each subject's directories, by its label.
    """

    files: Mapping[str, Object]
    directories: tuple[str, ...]
    subjects: Mapping[str, tuple[str, ...]]

    @property
    def empty(self) -> bool:
        """Whether the root contains nothing."""
        return not self.files and not self.directories

    @property
    def nobodys(self) -> list[str]:
        """The directories that begin with ``sub-`` but are not a subject's."""
        known = {name for names in self.subjects.values() for name in names}
        return [name for name in self.directories if name.startswith("sub-") and name not in known]


def subject_directories(
    directories: Iterable[str], *, derivative: bool
) -> dict[str, tuple[str, ...]]:
    """Group the directories at a dataset's root by subject, sorted."""
    label_of = owner_label if derivative else subject_label
    found: dict[str, tuple[str, ...]] = {}
    for name in sorted(directories):
        label = label_of(name)
        if label is not None:
            found[label] = (*found.get(label, ()), name)
    return dict(sorted(found.items()))
