"""One run of a plan into a destination, in this process."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import replace
from typing import TYPE_CHECKING

from bidsplan.destination import open_destination
from bidsplan.destination.base import Stopped
from bidsplan.destination.sources import Sources
from bidsplan.errors import BidsplanError, DestinationError
from bidsplan.events import Action, Decided, Failed
from bidsplan.transfer.decide import Decider
from bidsplan.transfer.engine import Engine
from bidsplan.transfer.removal import warn_of_unplanned
from bidsplan.transfer.roots import max_connections

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

    from bidsplan.events import Event
    from bidsplan.plan import Planned
    from bidsplan.storage.access import Access
    from bidsplan.transfer.options import Options


def run_plan(
    plan: Planned,
    destination: str,
    access: Access,
    base: str,
    options: Options,
    stopping: Callable[[], bool],
) -> Generator[Event, None, None]:
    """Fetch a plan's files; events and errors as in `materialise`."""
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
            yield from _decide(plan, Decider(plan, sources, place, options.existing), stopping)
            return
        # Receipts are read only after waiting, since those of the other run count.
        part = plan.header.part is not None
        yield from place.lock(wait=options.wait, shared=part, stopping=stopping)
        place.check_space = options.check_space
        engine = Engine(plan, place, options, access, base, stopping)
        leaving.pop_all()
        leaving.callback(engine.close)
        yield from engine.run()
        if options.find_unplanned and not part and engine.decider.outnumbered and not stopping():
            yield from warn_of_unplanned((entry.path for entry in plan.entries), place)


def _decide(
    plan: Planned, decider: Decider, stopping: Callable[[], bool]
) -> Generator[Decided | Failed, None, None]:
    """Decide for each entry, and do nothing else."""
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
