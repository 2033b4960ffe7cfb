"""Bringing what a plan lists to a destination."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING

from bidsplan.decisions import Decider, Existing
from bidsplan.destination import Destination
from bidsplan.digests import Checking, Stopped
from bidsplan.errors import BidsplanError, DestinationError
from bidsplan.events import Action, Decided, Failed
from bidsplan.executor import Executor
from bidsplan.receipts import Marks
from bidsplan.roots import sockets
from bidsplan.storage.access import Access
from bidsplan.urls import parse_url

if TYPE_CHECKING:
    from collections.abc import Callable, Generator
    from os import PathLike

    from bidsplan.events import Event
    from bidsplan.plan import Planned
    from bidsplan.remote import RemoteExecutor

__all__ = ["Checking", "Existing", "materialise"]


def materialise(
    plan: Planned,
    destination: str | PathLike[str],
    *,
    access: Access | None = None,
    base: str | PathLike[str] = ".",
    existing: Existing = Existing.KEEP,
    checking: Checking = Checking.FULL,
    dry_run: bool = False,
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
    checking : Checking
    dry_run : bool
        Decide, and do nothing.
    stopping : callable
        Asked often whether to stop. What is not done by then, or some seconds later, is told as
        `Skipped`.

    Yields
    ------
    Opened, Decided, Progressed, Finished, Failed, Skipped, Warned
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
    """
    place = parse_url(str(destination))
    access = access or Access()
    access = replace(access, jobs=min(access.jobs, sockets()))
    if place.protocol != "file":
        from bidsplan.remote import RemoteExecutor, decide_only  # noqa: PLC0415 - rarely needed

        url = str(destination)
        if dry_run:
            yield from decide_only(plan, url, existing, access)
        else:
            yield from _run(
                RemoteExecutor(plan, url, existing, checking, access, str(base), stopping)
            )
        return
    if dry_run:
        with suppress(Stopped):
            yield from _dry_run(plan, place.path, existing, stopping)
        return
    folder = Destination(place.path, create=True)
    yield from _run(Executor(plan, folder, existing, checking, access, str(base), stopping))


def _run(executor: Executor | RemoteExecutor) -> Generator[Event, None, None]:
    try:
        yield from executor.run()
    finally:
        executor.close()


def _dry_run(
    plan: Planned, destination: str, existing: Existing, stopping: Callable[[], bool]
) -> Generator[Event, None, None]:
    try:
        folder = Destination(destination, create=False)
    except DestinationError as error:
        if not isinstance(error.__cause__, FileNotFoundError):
            raise
        for entry in plan.entries:
            yield Decided(entry=entry, action=Action.FETCH)
        return
    decider = Decider(plan, folder, Marks(folder), existing)
    try:
        for entry in plan.entries:
            if stopping():
                raise Stopped
            try:
                decision = decider.glance(entry)
                if not decision.final:
                    decision = decider.examine(entry, stopping)
                yield Decided(entry=entry, action=decision.action)
            except BidsplanError as error:
                yield Failed(entry=entry, error=error)
    finally:
        decider.close()
        folder.close()
