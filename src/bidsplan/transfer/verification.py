"""Comparing a destination with its plan, byte for byte and without any request."""

from __future__ import annotations

import os
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from threading import Event as Flag
from typing import TYPE_CHECKING, NamedTuple, Protocol

from bidsplan.bids.nifti import nifti_problem
from bidsplan.destination.directory import Destination
from bidsplan.destination.reading import Stopped, chunks, read_checked
from bidsplan.destination.receipt_objects import read_back, read_notes
from bidsplan.destination.receipts import Receipts
from bidsplan.destination.sources import Sources
from bidsplan.errors import BidsplanError, IntegrityError, MissingFileError, SourceMissingError
from bidsplan.events import Action, Failed, Finished
from bidsplan.paths import printable
from bidsplan.plan.integrity import CheckMethod
from bidsplan.storage.access import Access
from bidsplan.urls import parse_url

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator
    from concurrent.futures import Future
    from contextlib import AbstractContextManager
    from os import PathLike

    from bidsplan.events import Event
    from bidsplan.plan import Entry, Planned
    from bidsplan.plan.integrity import Verdict
    from bidsplan.storage import Stream

    Tap = Callable[[Entry], Callable[[bytes], None]]


_WAITING_PER_JOB = 16
"""Entries that wait for each reader; a large file holds up what is told, and not the reading."""


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
    """Read every file of a plan, and show that it is the planned one.

    Parameters
    ----------
    plan : Plan
    destination : path or str
        A local directory, or the URL that it was fetched to.
    jobs : int
        Files to read at a time.
    deep : bool
        Whether NIfTI files must also hold the data that their headers say, whole gzip included.
    tap : callable, optional
        Called with each entry whose file is about to be read; gives what takes its bytes. Called
        from several threads, and again where reading begins anew.
    access : Access, optional
        How a URL may be reached, and where the sources are: a receipt holds for one endpoint.
    base : path
        The directory that the plan's relative URLs are relative to: its own.

    Yields
    ------
    Finished or Failed
        One for each entry, in the plan's order. Closing the generator stops the work.

    Raises
    ------
    DestinationError
        Where the destination can't be opened.
    UsageError, StorageError
        Where a URL is refused, or its receipts can't be listed.
    """
    stop = Flag()
    access = access or Access()
    sources = Sources(plan.header.roots, access, base)
    check = _Check(_open(sources, str(destination), access.at_destination(), stop), deep=deep)
    pool = ThreadPoolExecutor(max_workers=jobs, thread_name_prefix="bidsplan-verify")
    waiting: deque[Future[Event]] = deque()
    try:
        for entry in plan.entries:
            waiting.append(pool.submit(check.entry, entry, tap))
            if len(waiting) >= jobs * _WAITING_PER_JOB:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        stop.set()
        pool.shutdown(wait=True, cancel_futures=True)
        check.place.close()


class _Noted(NamedTuple):
    """What a receipt says: the bytes' xxh3-128, and whether the source's tag is no digest."""

    content: str
    etag_is_not_digest: bool


class _Place(Protocol):
    """Where the files stand."""

    def read(self, entry: Entry, tap: Tap | None) -> Verdict:
        """Read a file and compare it; raises MissingFileError where there is none."""
        ...

    def noted(self, entry: Entry) -> _Noted | None:
        """Give what a receipt says of a file, if its local source is still as it was then."""
        ...

    def opened(self, entry: Entry) -> AbstractContextManager[tuple[int, Iterator[bytes]]]:
        """Give a file's size, and its bytes."""
        ...

    def close(self) -> None:
        """Give back what was opened."""


class _Folder:
    """A local directory."""

    def __init__(self, sources: Sources, path: str, stop: Flag) -> None:
        self._sources = sources
        self._folder = Destination(path, create=False)
        self._receipts = Receipts(self._folder)
        self._stop = stop

    def read(self, entry: Entry, tap: Tap | None) -> Verdict:
        if self._folder.state(entry.path) is None:
            raise _missing(entry)
        taker = tap(entry) if tap else None
        return read_checked(entry, self._folder, self._stop.is_set, taker)

    def noted(self, entry: Entry) -> _Noted | None:
        source, state = self._sources.fingerprint(entry), self._sources.state(entry)
        receipt = self._receipts.of(entry.path, source, state)
        return _Noted(receipt.content, receipt.etag_is_not_digest) if receipt else None

    @contextmanager
    def opened(self, entry: Entry) -> Iterator[tuple[int, Iterator[bytes]]]:
        with self._folder.reading(entry.path) as descriptor:
            yield os.fstat(descriptor).st_size, chunks(descriptor, self._stop.is_set)

    def close(self) -> None:
        self._folder.close()


class _Storage:
    """A URL."""

    def __init__(self, sources: Sources, url: str, access: Access, stop: Flag) -> None:
        from bidsplan.storage import open_writable  # a directory does without

        self._sources = sources
        self._stop = stop
        self._sink = open_writable(url, access=access, stop=stop)
        # Found by the state of its local source too; without one where the source is gone.
        self._notes = {
            (note.path, note.source, state): _Noted(note.content, note.etag_is_not_digest)
            for note in read_notes(self._sink)
            for state in {None, note.source_state}
        }

    def read(self, entry: Entry, tap: Tap | None) -> Verdict:
        try:
            return read_back(entry, self._sink, self._stop.is_set, tap)
        except SourceMissingError as error:
            raise _missing(entry) from error

    def noted(self, entry: Entry) -> _Noted | None:
        source, state = self._sources.fingerprint(entry), self._sources.state(entry)
        return self._notes.get((entry.path, source, state))

    @contextmanager
    def opened(self, entry: Entry) -> Iterator[tuple[int, Iterator[bytes]]]:
        with closing(self._sink.store.stream(entry.path)) as stream:
            yield entry.size, self._pieces(stream)

    def _pieces(self, stream: Stream) -> Iterator[bytes]:
        for chunk in stream:
            if self._stop.is_set():
                raise Stopped
            yield bytes(chunk)

    def close(self) -> None:
        self._sink.close()


def _open(sources: Sources, destination: str, access: Access, stop: Flag) -> _Place:
    location = parse_url(destination)
    if location.protocol == "file":
        return _Folder(sources, location.path, stop)
    return _Storage(sources, destination, access, stop)


class _Check:
    """Compares files of one destination with one plan."""

    def __init__(self, place: _Place, *, deep: bool) -> None:
        self.place = place
        self._deep = deep

    def entry(self, entry: Entry, tap: Tap | None) -> Event:
        """Compare one file."""
        try:
            proof = self._proof(entry, tap)
            if self._deep:
                self._look_inside(entry, proof)
            return Finished(entry=entry, action=Action.KEEP, proof=proof)
        except BidsplanError as error:
            return Failed(entry=entry, error=error)

    def _proof(self, entry: Entry, tap: Tap | None) -> CheckMethod:
        """Show that a file is the planned one, by the plan or else by its receipt."""
        verdict = self.place.read(entry, tap)
        noted = self.place.noted(entry)
        # An encrypted object's tag is no digest, as was found out when it was fetched.
        tag_is_none = verdict.proof is CheckMethod.ETAG_MD5 and noted and noted.etag_is_not_digest
        if not verdict.holds and not tag_is_none:
            raise _differs(entry, verdict.proof.value, verdict.expected, verdict.got)
        if verdict.holds and verdict.proof is not CheckMethod.SIZE:
            return verdict.proof
        if noted is None:
            return CheckMethod.SIZE
        if noted.content != verdict.content:
            raise _differs(entry, "receipt", noted.content, verdict.content)
        return CheckMethod.RECEIPT

    def _look_inside(self, entry: Entry, proof: CheckMethod) -> None:
        """Raise where a NIfTI file does not hold what its header says."""
        packed = entry.path.endswith(".nii.gz")
        if not packed and not entry.path.endswith(".nii"):
            return
        with self.place.opened(entry) as (size, pieces):
            problem = nifti_problem(pieces, size, packed=packed)
        if problem:
            again = "fetch again with '--existing replace' to bring it anew"
            source = "its bytes are the planned ones, so it is so at its source"
            hint = again if proof is CheckMethod.SIZE else source
            raise IntegrityError(f"{printable(entry.path)}: {problem}; {hint}")


def _missing(entry: Entry) -> MissingFileError:
    return MissingFileError(
        f"{printable(entry.path)}: there is no such file; fetch the plan to bring it"
    )


def _differs(entry: Entry, means: str, expected: str, got: str) -> IntegrityError:
    return IntegrityError(
        f"{printable(entry.path)}: not the planned file: by {means}, expected {expected}, got "
        f"{got}; fetch again with '--existing replace' to bring it back"
    )
