"""Collects the reports of a cluster's workers about one share.

If a worker is closed, or seems to be lost, another worker gets its share. A file that failed or was
skipped is therefore reported only at the share's end, since another worker may finish it.
"""

from __future__ import annotations

import pickle
from typing import TYPE_CHECKING

import msgspec

from bidsplan.errors import UnreachableError
from bidsplan.events import Decided, Failed, Finished, Progressed, Resumable, Resumed, Skipped
from bidsplan.paths import printable
from bidsplan.transfer.cluster_worker import ACTIONS, CHECKS, Report

if TYPE_CHECKING:
    from collections.abc import Iterator

    from bidsplan.events import Event
    from bidsplan.plan import Entry


_REPORTS = msgspec.msgpack.Decoder(Report)


def read_report(data: bytes) -> Report:
    """Decode a worker's report."""
    return _REPORTS.decode(data)


class Share:
    """Entries that workers fetch together, and their outcomes.

    Attributes
    ----------
    entries : tuple of Entry
    under_way : bool
        Whether the latest worker has not reported the end of the share yet.
    resumable : int
        Bytes of unfinished files that are kept.
    """

    def __init__(self, entries: tuple[Entry, ...]) -> None:
        self.entries = entries
        self.under_way = False
        self.resumable = 0
        self._attempts: list[str] = []
        self._decided: set[int] = set()
        self._finished: set[str] = set()
        self._unfinished: dict[str, Failed | Skipped] = {}
        self._bytes = FileBytes()

    def events(self, report: Report) -> Iterator[Event]:
        """Yield the events of a report that are new."""
        self._note_attempt(report)
        for number, action in report.decided:
            if number not in self._decided:
                self._decided.add(number)
                yield Decided(entry=self.entries[number], action=ACTIONS[action])
        for number, moved in report.moved.items():
            if self.entries[number].path not in self._finished:
                yield from self._bytes.add(self.entries[number], report.attempt, moved)
        yield from self._finish(report)
        if report.others:
            others = pickle.loads(report.others)  # noqa: S301 - of this cluster's own worker
            yield from (event for event in others if self._passes(event, report.attempt))

    def _note_attempt(self, report: Report) -> None:
        if report.attempt not in self._attempts:
            self._attempts.append(report.attempt)
            # The worker resumes the files that earlier workers have left.
            self.resumable = 0
        if report.attempt == self._attempts[-1]:
            self.under_way = not report.over

    def _finish(self, report: Report) -> Iterator[Event]:
        for number, action, check, size, cached, recalled in report.finished:
            entry = self.entries[number]
            if entry.path not in self._finished:
                yield from self._bytes.settle(entry, report.attempt)
                self._finished.add(entry.path)
                yield Finished(
                    entry=entry,
                    action=ACTIONS[action],
                    proof=CHECKS[check],
                    bytes=size,
                    cached=cached,
                    recalled=recalled,
                )

    def _passes(self, event: Event, attempt: str) -> bool:
        """Report whether to yield an event now; others wait for the share's end."""
        if isinstance(event, Failed | Skipped):
            self._unfinished[event.entry.path] = event
            return False
        if isinstance(event, Resumable):
            if attempt == self._attempts[-1]:
                self.resumable += event.bytes
            return False
        return True

    def unfinished(self) -> Iterator[Failed | Skipped]:
        """Yield the files that workers could not finish, at the end."""
        for path, event in self._unfinished.items():
            if path not in self._finished:
                self._finished.add(path)
                yield event

    def rest(self, why: str | None) -> Iterator[Failed | Skipped]:
        """Yield the outcome of files that did not finish."""
        yield from self.unfinished()
        for entry in self.entries:
            if entry.path not in self._finished:
                error = UnreachableError(f"{printable(entry.path)}: {why}")
                yield Failed(entry=entry, error=error) if why else Skipped(entry=entry)


class FileBytes:
    """The bytes of unfinished files, by the worker that reported last.

    Two workers may fetch the same file. The bytes of a worker that died are not counted twice.
    """

    def __init__(self) -> None:
        self._by_attempt: dict[str, dict[str, tuple[int, int]]] = {}
        self._shown: dict[str, tuple[int, int]] = {}

    def add(self, entry: Entry, attempt: str, moved: tuple[int, int]) -> Iterator[Event]:
        """Count bytes that arrived, and bytes of earlier runs."""
        found = self._by_attempt.setdefault(entry.path, {})
        before = found.get(attempt, (0, 0))
        found[attempt] = before[0] + moved[0], before[1] + moved[1]
        yield from self._show(entry, found[attempt])

    def settle(self, entry: Entry, attempt: str) -> Iterator[Event]:
        """Count the bytes of a file, by the worker that finished it."""
        found = self._by_attempt.pop(entry.path, None)
        if found is not None:
            yield from self._show(entry, found.get(attempt, (0, 0)))
            del self._shown[entry.path]

    def _show(self, entry: Entry, moved: tuple[int, int]) -> Iterator[Event]:
        before = self._shown.get(entry.path, (0, 0))
        self._shown[entry.path] = moved
        if moved[0] != before[0]:
            yield Progressed(entry=entry, bytes=moved[0] - before[0])
        if moved[1] != before[1]:
            yield Resumed(entry=entry, bytes=moved[1] - before[1])
