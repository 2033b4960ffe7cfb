"""Says what to write instead of arguments that a command does not take."""

from __future__ import annotations

import re
import shlex
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from collections.abc import Sequence

_EXTRA = re.compile(r"Got unexpected extra arguments? \((.*)\)", re.DOTALL)


def with_hint(error: click.ClickException) -> click.ClickException:
    """Return click's error about too many arguments with what to write instead."""
    context = getattr(error, "ctx", None)
    found = _EXTRA.fullmatch(error.message)
    if context is None or not found:
        return error
    words = found[1].split(" ")
    hint = None
    if written := repeated(context, words):
        hint = f"to give several values, repeat the option: '{written}'"
    output = any(option.name == "output" for option in context.command.params)
    if hint is None and output and len(words) == 1 and context.params.get("output") is None:
        hint = f"to write to a file, write '-o {shlex.quote(words[0])}'"
    return click.UsageError(f"{error.message}; {hint}", context) if hint else error


def repeated(context: click.Context, words: Sequence[str]) -> str | None:
    """Write the option for subjects or sessions, if it was given, once for each value."""
    for option in context.command.params:
        given: Any = context.params.get(option.name or "")
        if option.name in {"subjects", "sessions"} and given:
            return " ".join(f"{option.opts[0]} {shlex.quote(value)}" for value in (*given, *words))
    return None
