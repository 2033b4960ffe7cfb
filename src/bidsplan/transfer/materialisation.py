"""Fetches a plan's files to a destination, as a generator of events."""

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
    """Fetch the files of a plan to a destination.

    The function returns a generator: nothing is fetched until you iterate it.

    Parameters
    ----------
    plan : Plan
        The plan. Several parts of one plan may be fetched to one destination at the same time.
    destination : path or str
        A local directory, which is created if it does not exist, or a URL that fsspec can write to.
    access : Access, optional
        How storage may be reached. Requests to the destination are always signed.
    base : path
        The directory that the plan's relative URLs are relative to. Use the directory of the plan's
        file.
    existing : Existing or str
        What to do with files that already exist in the destination.
    checking : VerifyMode or str
        How to check the bytes that arrive.
    dry_run : bool
        Whether only to decide what to do for each file, and to write nothing.
    wait : bool
        Whether to wait if another run is using the destination.
    check_space : bool
        Whether to fail at the start if the destination's file system has too little free space.
    find_unplanned : bool
        Whether to warn at the end if files of an earlier plan are still in the destination.
    stopping : callable, optional
        A function that is called often. If it returns true, the run stops within seconds, and
        yields `Skipped` for each unfinished file.
    client : distributed.Client, optional
        The client of a dask cluster whose workers fetch the files. The workers use their own
        credentials, and must reach the destination and local sources by the same paths.
    cache : CacheOptions or path, optional
        A content cache: a directory that stores file contents by their digest, so that other
        destinations need not fetch them again. Workers of a cluster use the directory if it exists
        on their machine.
    whole : Plan, optional
        The whole plan, if `plan` is a part of it. In a file system where names can't differ only in
        case or Unicode form, bidsplan compares the names with those of the whole plan.

    Yields
    ------
    Event
        Waiting, Opened, Decided, Progressed, Resumed, Copied, Finished, Failed, Skipped, Slowed,
        Warned or Resumable, as it happens. Closing the generator stops the run. A cluster sends no
        `Copied`. It sends `Failed` and `Skipped` only when a worker's share of the plan has ended,
        since another worker may still finish the file.

    Raises
    ------
    UsageError
        When you call the function, if the value of an argument is not valid. While you iterate, if
        a URL is refused, if the transport can't reach it, or if the system allows too few open
        files.
    DestinationError
        If the destination can't be opened or written, or has too little free space.
    StorageError
        If the destination's URL can't be listed.
    LockedError
        If another run is using the destination, and `wait` is false.
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
