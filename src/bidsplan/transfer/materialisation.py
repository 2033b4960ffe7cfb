"""Fetching what a plan lists to a destination, as a generator of events."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

from bidsplan.destination import open_destination
from bidsplan.destination.base import Stopped
from bidsplan.destination.sources import Sources
from bidsplan.errors import BidsplanError, DestinationError
from bidsplan.events import Action, Decided, Failed
from bidsplan.plan.integrity import VerifyMode
from bidsplan.storage.access import Access
from bidsplan.transfer.decide import Decider, Existing
from bidsplan.transfer.engine import Engine
from bidsplan.transfer.removal import warn_of_unplanned
from bidsplan.transfer.roots import max_connections

if TYPE_CHECKING:
    from collections.abc import Callable, Generator
    from os import PathLike

    from bidsplan.events import Event
    from bidsplan.plan import Planned


def materialise(  # noqa: PLR0913 - the options of a run
    plan: Planned,
    destination: str | PathLike[str],
    *,
    access: Access | None = None,
    base: str | PathLike[str] = ".",
    existing: Existing | str = Existing.KEEP,
    checking: VerifyMode | str = VerifyMode.FULL,
    dry_run: bool = False,
    wait: bool = False,
    check_space: bool = True,
    find_unplanned: bool = False,
    stopping: Callable[[], bool] | None = None,
) -> Generator[Event, None, None]:
    """Fetch what a plan lists to a destination.

    Parameters
    ----------
    plan : Plan
        Parts of one plan may be fetched to one destination at the same time.
    destination : path or str
        A local directory, made where it is not there, or any URL that fsspec writes.
    access : Access, optional
        How storage may be reached. Requests to a destination are signed unless it says that they
        are anonymous.
    base : path
        The directory that the plan's relative URLs are relative to: its own.
    existing : Existing or str
    checking : VerifyMode or str
    dry_run : bool
        Decide, and do nothing.
    wait : bool
        Whether to wait for another run that is at work in the destination.
    check_space : bool
        Whether to refuse to start where a directory's file system has no room for what is missing.
    find_unplanned : bool
        Whether to warn at the end of files of an earlier plan that are still in a directory.
    stopping : callable, optional
        Called often; if it returns true, the run stops within seconds, and yields `Skipped` for
        each file that it did not finish.

    Yields
    ------
    Event
        Waiting, Opened, Decided, Progressed, Resumed, Finished, Failed, Skipped, Slowed, Warned,
        Resumable.
        As it happens. Closing the generator stops the work.

    Raises
    ------
    UsageError
        At once, where an option has no such value; later, where a root's URL or the
        destination's is refused, or its transport can't reach it, or too few files may be open at
        a time.
    DestinationError
        Where the destination can't be opened or written, or has no room.
    StorageError
        Where the destination's URL can't be listed.
    LockedError
        Where another run is active there, and it is not waited for.
    """
    options = _Options(
        Existing(existing),
        VerifyMode(checking),
        dry_run,
        wait,
        check_space,
        find_unplanned,
        stopping or _never_stopping,
    )
    return _events(plan, str(destination), access or Access(), str(base), options)


class _Options(NamedTuple):
    existing: Existing
    checking: VerifyMode
    dry_run: bool
    wait: bool
    check_space: bool
    find_unplanned: bool
    stopping: Callable[[], bool]


def _never_stopping() -> bool:
    return False


def _events(
    plan: Planned, destination: str, access: Access, base: str, options: _Options
) -> Generator[Event, None, None]:
    existing, checking, stopping = options.existing, options.checking, options.stopping
    access = replace(access, jobs=min(access.jobs, max_connections()))
    try:
        place = open_destination(destination, access, create=not options.dry_run)
    except DestinationError as error:
        if not options.dry_run or not isinstance(error.__cause__, FileNotFoundError):
            raise
        yield from (Decided(entry=entry, action=Action.FETCH) for entry in plan.entries)
        return
    with ExitStack() as leaving:
        leaving.callback(place.close)
        if options.dry_run:
            sources = Sources(plan.header.roots, access, base)
            yield from _decide(plan, Decider(plan, sources, place, existing), stopping)
            return
        # Receipts are read only then: those of the run that was waited for count.
        part = plan.header.part is not None
        yield from place.lock(wait=options.wait, shared=part, stopping=stopping)
        place.check_space = options.check_space
        engine = Engine(plan, place, existing, checking, access, base, stopping)
        leaving.pop_all()
        leaving.callback(engine.close)
        yield from engine.run()
        if options.find_unplanned and not part and engine.decider.outnumbered and not stopping():
            yield from warn_of_unplanned(plan, place)


def _decide(
    plan: Planned, decider: Decider, stopping: Callable[[], bool]
) -> Generator[Decided | Failed, None, None]:
    """Decide for each entry, and do nothing."""
    for entry in plan.entries:
        if stopping():
            return
        try:
            decision = decider.check_metadata(entry)
        except DestinationError as error:
            yield Failed(entry=entry, error=error)
            continue
        try:
            if not decision.final:
                decision = decider.check_content(entry, decision.state, stopping)
            yield Decided(entry=entry, action=decision.action)
        except Stopped:
            return
        except BidsplanError as error:
            yield Failed(entry=entry, error=error)
