"""The secrets that this process knows, so that nothing that it writes holds them."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import TYPE_CHECKING

from bidsplan.messages import Redactor, secrets_in

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence


_FILES = {
    "AWS_SHARED_CREDENTIALS_FILE": "~/.aws/credentials",
    "AWS_CONFIG_FILE": "~/.aws/config",
}
_LARGEST = 1 << 20


def find_redactor(arguments: Sequence[str] = ()) -> Redactor:
    """Make what hides the secrets of the environment, of the AWS files and of the arguments.

    Parameters
    ----------
    arguments : sequence of str
        The command's.
    """
    # Any of them may be a URL, however it is typed.
    typed = {f"url {number}": argument for number, argument in enumerate(arguments)}
    secrets = [*secrets_in(os.environ), *secrets_in(typed)]
    for variable, usual in _FILES.items():
        # A file may have one name several times, in sections, so that no mapping holds them all.
        for name, value in _settings(os.environ.get(variable, usual)):
            secrets += secrets_in({name: value})
    return Redactor(secrets)


def _settings(place: str) -> Iterator[tuple[str, str]]:
    try:
        path = Path(place).expanduser()
        if not stat.S_ISREG(path.stat().st_mode):
            return
        with path.open(encoding="utf-8", errors="replace") as file:
            text = file.read(_LARGEST)
    except (OSError, ValueError, RuntimeError):
        # What can't be read here is no source of credentials either.
        return
    for line in text.splitlines():
        name, _, value = line.partition("=")
        yield name.strip(), value.strip()
