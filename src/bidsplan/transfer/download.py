"""Streams one entry's bytes to a writer, checked, and resumes where it breaks off."""

from __future__ import annotations

from contextlib import closing
from typing import TYPE_CHECKING

from bidsplan.destination.base import Stopped
from bidsplan.destination.resume import resume_key
from bidsplan.errors import (
    CredentialsError,
    DeniedError,
    SourceChangedError,
    StorageError,
    ThrottledError,
    UnreachableError,
)
from bidsplan.plan.integrity import (
    Checker,
    CheckMethod,
    Verdict,
    VerifyMode,
    best_check,
    judge_two_reads,
)
from bidsplan.storage.objects import ObjectMetadata
from bidsplan.storage.retry import Deadline, retrying
from bidsplan.transfer.answers import changed, check_answer, late, wrong_size
from bidsplan.transfer.ranged_download import LEAST, RangedDownload, RangesRefusedError

if TYPE_CHECKING:
    from typing_extensions import Buffer

    from bidsplan.destination.base import Writer
    from bidsplan.plan import Entry
    from bidsplan.plan.integrity import Checksum
    from bidsplan.storage import Store
    from bidsplan.storage.objects import Identity
    from bidsplan.transfer.session import Progress, Session


_ENOUGH = 8 << 20
"""Bytes that must have come for a connection that broke off to be worth a new round of tries.

What comes at the lowest rate brings more of them in the longest request.
"""


_DIGESTS = frozenset({CheckMethod.SHA256, CheckMethod.MD5, CheckMethod.ETAG_MD5})


_PASSING = (Stopped, UnreachableError, ThrottledError, CredentialsError)
"""What says nothing against the bytes that have come."""


def partial_key(entry: Entry, place: str) -> str | None:
    """Return what an entry's unfinished file is found by in later runs.

    None where it can't be resumed: where nothing binds requests to one object, or nothing shows
    that the bytes are the planned ones. The place is its object's, as `Sources.place` returns it.
    """
    if best_check(entry) is CheckMethod.SIZE or (entry.etag is None and entry.version is None):
        return None
    return resume_key(entry.path, place, entry.etag, entry.version, entry.size)


def receive(
    entry: Entry,
    store: Store,
    writer: Writer,
    session: Session,
    progress: Progress,
    began: float | None = None,
) -> Verdict:
    """Write an entry's bytes from its store, and show that they are the planned ones.

    Parameters
    ----------
    writer : Writer
        What it has of an earlier run is resumed from, and digested, whatever is asked for.
    progress : callable
        Bytes that an earlier run had are reported as resumed.
    began : float, optional
        When the entry's first request began, by `time.monotonic`; now by default.

    Returns
    -------
    Verdict
        One that holds.

    Raises
    ------
    IntegrityError
        Where bytes arrived twice that are not the planned ones; UnprovedError where nothing but an
        entity tag says so, which may be no digest.
    SourceChangedError
        Where the object is another one now; the message has both entity tags.
    StorageError
        Where they can't be fetched.
    Stopped
    """
    deadline = Deadline(began)
    first = asks_first(entry, store, session.checking)
    about = _metadata(entry, store, session, deadline) if first else None
    checksum = about.checksum if about else None
    download = _Download(entry, store, writer, session, progress, deadline, checksum)
    try:
        verdict = download.resume()
        if not verdict.holds and verdict.proof is CheckMethod.ETAG_MD5:
            about = about or _metadata(entry, store, session, deadline)
            download.checksum = about.checksum
            if not about.etag_is_md5 and about.checksum is None:
                return verdict.by_size_only(entry.size)
        return verdict if verdict.holds else _second_verdict(entry, store, download, verdict)
    except BaseException as error:
        download.failed(error)
        raise
    finally:
        session.limit.slowdowns.add_duration(entry.path, deadline.seconds())


def _metadata(entry: Entry, store: Store, session: Session, deadline: Deadline) -> ObjectMetadata:
    """Request what the storage says of an object; nothing where it denies that."""
    policy = session.retrying(deadline)
    try:
        return policy(store.about, entry.key, etag=entry.etag, version=entry.version)
    except CredentialsError:
        raise
    except DeniedError:
        # The bytes may be allowed where their metadata are not.
        return ObjectMetadata(etag_is_md5=True)


def _second_verdict(entry: Entry, store: Store, download: _Download, first: Verdict) -> Verdict:
    """Read an object once more from the start, since bytes may be damaged on their way."""
    second = download.read_again()
    same = first.content == second.content
    if not second.holds:
        return judge_two_reads(entry, second, download.checksum, same=same)
    if same:
        # The metadata of the next objects are requested before they are read.
        store.etag_is_not_digest = True
    return second


def asks_first(entry: Entry, store: Store, checking: VerifyMode) -> bool:
    """Report whether the storage is asked for a checksum before an entry's bytes.

    It is not for an object whose plan has a digest, or whose entity tag is taken for one.
    """
    if not store.abilities.checksums or entry.etag is None or checking is not VerifyMode.FULL:
        return False
    proof = best_check(entry)
    return proof in {CheckMethod.MULTIPART, CheckMethod.SIZE} or (
        proof is CheckMethod.ETAG_MD5 and store.etag_is_not_digest
    )


def is_digested(entry: Entry, checking: VerifyMode) -> bool:
    """Report whether a digest of the whole shows its bytes, whichever object they came from."""
    return checking is VerifyMode.FULL and best_check(entry) in _DIGESTS


def tag_is_digest(entry: Entry, store: Store, checking: VerifyMode) -> bool:
    """Ask whether an entry's plain entity tag is its MD5; not where it is checked by size only.

    It is not known to be one where the storage denies the answer.
    """
    if checking is not VerifyMode.FULL:
        return False
    try:
        return retrying()(store.etag_is_md5, entry.key, version=entry.version)
    except CredentialsError:
        raise
    except DeniedError:
        return False


class _Download:
    """One entry's download, which resumes where its connection broke off."""

    def __init__(
        self,
        entry: Entry,
        store: Store,
        writer: Writer,
        session: Session,
        progress: Progress,
        deadline: Deadline,
        checksum: Checksum | None,
    ) -> None:
        self.resumed = 0
        self.checksum = checksum
        self._entry = entry
        self._store = store
        self._writer = writer
        self._session = session
        self._progress = progress
        self._deadline = deadline
        self._arrived = 0
        self._checker = Checker(entry, session.checking, checksum)
        self._bound = entry.etag is not None or entry.version is not None
        self._tag = entry.etag
        # Only what an answer says itself keeps the rest from being of another object: a server may
        # heed no condition, and name its objects in some answers only.
        self._seen: Identity | None = None
        self._ranged = True

    def hash_prefix(self) -> None:
        """Digest what an earlier run had, if anything, to resume from it."""
        size = self._entry.size
        try:
            with closing(self._writer.prefix(self._session.stop.is_set)) as prefix:
                for chunk in prefix:
                    self._take_prefix(chunk)
                    if self._arrived > size:
                        break
        except OSError:
            # It can't be read, or the disk has no room for two of it.
            self.restart()
        if self._arrived > size:
            self.restart()

    def resume(self) -> Verdict:
        """Fetch what an earlier run did not, where a digest shows the whole."""
        verdict = self._run_ranged()
        if verdict is None:
            self.hash_prefix()
            verdict = self.run()
        if self.resumed and (not verdict.holds or verdict.proof is CheckMethod.SIZE):
            # Others may have written the prefix: without a digest it shows nothing.
            verdict = self.read_again()
        return verdict

    def _run_ranged(self) -> Verdict | None:
        """Fetch ranges side by side; None where the object comes by one request at a time."""
        entry, session = self._entry, self._session
        if entry.size < LEAST or not self._bound or not self._store.abilities.ranges:
            return None
        blocks = self._writer.blocks(entry.size)
        if blocks is None:
            return None
        ranged = RangedDownload(entry, self._store, blocks, session, self._progress, self._deadline)
        try:
            ranged.resume()
            checking = VerifyMode.FULL if ranged.resumed else session.checking
            self._checker = Checker(entry, checking, self.checksum)
            verdict = ranged.run(self._checker)
        except RangesRefusedError:
            verdict = None
        finally:
            self._arrived, self.resumed = ranged.arrived, ranged.resumed
        if verdict is None:
            self.restart()
        return verdict

    def _take_prefix(self, chunk: Buffer) -> None:
        if not self._arrived:
            self._checker = Checker(self._entry, VerifyMode.FULL, self.checksum)
        length = memoryview(chunk).nbytes
        self._checker.update(chunk)
        self._progress(length, resumed=True)
        self._arrived += length
        self.resumed = self._arrived

    def failed(self, error: BaseException) -> None:
        """Keep what has come, if it is worth keeping, or report that nothing has."""
        kept = self._writer.failed(resumable=isinstance(error, _PASSING))
        if not (kept and isinstance(error, Stopped)):
            self.revert_progress()

    def revert_progress(self) -> None:
        """Report that nothing has come after all."""
        self._progress(self.resumed - self._arrived)
        if self.resumed:
            self._progress(-self.resumed, resumed=True)
        self._arrived = self.resumed = 0

    def restart(self) -> None:
        """Discard what has come."""
        self.revert_progress()
        self._tag, self._seen = self._entry.etag, None
        self._checker = Checker(self._entry, self._session.checking, self.checksum)
        self._writer.restart()

    def read_again(self) -> Verdict:
        """Fetch all bytes from the start."""
        self.restart()
        return self.run()

    def run(self) -> Verdict:
        """Fetch all bytes; a large object may break off often, as long as it makes progress."""
        self._session.limit.streams.take(extra=False)
        try:
            return self._run()
        finally:
            self._session.limit.streams.release()

    def _run(self) -> Verdict:
        while True:
            before = self._arrived
            try:
                self._session.retrying(self._deadline)(self._go_on)
                return self._checker.verdict()
            except (UnreachableError, ThrottledError) as error:
                if self._deadline.left() <= 0:
                    self._session.limit.slowdowns.late()
                    raise late(self._entry, self._arrived, self._deadline) from error
                if self._arrived - before < _ENOUGH:
                    raise

    def _go_on(self) -> None:
        if self._session.stop.is_set():
            raise Stopped
        if self._deadline.left() <= 0:
            raise late(self._entry, self._arrived, self._deadline)
        if not self._ranged or not self._may_resume():
            self.restart()
        start = self._arrived
        if start and start == self._entry.size:
            # It broke off behind the last byte; a range from there would be refused.
            return
        try:
            self._read(start)
        except SourceChangedError as error:
            raise changed(self._entry, self._store, error) from error
        except ThrottledError:
            raise
        except StorageError as error:
            if start and self._arrived == start and not isinstance(error, UnreachableError):
                # Perhaps it does not support range requests: the next try is from the start.
                self._ranged = False
                raise UnreachableError(f"{error} (from byte {start} on)") from error
            raise

    def _may_resume(self) -> bool:
        # What an earlier run left is digested whole, so the plan's own tag is enough for it.
        earlier = self._bound and self._arrived == self.resumed
        return self._seen is not None or earlier

    def _read(self, start: int) -> None:
        entry = self._entry
        with closing(
            self._store.stream(entry.key, etag=self._tag, version=entry.version, start=start)
        ) as stream:
            check_answer(entry, stream, start, self._seen)
            self._seen = stream.identity
            if self._tag is None and self._seen is not None:
                self._tag = self._seen.tag
            for chunk in stream:
                self._take(chunk)
        if self._arrived != entry.size:
            raise wrong_size(entry, str(self._arrived))

    def _take(self, chunk: Buffer) -> None:
        if self._session.stop.is_set():
            raise Stopped
        length = memoryview(chunk).nbytes
        if self._arrived + length > self._entry.size:
            self._ranged = False
            raise wrong_size(self._entry, f"more than {self._entry.size}")
        self._writer.write(chunk)
        self._checker.update(chunk)
        self._arrived += length
        self._session.arrived(length, self._deadline)
        self._progress(length)
        self._deadline.reached(self._arrived - self.resumed)
        if self._deadline.left() <= 0 and self._arrived < self._entry.size:
            raise late(self._entry, self._arrived, self._deadline)
