"""Downloads one entry, checks its bytes, and resumes after interruptions."""

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
"""The bytes that must have arrived for a new round of attempts after a connection broke off.

An object at the lowest allowed rate gets more of them in the longest request.
"""


_DIGESTS = frozenset({CheckMethod.SHA256, CheckMethod.MD5, CheckMethod.ETAG_MD5})


_PASSING = (Stopped, UnreachableError, ThrottledError, CredentialsError)
"""Errors that do not mean that the received bytes are wrong."""


def partial_key(entry: Entry, place: str) -> str | None:
    """Return the key by which later runs find an unfinished file.

    None if the file can't be resumed, because nothing ensures that all requests read the same
    object, or nothing proves the bytes. `place` is the result of `Sources.place`.
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
    """Write an entry's bytes from its store, and check them.

    Parameters
    ----------
    writer : Writer
        The writer. If it has bytes of an earlier run, the download resumes from them, and digests
        them in any case.
    progress : callable
        Called with numbers of bytes. Bytes of an earlier run are reported as resumed.
    began : float, optional
        When the entry's first request began, by `time.monotonic`; by default now.

    Returns
    -------
    Verdict
        A verdict that proves the bytes.

    Raises
    ------
    IntegrityError
        If wrong bytes arrived twice. It is an UnprovedError if only an entity tag says so, which
        may not be a digest.
    SourceChangedError
        If the object has changed. The message has both entity tags.
    StorageError
        If the bytes can't be fetched.
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
    """Report whether to ask for a checksum before fetching an entry.

    The storage is not asked if the plan has a digest, or if the entity tag is assumed to be one.
    """
    if not store.abilities.checksums or entry.etag is None or checking is not VerifyMode.FULL:
        return False
    proof = best_check(entry)
    return proof in {CheckMethod.MULTIPART, CheckMethod.SIZE} or (
        proof is CheckMethod.ETAG_MD5 and store.etag_is_not_digest
    )


def is_digested(entry: Entry, checking: VerifyMode) -> bool:
    """Report whether a digest proves an entry's bytes, whatever their source."""
    return checking is VerifyMode.FULL and best_check(entry) in _DIGESTS


def tag_is_digest(entry: Entry, store: Store, checking: VerifyMode) -> bool:
    """Report whether an entry's entity tag is its MD5.

    If the storage denies the answer, the tag is not assumed to be a digest. If files are checked by
    size only, the storage is not asked.
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
    """One entry's download, which resumes if its connection breaks off."""

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
        # Only the answer's own values show that the rest is of the same object. A server may ignore
        # conditions, and identify its objects in some answers only.
        self._seen: Identity | None = None
        self._ranged = True

    def hash_prefix(self) -> None:
        """Digest the bytes of an earlier run, to resume from them."""
        size = self._entry.size
        try:
            with closing(self._writer.prefix(self._session.stop.is_set)) as prefix:
                for chunk in prefix:
                    self._take_prefix(chunk)
                    if self._arrived > size:
                        break
        except OSError:
            # The prefix can't be read, or the disk has no space for a copy.
            self.restart()
        if self._arrived > size:
            self.restart()

    def resume(self) -> Verdict:
        """Fetch the rest of an entry whose whole has a digest."""
        verdict = self._run_ranged()
        if verdict is None:
            self.hash_prefix()
            verdict = self.run()
        if self.resumed and (not verdict.holds or verdict.proof is CheckMethod.SIZE):
            # Other users may have written the prefix, so without a digest it proves nothing.
            verdict = self.read_again()
        return verdict

    def _run_ranged(self) -> Verdict | None:
        """Fetch ranges side by side; None if that is not possible."""
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
        """Keep the received bytes if they are useful, or take them back."""
        kept = self._writer.failed(resumable=isinstance(error, _PASSING))
        if not (kept and isinstance(error, Stopped)):
            self.revert_progress()

    def revert_progress(self) -> None:
        """Take back all reported bytes."""
        self._progress(self.resumed - self._arrived)
        if self.resumed:
            self._progress(-self.resumed, resumed=True)
        self._arrived = self.resumed = 0

    def restart(self) -> None:
        """Discard the received bytes."""
        self.revert_progress()
        self._tag, self._seen = self._entry.etag, None
        self._checker = Checker(self._entry, self._session.checking, self.checksum)
        self._writer.restart()

    def read_again(self) -> Verdict:
        """Fetch all bytes from the start."""
        self.restart()
        return self.run()

    def run(self) -> Verdict:
        """Fetch all bytes, and reconnect as long as there is progress."""
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
            # The connection broke off after the last byte, and a range from there would be refused.
            return
        try:
            self._read(start)
        except SourceChangedError as error:
            raise changed(self._entry, self._store, error) from error
        except ThrottledError:
            raise
        except StorageError as error:
            if start and self._arrived == start and not isinstance(error, UnreachableError):
                # Perhaps the server does not support range requests: the next attempt is from the
                # start.
                self._ranged = False
                raise UnreachableError(f"{error} (from byte {start} on)") from error
            raise

    def _may_resume(self) -> bool:
        # The bytes of an earlier run are digested too, so the plan's own tag is enough.
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
