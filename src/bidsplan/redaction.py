"""The secrets of this process, which nothing that it writes may show."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from bidsplan.messages import Redactor, secrets_in
from bidsplan.paths import open_regular

if TYPE_CHECKING:
    from collections.abc import Sequence


_AWS_FILES = {
    "AWS_SHARED_CREDENTIALS_FILE": "~/.aws/credentials",
    "AWS_CONFIG_FILE": "~/.aws/config",
}
_LARGEST_AWS_FILE = 1 << 20


def find_redactor(arguments: Sequence[str] = ()) -> Redactor:
    """Redact the secrets of the environment, the AWS files and a command's arguments.

    Parameters
    ----------
    arguments : sequence of str, optional
        Of a command line. Any of them may be a URL, even a mistyped one.

    Returns
    -------
    Redactor
    """
    typed = {f"url {number}": argument for number, argument in enumerate(arguments)}
    secrets = [*secrets_in(os.environ), *secrets_in(typed)]
    for variable, default in _AWS_FILES.items():
        for line in _lines(os.environ.get(variable, default)):
            name, _, value = line.partition("=")
            secrets += secrets_in({name.strip(): value.strip()})
    return Redactor(secrets)


def _lines(place: str) -> list[str]:
    """Read a configuration file; one that can't be read provides no credentials either."""
    try:
        with open_regular(Path(place).expanduser()) as file:
            return file.read(_LARGEST_AWS_FILE).decode(errors="replace").splitlines()
    except (OSError, ValueError, RuntimeError):
        return []
