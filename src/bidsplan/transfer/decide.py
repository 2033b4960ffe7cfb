"""Decides what to do for each entry, by the file at its path."""

from __future__ import annotations

from functools import cached_property
from threading import Lock
from typing import TYPE_CHECKING, NamedTuple

from bidsplan.destination.receipts import FetchedStates, ReceiptIndex
from bidsplan.errors import Choice, DestinationError, ExistingFileError, MissingFileError
from bidsplan.events import Action
from bidsplan.help_codes import HelpCode
from bidsplan.paths import printable
from bidsplan.plan import clashes
from bidsplan.plan.integrity import CheckMethod, best_check

if TYPE_CHECKING:
    from collections.abc import Callable

    from bidsplan.destination.base import Destination, FileState
    from bidsplan.destination.sources import Sources
    from bidsplan.plan import Entry, Planned
    from bidsplan.plan.integrity import Verdict


class Existing(Choice):
    """What to do with files that already exist in the destination.

    Attributes
    ----------
    KEEP
        Keep files that are the planned ones. Other files at planned paths are errors.
    REPLACE
        Keep files that are the planned ones. Replace other files at planned paths.
    UPDATE
        Keep files that are the planned ones. Replace files that bidsplan fetched for an earlier
        plan and that have not changed since. Other files at planned paths are errors.
    REFUSE
        Files at planned paths are errors unless bidsplan fetched them.
    """

    KEEP = "keep"
    REPLACE = "replace"
    UPDATE = "update"
    REFUSE = "refuse"


class Decision(NamedTuple):
    """What to do for an entry, and why.

    Parameters
    ----------
    action : Action
    proof : CheckMethod, optional
        How the existing file was compared.
    error : ExistingFileError, optional
        Why the existing file is refused.
    verdict : Verdict, optional
        The result of reading the existing file, if it is kept because of that.
    state : FileState, optional
        The state of the file that was read, or has to be read.
    etag_may_not_be_md5 : bool
        Whether the file was compared with an entity tag that may not be a digest.
    final : bool
        Whether the decision is final; otherwise the file must be read first.
    recalled : bool
        Whether the proof is that of an earlier run.
    """

    action: Action
    proof: CheckMethod | None = None
    error: ExistingFileError | None = None
    verdict: Verdict | None = None
    state: FileState | None = None
    etag_may_not_be_md5: bool = False
    final: bool = True
    recalled: bool = False


_FETCH = Decision(Action.FETCH)
_KEPT = {proof: Decision(Action.KEEP, proof) for proof in CheckMethod}
_RECALLED = {proof: kept._replace(recalled=True) for proof, kept in _KEPT.items()}


class Decider:
    """Decides what to do for entries, by the destination's files."""

    _admitted = False
    _found_otherwise = 0

    def __init__(
        self,
        plan: Planned,
        sources: Sources,
        destination: Destination,
        existing: Existing,
        whole: Planned | None = None,
    ) -> None:
        self._plan = plan
        self._whole = whole or plan
        self._destination = destination
        self._inspect = destination.inspect
        self._fingerprint = sources.fingerprint
        self._source_state = sources.state
        self._local_sources = sources.any_local
        self._existing = existing
        self._fetched: FetchedStates | None = None
        self._lock = Lock()
        if plan.header.part is None:
            # Read now, because they are counted, and the run soon adds its own.
            self._receipts = ReceiptIndex(destination.read_receipts())

    @cached_property
    def _receipts(self) -> ReceiptIndex:
        """Read the receipts, on first use: parts of a plan may need none of them."""
        return ReceiptIndex(self._destination.read_receipts())

    def check_metadata(self, entry: Entry) -> Decision:
        """Decide by a file's size, time and receipt, without reading the file.

        Only one thread may call this, with the entries in the plan's order.

        Raises
        ------
        DestinationError
            If the file's metadata can't be read.
        StorageError
            If the destination can't be listed.
        """
        # This runs for each of a million entries, so it makes as few calls as possible.
        path = entry.path
        state = self._inspect(path)
        if state is None:
            self._found_otherwise += 1
            return _FETCH
        size, identity, regular = state
        if regular:
            source_state = self._source_state(entry) if self._local_sources else None
            # The same as in `ReceiptIndex.find`.
            mark = hash((path, size, identity, self._fingerprint(entry), source_state))
            receipts = self._receipts
            proof = receipts.proofs.get(mark)
            if proof is not None and (
                not receipts.doubts or hash((path, size, identity)) not in receipts.doubts
            ):
                return _RECALLED[proof]
        self._found_otherwise += 1
        return self.judge(entry, state)

    def admit(self) -> None:
        """Check once whether the destination can take the plan; see `Destination.admit`."""
        if not self._admitted:
            self._admitted = True
            self._destination.admit(self._plan)

    @property
    def outnumbered(self) -> bool:
        """Whether there are more receipts than files that were kept because of one."""
        found = self._plan.header.files - self._found_otherwise
        return self._receipts.count > found

    def judge(self, entry: Entry, state: FileState) -> Decision:
        """Decide about the file at an entry's path, by its state."""
        size, identity, regular = state
        if not regular:
            why = "a link or a directory exists there, and only regular files are replaced"
            return _refusal(entry, f"{why}; move it away")
        source, find = self._fingerprint(entry), self._receipts.find
        proof = find(entry.path, size, identity, source, self._source_state(entry))
        if proof is not None:
            return _RECALLED[proof]
        # A file that bidsplan fetched is compared again if its local source has changed.
        ours = find(entry.path, size, identity, source)
        # A file that was found wrong is read, even if its tag is still that of the planned one.
        doubted = self.times_wrong(entry.path, state) > 0
        if self._existing is Existing.REFUSE and ours is None and not doubted:
            why = "a file exists that bidsplan did not fetch; it was not changed"
            return _refusal(entry, f"{why}; '--existing keep' compares it with the plan")
        proof = None if doubted else self._destination.proof(entry, state)
        if proof is not None:
            return _KEPT[proof]
        if size != entry.size:
            return self.differing(entry, f"expected {entry.size} bytes, got {size}", state)
        final = best_check(entry) is CheckMethod.SIZE
        return Decision(Action.COMPARE, state=state, final=final)

    def times_wrong(self, path: str, state: FileState) -> int:
        """Return how often a file in this state was found wrong, as far as receipts were read."""
        receipts: ReceiptIndex | None = self.__dict__.get("_receipts")
        return receipts.times_wrong(path, state.size, state.identity) if receipts else 0

    def check_content(
        self, entry: Entry, state: FileState | None, stopping: Callable[[], bool]
    ) -> Decision:
        """Decide by reading the file, whose state is given.

        Raises
        ------
        DestinationError, StorageError
            If the file can't be read.
        Stopped
            If the run is stopped meanwhile.
        """
        try:
            verdict = self._destination.check(entry, stopping)
        except MissingFileError:
            return _FETCH
        if not verdict.holds:
            means = f"by {verdict.proof.value}, expected {verdict.expected}, got {verdict.got}"
            doubtful = verdict.proof is CheckMethod.ETAG_MD5
            decision = self.differing(entry, means, state, verdict.content)
            return decision._replace(etag_may_not_be_md5=doubtful, state=state)
        if verdict.proof is CheckMethod.SIZE:
            return Decision(Action.COMPARE, state=state)
        return Decision(Action.KEEP, verdict.proof, verdict=verdict, state=state)

    def is_same(
        self, entry: Entry, state: FileState, verdict: Verdict, stopping: Callable[[], bool]
    ) -> bool:
        """Compare a file with the bytes that arrived from the source.

        Raises ExistingFileError if they differ and the file must not be replaced.
        """
        if not state.regular:
            error = self.judge(entry, state).error
        elif state.size != entry.size:
            means = f"expected {entry.size} bytes, got {state.size}"
            error = self.differing(entry, means, state).error
        else:
            found = self._destination.check(entry, stopping)
            if found.content == verdict.content:
                return True
            means = f"expected content {verdict.content} (xxh3-128), got {found.content}"
            error = self.differing(entry, means, state, found.content).error
        if error is not None:
            raise error
        return False

    def refuse_clash(self, entry: Entry) -> None:
        """Refuse an entry whose path is the same as another's on this file system.

        Raises DestinationError.
        """
        if (first := self._same_paths.get(entry.path)) is not None:
            raise same_name(entry.path, first)

    @cached_property
    def _same_paths(self) -> dict[str, str]:
        """Paths that are the same as another one on the destination's file system."""
        if not self._destination.folds_names():
            return {}
        return same_names(self._whole)

    def differing(
        self, entry: Entry, means: str, state: FileState | None, content: str | None = None
    ) -> Decision:
        """Decide about a file that differs from the planned one, as `means` says.

        Parameters
        ----------
        content : str, optional
            The file's xxh3-128, if it was read.
        """
        if self._existing is Existing.REPLACE:
            return Decision(Action.REPLACE)
        if state is None or not self._is_outdated(entry.path, state, content):
            why = "a different file already exists; it was not changed"
            return _refusal(entry, f"{why}; {means}; '--existing replace' replaces it")
        if self._existing is Existing.UPDATE:
            return Decision(Action.REPLACE)
        why = "out of date: bidsplan fetched it earlier, and nobody has changed it since"
        hint = "'--existing update' replaces such files"
        return _refusal(entry, f"{why}; {means}; {hint}", HelpCode.OUTDATED)

    def confirm(self, entry: Entry, action: Action) -> None:
        """Raise ExistingFileError if a file to be updated has changed since that was decided."""
        if action is Action.REPLACE and self._existing is Existing.UPDATE:
            state = self._destination.state(entry.path)
            if state is not None and not self._is_outdated(entry.path, state):
                why = "the file has changed during this run; it was not replaced; run it again"
                raise ExistingFileError(f"{printable(entry.path)}: {why}")

    def _is_outdated(self, path: str, state: FileState, content: str | None = None) -> bool:
        """Report whether bidsplan fetched a file, and nobody has changed it since."""
        with self._lock:
            if self._fetched is None:
                self._fetched = FetchedStates(self._destination.read_receipts())
        return self._fetched.has(path, state.size, state.identity, content)


def same_names(plan: Planned) -> dict[str, str]:
    """Return the paths that some file systems take for an earlier one's, with that one."""
    return {other.path: first.path for first, other in clashes(plan.entries)}


def same_name(path: str, first: str) -> DestinationError:
    """Make the error for a path that the destination takes for another one's."""
    return DestinationError(
        f"{printable(path)}: this file system takes it for {printable(first)!r}; fetch to one "
        "where case and Unicode form count",
        help_code=HelpCode.SAME_NAME,
    )


def _refusal(entry: Entry, why: str, help_code: HelpCode | None = None) -> Decision:
    error = ExistingFileError(f"{printable(entry.path)}: {why}", help_code=help_code)
    return Decision(Action.REFUSE, error=error)
