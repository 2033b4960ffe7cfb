"""Files of another suffix that belong to a file, and files that form one recording.

After BIDS schema 1.11.1, ``meta/associations.yaml``, with the second magnitude image, stimulus and
physiological recordings as real datasets have them.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator

    from bidsplan.bids.inheritance import Metadata
    from bidsplan.bids.names import Name
    from bidsplan.bids.recordings import Item


NIFTI = (".nii.gz", ".nii")
"""Extensions of images."""

_ELECTRIC = frozenset({"eeg", "emg", "ieeg", "meg"})
_PHASES = frozenset({"phasediff", "phase1", "phase2"})
_SPACE = frozenset({"space"})
_RECORDING = frozenset({"recording"})


class _Association(NamedTuple):
    """A kind of file that belongs to others.

    Parameters
    ----------
    sources : frozenset of str or None
        Suffixes of the files it may belong to; None for any data file.
    inherits : bool
        Whether it may be at a higher level, by inheritance.
    beyond : frozenset of str
        Entities that it may have although its source has none.
    """

    suffix: str
    extensions: tuple[str, ...]
    sources: frozenset[str] | None = None
    inherits: bool = True
    beyond: frozenset[str] = frozenset()


_ASSOCIATIONS = (
    _Association("events", (".tsv",)),
    _Association("channels", (".tsv",), _ELECTRIC | {"nirs", "motion"}),
    _Association("electrodes", (".tsv",), _ELECTRIC, beyond=_SPACE),
    _Association("optodes", (".tsv",), frozenset({"nirs"})),
    _Association(
        "coordsystem",
        (".json",),
        _ELECTRIC | {"nirs", "motion", "electrodes", "optodes"},
        beyond=_SPACE,
    ),
    _Association("aslcontext", (".tsv",), frozenset({"asl"})),
    _Association("m0scan", NIFTI, frozenset({"asl"}), inherits=False),
    _Association("magnitude", NIFTI, frozenset({"fieldmap"}), inherits=False),
    _Association("magnitude1", NIFTI, _PHASES, inherits=False),
    _Association("magnitude2", NIFTI, _PHASES, inherits=False),
    _Association("dwi", (".bval", ".bvec"), frozenset({"dwi"})),
    _Association("epi", (".bval", ".bvec"), frozenset({"epi"})),
    _Association("physio", (".tsv.gz",), inherits=False, beyond=_RECORDING),
    _Association("physioevents", (".tsv.gz",), inherits=False, beyond=_RECORDING),
    _Association("stim", (".tsv.gz",), inherits=False, beyond=_RECORDING),
)

# BrainVision, EEGLAB, NIfTI pairs.
_FAMILIES = ((".vhdr", ".vmrk", ".eeg"), (".set", ".fdt"), (".img", ".hdr"))
_FAMILY_OF = {extension: family for family in _FAMILIES for extension in family}

_METADATA = frozenset({".json", ".tsv", ".bval", ".bvec"})
# Tables and sidecars are no data, but electrodes need the coordinate system they are given in.
_TABLES_WITH_COORDINATES = frozenset({"electrodes", "optodes"})


def associated(name: Name, metadata: Metadata) -> Iterator[Item]:
    """List the files of a dataset that belong to a file, or are one recording with it."""
    stem = name.path.removesuffix(name.extension)
    for extension in _FAMILY_OF.get(name.extension, ()):
        member = metadata.by_path.get(stem + extension)
        if member is not None and extension != name.extension:
            yield member
    if not name.shaped:
        return
    for kind, extension in _associations_of(name.suffix, name.extension):
        suffix, beyond = kind.suffix, kind.beyond
        if kind.inherits:
            yield from metadata.lowest(name, suffix, extension, beyond=beyond)
        else:
            yield from metadata.applying(
                name.directory, suffix, extension, name.entities, beyond=beyond
            )


@lru_cache(maxsize=1024)
def _associations_of(suffix: str, extension: str) -> tuple[tuple[_Association, str], ...]:
    """List what may belong to files of a kind."""
    if extension in _METADATA and suffix not in _TABLES_WITH_COORDINATES:
        return ()
    return tuple(
        (kind, each)
        for kind in _ASSOCIATIONS
        if kind.suffix != suffix or extension not in kind.extensions
        if kind.sources is None or suffix in kind.sources
        for each in kind.extensions
    )
