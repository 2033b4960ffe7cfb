"""The group of all commands, and their exit codes."""

from __future__ import annotations

import errno
import os
import sys
from typing import TYPE_CHECKING

import click

from bidsplan.cli import signals
from bidsplan.cli.console import Console
from bidsplan.errors import BidsplanError, DestinationError
from bidsplan.help_codes import HelpCode
from bidsplan.paths import printable
from bidsplan.redaction import find_redactor

if TYPE_CHECKING:
    from collections.abc import Sequence

    from click.shell_completion import CompletionItem


_COMMANDS = {
    "demo": "Write a small study for trying all commands.",
    "init": "Write a first manifest for a study.",
    "inspect": "Show what a study contains.",
    "validate": "Check manifests, without network access.",
    "compile": "Compile manifests into plans.",
    "explain": "Show why subjects and files are in a plan, or not.",
    "show": "Show what a plan contains.",
    "diff": "Show what changed between two plans.",
    "report": "Write a page that shows which files subjects lack, and why.",
    "split": "Split a plan by subject, by site or evenly.",
    "fetch": "Fetch a plan's files to a destination.",
    "verify": "Compare a destination with its plan.",
    "pin": "Add the digests of fetched files to a plan.",
    "prune": "Remove fetched files that are no longer in a plan.",
    "export": "Write a plan for another tool, such as aria2 or DataLad.",
    "cache": "Show or clear the cache of fetched contents.",
    "textconv": "Print a plan as text that git can compare.",
    "cache-key": "Print a plan's key for the cache of a CI system.",
    "schema": "Print the JSON Schema of manifests, plans or reports.",
    "help": "Explain an error by its code, and say what to do.",
}

_MACHINE_ERRORS = "EDQUOT EFBIG EIO EMFILE ENFILE ENODEV ENOMEM ENOSPC ENXIO EROFS ESTALE"
"""Errors of the machine or its disks, which any system call may return."""


class _Commands(click.Group):
    """Imports the module of a command only when the command is used."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        from importlib import import_module

        if name not in _COMMANDS:
            if ctx.resilient_parsing:  # a shell is completing a name that is not complete yet
                return None
            from bidsplan.messages import suggestion  # only for a mistake

            raise click.UsageError(
                f"there is no command {name!r}; {suggestion(name, _COMMANDS)}", ctx
            )
        module = name.replace("-", "_")
        command: click.Command = import_module(f"bidsplan.cli.commands.{module}").command
        return command

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        from click.shell_completion import CompletionItem  # only for shells

        commands = [
            CompletionItem(name, help=text)
            for name, text in _COMMANDS.items()
            if name.startswith(incomplete)
        ]
        return [*commands, *click.Command.shell_complete(self, ctx, incomplete)]

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(list(_COMMANDS.items()))


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="bidsplan", message="bidsplan %(version)s")
def bidsplan() -> None:
    """Describe the neuroimaging data you need, review the plan, and download exactly those files.

    bidsplan compiles a study manifest (YAML) into a download plan (JSON Lines), fetches the planned
    files and checks each one. An interrupted fetch resumes.
    """


def run(arguments: Sequence[str]) -> int:
    """Run the command line, and return its exit code.

    The code is 0 if the command succeeds, 1 if something failed or differs, 2 for wrong usage or a
    manifest or plan that is not valid, and 130 or 143 if a signal stopped the command.
    """
    redact = find_redactor(arguments)
    console = Console(debug="--debug" in arguments, json="--json" in arguments, redact=redact)
    try:
        with console.logging(), signals.first_signal(interrupt=True) as received:
            received.clear()
            code = bidsplan.main(
                list(arguments), prog_name="bidsplan", standalone_mode=False, obj=redact
            )
        if received:
            return console.stopped(received[-1])
    except click.ClickException as error:
        from bidsplan.cli.usage_hints import with_hint  # only for a mistake

        return console.misused(with_hint(error))
    except BidsplanError as error:
        return console.fail(error)
    except (KeyboardInterrupt, click.Abort):
        return console.stopped(130)
    except signals.Signalled as signalled:
        return console.stopped(signalled.code)
    except OSError as error:
        return _failed_call(error, console)
    except Exception as error:  # noqa: BLE001 - the last resort: no traceback without --debug
        return console.crash(error)
    return code if isinstance(code, int) else 0


def _failed_call(error: OSError, console: Console) -> int:
    """Report the unexpected failure of a system call."""
    if error.errno == errno.EPIPE:
        # The program that reads our output has ended, as `head` does: exit quietly.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    if errno.errorcode.get(error.errno or 0) not in _MACHINE_ERRORS.split():
        return console.crash(error)
    where = f"{printable(str(error.filename))}: " if error.filename else ""
    return console.fail(
        DestinationError(
            f"{where}{error.strerror}; this machine or one of its disks failed: check it, and run "
            "it again",
            help_code=HelpCode.MACHINE,
        )
    )
