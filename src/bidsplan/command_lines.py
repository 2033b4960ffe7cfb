"""Commands that messages name, with the options without which they would not reach the storage."""

from __future__ import annotations

import os
import re
import shlex
from typing import TYPE_CHECKING

from bidsplan.messages import redacted
from bidsplan.paths import printable
from bidsplan.storage.access import Access, Transport
from bidsplan.storage.retry import READ_SECONDS
from bidsplan.urls import parse_url, untrusted_by_default

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

_ALLOWED = frozenset({"--allow-protocol", "--untrusted"})
_STORAGE = _ALLOWED | {
    "--endpoint-url",
    "--region",
    "--profile",
    "--anonymous",
    "--signed",
    "--requester-pays",
    "--timeout",
}
_SOURCES = _STORAGE | {"--transport"}
_WITH_DESTINATION = _STORAGE | {"--dest-endpoint-url", "--dest-profile"}

_OPTIONS = {
    "compile": _SOURCES,
    "diff": _SOURCES,
    "init": _SOURCES,
    "prune": _WITH_DESTINATION,
    "report": _SOURCES,
    "validate": _ALLOWED,
    "verify": _WITH_DESTINATION,
}
"""The options of each command that say how storage is reached, as the command line has them."""


def command_line(command: str, access: Access, *arguments: str | os.PathLike[str]) -> str:
    """Write a command for a shell, with the options that say how storage is reached.

    Parameters
    ----------
    command : str
        One that `_OPTIONS` lists.
    access : Access
        How storage is reached now.
    arguments : str or path
        All others. The last argument of `verify` and `prune` is their destination. Arguments that
        are paths are never options, and neither is a destination.

    Returns
    -------
    str
        Without secrets, and without what the environment says.

    Examples
    --------
    >>> access = Access(profile="lab", endpoint_url="https://me:pw@minio.example.org:9000")
    >>> command_line("compile", access, "my study.yaml")
    'bidsplan compile --endpoint-url https://minio.example.org:9000 --profile lab "my study.yaml"'
    """
    words = [each if isinstance(each, str) else _operand(each) for each in arguments]
    known = _OPTIONS[command]
    if known is _WITH_DESTINATION:
        words[-1] = _operand(words[-1])
        if parse_url(words[-1]).protocol == "file":
            # Nothing is requested then.
            known = _ALLOWED
    options = [word for option in _options(access) if option[0] in known for word in option]
    return shell_line(["bidsplan", command, *options, *map(redacted, words)])


def operands(*paths: str | os.PathLike[str]) -> str:
    """Write paths for a shell, as the arguments of a command.

    Examples
    --------
    >>> print(operands("-my study.yaml", "data"))
    "./-my study.yaml" data
    """
    return shell_line(redacted(_operand(path)) for path in paths)


def _operand(path: str | os.PathLike[str]) -> str:
    """Write a path so that no command takes it for an option."""
    text = str(path)
    return f"./{text}" if text.startswith("-") else text


def shell_line(words: Iterable[str]) -> str:
    """Write words for a shell, as messages do, which have single quotes around commands.

    Examples
    --------
    >>> print(shell_line(["ls", "my data", "plain", "$HOME"]))
    ls "my data" plain '$HOME'
    """
    return " ".join(map(_quoted, words))


def _quoted(word: str) -> str:
    """Quote a word on one line: if needed, and with double quotes if these change no character."""
    if printable(word) != word:
        escaped = word.replace("\\", r"\\").replace("'", r"\'")
        return f"$'{''.join(map(_escaped, escaped))}'"
    plain = shlex.quote(word)
    return plain if plain == word or re.search(r'[$`"\\!]', word) else f'"{word}"'


def _escaped(character: str) -> str:
    """Escape a character that does not print, as the bytes that it has in a file name."""
    if printable(character) == character:
        return character
    return "".join(rf"\x{byte:02x}" for byte in os.fsencode(character))


def _options(access: Access) -> Iterator[tuple[str, ...]]:
    """Yield the options that make this access, each with its value."""
    for name in ("endpoint_url", "region", "profile", "dest_endpoint_url", "dest_profile"):
        if (value := getattr(access, name)) is not None:
            # S3 has no use for user information.
            yield f"--{name.replace('_', '-')}", redacted(re.sub("(?<=//)[^/]*@", "", value))
    if access.anonymous is not None:
        yield ("--anonymous" if access.anonymous else "--signed",)
    if access.requester_pays:
        yield ("--requester-pays",)
    for protocol in sorted(access.allow_protocols):
        yield "--allow-protocol", protocol
    if access.untrusted and not untrusted_by_default():
        yield ("--untrusted",)
    if access.timeout != READ_SECONDS:
        yield "--timeout", f"{access.timeout:g}"
    if access.transport is not Transport.AUTO:
        yield "--transport", str(access.transport)
