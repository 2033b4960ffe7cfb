"""Bringing what a plan lists to a destination."""

from __future__ import annotations

import functools
from contextlib import ExitStack, closing, suppress
from dataclasses import replace
from typing import TYPE_CHECKING

from bidsplan.destination.compaction import compact
from bidsplan.destination.directory import Destination
from bidsplan.destination.lock import RunLock
from bidsplan.destination.reading import Stopped
from bidsplan.destination.receipts import ReceiptIndex
from bidsplan.destination.sources import Sources
from bidsplan.errors import BidsplanError, DestinationError
from bidsplan.events import Action, Decided, Failed
from bidsplan.plan.integrity import VerifyMode
from bidsplan.storage.access import Access
from bidsplan.transfer.decide import Decider, Existing
from bidsplan.transfer.engine_local import Executor
from bidsplan.transfer.roots import max_connections
from bidsplan.urls import parse_url

if TYPE_CHECKING:
    from collections.abc import Callable, Generator
    from os import PathLike

    from bidsplan.events import Event
    from bidsplan.plan import Planned


def materialise(
    plan: Planned,
    destination: str | PathLike[str],
    *,
    access: Access | None = None,
    base: str | PathLike[str] = ".",
    existing: Existing = Existing.KEEP,
    checking: VerifyMode = VerifyMode.FULL,
    dry_run: bool = False,
    wait: bool = False,
    stopping: Callable[[], bool] = lambda: False,
) -> Generator[Event, None, None]:
    """Bring what a plan lists to a destination.

    Parameters
    ----------
    plan : Plan
    destination : path or str
        A local directory, made where it is not there, or any URL that fsspec writes.
    access : Access, optional
        How storage may be reached. Requests to a destination are signed unless it says that they
        are anonymous.
    base : path
        The directory that the plan's relative URLs are relative to: its own.
    existing : Existing
    checking : VerifyMode
    dry_run : bool
        Decide, and do nothing.
    wait : bool
        Whether to wait for another run that is at work in the destination.
    stopping : callable
        Asked often whether to stop. What is not done by then, or some seconds later, is told as
        `Skipped`.

    Yields
    ------
    Waiting, Opened, Decided, Progressed, Resumed, Finished, Failed, Skipped, Slowed, Warned
        As they happen. Closing the generator stops the work.

    Raises
    ------
    UsageError
        Where a root's URL or the destination's is refused, or its transport can't reach it, or too
        few files may be open at a time.
    DestinationError
        Where the destination can't be opened.
    StorageError
        Where what stands at the destination's URL can't be listed.
    LockedError
        Where another run is at work there, and it is not waited for.
    """
    place = parse_url(str(destination))
    access = access or Access()
    access = replace(access, jobs=min(access.jobs, max_connections()))
    if place.protocol != "file":
        from bidsplan.transfer.decide_remote import decide_only  # rarely needed
        from bidsplan.transfer.engine_remote import RemoteExecutor  # rarely needed

        url = str(destination)
        if dry_run:
            yield from decide_only(plan, url, existing, access, str(base))
        else:
            remote = RemoteExecutor(plan, url, existing, checking, access, str(base), stopping)
            with closing(remote):
                yield from remote.run()
    elif dry_run:
        with suppress(Stopped):
            sources = Sources(plan.header.roots, access, base)
            yield from _dry_run(plan, sources, place.path, existing, stopping)
    else:
        folder = Destination(place.path, create=True)
        start = functools.partial(
            Executor, plan, folder, existing, checking, access, str(base), stopping
        )
        yield from _run(folder, start, wait=wait, stopping=stopping)


def _run(
    folder: Destination,
    start: Callable[[], Executor],
    *,
    wait: bool,
    stopping: Callable[[], bool],
) -> Generator[Event, None, None]:
    """Run the plan's entries in a directory that is locked meanwhile."""
    lock = RunLock(folder)
    with ExitStack() as leaving:
        leaving.callback(lock.release)
        try:
            # Receipts are read only then: those of the run that was waited for count.
            yield from lock.acquire(wait=wait, stopping=stopping)
            executor = start()
        except BaseException:
            folder.close()
            raise
        leaving.callback(executor.close)
        yield from executor.run()
        if lock.held and executor.noted:
            compact(folder)


def _dry_run(
    plan: Planned,
    sources: Sources,
    destination: str,
    existing: Existing,
    stopping: Callable[[], bool],
) -> Generator[Event, None, None]:
    try:
        folder = Destination(destination, create=False)
    except DestinationError as error:
        if not isinstance(error.__cause__, FileNotFoundError):
            raise
        for entry in plan.entries:
            yield Decided(entry=entry, action=Action.FETCH)
        return
    decider = Decider(sources, folder, ReceiptIndex(folder), existing)
    try:
        for entry in plan.entries:
            if stopping():
                raise Stopped
            try:
                decision = decider.check_metadata(entry)
                if not decision.final:
                    decision = decider.check_content(entry, stopping)
                yield Decided(entry=entry, action=decision.action)
            except BidsplanError as error:
                yield Failed(entry=entry, error=error)
    finally:
        decider.close()
        folder.close()
