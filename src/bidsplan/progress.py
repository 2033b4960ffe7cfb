"""Counts a run's events, and shows its progress as a bar or as lines."""

from __future__ import annotations

import sys
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, field
from threading import Event as ThreadEvent
from threading import Thread
from time import monotonic
from typing import TYPE_CHECKING, Any, NamedTuple, Self

import msgspec

from bidsplan.events import (
    Copied,
    Decided,
    Digested,
    Digesting,
    Failed,
    Finished,
    Listed,
    Opened,
    Progressed,
    Resumable,
    Resumed,
    Skipped,
    Slowed,
)
from bidsplan.messages import redacted
from bidsplan.paths import printable

if TYPE_CHECKING:
    from collections.abc import Callable

    from bidsplan.events import Action, Event
    from bidsplan.help_codes import HelpCode
    from bidsplan.plan import Planned
    from bidsplan.plan.integrity import CheckMethod


LINE_SECONDS = 30.0
"""Seconds between two lines if no bar is drawn."""

_BAR_SECONDS = 0.1

_BARS = {
    "B": "{l_bar}{bar}| {n_fmt}/{total_fmt} [{elapsed}<{remaining}, {rate_noinv_fmt}{postfix}]",
    " objects": "listed {n:,} objects [{elapsed}, {rate_noinv_fmt}] of {desc}",
}
_LINES = {
    **_BARS,
    "B": "{desc}: {n_fmt}B of {total_fmt}B{postfix}, {rate_noinv_fmt}, {remaining} left",
}


@dataclass(kw_only=True, slots=True)
class Counts:
    """Totals of a run's events, which ``--json`` reports in its summary."""

    decided: Counter[Action] = field(default_factory=Counter)
    done: Counter[Action] = field(default_factory=Counter)
    proofs: Counter[CheckMethod] = field(default_factory=Counter)
    recalled: Counter[CheckMethod] = field(default_factory=Counter)  # those of earlier runs
    failures: Counter[str] = field(default_factory=Counter)  # by error code
    help_codes: set[HelpCode] = field(default_factory=set)  # of the failures
    skipped: int = 0
    bytes: int = 0
    resumed: int = 0  # bytes of earlier runs
    resumable: int = 0  # bytes that are kept for the next run
    cached: int = 0  # files whose bytes came from the content cache
    cached_bytes: int = 0
    endpoints: set[str] = field(default_factory=set)
    destination: str | None = None
    slow: Slowed | None = None

    reached: int = 0  # planned bytes that are there, or on their way
    listed: int = 0  # objects
    listing: str = ""  # the URL of what is being listed
    digesting: int | None = None  # bytes to digest
    moved: dict[str, int] = field(default_factory=dict)  # bytes of files on their way, by path

    def add(self, event: Event) -> None:
        """Count an event."""
        # There are two or more events for each file. Slots and isinstance take half the time of a
        # Struct and patterns.
        if isinstance(event, Finished):
            self.done[event.action] += 1
            self.proofs[event.proof] += 1
            self.bytes += event.bytes
            self.reached += event.entry.size
            if event.cached or event.recalled:
                self._add_origin(event)
            if self.moved:
                # Files that were kept, or only read, did not arrive in pieces.
                self.reached -= self.moved.pop(event.entry.path, 0)
        elif isinstance(event, Decided):
            self.decided[event.action] += 1
        elif isinstance(event, Progressed):
            self.bytes += event.bytes
            self._move(event)
        elif isinstance(event, Resumed):
            self.resumed += event.bytes
            self._move(event)
        elif isinstance(event, Copied):
            self._move(event)
        elif isinstance(event, Failed):
            self.failures[event.error.code] += 1
            self.help_codes |= event.error.help_codes()
            self.reached -= self.moved.pop(event.entry.path, 0)
        elif isinstance(event, Skipped):
            self.skipped += 1
        else:
            self._add_rare(event)

    def _add_origin(self, event: Finished) -> None:
        if event.recalled:
            self.recalled[event.proof] += 1
        else:
            self.cached += 1
            self.cached_bytes += event.entry.size

    def _move(self, event: Progressed | Resumed | Copied) -> None:
        self.reached += event.bytes
        path = event.entry.path
        self.moved[path] = self.moved.get(path, 0) + event.bytes

    def _add_rare(self, event: Event) -> None:
        match event:
            case Listed(url=url, objects=number):
                self.listed += number
                self.listing = url
            case Digesting(bytes=number):
                self.digesting = number
            case Digested(entry=entry):
                self.moved.pop(entry.path, None)
            case Resumable(bytes=number):
                self.resumable = number
            case Slowed():
                self.slow = event
            case Opened(written=True, endpoint=endpoint):
                self.destination = endpoint
            case Opened(endpoint=str(endpoint)):
                self.endpoints.add(endpoint)

    def summary(self) -> dict[str, Any]:
        """Return the fields of the summary in JSON."""
        data: dict[str, Any] = msgspec.to_builtins(self, order="deterministic")
        for name in ("reached", "listed", "listing", "digesting", "moved"):
            del data[name]
        return data


class _Stage(NamedTuple):
    """What the run is doing, how far it is, and how fast."""

    done: int
    moved: int
    total: int | None = None
    unit: str = "B"
    title: str = ""
    files: str | None = None


class Progress:
    """Shows growing counts, as a context manager.

    A separate thread reads the counts, so that the progress of a hanging run is shown too, and a
    fast run is not slowed down.

    Parameters
    ----------
    plan : Plan, optional
        The plan that is fetched or verified. Without it, the counts are those of a compilation.
    write : callable, optional
        Called with a line of text. Without it, a bar is drawn on standard error if that is a
        terminal or in a notebook; otherwise, lines are written there.
    interval : float
        Seconds between two lines.
    position : int, optional
        The bar's line, counted from 0, if there are several bars.
    """

    def __init__(
        self,
        counts: Counts,
        plan: Planned | None = None,
        *,
        write: Callable[[str], None] | None = None,
        interval: float = LINE_SECONDS,
        position: int | None = None,
    ) -> None:
        self._counts = counts
        self._plan = plan
        drawn = write is None and (sys.stderr.isatty() or "ipykernel" in sys.modules)
        self._write = None if drawn else write or _write_line
        self._interval = _BAR_SECONDS if drawn else interval
        self._position = position
        self._bar: Any = None
        self._began = monotonic()
        self._over = ThreadEvent()
        self._thread = Thread(target=self._run, name="bidsplan-progress", daemon=True)

    def __enter__(self) -> Self:
        if self._plan and not self._write:
            self._draw(self._stage())
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()
        if self._bar is not None:
            self._draw(self._stage())
            self._bar.close()

    def _run(self) -> None:
        # The reader of standard error may have ended, which the run itself also notices.
        with suppress(OSError):
            while not self._over.wait(self._interval):
                stage = self._stage()
                if not stage.title and self._plan is None:
                    continue
                if self._write:
                    self._write(_line(stage, monotonic() - self._began))
                else:
                    self._draw(stage)

    def _stage(self) -> _Stage:
        counts = self._counts
        # Bytes of earlier runs do not show how fast the rest arrives.
        done, moved = counts.reached, counts.bytes or counts.reached
        if self._plan:
            header, ended = self._plan.header, counts.done.total() + counts.failures.total()
            files = f"{ended:,}/{header.files:,} files"
            return _Stage(done, moved, header.bytes, files=files)
        if counts.digesting is not None:
            return _Stage(done, moved, counts.digesting, title="digests")
        title = printable(redacted(counts.listing))
        return _Stage(counts.listed, counts.listed, unit=" objects", title=title)

    def _draw(self, stage: _Stage) -> None:
        if self._bar is not None and self._bar.unit != stage.unit:
            self._bar.close()
            self._bar = None
        if self._bar is None:
            self._bar = _new_bar(stage, self._position, leave=self._plan is not None)
        bar = self._bar
        bar.n, bar.initial, bar.desc = stage.done, stage.done - stage.moved, stage.title
        bar.postfix = stage.files
        bar.refresh()


def _new_bar(stage: _Stage, position: int | None, *, leave: bool) -> Any:
    from tqdm import tqdm  # only if a bar is drawn
    from tqdm.utils import disp_len

    class Bar(tqdm):  # type: ignore[type-arg] # it iterates over nothing
        @staticmethod
        def status_printer(file: Any) -> Callable[[str], None]:
            """Return a printer that leaves the cursor at the start of the line."""
            before = 0

            def show(text: str) -> None:
                nonlocal before
                width = disp_len(text)
                file.write(f"\r{text}{' ' * (before - width)}\r")
                file.flush()
                before = width

            return show

    return Bar(
        total=stage.total,
        unit=stage.unit,
        unit_scale=stage.unit == "B",
        bar_format=_BARS[stage.unit],
        dynamic_ncols=True,
        leave=leave,
        position=position,
    )


def _write_line(text: str) -> None:
    sys.stderr.write(f"{text}\n")
    sys.stderr.flush()


def _line(stage: _Stage, elapsed: float) -> str:
    """Describe a stage in one line."""
    from tqdm import tqdm  # only for runs that take long

    text: str = tqdm.format_meter(
        stage.done,
        stage.total,  # type: ignore[arg-type] # None if unknown
        elapsed,
        prefix=stage.title,
        unit=stage.unit,
        unit_scale=stage.unit == "B",
        bar_format=_LINES[stage.unit],
        postfix=stage.files,
        initial=stage.done - stage.moved,
    )
    return text
