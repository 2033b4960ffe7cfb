"""Which words of a file's content a message may quote.

A manifest can name a file that is no table, such as a link to a file of credentials. So messages
quote words of a file's content only where each is short, prints, and looks like a column's name, a
label or a value.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = [
    "LONGEST_QUOTED",
    "is_quotable",
    "is_quotable_label",
    "is_secret",
    "names_a_secret",
    "quotable",
    "quoted",
]

LONGEST_QUOTED = 24
"""Characters of the longest word that is quoted, unless it is made of shorter ones."""

_LONGEST_NAME = 64

# Each part of the pattern is linear in the text: whoever wrote it may want to see it crawl.
_SECRET = re.compile(
    r"\b(?:AKIA|ASIA)[0-9A-Z]{16}\b|-----BEGIN [A-Z ]*PRIVATE KEY|//[^/\s:@]*:[^/\s@]+@|"
    r"(?i:X-Amz-(?:Signature|Credential)|X-Goog-Signature|AccountKey=|[?&]sig=)"
)
_SECRET_NAME = re.compile(r"key|secret|token|passw|credential", re.IGNORECASE)
# Assignments, URLs, paths, markup and quotes are no names, labels or values of a table.
_OTHER = re.compile(r"""[=:@\\{}\[\]<>"'`$;|]|//|--|\A[/~.]""")
# Beyond letters and digits, labels of real datasets have these.
_LABEL = re.compile(r"(?:[^\W_]|[+.-])+")
# Longer names, as tables have them, are made of words; keys and tokens are not.
_NAME = re.compile(r"[A-Za-z]{1,20}[0-9]{0,4}(?:[ _.-](?:[A-Za-z]{1,20}[0-9]{0,4}|[0-9]{1,4}))*")


def is_secret(text: str) -> bool:
    """Tell what looks like a credential: a key of AWS, a signed URL, a password before a host.

    Examples
    --------
    >>> is_secret("https://host/x?X-Amz-Signature=f00"), is_secret("sub-ASIA01")
    (True, False)
    """
    return bool(_SECRET.search(text))


def names_a_secret(column: str) -> bool:
    """Tell whether a column's name says that its values are secret.

    Examples
    --------
    >>> names_a_secret("Secret access key"), names_a_secret("sex")
    (True, False)
    """
    return bool(_SECRET_NAME.search(column))


def is_quotable(word: str) -> bool:
    """Tell whether a message may quote a word of a file's content.

    Parameters
    ----------
    word : str
        A column's name, a label or a value.

    Returns
    -------
    bool
        Whether it is short, prints, and looks like one.

    Examples
    --------
    >>> is_quotable("control"), is_quotable("password=abc"), is_quotable("x" * 40)
    (True, False, False)
    >>> is_quotable("highest_parental_education_in_years")
    True
    """
    if not word.isprintable() or is_secret(word) or _OTHER.search(word):
        return False
    if len(word) <= LONGEST_QUOTED:
        return bool(word)
    return len(word) <= _LONGEST_NAME and _NAME.fullmatch(word) is not None


def is_quotable_label(label: str) -> bool:
    """Tell whether a message may quote a subject's label that comes from a table.

    Examples
    --------
    >>> is_quotable_label("NDARAA306NT2"), is_quotable_label("login me")
    (True, False)
    """
    return is_quotable(label) and _LABEL.fullmatch(label) is not None


def quotable(words: Iterable[str]) -> set[str]:
    """Keep the words that a message may quote."""
    return set(filter(is_quotable, words))


def quoted(word: str, otherwise: str) -> str:
    """Quote a word of a file's content, or say what it is instead.

    Parameters
    ----------
    word : str
    otherwise : str
        What to say of a word that may not be quoted, such as ``another value``.

    Returns
    -------
    str

    Examples
    --------
    >>> quoted("F", "another value"), quoted("token=abc", "another value")
    ("'F'", 'another value')
    """
    return repr(word) if is_quotable(word) else otherwise
