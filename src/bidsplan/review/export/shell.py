"""Writes parts of shell scripts, for any POSIX shell."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator


END = "/"
"""The end of a here-document; no key, path or URL starts with a slash."""


def here_document(command: str, lines: Iterable[str]) -> Iterator[bytes]:
    """Yield a command with its standard input as a here-document."""
    yield f"{command} <<'{END}'\n".encode()
    for line in lines:
        yield f"{line}\n".encode()
    yield f"{END}\n".encode()


def print_text(text: str) -> str:
    r"""Return a command that writes any text to standard output.

    Examples
    --------
    >>> print(print_text("100% sure\n"))
    printf '100\045 sure\n'
    """
    return f"printf '{''.join(map(_spelt, text.encode()))}'"


def _spelt(byte: int) -> str:
    character = chr(byte)
    if character == "\n":
        return "\\n"
    # A text with a hyphen at the start would be read as an option.
    plain = " " <= character <= "~" and character not in "%'\\-"
    return character if plain else f"\\{byte:03o}"
