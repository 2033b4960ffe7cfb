"""``bidsplan help``."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

import click

from bidsplan.cli import options
from bidsplan.errors import UsageError
from bidsplan.messages import nearest

if TYPE_CHECKING:
    from bidsplan.cli.console import Console
    from bidsplan.cli.help_entries import HelpEntry

_WIDEST = 100
"""The most characters of a line, even if the terminal is wider."""


@click.command(
    "help",
    epilog=options.examples(
        "bidsplan help BP503",
        "bidsplan help source-changed",
        "bidsplan help fetch",
    ),
)
@click.argument("names", metavar="[CODE|COMMAND]...", nargs=-1)
@options.settings_of()
@click.pass_context
def command(context: click.Context, names: tuple[str, ...], settings: options.Settings) -> int:
    """Explain an error by the CODE at the end of its message, and say what to do about it.

    Instead of a CODE, you may give the name of a failure, such as source-changed, or a COMMAND.
    Without an argument, the command lists all codes. It needs no network.
    """
    from bidsplan.cli.help_entries import help_entries  # only for help

    console = settings.console
    if not names:
        for entry in help_entries().values():
            console.result(f"{entry.code}  {entry.title}", _data(entry))
        console.say("'bidsplan help CODE' says more, and 'bidsplan --help' lists the commands")
    for number, name in enumerate(names):
        if number and not console.json:
            console.write("\n")
        _explain(context, name, console)
    return 0


def _explain(context: click.Context, name: str, console: Console) -> None:
    """Print the entries that a name stands for, or a command's help."""
    from bidsplan.cli.help_entries import find_entries, known_names  # only for help

    above = context.find_root()
    group = above.command
    assert isinstance(group, click.Group)  # noqa: S101 - for the type checker
    commands = group.list_commands(above)
    if name in commands:
        shown = group.get_command(above, name)
        assert shown is not None  # noqa: S101 - as above
        text = shown.get_help(click.Context(shown, info_name=name, parent=above))
        console.result(text, {"command": name, "text": text})
        return
    found = find_entries(name)
    if not found:
        near = nearest(name, {*known_names(), *commands})
        hint = f"did you mean {near!r}?" if near else "'bidsplan help' lists the codes"
        raise UsageError(f"there is no error code, failure or command {name!r}; {hint}")
    for number, entry in enumerate(found):
        if number and not console.json:
            console.write("\n")
        console.result(_text(entry), _data(entry))


def _text(entry: HelpEntry) -> str:
    """Write an entry for a terminal."""
    from bidsplan.cli.help_entries import plain_text  # only for help

    width = min(shutil.get_terminal_size().columns, _WIDEST)
    return f"{entry.code} {entry.topic}\n\n{plain_text(entry.text, width)}"


def _data(entry: HelpEntry) -> dict[str, str]:
    """Return an entry as ``--json`` writes it."""
    return {
        "help_code": entry.code,
        "topic": entry.topic,
        "title": entry.title,
        "text": entry.text,
    }
