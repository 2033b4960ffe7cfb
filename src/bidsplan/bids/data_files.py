"""Tells data files from files that only describe other files."""

from __future__ import annotations

from collections import Counter, defaultdict
from enum import Enum, auto
from functools import cache, lru_cache
from typing import TYPE_CHECKING, Generic, NamedTuple, TypeVar

from bidsplan.bids.associations import companion_targets

if TYPE_CHECKING:
    from collections.abc import Mapping

    from bidsplan.bids.names import Name


SIDECARS = frozenset({".json", ".bval", ".bvec"})
"""The extensions of files that describe the file with the same name."""

TABLES = frozenset({".tsv", ".tsv.gz"})
"""The extensions of tables, which are data only in some datatypes."""

TABULAR_DATATYPES = frozenset({"beh", "motion"})
"""The datatypes of which raw data is in tables."""

# The schema lists these in the directories of recordings, but they are no recordings.
_BESIDE = frozenset({"asllabeling", "blood", "headshape", "markers", "photo"})
_OF_SCANNER = frozenset({"calibration", "crosstalk"})


class Role(Enum):
    """Whether a file is data, or describes other files."""

    DATA = auto()
    SIDECAR = auto()
    """A sidecar or gradient table, which describes the file with the same name."""
    COMPANION = auto()
    """A table of events, a photograph or another file that belongs to a recording."""
    OPEN = auto()
    """JSON of a pipeline, which is a sidecar only if the pipeline has other files of its family."""


class Kind(NamedTuple):
    """The properties of a file that decide about its role.

    `pipeline` is None for raw data. Otherwise it tells apart the families of several pipelines.
    """

    pipeline: str | None
    datatype: str | None
    suffix: str
    extension: str
    desc: str | None = None
    acq: str | None = None

    @property
    def family(self) -> Kind:
        """The kind without what differs between a file and its sidecar."""
        return self._replace(extension="", acq=None)


def kind_of(name: Name, pipeline: str | None = None) -> Kind:
    """Return the kind of a file or a directory recording."""
    entities = name.entities
    return Kind(
        pipeline, name.datatype, name.suffix, name.extension, entities.get("desc"), acq_of(entities)
    )


def acq_of(entities: Mapping[str, str]) -> str | None:
    """Return the entity ``acq`` if it may decide about a file's role."""
    found = entities.get("acq")
    return found if found in _OF_SCANNER else None


@cache
def companion_suffixes() -> frozenset[str]:
    """Return the suffixes of files that belong to recordings and are not images."""
    return frozenset(suffix for suffix, _ in companion_targets()) | _BESIDE


@lru_cache(maxsize=4096)
def role_of(kind: Kind) -> Role:
    """Return the role of files of a kind.

    Derivatives contain results of any form, so that only gradient tables are sidecars for certain.
    """
    _, datatype, suffix, extension, _, acq = kind
    if extension == ".json":
        if kind.pipeline is not None:
            return Role.OPEN
        return Role.COMPANION if (suffix, ".json") in companion_targets() else Role.SIDECAR
    if extension in SIDECARS:
        return Role.SIDECAR
    if kind.pipeline is not None or (extension in TABLES and datatype == "beh"):
        return Role.DATA
    beside = suffix in companion_suffixes() or (suffix == "meg" and acq is not None)
    return Role.COMPANION if beside else Role.DATA


Owner = TypeVar("Owner")


class Holdings(Generic[Owner]):
    """Counts the data files, and the other files, of subjects or other owners.

    The role of some JSON files depends on all files of their dataset. The counts are therefore
    right only after all parts of a dataset were added.
    """

    def __init__(self) -> None:
        self._data: Counter[Owner] = Counter()
        self._rest: Counter[Owner] = Counter()
        self._open: defaultdict[Kind, Counter[Owner]] = defaultdict(Counter)
        self._families: set[Kind] = set()
        self._seen: set[Kind] = set()

    def see(self, kind: Kind) -> None:
        """Note that a dataset has a file of a kind, whether it is counted or not."""
        if kind not in self._seen:
            self._seen.add(kind)
            if kind.extension != ".json":
                self._families.add(kind.family)

    def add(self, owner: Owner, kind: Kind, *, asked: bool = False) -> None:
        """Count a file; if `asked`, it counts as data whatever its role."""
        role = role_of(kind)
        if asked or role is Role.DATA:
            self._data[owner] += 1
        elif role is Role.OPEN:
            self._open[kind.family][owner] += 1
        else:
            self._rest[owner] += 1

    def merge(self, other: Holdings[Owner]) -> None:
        """Add the files of another part of the same dataset."""
        self._data.update(other._data)
        self._rest.update(other._rest)
        self._families |= other._families
        for family, counts in other._open.items():
            self._open[family].update(counts)
        # Only families without other files are kept, since there may be very many owners.
        for family in self._open.keys() & self._families:
            self._rest.update(self._open.pop(family))

    def describes(self, kind: Kind) -> bool:
        """Report whether files of a kind only describe other files."""
        role = role_of(kind)
        return role is not Role.DATA and (role is not Role.OPEN or kind.family in self._families)

    def data(self) -> Counter[Owner]:
        """Count the data files of each owner that has any."""
        counts = Counter(self._data)
        for family in self._open.keys() - self._families:
            counts.update(self._open[family])
        return counts

    def all(self) -> Counter[Owner]:
        """Count all files of each owner."""
        counts = self._data + self._rest
        for found in self._open.values():
            counts.update(found)
        return counts
