"""An entry of troubleshooting, followed by a reader who has met its error.

A function for each code, which `mends` registers, brings the error about in a folder of its own,
and does what the entry says, in this order::

    @mends(HelpCode.PLAN_MISSING)
    def plan_missing(lab, entry):
        entry.fails("bidsplan verify --locked study.yaml data")  # it ends with the entry's code
        entry.follow()  # the blocks of commands are typed
        entry.solved()  # what failed ends with 0

What a reader does beside typing, such as editing the manifest, stands between these lines.
"""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
import sys
from functools import cache

import click
import pytest

from bidsplan.cli.help_entries import help_entries
from bidsplan.cli.main import bidsplan
from reader import Reader
from setups import ROOT

sys.path.insert(0, str(ROOT / "docs" / "site"))

from snippets import read_page

PAGES = {
    path: read_page(path) for path in sorted((ROOT / "docs/troubleshooting/errors").glob("*.md"))
}
BLOCKS = [block for page in PAGES.values() for block in page.blocks]
SHELL = re.compile(r"[$|&;<>~*`]")
OPTIONAL = {"aws", "curl"}
"""Without one of these its blocks are left out, and the test counts as skipped in the end."""
DIFFERENCES = {"diff", "explain"}
"""Commands that say by an exit code of 1 that something differs, or is not as the manifest says."""
COMMANDS = set(bidsplan.list_commands(click.Context(bidsplan)))
MENDED = {}


def mends(code):
    """Register the function that follows the entry of an error."""

    def register(function):
        assert code not in MENDED
        MENDED[code] = function
        return function

    return register


class Entry:
    """Types what an entry shows, and what its reader has typed before.

    Commands of bidsplan run in this process, and all that needs a shell in one.

    Parameters
    ----------
    code : HelpCode
    lab : Lab
    ask : callable
        Runs bidsplan; gives its exit code, results and messages.

    Attributes
    ----------
    meant : dict of str to str
        What a text of the page means here, such as a server of the test for one of AWS.
    settings : dict of str to str
        Variables of the reader's shell only, from before the first command.
    """

    def __init__(self, code, lab, ask) -> None:
        self.meant = {"lab-bucket": lab.bucket.name}
        self.settings = {}
        self._code, self._lab, self._ask = code, lab, ask
        blocks = [block for block in BLOCKS if block.heading.startswith(f"{code} ")]
        self._left = [block for block in blocks if block.kind]
        self._fragments = [block.text for block in blocks if block.language == "yaml"]
        self._reader = self._failing = None
        self._succeeded, self._absent = set(), set()
        self._solved = False

    @property
    def home(self):
        """The reader's home directory."""
        folder = self._lab.folder.with_name("home")
        folder.mkdir(exist_ok=True)
        return folder

    @staticmethod
    def needs(program) -> None:
        """Skip the test where a program is absent that alone mends the error."""
        if not _is_here(program):
            pytest.skip(f"needs {program}")

    def fails(self, command) -> None:
        """Type a command that ends with the entry's code."""
        status, said = self._type(command)
        assert status != 0, said
        self.seen(said)
        self._failing = command

    def seen(self, said) -> None:
        """Check that a message ends with the entry's code."""
        assert f" [{self._code}]\n" in said, said
        self._failing = self._failing or said

    def fragment(self) -> str:
        """Return the next piece of YAML that the entry shows, to be put into a manifest."""
        return self._translated(self._fragments.pop(0))

    def follow(self, number=None) -> None:
        """Type the next blocks, or all of them; each command has to succeed."""
        assert self._failing is not None
        for block in self._take(number):
            if block.kind == "shell" and not SHELL.search(self._plain(block.text)):
                for command in self._plain(block.text).splitlines():
                    self._succeeds(command)
            else:
                self._in_shell(block)

    def repeat(self, says) -> None:
        """Type the next block, whose command fails as before, and prints what helps others."""
        for block in self._take(1):
            status, said = self._type(self._plain(block.text))
            assert status != 0
            assert says in said
            self.seen(said)

    def _take(self, number):
        """Take the next blocks that are run; those of programs that are not here are noted."""
        taken, self._left = self._left[:number], self._left[len(self._left[:number]) :]
        for block in taken:
            program = block.text.split()[0]
            if program in OPTIONAL and not _is_here(program):
                self._absent.add(program)
            elif not block.skipped:
                yield block

    def solved(self, *commands) -> None:
        """Check that commands end with 0 now: those given, or the one that failed.

        So do the commands that the entry names where it says when the problem is solved, and they
        print what it says there.
        """
        sentence = _solved_when(self._code)
        ends = [*(commands or [self._failing]), *re.findall(r"`(bidsplan \w+ [^`]+)`", sentence)]
        said = "".join(self._succeeds(command, 0) for command in ends)
        for word in re.findall(r"(?:prints|shows) `(\w+)`", sentence):
            assert re.search(rf"\b{word}\b", said), said
        named = COMMANDS & set(re.findall(r"`(?:bidsplan )?([a-z]+)`", sentence))
        assert named <= self._succeeded, f"{sentence}\n\nafter {self._succeeded}"
        self._solved = True

    def finish(self) -> None:
        """Check that all of the entry was followed, and that it helped."""
        assert self._failing is not None
        assert not [block.text for block in self._left if not block.skipped]
        assert not self._fragments
        assert self._solved
        if self._absent:
            pytest.skip(f"blocks of {self._absent} were not run")

    def _succeeds(self, command, worst=1) -> str:
        status, said = self._type(command)
        name = command.removeprefix("bidsplan ").split()[0]
        best = worst if name in DIFFERENCES and said.strip() else 0
        assert status <= best, f"{command} ends with {status}:\n{said}"
        self._succeeded |= {name} if status == 0 else set()
        return said

    def _type(self, command):
        """Run a command; gives its exit code, and all that it prints."""
        if not command.startswith("bidsplan ") or SHELL.search(command):
            done = self._shell().shell(self._translated(command))
            return done.returncode, done.stdout
        status, out, err = self._ask(*shlex.split(self._translated(command))[1:])
        return status, out + err

    def _in_shell(self, block) -> None:
        """Let the reader's shell, or Python, run a block; what it exports holds from then on."""
        self._shell().do(block)
        exported = self._shell().shell("env -0").stdout.split("\0")
        for name, _, text in (line.partition("=") for line in exported):
            if name.startswith("AWS_"):
                self._lab.monkeypatch.setenv(name, text)
        self._succeeded |= set(re.findall(r"\bbidsplan (\w+)", block.text))

    def _shell(self):
        if self._reader is None:
            variables = {**self.meant, **self.settings}
            self._reader = Reader(self._lab.folder, self.home, variables)
        return self._reader

    def _translated(self, text) -> str:
        for shown, meant in self.meant.items():
            text = text.replace(shown, meant)
        return text

    @staticmethod
    def _plain(text):
        """Return commands of bidsplan, each in one line; other commands as what needs a shell."""
        lines = text.replace("\\\n", " ").splitlines()
        return "\n".join(line if line.startswith("bidsplan ") else f"{line};" for line in lines)

    def close(self) -> None:
        if self._reader is not None:
            self._reader.__exit__()


@cache
def _is_here(program) -> bool:
    """Tell whether there is a program; aws only if it asks AWS_ENDPOINT_URL, not AWS itself."""
    if shutil.which(program) is None:
        return False
    if program != "aws":
        return True
    said = subprocess.run(["aws", "--version"], capture_output=True, text=True, check=True).stdout
    version = tuple(map(int, re.match(r"aws-cli/(\d+)\.(\d+)", said).groups()))
    return (1, 29) <= version < (2, 0) or version >= (2, 13)


def _solved_when(code) -> str:
    """Return the sentence that says how to see that an error is gone."""
    pattern = r"^The problem is solved when (.*?\.)(?:\s|\Z)"
    return " ".join(re.search(pattern, help_entries()[code].text, re.M | re.S)[1].split())
