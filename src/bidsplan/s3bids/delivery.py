"""Compiling what a study asks for, and bringing it to a directory."""

from __future__ import annotations

import os
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from bidsplan.errors import ExistingFileError, StorageError
from bidsplan.events import Failed, Finished, Skipped, Warned
from bidsplan.paths import printable
from bidsplan.plan import Entry, Plan, Root
from bidsplan.progress import draw
from bidsplan.s3bids.arguments import warn
from bidsplan.transfer.decide import Existing
from bidsplan.transfer.fetch import materialise

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from bidsplan.errors import BidsplanError
    from bidsplan.manifest import Manifest
    from bidsplan.storage import Object, Store


_NAMED_AT_MOST = 10
"""Files that one message names."""


class Delivery(NamedTuple):
    """What became of a plan.

    Parameters
    ----------
    files : dict of str to str
        The absolute path of each file that is there now, by its key below the plan's root.
    failure : BidsplanError or None
        Where others could not be brought; of the first one's class.
    """

    files: dict[str, str]
    failure: BidsplanError | None

    def check(self) -> None:
        """Raise the failure, if there is one."""
        if self.failure is not None:
            raise self.failure


def compile_over(manifest: Manifest, store: Store) -> Plan:
    """Compile a manifest over a study that was listed already.

    Parameters
    ----------
    manifest : Manifest
        Of one root.
    store : Store
        That root.

    Returns
    -------
    Plan
        What is odd about it is warned of.

    Raises
    ------
    SelectionError, StorageError
        As `bidsplan.compile_manifest`.
    """
    from bidsplan.compile import compile_manifest  # a tenth of a second

    compiled = compile_manifest(manifest, opener=lambda *_, **__: store)
    for problem in compiled.warnings:
        warn(str(problem))
    return compiled.plan


def plan_of(objects: Mapping[str, Object], url: str, *, anonymous: bool) -> Plan:
    """Make a plan of single objects.

    Parameters
    ----------
    objects : mapping of str to Object
        By the path that each is to have below the destination.
    url : str
        The root that their keys are relative to.

    Raises
    ------
    PlanError
        Where a path is unsafe.
    """
    entries = [
        Entry(path=path, key=item.key, size=item.size, etag=item.etag, reason="dataset")
        for path, item in objects.items()
    ]
    roots = [Root(url=url, anonymous=anonymous)]
    return Plan.build(entries, manifest_sha256="0" * 64, study=url, roots=roots, subjects=[])


def deliver(
    plan: Plan, directory: str, *, overwrite: bool, pbar: bool, position: int | None = None
) -> Delivery:
    """Bring what a plan lists to a directory.

    Parameters
    ----------
    overwrite : bool
        Whether files that differ are replaced. Otherwise they are left as they are, and warned of.
        A generated file never replaces another one.
    pbar : bool
        Whether to draw a bar.
    position : int, optional
        The bar's line.

    Raises
    ------
    UsageError, DestinationError
        As `bidsplan.transfer.fetch`.
    """
    plan = _without_generated(plan, directory)
    existing = Existing.REPLACE if overwrite else Existing.KEEP
    there: list[Entry] = []
    left: list[Entry] = []
    failed: list[BidsplanError] = []
    skipped = 0
    events = materialise(plan, directory, existing=existing)
    with closing(events), closing(draw(events, plan, enabled=pbar, position=position)) as drawn:
        for event in drawn:
            match event:
                case Finished(entry=entry):
                    there.append(entry)
                case Failed(entry=entry, error=ExistingFileError()) if not overwrite:
                    left.append(entry)
                case Failed(error=error):
                    failed.append(error)
                case Skipped():
                    skipped += 1
                case Warned(problem=problem):
                    warn(str(problem))
                case _:
                    pass
    if left:
        warn(_left(left))
    files = {entry.key: _local(directory, entry) for entry in (*there, *left)}
    failure = _failure(failed, skipped, plan.header.files) if failed or skipped else None
    return Delivery(files, failure)


def _without_generated(plan: Plan, directory: str) -> Plan:
    """Leave generated files out where a file stands already: it may be a real one."""
    kept = [
        entry
        for entry in plan.entries
        if entry.content is None or not os.path.lexists(Path(directory, entry.path))
    ]
    return Plan.rebuild(plan.header, kept)


def _local(directory: str, entry: Entry) -> str:
    return str(Path(os.path.abspath(directory), entry.path))  # noqa: PTH100 - no link is followed


def _left(entries: list[Entry]) -> str:
    return (
        f"{len(entries)} files differ from what is in storage and were left as they are; "
        f"overwrite=True replaces them: {_listed(printable(entry.path) for entry in entries)}"
    )


def _failure(failed: list[BidsplanError], skipped: int, files: int) -> BidsplanError:
    kind = type(failed[0]) if failed else StorageError
    untried = f", and {skipped} were not tried" if skipped else ""
    return kind(
        f"{len(failed)} of {files} files could not be fetched{untried}; those that are there are "
        f"whole, and another download goes on from here: {_listed(map(str, failed))}"
    )


def _listed(texts: Iterable[str]) -> str:
    named = list(texts)
    more = f"; and {len(named) - _NAMED_AT_MOST} more" if len(named) > _NAMED_AT_MOST else ""
    return "; ".join(named[:_NAMED_AT_MOST]) + more
