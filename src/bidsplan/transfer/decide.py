"""What is to be done for each entry, by what stands in the destination."""

from __future__ import annotations

import os
import stat
from enum import StrEnum
from typing import TYPE_CHECKING, NamedTuple

from bidsplan.destination.directory import destination_error, state_of
from bidsplan.destination.place import OpenDirectories
from bidsplan.destination.reading import read_checked
from bidsplan.errors import ExistingFileError
from bidsplan.events import Action
from bidsplan.paths import printable
from bidsplan.plan.integrity import CheckMethod, best_check

if TYPE_CHECKING:
    from collections.abc import Callable

    from bidsplan.destination.directory import Destination, FileState
    from bidsplan.destination.receipts import ReceiptIndex
    from bidsplan.destination.sources import Sources
    from bidsplan.plan import Entry
    from bidsplan.plan.integrity import Verdict


class Existing(StrEnum):
    """What to do with files that stand in the destination.

    Attributes
    ----------
    KEEP
        Keep those that are the planned ones, and refuse others.
    REPLACE
        Keep those that are the planned ones, and replace others.
    REFUSE
        Refuse all that were not brought by bidsplan.
    """

    KEEP = "keep"
    REPLACE = "replace"
    REFUSE = "refuse"


class Decision(NamedTuple):
    """What is to be done for an entry, and why.

    Parameters
    ----------
    proof : CheckMethod, optional
        What the file that stands there was compared by.
    error : ExistingFileError, optional
        Why it is refused.
    verdict : Verdict, optional
        Of reading it, where it is kept for that.
    state : FileState, optional
        Of the file that was read.
    etag_may_not_be_md5 : bool
        Whether it was compared by an entity tag that may be no digest.
    final : bool
        Whether it is decided; otherwise the file must be read.
    """

    action: Action
    proof: CheckMethod | None = None
    error: ExistingFileError | None = None
    verdict: Verdict | None = None
    state: FileState | None = None
    etag_may_not_be_md5: bool = False
    final: bool = True


_FETCH = Decision(Action.FETCH)
_KEPT = {proof: Decision(Action.KEEP, proof) for proof in CheckMethod}


class Decider:
    """Decides what is to be done for entries, as far as can be told without the source."""

    def __init__(
        self, sources: Sources, folder: Destination, index: ReceiptIndex, existing: Existing
    ) -> None:
        self._sources = sources
        self._folder = folder
        self._index = index
        self._existing = existing
        self._absent: str | None = None
        self._latest: tuple[str, int] | None = None
        self._directories = OpenDirectories(folder)

    def check_metadata(self, entry: Entry) -> Decision:
        """Decide by one look at the file; for use from one thread only.

        Returns
        -------
        Decision
            Not final where the file must be read.

        Raises
        ------
        DestinationError
            Where it can't be looked at.
        """
        found = self._look(entry.path)
        if found is None:
            return _FETCH
        if stat.S_ISREG(found.st_mode):
            source, state = self._sources.fingerprint(entry), self._sources.state(entry)
            proof = self._index.find(entry.path, found.st_size, found.st_mtime_ns, source, state)
            if proof is not None:
                return _KEPT[proof]
        return self.judge(entry, state_of(found))

    def _look(self, path: str) -> os.stat_result | None:
        parent, _, name = path.rpartition("/")
        if parent == self._absent:
            return None
        if self._latest is None or self._latest[0] != parent:
            try:
                self._latest = parent, self._directories.descriptor(parent)
            except FileNotFoundError:
                # What else is planned for this directory comes next, and is not there either.
                self._absent = parent
                return None
            except OSError as error:
                raise destination_error(error, printable(f"{self._folder.root}/{path}")) from error
        directory = self._latest[1]
        try:
            return os.stat(name, dir_fd=directory, follow_symlinks=False)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise destination_error(error, printable(f"{self._folder.root}/{path}")) from error

    def judge(self, entry: Entry, state: FileState) -> Decision:
        """Decide on what stands at an entry's path, by one look.

        Returns
        -------
        Decision
            Not final where the file must be read.
        """
        if not state.regular:
            why = "a link or a directory stands there, and only plain files are ever replaced"
            return _refusal(entry, f"{why}; move it away")
        source, now = self._sources.fingerprint(entry), self._sources.state(entry)
        proof = self._index.find(entry.path, state.size, state.mtime_ns, source, now)
        if proof is not None:
            return _KEPT[proof]
        # What bidsplan brought is compared where its local source has changed since.
        ours = self._index.find(entry.path, state.size, state.mtime_ns, source)
        if self._existing is Existing.REFUSE and ours is None:
            return not_ours(entry)
        if state.size != entry.size:
            return self.differing(entry, f"expected {entry.size} bytes, got {state.size}")
        final = best_check(entry) is CheckMethod.SIZE
        return Decision(Action.COMPARE, state=state, final=final)

    def close(self) -> None:
        """Close the directories that were looked into."""
        self._directories.close()

    def check_content(self, entry: Entry, stopping: Callable[[], bool] = lambda: False) -> Decision:
        """Decide by reading the file.

        Parameters
        ----------
        stopping : callable
            Tells whether to stop.

        Raises
        ------
        DestinationError
            Where it can't be read.
        Stopped
        """
        state = self._folder.state(entry.path)
        verdict = read_checked(entry, self._folder, stopping)
        return after_reading(entry, verdict, self._existing)._replace(state=state)

    def differing(self, entry: Entry, means: str) -> Decision:
        """Decide on a file that is not the planned one.

        Parameters
        ----------
        means : str
            How it shows, for the message.
        """
        return differing(entry, means, self._existing)


def after_reading(entry: Entry, verdict: Verdict, existing: Existing) -> Decision:
    """Decide on a file that was read."""
    if not verdict.holds:
        means = f"by {verdict.proof.value}, expected {verdict.expected}, got {verdict.got}"
        etag_may_not_be_md5 = verdict.proof is CheckMethod.ETAG_MD5
        return differing(entry, means, existing)._replace(etag_may_not_be_md5=etag_may_not_be_md5)
    if verdict.proof is CheckMethod.SIZE:
        return Decision(Action.COMPARE)
    return Decision(Action.KEEP, verdict.proof, verdict=verdict)


def differing(entry: Entry, means: str, existing: Existing) -> Decision:
    """Decide on a file that is not the planned one, as `Decider.differing` does."""
    if existing is Existing.REPLACE:
        return Decision(Action.REPLACE)
    why = "a file stands there that is not the planned one; it was left alone"
    return _refusal(entry, f"{why}; {means}; '--existing replace' replaces it")


def not_ours(entry: Entry) -> Decision:
    """Refuse a file that bidsplan did not bring."""
    why = "a file stands there that bidsplan did not bring; it was left alone"
    return _refusal(entry, f"{why}; '--existing keep' compares it with the plan")


def _refusal(entry: Entry, why: str) -> Decision:
    error = ExistingFileError(f"{printable(entry.path)}: {why}")
    return Decision(Action.REFUSE, error=error)
