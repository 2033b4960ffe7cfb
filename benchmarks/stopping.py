"""Benchmarks that are stopped in any way take their servers, clients and folders along."""

from __future__ import annotations

import shutil
import signal
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path
    from types import FrameType


def exit_on_signals() -> None:
    """Leave by an exception where a signal would end the process without cleaning up."""

    def leave(number: int, _: FrameType | None) -> None:
        sys.exit(128 + number)

    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, leave)


def tied(command: Sequence[str | Path]) -> list[str | Path]:
    """Make the kernel end a command with this process, even where that is killed.

    Needs util-linux; elsewhere the command is returned as it is.
    """
    setpriv = shutil.which("setpriv")
    return [setpriv, "--pdeathsig", "TERM", "--", *command] if setpriv else list(command)
