"""Reads a plan from an earlier git revision."""

from __future__ import annotations

import io
import os
import shutil
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

from bidsplan.errors import UsageError
from bidsplan.paths import printable
from bidsplan.plan.file import read_plan

if TYPE_CHECKING:
    from bidsplan.plan import Plan


_OF_HOOKS = {"GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_PREFIX"}
_SETTINGS = {"LC_ALL": "C", "GIT_OPTIONAL_LOCKS": "0", "GIT_TERMINAL_PROMPT": "0"}


def plan_at_revision(path: Path, revision: str) -> Plan:
    """Read a plan at a git revision.

    Parameters
    ----------
    path : Path
        The plan's file in a working tree.
    revision : str
        Any name of a commit that git knows, such as ``HEAD~1``, ``main`` or ``v1.0``.

    Raises
    ------
    UsageError
        If git, the repository or the revision does not exist, or the revision does not have the
        file.
    PlanError
        If the file is not a valid plan.
    """
    # A revision must not be read as an option because of its first character.
    wanted = ("--verify", "--quiet", "--end-of-options", f"{revision}^{{commit}}")
    found = _git(path.parent, "rev-parse", *wanted)
    if found.returncode:
        reason = _reason(found) or (
            "it names no commit that is here; a shallow clone, as CI makes, has no earlier ones"
        )
        raise UsageError(f"{printable(str(path))}: can't find the revision {revision!r}: {reason}")
    commit = found.stdout.split()[-1].decode()
    blob = _git(path.parent, "cat-file", "blob", f"{commit}:./{path.name}")
    if blob.returncode:
        raise UsageError(
            f"{printable(str(path))}: can't be read in the revision {revision!r}: "
            f"{_reason(blob)}; name a revision that has it"
        )
    return read_plan(Path(f"{printable(revision)}:{path.name}"), file=io.BytesIO(blob.stdout))


def _git(folder: Path, *arguments: str) -> subprocess.CompletedProcess[bytes]:
    program = shutil.which("git")
    if program is None:
        raise UsageError("a revision is read by git, which is not installed")
    command = [program, "-C", str(folder), *arguments]
    # A git hook sets variables for its own repository, relative to its own directory.
    here = {name: text for name, text in os.environ.items() if name not in _OF_HOOKS}
    return subprocess.run(  # noqa: S603 - no shell, and nothing that was given is an option
        command, env={**here, **_SETTINGS}, capture_output=True, check=False
    )


def _reason(failed: subprocess.CompletedProcess[bytes]) -> str:
    """Return the first line of git's error message."""
    text = failed.stderr.decode(errors="replace").strip()
    return printable(text.removeprefix("fatal: ").partition("\n")[0])
