"""Text that is shortened so that nobody has to read, or store, a message of megabytes."""

from __future__ import annotations

__all__ = ["LONGEST_MESSAGE", "LONGEST_PART", "clipped", "printed_size"]

LONGEST_MESSAGE = 2000
"""Bytes of the longest message, its unprintable characters written as escapes."""

LONGEST_PART = 800
"""Bytes of the longest part of a message: what is wrong, what was expected, what to do."""

_LONGEST_ESCAPE = 10
_LEFT_OUT = " [… {:,} characters …] "


def clipped(text: str, limit: int = LONGEST_MESSAGE) -> str:
    """Shorten text to a number of bytes by leaving out its middle.

    Parameters
    ----------
    text : str
    limit : int
        Bytes that the text may have when printed: an unprintable character counts as its escape.

    Returns
    -------
    str
        The text, or its start and its end with the number of characters in between.

    Examples
    --------
    >>> clipped("x" * 1000, 40)
    'xxxxxx [… 988 characters …] xxxxxx'
    """
    if len(text) * _LONGEST_ESCAPE <= limit or printed_size(text[: limit + 1]) <= limit:
        return text
    room = limit - len(_LEFT_OUT.format(len(text)).encode())
    head, tail = _fitting(text, (room + 1) // 2), _fitting(text[::-1], room // 2)
    left_out = len(text) - len(head) - len(tail)
    return head + _LEFT_OUT.format(left_out) + tail[::-1]


def printed_size(text: str) -> int:
    """Count the bytes that text has when printed."""
    return sum(map(_weight, text))


def _weight(character: str) -> int:
    if character.isprintable() or character == "\n":
        return len(character.encode())
    return _LONGEST_ESCAPE


def _fitting(text: str, room: int) -> str:
    """Give as much of the start of a text as fits."""
    used = 0
    for index, character in enumerate(text[: room + 1]):
        used += _weight(character)
        if used > room:
            return text[:index]
    return text
