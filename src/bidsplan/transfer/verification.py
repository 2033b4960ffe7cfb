"""Compares the files in a destination with their plan, byte by byte."""

from __future__ import annotations

from collections import deque
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

from bidsplan.bids.nifti import nifti_problem
from bidsplan.destination import open_destination
from bidsplan.destination.receipts import LatestReceipts
from bidsplan.destination.sources import Sources
from bidsplan.errors import BidsplanError, IntegrityError, OutdatedError, UnprovedError
from bidsplan.events import Action, Failed, Finished
from bidsplan.help_codes import HelpCode
from bidsplan.paths import printable
from bidsplan.plan.integrity import CheckMethod, Verdict
from bidsplan.storage.access import Access
from bidsplan.transfer.doubts import Doubts

if TYPE_CHECKING:
    from collections.abc import Generator
    from concurrent.futures import Future
    from os import PathLike

    from bidsplan.destination.base import Destination, Tap
    from bidsplan.events import Event
    from bidsplan.plan import Entry, Planned


_WAITING_PER_JOB = 16
"""Entries that may wait for each reader, so that others are read during a large file."""


def verify(
    plan: Planned,
    destination: str | PathLike[str],
    *,
    jobs: int = 4,
    deep: bool = False,
    tap: Tap | None = None,
    access: Access | None = None,
    base: str | PathLike[str] = ".",
) -> Generator[Event, None, None]:
    """Read every planned file in a destination, and check that it is the planned one.

    Parameters
    ----------
    plan : Plan
    destination : path or str
        A local directory, or the URL that the plan was fetched to.
    jobs : int
        The number of files to read at a time.
    deep : bool
        Whether to also check that NIfTI files contain all data that their headers describe, and
        that files compressed with gzip are complete.
    tap : callable, optional
        A function that is called with each entry before its file is read, and returns a function
        that receives the bytes. It is called from several threads. If a file must be read from the
        start again, it is called again.
    access : Access, optional
        How the destination's URL may be reached. Use the S3 endpoint with which the plan was
        fetched, since a receipt is only valid for one endpoint.
    base : path
        The directory that the plan's relative URLs are relative to. Use the directory of the plan's
        file.

    Yields
    ------
    Finished or Failed
        One event for each entry, in the plan's order. Closing the generator stops the work.
    Warned
        At the end, if files are wrong and this could not be recorded.

    Raises
    ------
    DestinationError
        If the destination can't be opened.
    UsageError, StorageError
        If a URL is refused, or the receipts at a URL can't be listed.

    Notes
    -----
    If a file is wrong, although it matches its receipt, a new line in the receipts records that.
    The next fetch then reads the file. Otherwise nothing is written.
    """
    access = access or Access()
    place = open_destination(str(destination), access, create=False)
    doubts = Doubts(place)
    pool = ThreadPoolExecutor(max_workers=jobs, thread_name_prefix="bidsplan-verify")
    waiting: deque[Future[Event]] = deque()
    try:
        check = _Check(place, Sources(plan.header.roots, access, base), tap, doubts, deep=deep)
        for entry in plan.entries:
            waiting.append(pool.submit(check.entry, entry))
            if len(waiting) >= jobs * _WAITING_PER_JOB:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
        doubts.flush()
        yield from doubts.problems()
    finally:
        place.stop.set()
        pool.shutdown(wait=True, cancel_futures=True)
        doubts.flush()
        place.close()


class _Check:
    """Compares files of one destination with one plan."""

    def __init__(
        self,
        place: Destination,
        sources: Sources,
        tap: Tap | None,
        doubts: Doubts,
        *,
        deep: bool,
    ) -> None:
        self._place = place
        self._sources = sources
        self._receipts = LatestReceipts(place.read_receipts())
        self._tap = tap
        self._doubts = doubts
        self._deep = deep

    def entry(self, entry: Entry) -> Event:
        """Compare one file."""
        try:
            proof = self._proof(entry)
            if self._deep:
                self._look_inside(entry, proof)
            return Finished(entry=entry, action=Action.KEEP, proof=proof)
        except BidsplanError as error:
            return Failed(entry=entry, error=error)

    def _proof(self, entry: Entry) -> CheckMethod:
        """Prove a file, by the plan or else by its receipt."""
        verdict = self._place.check(entry, self._place.stop.is_set, self._tap)
        source, state = self._sources.fingerprint(entry), self._sources.state(entry)
        receipt = self._receipts.find(entry.path, source, state)
        if verdict.holds and verdict.proof is not CheckMethod.SIZE:
            return verdict.proof
        by_tag = not verdict.holds and verdict.proof is CheckMethod.ETAG_MD5
        if by_tag:
            # The tag may not be an MD5; the receipt records that, or that it was not compared.
            receipt = receipt or self._receipts.find_by_size(entry.path, entry.etag)
        excused = receipt is not None and (receipt.etag_is_not_digest or receipt.etag)
        if not verdict.holds and not (by_tag and excused):
            # A tag that was no digest before does not show that the planned bytes are others.
            opaque = by_tag and self._receipts.has_opaque_tag(entry.path)
            known = receipt is not None or opaque
            if not known and self._doubts.is_outdated(entry.path, verdict.content):
                raise _outdated(entry, verdict)
            self._doubts.add(entry, source)
            raise _differs(entry, verdict, no_receipt=by_tag and receipt is None)
        if receipt is None:
            return CheckMethod.SIZE
        if receipt.content != verdict.content:
            self._doubts.add(entry, source)
            by_receipt = Verdict(CheckMethod.RECEIPT, receipt.content, verdict.content, "")
            raise _differs(entry, by_receipt)
        return CheckMethod.SIZE if by_tag and receipt.etag else CheckMethod.RECEIPT

    def _look_inside(self, entry: Entry, proof: CheckMethod) -> None:
        """Raise an error if a NIfTI file lacks data that its header describes."""
        packed = entry.path.endswith(".nii.gz")
        if not packed and not entry.path.endswith(".nii"):
            return
        with self._place.read(entry.path, self._place.stop.is_set) as chunks:
            problem = nifti_problem(chunks, entry.size, packed=packed)
        if problem:
            again = "fetch again with '--existing replace' to replace it"
            source = "its bytes are the planned ones, so the source has the same fault"
            hint = again if proof is CheckMethod.SIZE else source
            if proof is CheckMethod.SIZE:
                self._doubts.add(entry, self._sources.fingerprint(entry))
            text = f"{printable(entry.path)}: {problem}; {hint}"
            raise IntegrityError(text, help_code=HelpCode.IMAGE_DAMAGED)


def _outdated(entry: Entry, verdict: Verdict) -> OutdatedError:
    return OutdatedError(
        f"{printable(entry.path)}: out of date: bidsplan fetched it earlier, and nobody has "
        f"changed it since; {_details(verdict)}; fetch with '--existing update' to replace such "
        "files"
    )


def _details(verdict: Verdict) -> str:
    return f"by {verdict.proof.value}, expected {verdict.expected}, got {verdict.got}"


def _differs(entry: Entry, verdict: Verdict, *, no_receipt: bool = False) -> IntegrityError:
    """Make the error for a file that differs, or that can't be proved."""
    details = _details(verdict)
    again = "fetch again with '--existing replace' to replace it"
    if no_receipt:
        return UnprovedError(
            f"{printable(entry.path)}: not shown to be the planned file: {details}; it differs, or "
            f"its entity tag is no MD5, and no receipt of it shows which; {again}",
            help_code=HelpCode.DIFFERS,
        )
    text = f"{printable(entry.path)}: not the planned file: {details}; {again}"
    return IntegrityError(text, help_code=HelpCode.DIFFERS)
