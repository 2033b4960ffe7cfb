"""Finds metadata that describes no file of its dataset."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bidsplan.bids.data_files import SIDECARS, Role, kind_of, role_of
from bidsplan.bids.inheritance import levels

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from bidsplan.bids.data_files import Kind
    from bidsplan.bids.inheritance import Metadata
    from bidsplan.bids.recordings import Item


def find_orphans(
    described: Sequence[tuple[Item, Kind]],
    known: Sequence[Item],
    metadata: Metadata,
) -> Iterator[tuple[Item, Kind]]:
    """Find those of some items that describe none of the known ones.

    A sidecar describes the files to which it applies by inheritance. A companion, such as a table
    of events, describes the data in its directory or below.

    Parameters
    ----------
    described : sequence of (Item, Kind)
        Items that are not data for certain.
    known : sequence of Item
        All items of the subjects, including those that are not selected.
    metadata : Metadata
        The index of the items that may apply to others.
    """
    companions = [pair for pair in described if role_of(pair[1]) is Role.COMPANION]
    if companions:
        holding = _directories_with_data(known)
        yield from (pair for pair in companions if pair[0].name.directory not in holding)
    sidecars = [pair for pair in described if role_of(pair[1]) is not Role.COMPANION]
    if sidecars:
        # Nearly all sidecars have the name of the file that they describe.
        stems = {_stem(item) for item in known if item.name.extension not in SIDECARS}
        sidecars = [pair for pair in sidecars if _stem(pair[0]) not in stems]
        applying = _applying({item.name.suffix for item, _ in sidecars}, known, metadata)
        for pair in sidecars:
            if pair[0].name.shaped and pair[0].name.path not in applying:
                yield pair


def _directories_with_data(known: Iterable[Item]) -> set[str]:
    """Return the directories of raw data, and those above them."""
    found: set[str] = set()
    for item in known:
        name = item.name
        if name.directory not in found and role_of(kind_of(name)) is Role.DATA:
            found.update(levels(name.directory))
    return found


def _applying(suffixes: set[str], known: Iterable[Item], metadata: Metadata) -> set[str]:
    """Return the paths of sidecars at all levels that may apply to known items."""
    found: set[str] = set()
    for name in (item.name for item in known):
        if name.suffix not in suffixes or name.extension in SIDECARS or not name.shaped:
            continue
        for directory in levels(name.directory):
            for extension in sorted(SIDECARS):
                some = metadata.applying(directory, name.suffix, extension, name.entities)
                found.update(item.name.path for item in some)
    return found


def _stem(item: Item) -> str:
    return item.name.path.removesuffix(item.name.extension)
