"""Text for messages: shortens, redacts, quotes, and suggests similar words."""

from __future__ import annotations

import functools
import heapq
import os
import re
import warnings
from typing import TYPE_CHECKING

import msgspec

from bidsplan.paths import natural_key, printable

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from pathlib import Path


LONGEST_MESSAGE = 2000
"""The most bytes of a message, with unprintable characters written as escapes."""

LONGEST_PART = 800
"""The most bytes of a part of a message: the problem, the expected value, the hint."""

_LONGEST_ESCAPE = 10
_LEFT_OUT = " [… {:,} characters …] "


def clipped(text: str, limit: int = LONGEST_MESSAGE) -> str:
    """Shorten text: ``start [… 988 characters …] end``."""
    if len(text) * _LONGEST_ESCAPE <= limit or printed_size(text[: limit + 1]) <= limit:
        return text
    room = limit - len(_LEFT_OUT.format(len(text)).encode())
    head, tail = _fitting(text, (room + 1) // 2), _fitting(text[::-1], room // 2)
    left_out = len(text) - len(head) - len(tail)
    return head + _LEFT_OUT.format(left_out) + tail[::-1]


def printed_size(text: str) -> int:
    """Return the bytes of printed text, in which some characters are escaped."""
    return sum(map(_weight, text))


def _weight(character: str) -> int:
    if character.isprintable() or character == "\n":
        return len(character.encode())
    return _LONGEST_ESCAPE


def _fitting(text: str, room: int) -> str:
    used = 0
    for index, character in enumerate(text[: room + 1]):
        used += _weight(character)
        if used > room:
            return text[:index]
    return text


HIDDEN = "***"
"""The text that replaces a secret."""

_SHORTEST = 8
"""The shortest known secret that is searched for; shorter texts are too common."""

# Each repetition is bounded, so that no text can make the search slow.
_SCHEME = r"[A-Za-z][A-Za-z0-9+.\-]{0,31}:"
# User info may follow a scheme with any number of slashes, or slashes, or the start of a word. A
# port is not a password: the path after it may contain an '@'.
_PASSED = r"(?!\d{1,5}/|\*{3}@)[^\s]{0,1024}@"
_PAIR = rf"(?P<pair>{_SCHEME}/*|//+)[^/\s:@]{{0,512}}:{_PASSED}"
_BARE = rf"(?P<bare>(?<![^\s'\"(\[{{<=,;]))[^/\s:@'\"(]{{1,512}}:(?!/){_PASSED}"
_USER = rf"(?P<user>{_SCHEME}//?)(?!/)[^/\s:@]{{1,512}}@"
_USER_INFO = f"{_PAIR}|{_USER}|{_BARE}"
_PARAMETER = (
    r"([?&;][\w.\-]{0,64}(?:sig|token|credential|secret|passw|pwd|auth|key)[\w.\-]{0,64}=)"
    r"[^\s&#;'\"]+"
)
_ASSIGNED = (
    r"((?:aws_secret_access_key|aws_session_token|aws_security_token|x-amz-security-token|"
    r"AccountKey|SharedAccessKey|SharedAccessSignature|client_secret|\bSignature)"
    # The quote after a hidden value belongs to the sentence or the command around it.
    r"['\"]?\s{0,8}[=:]\s{0,8})(?!\*{3}['\"])[^\s,;&]+"
)
_PRIVATE_KEY = r"-----BEGIN [A-Z ]{0,32}PRIVATE KEY-----.{0,16384}"

_SECRET_SETTING = re.compile(
    "SECRET|TOKEN|PASSW|PASSPHRASE|ACCOUNT_KEY|STORAGE_KEY|SAS_|CONNECTION_STRING"
)
_PLACE_NAMES = ("_FILE", "_PATH", "_DIR", "_URI", "_URL", "_ARN", "_ID")
_URL_NAMES = ("URL", "URI", "PROXY", "ENDPOINT")
_PASSWORD = rf"(?:{_SCHEME})?/*[^/:@]{{0,512}}:(?!/|\d{{1,5}}/)(.{{1,1024}})@"


@functools.cache
def _compiled(pattern: str, flags: re.RegexFlag = re.NOFLAG) -> re.Pattern[str]:
    """Compile a pattern on first use."""
    return re.compile(pattern, flags)


def has_user_info(url: str) -> bool:
    """Report whether a URL, even if mistyped, has a user name or password.

    Examples
    --------
    >>> has_user_info("s3:/AKIA0:pw@bucket"), has_user_info("https://host:8080/a@b")
    (True, False)
    """
    return "@" in url and _compiled(_USER_INFO).search(url) is not None


def redacted(text: str) -> str:
    """Hide what looks like a secret in a text.

    Examples
    --------
    >>> redacted("can't read https://me:pw@host/x?X-Amz-Signature=f00&part=1")
    "can't read https://***@host/x?X-Amz-Signature=***&part=1"
    """
    if "@" in text:
        text = _compiled(_USER_INFO).sub(_without_user_info, text)
    if "=" in text:
        text = _compiled(_PARAMETER, re.IGNORECASE).sub(rf"\1{HIDDEN}", text)
    lower = text.lower()
    # Each row of a report is searched, and this takes a third of the time of a loop over the words.
    if (
        "secret" in lower
        or "token" in lower
        or "accountkey" in lower
        or "sharedaccess" in lower
        or "signature" in lower
    ):
        text = _compiled(_ASSIGNED, re.IGNORECASE).sub(rf"\1{HIDDEN}", text)
    if "PRIVATE KEY" in text:
        text = _compiled(_PRIVATE_KEY, re.DOTALL).sub(HIDDEN, text)
    return text


def _without_user_info(match: re.Match[str]) -> str:
    return f"{match['pair'] or match['user'] or ''}{HIDDEN}@"


class Redactor:
    """Hides known secrets in text, and what looks like a secret."""

    def __init__(self, secrets: Iterable[str] = ()) -> None:
        forms = {form for secret in secrets if len(secret) >= _SHORTEST for form in _forms(secret)}
        # Longest first, since one may contain another.
        self._forms = sorted(forms, key=lambda form: (-len(form), form))

    def __call__(self, text: str) -> str:
        """Return text without secrets."""
        for form in self._forms:
            if form in text:
                text = text.replace(form, HIDDEN)
        return redacted(text)


def _forms(secret: str) -> Iterator[str]:
    """Yield a secret in the forms of messages, JSON and URLs."""
    from urllib.parse import quote, unquote  # hardly any run needs it

    # The environment may contain text that is not UTF-8.
    plain = secret.encode(errors="replace").decode()
    yield from (secret, repr(secret)[1:-1], msgspec.json.encode(plain).decode()[1:-1])
    yield from (quote(secret, safe, errors="surrogateescape") for safe in ("", "/"))
    if len(decoded := unquote(secret)) >= _SHORTEST:
        yield decoded


def secrets_in(values: Mapping[str, str]) -> Iterator[str]:
    """Yield the secret values of named settings, such as variables.

    These are values whose names say that they are secret, and passwords in URLs.
    """
    for name, value in values.items():
        upper = name.upper()
        if _SECRET_SETTING.search(upper) and not upper.endswith(_PLACE_NAMES):
            yield value.strip()
        if "@" in value and ("://" in value or any(word in upper for word in _URL_NAMES)):
            found = _compiled(_PASSWORD, re.DOTALL).match(value)
            # A URL parser may end the host at the first of these characters, and report only a
            # part.
            yield from dict.fromkeys((found[1], *re.split("[/@]", found[1]))) if found else ()


_LONGEST_QUOTED = 24
"""The longest word that is quoted, unless it consists of shorter words."""

_LONGEST_NAME = 64

# Each part of the pattern takes linear time, so that no text makes the search slow.
_SECRET = re.compile(
    r"\b(?:AKIA|ASIA)[0-9A-Z]{16}\b|-----BEGIN [A-Z ]*PRIVATE KEY|//[^/\s:@]*:[^/\s@]+@|"
    r"(?i:X-Amz-(?:Signature|Credential)|X-Goog-Signature|AccountKey=|[?&]sig=)"
)
_SECRET_NAME = re.compile(r"key|secret|token|passw|credential", re.IGNORECASE)
# Assignments, URLs, paths, markup and quotes are not names, labels or values of a table.
_OTHER = re.compile(r"""[=:@\\{}\[\]<>"'`$;|]|//|--|\A[/~.]""")
# Labels of real datasets contain these characters as well as letters and digits.
_LABEL = re.compile(r"(?:[^\W_]|[+.-])+")
# Long column names consist of words; keys and tokens do not.
_NAME = re.compile(r"[A-Za-z]{1,20}[0-9]{0,4}(?:[ _.-](?:[A-Za-z]{1,20}[0-9]{0,4}|[0-9]{1,4}))*")


def is_secret(text: str) -> bool:
    """Report whether text looks like a credential."""
    return bool(_SECRET.search(text))


def names_a_secret(name: str) -> bool:
    """Report whether a name, such as "Password", is that of a secret."""
    return bool(_SECRET_NAME.search(name))


def is_quotable(word: str) -> bool:
    """Report whether a message may quote a word from a table.

    Only words that are printable, short and do not look like a secret may be quoted.

    Examples
    --------
    >>> is_quotable("control"), is_quotable("password=abc"), is_quotable("x" * 40)
    (True, False, False)
    >>> is_quotable("highest_parental_education_in_years")
    True
    """
    if not word.isprintable() or is_secret(word) or _OTHER.search(word):
        return False
    if len(word) <= _LONGEST_QUOTED:
        return bool(word)
    return len(word) <= _LONGEST_NAME and _NAME.fullmatch(word) is not None


def is_quotable_label(label: str) -> bool:
    """Report whether a message may quote a subject's label from a table."""
    return is_quotable(label) and _LABEL.fullmatch(label) is not None


def quotable(words: Iterable[str]) -> set[str]:
    """Return the words that a message may quote."""
    return set(filter(is_quotable, words))


def quoted(word: str, otherwise: str) -> str:
    """Quote a word of a file, or return the alternative if that is unsafe."""
    return repr(word) if is_quotable(word) else otherwise


_ENDINGS = re.compile(r"(?:\.plan)?\.(?:jsonl(?:\.gz|\.zst)?|ya?ml)\Z")


def near_document(path: Path) -> str | None:
    """Suggest a manifest or a plan with a similar name, for a file that does not exist."""
    plan = ".jsonl" in path.suffixes
    try:
        names = [name for name in os.listdir(path.parent) if _ENDINGS.search(name)]
    except OSError:
        return None
    # The endings are equal, so they would make all names similar.
    stems = {_ENDINGS.sub("", name): name for name in sorted(names) if (".jsonl" in name) == plan}
    near = nearest(_ENDINGS.sub("", path.name), stems)
    return f"did you mean {printable(str(path.with_name(stems[near])))!r}?" if near else None


_LISTED = 12
"""The most words that one hint lists."""

_COMPARED = 20_000
"""The most words that are compared with an unknown one; of more, only similar ones."""

_NEAR = 2
"""Similar words have this many characters in common, and at most this difference in length."""

_HINTED = 5
"""The most unknown words of one list that get a hint, as comparing takes long."""


_CUTOFF = 0.6
"""The least similarity of two words, as `difflib` measures it."""


def nearest(wanted: str, known: Iterable[str], *, cutoff: float = _CUTOFF) -> str | None:
    """Return the known word closest to an unknown one, or None."""
    words, sought = sorted(known), wanted.casefold()
    if wanted.isdecimal() and (same := [word for word in words if _is_padded(word, wanted)]):
        return min(same, key=len)
    if len(words) > _COMPARED:
        words = [word for word in words if _is_similar(word.casefold(), sought)][:_COMPARED]
    folded = {word.casefold(): word for word in words}
    import difflib  # most runs have nothing to suggest

    near = difflib.get_close_matches(sought, folded, n=1, cutoff=cutoff)
    return folded[near[0]] if near else None


def _is_padded(word: str, number: str) -> bool:
    """Report whether two numbers differ only in leading zeros."""
    return word.isdecimal() and word.lstrip("0") == number.lstrip("0")


def _is_similar(word: str, sought: str) -> bool:
    """Compare two words with a limited effort."""
    return abs(len(word) - len(sought)) <= _NEAR and (
        word[:_NEAR] == sought[:_NEAR] or word[-_NEAR:] == sought[-_NEAR:]
    )


def suggestion(wanted: str, known: Iterable[str], *, cutoff: float = _CUTOFF) -> str | None:
    """Suggest the closest known word, or list the known words, or None."""
    words = known if isinstance(known, set) else set(known)
    near = nearest(wanted, words, cutoff=cutoff)
    if near:
        return f"did you mean {printable(near)!r}?"
    if not words:
        return None
    first = heapq.nsmallest(_LISTED, words, key=natural_key)
    listed = ", ".join(repr(printable(word)) for word in first)
    more = len(words) - _LISTED
    return f"there are {listed}" + (f" and {more} more" if more > 0 else "")


class Hints:
    """Makes suggestions for the first unknown words of a long list."""

    def __init__(self, known: Iterable[str]) -> None:
        # A set is not copied, since it may have half a million words.
        self._known = known if isinstance(known, set) else set(known)
        self._left = _HINTED

    def __call__(self, wanted: str) -> str | None:
        """Suggest a word; None after the limit of suggestions."""
        if not self._left:
            return None
        self._left -= 1
        return suggestion(wanted, self._known)


def warn(text: str) -> None:
    """Issue a Python warning at the line that called bidsplan."""
    import inspect  # only to warn

    level, frame = 1, inspect.currentframe()
    while frame is not None and frame.f_globals.get("__name__", "").startswith("bidsplan."):
        level, frame = level + 1, frame.f_back
    warnings.warn(text, stacklevel=level)


_NAMED = 10
"""The most items that one message names, of those with the same problem."""


def listed(words: Iterable[str], number: int | None = None, *, separator: str = ", ") -> str:
    """Join the first of many words, and count the rest."""
    words = list(words)
    shown = words[:_NAMED]
    more = (len(words) if number is None else number) - len(shown)
    return separator.join(shown) + (f" and {more:,} more" if shown and more > 0 else "")


def size(number: int) -> str:
    """Write a number of bytes: ``7.7 kB``."""
    from humanize import naturalsize  # a no-op fetch should not wait for it

    return naturalsize(number, format="%.1f")


def counted(number: int, noun: str) -> str:
    """Write a number of things: ``2 subjects``."""
    return f"{number:,} {noun}{'s' * (number != 1)}"
