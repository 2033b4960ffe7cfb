"""Writes the output of commands, without secrets."""

from __future__ import annotations

import io
import os
import sys
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import click
import msgspec

from bidsplan.cli import workflow_commands
from bidsplan.errors import dotted
from bidsplan.help_codes import HelpCode, help_line
from bidsplan.messages import Redactor, clipped
from bidsplan.paths import printable
from bidsplan.redaction import find_redactor

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from bidsplan.errors import BidsplanError, Problem
    from bidsplan.events import Event
    from bidsplan.plan import Planned
    from bidsplan.progress import Counts


@dataclass(frozen=True, kw_only=True, slots=True)
class Console:
    """Writes results to standard output, and all else to standard error.

    Parameters
    ----------
    interval : float
        Seconds between two lines of progress, if no terminal can show a bar.
    """

    debug: bool = False
    json: bool = False
    quiet: bool = False
    interval: float = 30.0
    redact: Redactor = field(default_factory=find_redactor)

    def result(self, text: str, data: dict[str, Any]) -> None:
        """Write a result, as data with ``--json`` and otherwise as text."""
        if self.json:
            self.record(data)
        else:
            _echo(self._shown(text))

    def write(self, text: str) -> None:
        """Write a part of a document that is already redacted and escaped."""
        click.echo(text, nl=False)

    def record(self, data: dict[str, Any]) -> None:
        """Write a result that only ``--json`` shows."""
        if self.json:
            text = msgspec.json.encode(data).decode()
            if self.redact(text) != text:
                plain = _redacted(msgspec.to_builtins(data), self.redact)
                text = msgspec.json.encode(plain).decode()
            _echo(workflow_commands.harmless_json(text))

    def say(self, text: str) -> None:
        """Write a text to standard error."""
        _echo(self._shown(text), err=True)

    def confirm(self, question: str) -> bool:
        """Ask a question on standard error."""
        return click.confirm(self._shown(question), err=True)

    def warn(self, problems: Iterable[Problem], label: str = "warning") -> None:
        """Write each problem on a line of standard error, with the codes of errors."""
        for problem in problems:
            text = str(problem)
            if label == "error" and problem.help_code:
                text = coded(text, problem.help_code)
            if problem.file and workflow_commands.enabled():
                self._annotate(text, label, problem)
            else:
                self.error(text, label)

    def error(self, text: str, label: str = "error") -> None:
        """Write an error to standard error."""
        # click writes no colours if there is no terminal. For NO_COLOR, see no-color.org.
        if not os.environ.get("NO_COLOR"):
            label = click.style(label, fg="red" if label == "error" else "yellow", bold=True)
        _echo(f"{label}: {self._shown(text)}", err=True)

    @contextmanager
    def progress(
        self, counts: Counts | None = None, plan: Planned | None = None
    ) -> Iterator[Callable[[Event], None]]:
        """Show a run's progress; yields the function that takes its events."""
        from bidsplan.progress import Counts, Progress  # on demand

        counts = counts or Counts()
        bar = sys.stderr.isatty() and not self.json
        shown = Progress(counts, plan, write=None if bar else self.say, interval=self.interval)
        with nullcontext() if self.quiet else shown:
            yield counts.add

    def fail(self, error: BidsplanError) -> int:
        """Report an error that ends the command, and return its exit code."""
        self._trace(error)
        text = coded(str(error), error.help_code)
        if error.problems:
            self.warn(error.problems, "error")
        elif workflow_commands.enabled():
            self._annotate(text, "error")
        else:
            self.error(text)
        self.refer(error.help_codes())
        self.record(error_data(error))
        return error.exit_code

    def refer(self, codes: Iterable[HelpCode]) -> None:
        """Name the command that explains the help codes, if there are any."""
        if found := set(codes):
            self.say(help_line(found))

    def misused(self, error: click.ClickException) -> int:
        """Report wrong usage as click does, and return the exit code."""
        shows_help = isinstance(error, getattr(click.exceptions, "NoArgsIsHelpError", ()))
        if shows_help:
            self.say(error.format_message())
        elif workflow_commands.enabled():
            text = error.format_message().expandtabs(4)
            self._annotate(coded(text, HelpCode.USAGE), "error")
        else:
            error.show(file=(shown := io.StringIO()))
            # click lists choices after tabs, and tabs are escaped like other control characters.
            text = shown.getvalue().rstrip("\n").expandtabs(4)
            self.say(coded(text, HelpCode.USAGE))
        if not shows_help:
            self.refer([HelpCode.USAGE])
        return error.exit_code

    def crash(self, error: Exception) -> int:
        """Report an unexpected error."""
        self._trace(error)
        text = clipped(f"unexpected {type(error).__name__}: {error}")
        self.error(coded(text, HelpCode.BUG))
        if not self.debug:
            self.say("this is a bug in bidsplan; run the command again with --debug to see where")
        return 1

    def stopped(self, code: int) -> int:
        """Report that a signal stopped the command."""
        self.say("stopped; finished files are kept; run the same command to continue")
        return code

    @contextmanager
    def logging(self) -> Iterator[None]:
        """Write the library's log to standard error, with ``--debug``."""
        if not self.debug:
            yield
            return
        import logging  # rarely needed

        handler, logger = logging.Handler(), logging.getLogger("bidsplan")
        handler.emit = lambda record: self.error(record.getMessage(), "debug")  # type: ignore[method-assign]
        before = logger.level
        logger.addHandler(handler)
        logger.setLevel(logging.DEBUG)
        try:
            yield
        finally:
            logger.removeHandler(handler)
            logger.setLevel(before)

    def _shown(self, text: str) -> str:
        """Redact a text, and escape what a terminal or CI system would execute."""
        lines = (printable(line) for line in self.redact(text).split("\n"))
        return workflow_commands.harmless("\n".join(lines))

    def _annotate(self, text: str, label: str, problem: Problem | None = None) -> None:
        """Write an annotation that GitHub shows at a problem's line."""
        place = dotted(problem.at) if problem else ""
        file = problem.file if problem else None
        command = workflow_commands.annotation(
            label,
            self._shown(text),
            file=self._shown(workflow_commands.in_workspace(file)) if file else None,
            line=problem.line if problem else None,
            title=self._shown(f"bidsplan: {place}" if place else "bidsplan"),
        )
        _echo(command, err=True)

    def _trace(self, error: Exception) -> None:
        if self.debug:
            import traceback  # rarely needed

            self.say("".join(traceback.format_exception(error)).rstrip("\n"))


def _echo(text: str, *, err: bool = False) -> None:
    """Write a text above any progress bars."""
    tqdm = sys.modules.get("tqdm")
    with tqdm.tqdm.external_write_mode() if tqdm else nullcontext():
        click.echo(text, err=err)


def _redacted(value: Any, redact: Redactor) -> Any:
    """Redact all texts in a structure, including the names of fields."""
    if isinstance(value, str):
        return redact(value)
    if isinstance(value, dict):
        return {redact(name): _redacted(found, redact) for name, found in value.items()}
    return (
        [_redacted(found, redact) for found in value] if isinstance(value, list | tuple) else value
    )


def coded(text: str, code: HelpCode) -> str:
    """Add the help code to an error's text."""
    return f"{text} [{code}]"


def problem_data(problem: Problem) -> dict[str, Any]:
    """Return a problem as ``--json`` writes it."""
    data = {**msgspec.to_builtins(problem), "at": dotted(problem.at) or None}
    return {key: value for key, value in data.items() if value is not None}


def error_data(error: BidsplanError) -> dict[str, Any]:
    """Return an error's codes, message and problems as ``--json`` writes them."""
    return {
        "error": error.code,
        "help_code": error.help_code,
        "message": str(error),
        "problems": [problem_data(problem) for problem in error.problems],
    }
