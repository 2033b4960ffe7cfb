"""Files of other suffixes that belong to a file, and families of files that are one recording.

References
----------
BIDS schema 1.11.1, ``meta/associations.yaml``, with the second magnitude image, stimulus and
physiological recordings as real datasets have them.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from bidsplan.bids.inheritance import Metadata
    from bidsplan.bids.names import Name
    from bidsplan.bids.recordings import Item


NIFTI = (".nii.gz", ".nii")
"""Extensions of images."""

_ELECTRIC = frozenset({"eeg", "emg", "ieeg", "meg"})
_PHASES = frozenset({"phasediff", "phase1", "phase2"})
_SPACE = frozenset({"space"})
_RECORDING = frozenset({"recording"})


class Association(NamedTuple):
    """A kind of file that belongs to others.

    Parameters
    ----------
    suffix : str
        Of the file that belongs.
    extensions : tuple of str
        Of the file that belongs.
    sources : frozenset of str or None
        Suffixes of what it may belong to; None for any data file.
    upward : bool
        Whether it may stand at a higher level, by inheritance.
    beyond : frozenset of str
        Entities that it may have although its source has none.
    """

    suffix: str
    extensions: tuple[str, ...]
    sources: frozenset[str] | None = None
    upward: bool = True
    beyond: frozenset[str] = frozenset()


ASSOCIATIONS = (
    Association("events", (".tsv",)),
    Association("channels", (".tsv",), _ELECTRIC | {"nirs", "motion"}),
    Association("electrodes", (".tsv",), _ELECTRIC, beyond=_SPACE),
    Association("optodes", (".tsv",), frozenset({"nirs"})),
    Association(
        "coordsystem",
        (".json",),
        _ELECTRIC | {"nirs", "motion", "electrodes", "optodes"},
        beyond=_SPACE,
    ),
    Association("aslcontext", (".tsv",), frozenset({"asl"})),
    Association("m0scan", NIFTI, frozenset({"asl"}), upward=False),
    Association("magnitude", NIFTI, frozenset({"fieldmap"}), upward=False),
    Association("magnitude1", NIFTI, _PHASES, upward=False),
    Association("magnitude2", NIFTI, _PHASES, upward=False),
    Association("dwi", (".bval", ".bvec"), frozenset({"dwi"})),
    Association("epi", (".bval", ".bvec"), frozenset({"epi"})),
    Association("physio", (".tsv.gz",), upward=False, beyond=_RECORDING),
    Association("physioevents", (".tsv.gz",), upward=False, beyond=_RECORDING),
    Association("stim", (".tsv.gz",), upward=False, beyond=_RECORDING),
)
"""What belongs to what."""

FAMILIES = ((".vhdr", ".vmrk", ".eeg"), (".set", ".fdt"), (".img", ".hdr"))
"""Extensions of files that are one recording together: BrainVision, EEGLAB, NIfTI pairs."""

_METADATA = frozenset({".json", ".tsv", ".bval", ".bvec"})
# Tables and sidecars are no data, but electrodes need the coordinate system they are given in.
_TABLES_WITH_COORDINATES = frozenset({"electrodes", "optodes"})


def associated(name: Name, metadata: Metadata) -> Iterator[Item]:
    """List the files that belong to one.

    Parameters
    ----------
    name : Name
        The file; one that is not entity-shaped has none.
    metadata : Metadata
        Index of the dataset.
    """
    if name.shaped:
        for association, extension in _sought(name.suffix, name.extension):
            yield from _find(association, extension, name, metadata)


@lru_cache(maxsize=1024)
def _sought(suffix: str, extension: str) -> tuple[tuple[Association, str], ...]:
    """List what may belong to files of a kind."""
    if extension in _METADATA and suffix not in _TABLES_WITH_COORDINATES:
        return ()
    return tuple(
        (association, each)
        for association in ASSOCIATIONS
        if association.suffix != suffix or extension not in association.extensions
        if association.sources is None or suffix in association.sources
        for each in association.extensions
    )


def _find(
    association: Association, extension: str, name: Name, metadata: Metadata
) -> Iterable[Item]:
    suffix, beyond = association.suffix, association.beyond
    if association.upward:
        return metadata.lowest(name, suffix, extension, beyond=beyond)
    return metadata.applying(name.directory, suffix, extension, name.entities, beyond=beyond)


class Families:
    """An index of files by what they share with their family."""

    def __init__(self, items: Iterable[Item]) -> None:
        self._families = {extension: family for family in FAMILIES for extension in family}
        self._by_path = {
            item.name.path: item for item in items if item.name.extension in self._families
        }

    def of(self, name: Name) -> Iterator[Item]:
        """List the other members of a file's family."""
        for extension in self._families.get(name.extension, ()):
            other = self._by_path.get(name.stem + extension)
            if other is not None and extension != name.extension:
                yield other
