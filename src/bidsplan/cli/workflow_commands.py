"""Writes problems as annotations for GitHub, and prevents accidental commands."""

from __future__ import annotations

import os
import re
from pathlib import Path

_DATA = str.maketrans({"%": "%25", "\r": "%0D", "\n": "%0A"})
_PROPERTY = _DATA | str.maketrans({":": "%3A", ",": "%2C"})

# Runners skip blanks before "::", and may ignore characters of zero width.
_COMMAND = re.compile(r"(?m)^([^!-~\n]*):(?=[^!-~\n]*:)")


def enabled() -> bool:
    """Report whether the command runs in GitHub Actions."""
    return os.environ.get("GITHUB_ACTIONS") == "true"


def annotation(label: str, text: str, **properties: str | int | None) -> str:
    """Return the workflow command that annotates a line of a file.

    Parameters
    ----------
    label : str
        ``error`` or ``warning``.
    properties : str or int, optional
        ``file``, ``line`` and ``title``; those that are None are left out.
    """
    written = ",".join(
        f"{name}={str(value).translate(_PROPERTY)}" for name, value in properties.items() if value
    )
    return f"::{label} {written}::{text.translate(_DATA)}"


def harmless(text: str) -> str:
    r"""Escape text that runners of GitHub Actions would execute.

    Examples
    --------
    >>> print(harmless("  ::set-env name=PATH::/tmp"))
      \x3a:set-env name=PATH::/tmp
    """
    text = _COMMAND.sub(r"\1\\x3a", text)
    # Runners recognise the older form anywhere in a line.
    return text.replace("##[", "#\\x23[")


def harmless_json(text: str) -> str:
    """Escape JSON that runners of GitHub Actions would execute, keeping its meaning."""
    return text.replace("##[", "#\\u0023[")


def in_workspace(file: str) -> str:
    """Return a file's path in the workflow's checkout, if it is there."""
    workspace = os.environ.get("GITHUB_WORKSPACE")
    path = Path(file).resolve()
    if workspace and path.is_relative_to(root := Path(workspace).resolve()):
        return str(path.relative_to(root))
    return file
