"""The page of every command, from the command line itself."""

from __future__ import annotations

import inspect
import re
from typing import TYPE_CHECKING

import click

from bidsplan.cli.main import bidsplan
from markup import code, fence, plain, table

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_HEAD = """# Commands

This page is generated from the command line, so `bidsplan COMMAND --help` prints the same text.
Commands write results to standard output, and all other messages to standard error. See also [exit
codes](exit-codes.md).

"""


def commands_page(root: Path) -> str:
    """Write the page."""
    context = click.Context(bidsplan, info_name="bidsplan")
    ends = _exits(root / "docs" / "reference" / "exit-codes.md")
    sections = [_section(name, context, ends) for name in bidsplan.list_commands(context)]
    return _HEAD + "\n".join(sections)


def _exits(page: Path) -> dict[str, str]:
    """Return what exit code 1 of each command means, by the page of exit codes."""
    text = page.read_text(encoding="utf-8")
    return dict(re.findall(r"^\| `bidsplan (\S+)` \| (.+?) \|$", text, re.M))


def _section(name: str, parent: click.Context, ends: dict[str, str]) -> str:
    if name not in ends:
        raise ValueError(f"docs/reference/exit-codes.md has no row for 'bidsplan {name}'")
    command = bidsplan.get_command(parent, name)
    assert command is not None  # noqa: S101 - the group lists it
    context = click.Context(command, info_name=name, parent=parent)
    usage = command.get_usage(context).removeprefix("Usage: ")
    options = [option for option in command.get_params(context) if isinstance(option, click.Option)]
    rows = [_row(option, context) for option in options]
    return "\n".join(
        [
            f"## bidsplan {name}\n",
            f"{plain(inspect.cleandoc(command.help or ''))}\n",
            fence(" ".join(usage.split())),
            *_examples(command),
            f"Exits with 1 {ends[name]}.\n",
            table(["option", "value", "meaning"], rows),
        ]
    )


def _examples(command: click.Command) -> Iterator[str]:
    """Yield the examples at the end of a command's help."""
    lines = inspect.cleandoc(command.epilog or "").removeprefix("\b").strip().splitlines()
    if lines:
        yield fence("\n".join(line.strip() for line in lines[1:]), "console")


def _row(option: click.Option, context: click.Context) -> list[str]:
    """Describe an option by what `--help` says of it."""
    record = option.get_help_record(context)
    assert record is not None  # noqa: S101 - no option is hidden
    names = ", ".join(map(code, [*option.opts, *option.secondary_opts]))
    value = "" if option.is_flag else option.make_metavar(context)
    return [names, code(value) if value else "", plain(record[1])]
