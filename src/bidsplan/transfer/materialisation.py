"""Fetching what a plan lists to a destination, as a generator of events."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from bidsplan.destination.cache_options import choose_cache
from bidsplan.plan.integrity import VerifyMode
from bidsplan.storage.access import Access
from bidsplan.transfer.decide import Existing
from bidsplan.transfer.options import Options
from bidsplan.transfer.run import run_plan

if TYPE_CHECKING:
    from collections.abc import Callable, Generator
    from os import PathLike

    from bidsplan.destination.cache_options import CacheOptions
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
    client: Any = None,
    cache: CacheOptions | str | PathLike[str] | None = None,
    whole: Planned | None = None,
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
    client : distributed.Client, optional
        Of a dask cluster whose workers fetch. They use their own credentials, and must reach the
        destination, and local sources, by the same paths.
    cache : CacheOptions or path, optional
        A directory that keeps contents, by digest, for other destinations. Workers of a cluster use
        it where they have it.
    whole : Plan, optional
        What the plan is a part of. Where a directory takes names that differ in case or Unicode
        form for one, names are compared with those of all of it.

    Yields
    ------
    Event
        Waiting, Opened, Decided, Progressed, Resumed, Copied, Finished, Failed, Skipped, Slowed,
        Warned, Resumable.
        As it happens. Closing the generator stops the work. A cluster's workers do not send
        `Copied`, and what failed or was skipped is yielded only once its share of the plan has
        ended, since another worker may finish it.

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
    access, stopping = access or Access(), stopping or _never_stopping
    chosen = choose_cache(cache, str(destination), access, shared=client is not None)
    policies = Existing(existing), VerifyMode(checking)
    options = Options(*policies, dry_run, wait, check_space, find_unplanned, chosen, whole)
    if client is None or dry_run:
        return run_plan(plan, str(destination), access, str(base), options, stopping)
    from bidsplan.transfer.distributed import run_on_cluster  # only for clusters

    return run_on_cluster(plan, str(destination), access, str(base), options, stopping, client)


def _never_stopping() -> bool:
    return False
