"""The command line: parse, one call, print, exit code.

Results go to standard output; warnings, progress and errors go to standard error.
"""

from __future__ import annotations

from bidsplan.cli.main import bidsplan, run

__all__ = ["bidsplan", "run"]
