"""What the command line writes, and where to."""

from __future__ import annotations

import io
import os
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import click
import msgspec

from bidsplan.cli.secrets import find_redactor
from bidsplan.errors import dotted
from bidsplan.messages import clipped
from bidsplan.paths import printable

if TYPE_CHECKING:
    from collections.abc import Iterable

    from bidsplan.errors import BidsplanError, Problem
    from bidsplan.messages import Redactor


def size(number: int) -> str:
    """Write a number of bytes for people."""
    from humanize import naturalsize  # a no-op fetch should not wait for it

    return naturalsize(number, format="%.1f")


def counted(number: int, noun: str) -> str:
    """Write a number of things for people."""
    return f"{number:,} {noun}{'s' * (number != 1)}"


def _safe(text: str) -> str:
    """Escape what could drive the terminal, line by line; names come from storage."""
    lines = (printable(line) for line in text.split("\n"))
    # A line that starts so would be a command to a CI system that reads the log.
    return "\n".join(" " + line if line.startswith("::") else line for line in lines)


@dataclass(frozen=True, kw_only=True, slots=True)
class Console:
    """Standard output for results, standard error for all else; both without secrets.

    Parameters
    ----------
    debug : bool
        Show tracebacks.
    json : bool
        Results are JSON, an object a line.
    redact : Redactor
        Hides secrets in all that is written.
    """

    debug: bool = False
    json: bool = False
    redact: Redactor = field(default_factory=find_redactor)

    def result(self, text: str, data: dict[str, Any] | None = None) -> None:
        """Write a result: the text, or the data where JSON is asked for."""
        if not self.json:
            click.echo(self._shown(text))
        elif data is not None:
            click.echo(self._encoded(data))

    def say(self, text: str) -> None:
        """Tell something on standard error."""
        click.echo(self._shown(text), err=True)

    def confirm(self, question: str) -> bool:
        """Ask a question on standard error."""
        return click.confirm(self._shown(question), err=True)

    def _shown(self, text: str) -> str:
        return _safe(self.redact(text))

    def _encoded(self, data: dict[str, Any]) -> str:
        """Encode data as JSON; only what holds a secret is looked at value by value."""
        text = msgspec.json.encode(data).decode()
        if self.redact(text) == text:
            return text
        plain = _mapped(msgspec.to_builtins(data), self.redact)
        return msgspec.json.encode(plain).decode()

    def warn(self, problems: Iterable[Problem], label: str = "warning") -> None:
        """Tell problems on standard error, a line each."""
        colour = "red" if label == "error" else "yellow"
        for problem in problems:
            self._labelled(label, colour, str(problem))

    def error(self, text: str) -> None:
        """Tell an error on standard error."""
        self._labelled("error", "red", text)

    def _labelled(self, label: str, colour: str, text: str) -> None:
        # Colours are for terminals, and only where nobody declines them (no-color.org).
        plain = bool(os.environ.get("NO_COLOR"))
        shown = label if plain else click.style(label, fg=colour, bold=True)
        click.echo(f"{shown}: {self._shown(text)}", err=True)

    def fail(self, error: BidsplanError) -> int:
        """Tell an error, and give its exit code."""
        self._trace(error)
        if error.problems:
            self.warn(error.problems, "error")
        else:
            self.error(str(error))
        if self.json:
            self.result("", {"error": error.code, **error_data(error)})
        return error.exit_code

    def misused(self, error: click.ClickException) -> int:
        """Tell wrong usage as click does, and give its exit code."""
        text = io.StringIO()
        error.show(file=text)
        self.say(text.getvalue().rstrip("\n"))
        return error.exit_code

    def crash(self, error: Exception) -> int:
        """Tell an error that nobody foresaw."""
        self._trace(error)
        self.error(clipped(f"unexpected {type(error).__name__}: {error}"))
        if not self.debug:
            self.say("this is a defect of bidsplan; run it again with --debug to see where")
        return 1

    def stopped(self, code: int) -> int:
        """Tell that a signal stopped the work."""
        self.say("stopped; what was finished stays, run the same command to go on")
        return code

    def _trace(self, error: Exception) -> None:
        if self.debug:
            import traceback  # rarely needed

            self.say("".join(traceback.format_exception(error)).rstrip("\n"))


def _mapped(value: Any, redact: Redactor) -> Any:
    """Redact every text in a structure, names included."""
    if isinstance(value, str):
        return redact(value)
    if isinstance(value, dict):
        return {redact(name): _mapped(found, redact) for name, found in value.items()}
    return [_mapped(found, redact) for found in value] if isinstance(value, list) else value


def problem_data(problem: Problem) -> dict[str, Any]:
    """Give a problem as JSON has it."""
    data = {
        "message": problem.message,
        "file": problem.file,
        "line": problem.line,
        "at": dotted(problem.at) or None,
        "expected": problem.expected,
        "hint": problem.hint,
    }
    return {key: value for key, value in data.items() if value is not None}


def error_data(error: BidsplanError) -> dict[str, Any]:
    """Give an error's message and problems as JSON has them."""
    return {
        "message": str(error),
        "problems": [problem_data(problem) for problem in error.problems],
    }
