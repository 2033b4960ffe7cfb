"""The help of each command: plain, and with examples that work."""

from __future__ import annotations

import re
import shlex

import click
import pytest

from bidsplan.cli.main import bidsplan

COMMANDS = bidsplan.list_commands(click.Context(bidsplan))


@pytest.mark.parametrize("name", COMMANDS)
def test_help_ends_with_examples_that_can_be_parsed(name, ask_here):
    code, out, err = ask_here(name, "--help")
    assert (code, err) == (0, "")
    help_, _, end = out.partition("Examples:\n")
    assert help_
    examples = [line.strip() for line in end.splitlines() if line.strip()]
    assert len(examples) in {2, 3}
    for example in examples:
        program, command, *arguments = shlex.split(example.partition(" > ")[0])
        assert (program, command) == ("bidsplan", name)
        found = bidsplan.get_command(click.Context(bidsplan), name)
        found.make_context(name, arguments)


def test_the_list_of_commands_has_a_line_for_each(ask):
    code, out, _ = ask("--help")
    assert code == 0
    assert re.findall(r"^  ([a-z][a-z-]*)  +[A-Z]", out, re.M) == COMMANDS
