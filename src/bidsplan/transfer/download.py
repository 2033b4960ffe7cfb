"""Streaming one entry's bytes to where they go, checked, whatever happens on the way."""

from __future__ import annotations

from contextlib import closing
from typing import TYPE_CHECKING, Protocol

from bidsplan.destination.directory import write_all
from bidsplan.destination.reading import Stopped
from bidsplan.destination.resume import resume_key
from bidsplan.errors import (
    CredentialsError,
    IntegrityError,
    SourceChangedError,
    StorageError,
    ThrottledError,
    UnreachableError,
)
from bidsplan.paths import printable
from bidsplan.plan.integrity import Checker, CheckMethod, Verdict, VerifyMode, best_check
from bidsplan.storage.retry import Deadline, retrying
from bidsplan.transfer.answers import check_answer, wrong_size

if TYPE_CHECKING:
    from threading import Event

    from typing_extensions import Buffer

    from bidsplan.plan import Entry
    from bidsplan.plan.integrity import Checksum
    from bidsplan.storage import Store
    from bidsplan.storage.objects import Identity, ObjectMetadata
    from bidsplan.transfer.concurrency import ConcurrencyLimit
    from bidsplan.transfer.targets import Target


_ENOUGH = 8 << 20
"""Bytes that must have come for a connection that broke off to be worth a new round of tries.

What comes at the lowest rate brings more of them in the longest request.
"""


_PASSING = (Stopped, UnreachableError, ThrottledError, CredentialsError)
"""What says nothing against the bytes that have come."""


class _Progress(Protocol):
    def __call__(self, number: int, *, resumed: bool = False) -> None: ...


def partial_name(entry: Entry, place: str) -> str | None:
    """Give the name that an entry's partial is kept by for later runs.

    Parameters
    ----------
    place : str
        Its object's, as `Sources.place` gives it.

    Returns
    -------
    str or None
        None where it can't be gone on from: where nothing binds requests to one object, or nothing
        shows that the bytes are the planned ones.
    """
    if best_check(entry) is CheckMethod.SIZE or (entry.etag is None and entry.version is None):
        return None
    return resume_key(entry.path, place, entry.etag, entry.version, entry.size)


def receive(
    entry: Entry,
    store: Store,
    target: Target,
    *,
    checking: VerifyMode,
    limit: ConcurrencyLimit,
    progress: _Progress,
    stop: Event,
    began: float | None = None,
) -> Verdict:
    """Write an entry's bytes from its store, and show that they are the planned ones.

    Parameters
    ----------
    target : Target
        What it holds of an earlier run is gone on from, and digested, whatever `checking` says.
    limit : ConcurrencyLimit
        Told of what the storage refused.
    progress : callable
        Takes numbers of bytes, negative ones where a try is taken back; those that an earlier run
        had are ``resumed``.
    stop : threading.Event
        Set to end the work, also while it waits to try again.
    began : float, optional
        When the entry's first request began, by `time.monotonic`; now by default.

    Returns
    -------
    Verdict
        One that holds.

    Raises
    ------
    IntegrityError
        Where bytes arrived twice that are not the planned ones.
    SourceChangedError
        Where the object is another one now; the message has both entity tags.
    StorageError
        Where they can't be had.
    Stopped
    """
    deadline = Deadline(began)

    def ask() -> ObjectMetadata:
        policy = retrying(limit.failed, within=deadline.left()).copy(sleep=stop.wait)
        return policy(store.about, entry.key, etag=entry.etag, version=entry.version)

    about = ask() if asks_first(entry, store, checking) else None
    checksum = about.checksum if about else None
    download = _Download(entry, store, target, checking, limit, progress, stop, deadline, checksum)
    try:
        verdict = download.resume()
        if not verdict.holds and verdict.proof is CheckMethod.ETAG_MD5:
            about = about or ask()
            if not about.etag_is_md5 and about.checksum is None:
                return verdict.by_size_only(entry.size)
            if not about.etag_is_md5:
                download.checksum = about.checksum
        if not verdict.holds:
            # Once more from the start: bytes may be damaged on their way.
            download.restart()
            verdict = download.run()
        if not verdict.holds:
            raise _corrupt(entry, verdict)
    except BaseException as error:
        target.failed(passing=isinstance(error, _PASSING))
        download.take_back()
        raise
    finally:
        limit.slowdowns.took(entry.path, deadline.seconds())
    return verdict


def asks_first(entry: Entry, store: Store, checking: VerifyMode) -> bool:
    """Tell whether the storage is asked for a checksum before an entry's bytes.

    Returns
    -------
    bool
        Not for an object whose plan has a digest, or whose entity tag is taken for one.
    """
    if not store.abilities.checksums or entry.etag is None or checking is not VerifyMode.FULL:
        return False
    proof = best_check(entry)
    return proof in {CheckMethod.MULTIPART, CheckMethod.SIZE} or (
        proof is CheckMethod.ETAG_MD5 and store.etag_is_not_digest
    )


def tag_is_digest(entry: Entry, store: Store) -> bool:
    """Ask the storage whether an entry's plain entity tag is its MD5, or an encrypted object's."""
    return retrying()(store.etag_is_md5, entry.key, version=entry.version)


class _Download:
    """One entry on its way, which goes on where its connection broke off."""

    def __init__(
        self,
        entry: Entry,
        store: Store,
        target: Target,
        checking: VerifyMode,
        limit: ConcurrencyLimit,
        progress: _Progress,
        stop: Event,
        deadline: Deadline,
        checksum: Checksum | None = None,
    ) -> None:
        self.resumed = 0
        self.checksum = checksum
        self._entry = entry
        self._store = store
        self._target = target
        self._checking = checking
        self._pace = limit
        self._progress = progress
        self._stop = stop
        self._deadline = deadline
        self._arrived = 0
        self._checker = Checker(entry, checking, checksum)
        self._bound = entry.etag is not None or entry.version is not None
        self._tag = entry.etag
        # Only what an answer says itself keeps the rest from being of another object: a server may
        # heed no condition, and name its objects in some answers only.
        self._seen: Identity | None = None
        self._ranged = True

    def take_up(self) -> None:
        """Go on from what an earlier run had, if anything."""
        size = self._entry.size
        try:
            with closing(self._target.prefix(self._stop.is_set)) as prefix:
                for chunk in prefix:
                    self._take_again(chunk)
                    if self._arrived > size:
                        break
        except OSError:
            # It can't be read, or the disk has no room for two of it.
            self.restart()
        if self._arrived > size:
            self.restart()

    def resume(self) -> Verdict:
        """Get all bytes, from what an earlier run had on where a digest shows the whole."""
        self.take_up()
        verdict = self.run()
        if self.resumed and (not verdict.holds or verdict.proof is CheckMethod.SIZE):
            # Others may have written the prefix: without a digest it shows nothing.
            self.restart()
            verdict = self.run()
        return verdict

    def _take_again(self, chunk: Buffer) -> None:
        if not self._arrived:
            self._checker = Checker(self._entry, VerifyMode.FULL, self.checksum)
        length = memoryview(chunk).nbytes
        self._checker.update(chunk)
        self._progress(length, resumed=True)
        self._arrived += length
        self.resumed = self._arrived

    def take_back(self) -> None:
        """Tell that nothing has come after all."""
        self._progress(self.resumed - self._arrived)
        if self.resumed:
            self._progress(-self.resumed, resumed=True)
        self._arrived = self.resumed = 0

    def restart(self) -> None:
        """Forget what has come."""
        self.take_back()
        self._tag, self._seen = self._entry.etag, None
        self._checker = Checker(self._entry, self._checking, self.checksum)
        self._target.restart()

    def run(self) -> Verdict:
        """Get all bytes; one that is large may break off often, as long as it gets on."""
        while True:
            before = self._arrived
            policy = retrying(self._pace.failed, within=self._deadline.left())
            try:
                policy.copy(sleep=self._wait)(self._go_on)
                return self._checker.verdict()
            except (UnreachableError, ThrottledError) as error:
                if self._deadline.left() <= 0:
                    self._pace.slowdowns.late()
                    raise self._late() from error
                if self._arrived - before < _ENOUGH:
                    raise

    def _wait(self, seconds: float) -> None:
        self._pace.slowdowns.waited(seconds)
        self._stop.wait(seconds)

    def _late(self) -> UnreachableError:
        return UnreachableError(
            f"{printable(self._entry.path)}: its bytes come too slowly: {self._arrived:,} of "
            f"{self._entry.size:,} after {self._deadline.seconds():.0f} s, and "
            f"{self._deadline.allowed():.0f} s are allowed for so many; try again later"
        )

    def _go_on(self) -> None:
        if self._stop.is_set():
            raise Stopped
        if self._deadline.left() <= 0:
            raise self._late()
        if not self._ranged or not self._may_resume():
            self.restart()
        start = self._arrived
        if start and start == self._entry.size:
            # It broke off behind the last byte; a range from there would be refused.
            return
        try:
            self._read(start)
        except SourceChangedError as error:
            raise self._changed(error) from error
        except ThrottledError:
            raise
        except StorageError as error:
            if start and self._arrived == start and not isinstance(error, UnreachableError):
                # Perhaps it knows no ranges: the next try is from the start.
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
        if self._stop.is_set():
            raise Stopped
        length = memoryview(chunk).nbytes
        if self._arrived + length > self._entry.size:
            self._ranged = False
            raise wrong_size(self._entry, f"more than {self._entry.size}")
        self._target.write(chunk)
        self._checker.update(chunk)
        self._arrived += length
        self._progress(length)
        self._deadline.reached(self._arrived - self.resumed)
        if self._deadline.left() <= 0 and self._arrived < self._entry.size:
            raise self._late()

    def _changed(self, error: SourceChangedError) -> SourceChangedError:
        """Say of which object it was, and which one is there now."""
        entry = self._entry
        if not self._bound:
            return error
        try:
            with closing(self._store.stream(entry.key)) as stream:
                now = f"it is {printable(stream.etag)}" if stream.etag else "there is another"
        except StorageError:
            now = "it can't be told"
        return SourceChangedError(
            f"{error}: the planned entity tag is {printable(entry.etag or 'not known')}, now "
            f"{now}; compile the plan anew"
        )


def _corrupt(entry: Entry, verdict: Verdict) -> IntegrityError:
    return IntegrityError(
        f"{printable(entry.path)}: the bytes that came are not the planned ones: by "
        f"{verdict.proof.value}, expected {verdict.expected}, got {verdict.got}; the source or the "
        "way to it is damaged, so try again later or compile anew"
    )


def write_content(entry: Entry, descriptor: int, *, progress: _Progress) -> Verdict:
    """Write a generated entry, whose bytes are in the plan."""
    data = (entry.content or "").encode()
    write_all(descriptor, data)
    checker = Checker(entry)
    checker.update(data)
    progress(len(data))
    return checker.verdict()
