"""Comparing a destination with its plan, byte for byte and without any request."""

from __future__ import annotations

import os
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from threading import Event as Flag
from typing import TYPE_CHECKING

from bidsplan.deep import nifti_problem
from bidsplan.destination import Destination
from bidsplan.digests import chunks, read_checked
from bidsplan.errors import BidsplanError, IntegrityError, MissingFileError
from bidsplan.events import Action, Failed, Finished, Proof
from bidsplan.keys import printable
from bidsplan.receipts import Receipts, fingerprint

if TYPE_CHECKING:
    from collections.abc import Callable, Generator
    from concurrent.futures import Future
    from os import PathLike

    from bidsplan.events import Event
    from bidsplan.plan import Entry, Planned

__all__ = ["verify"]

_WAITING_PER_JOB = 16
"""Entries that wait for each reader; a large file holds up what is told, and not the reading."""


def verify(
    plan: Planned,
    destination: str | PathLike[str],
    *,
    jobs: int = 4,
    deep: bool = False,
    tap: Callable[[Entry], Callable[[bytes], None]] | None = None,
) -> Generator[Event, None, None]:
    """Read every file of a plan, and show that it is the planned one.

    Parameters
    ----------
    plan : Plan
    destination : path
        A local directory.
    jobs : int
        Files to read at a time.
    deep : bool
        Whether NIfTI files must also hold the data that their headers say, whole gzip included.
    tap : callable, optional
        Called with each entry whose file is about to be read; gives what takes its bytes. Called
        from several threads.

    Yields
    ------
    Finished or Failed
        One for each entry, in the plan's order. Closing the generator stops the work.

    Raises
    ------
    DestinationError
        Where the destination can't be opened.
    """
    folder = Destination(str(destination), create=False)
    check = _Check(plan, folder, tap, deep=deep)
    pool = ThreadPoolExecutor(max_workers=jobs, thread_name_prefix="bidsplan-verify")
    waiting: deque[Future[Event]] = deque()
    try:
        for entry in plan.entries:
            waiting.append(pool.submit(check.entry, entry))
            if len(waiting) >= jobs * _WAITING_PER_JOB:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        check.stop.set()
        pool.shutdown(wait=True, cancel_futures=True)
        folder.close()


class _Check:
    """Compares files of one destination with one plan."""

    def __init__(
        self,
        plan: Planned,
        folder: Destination,
        tap: Callable[[Entry], Callable[[bytes], None]] | None,
        *,
        deep: bool,
    ) -> None:
        self.stop = Flag()
        self._deep = deep
        self._plan = plan
        self._folder = folder
        self._tap = tap
        self._receipts = Receipts(folder)

    def entry(self, entry: Entry) -> Event:
        """Compare one file."""
        try:
            proof = self._proof(entry)
            if self._deep:
                self._look_inside(entry, proof)
            return Finished(entry=entry, action=Action.KEEP, proof=proof)
        except BidsplanError as error:
            return Failed(entry=entry, error=error)

    def _proof(self, entry: Entry) -> Proof:
        """Show that a file is the planned one, by the plan or else by its receipt."""
        if self._folder.state(entry.path) is None:
            raise MissingFileError(
                f"{printable(entry.path)}: there is no such file; fetch the plan to bring it"
            )
        taker = self._tap(entry) if self._tap else None
        verdict = read_checked(entry, self._folder, self.stop.is_set, taker)
        receipt = self._receipts.of(entry.path, fingerprint(self._plan, entry))
        known = receipt.content if receipt else None
        # An encrypted object's tag is no digest, as was found out when it was fetched.
        tag_is_none = verdict.proof is Proof.ETAG_MD5 and receipt and receipt.opaque
        if not verdict.holds and not tag_is_none:
            raise _differs(entry, verdict.proof.value, verdict.expected, verdict.got)
        if verdict.holds and verdict.proof is not Proof.SIZE:
            return verdict.proof
        if known is None:
            return Proof.SIZE
        if known != verdict.content:
            raise _differs(entry, "receipt", known, verdict.content)
        return Proof.RECEIPT

    def _look_inside(self, entry: Entry, proof: Proof) -> None:
        """Raise where a NIfTI file does not hold what its header says."""
        packed = entry.path.endswith(".nii.gz")
        if not packed and not entry.path.endswith(".nii"):
            return
        with self._folder.reading(entry.path) as descriptor:
            size = os.fstat(descriptor).st_size
            pieces = chunks(descriptor, self.stop.is_set)
            problem = nifti_problem(pieces, size, packed=packed)
        if problem:
            again = "fetch again with '--existing replace' to bring it anew"
            source = "its bytes are the planned ones, so it is so at its source"
            hint = again if proof is Proof.SIZE else source
            raise IntegrityError(f"{printable(entry.path)}: {problem}; {hint}")


def _differs(entry: Entry, means: str, expected: str, got: str) -> IntegrityError:
    return IntegrityError(
        f"{printable(entry.path)}: not the planned file: by {means}, expected {expected}, got "
        f"{got}; fetch again with '--existing replace' to bring it back"
    )
