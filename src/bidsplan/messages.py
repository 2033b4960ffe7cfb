"""What messages may hold: text that is short and without secrets, quoted words, near misses."""

from __future__ import annotations

import difflib
import functools
import re
from typing import TYPE_CHECKING

import msgspec

from bidsplan.paths import printable

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping


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


HIDDEN = "***"
"""What is written in place of a secret."""

_SHORTEST = 8
"""Characters below which a value is too common to be looked for in all text."""

# Each repetition is bounded: whoever wrote the text may want to see the search crawl.
_SCHEME = r"[A-Za-z][A-Za-z0-9+.\-]{0,31}:"
# A scheme with any number of slashes, slashes alone, or the beginning of a word. Behind a host a
# port may stand, whose path may hold an '@'.
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
    r"['\"]?\s{0,8}[=:]\s{0,8})[^\s,;&]+"
)
_PRIVATE_KEY = r"-----BEGIN [A-Z ]{0,32}PRIVATE KEY-----.{0,16384}"

_SECRET_NAMES = (
    "SECRET",
    "TOKEN",
    "PASSW",
    "PASSPHRASE",
    "ACCOUNT_KEY",
    "STORAGE_KEY",
    "SAS_",
    "CONNECTION_STRING",
)
_PLACE_NAMES = ("_FILE", "_PATH", "_DIR", "_URI", "_URL", "_ARN", "_ID")
_URL_NAMES = ("URL", "URI", "PROXY", "ENDPOINT")
_PASSWORD = rf"(?:{_SCHEME})?/*[^/:@]{{0,512}}:(?!/|\d{{1,5}}/)(.{{1,1024}})@"
_UNRESERVED = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~")


@functools.cache
def _compiled(pattern: str, flags: re.RegexFlag = re.NOFLAG) -> re.Pattern[str]:
    """Compile a pattern when it is first needed, as it hardly ever is."""
    return re.compile(pattern, flags)


def has_user_info(url: str) -> bool:
    """Tell whether a URL holds a user name or a password, also where it is mistyped.

    Examples
    --------
    >>> has_user_info("s3:/AKIA0:pw@bucket"), has_user_info("https://host:8080/a@b")
    (True, False)
    """
    return "@" in url and _compiled(_USER_INFO).search(url) is not None


def redacted(text: str) -> str:
    """Hide what looks like a secret: user info and signatures in URLs, and keys that are assigned.

    Examples
    --------
    >>> redacted("can't read https://me:pw@host/x?X-Amz-Signature=f00&part=1")
    "can't read https://***@host/x?X-Amz-Signature=***&part=1"
    """
    if "@" in text:
        text = _compiled(_USER_INFO).sub(_without_user_info, text)
    if "=" in text:
        text = _compiled(_PARAMETER, re.IGNORECASE).sub(rf"\1{HIDDEN}", text)
    if _may_assign(text.lower()):
        text = _compiled(_ASSIGNED, re.IGNORECASE).sub(rf"\1{HIDDEN}", text)
    if "PRIVATE KEY" in text:
        text = _compiled(_PRIVATE_KEY, re.DOTALL).sub(HIDDEN, text)
    return text


def _may_assign(text: str) -> bool:
    # Each row of a report is looked at: this takes a third of the time of a loop over the words.
    return (
        "secret" in text
        or "token" in text
        or "accountkey" in text
        or "sharedaccess" in text
        or "signature" in text
    )


def _without_user_info(match: re.Match[str]) -> str:
    return f"{match['pair'] or match['user'] or ''}{HIDDEN}@"


class Redactor:
    """Hides values that are known to be secret, and what looks like one.

    Parameters
    ----------
    secrets : iterable of str
        Those of less than eight characters are passed over.
    """

    def __init__(self, secrets: Iterable[str] = ()) -> None:
        forms = {form for secret in secrets if len(secret) >= _SHORTEST for form in _forms(secret)}
        # A longer one may hold a shorter one.
        self._forms = sorted(forms, key=lambda form: (-len(form), form))

    def __call__(self, text: str) -> str:
        """Give a text without secrets."""
        for form in self._forms:
            if form in text:
                text = text.replace(form, HIDDEN)
        return redacted(text)


def _forms(secret: str) -> Iterator[str]:
    """Give the ways in which messages and URLs write a value."""
    # The environment may hold what is no UTF-8.
    plain = secret.encode(errors="replace").decode()
    yield from (secret, repr(secret)[1:-1], msgspec.json.encode(plain).decode()[1:-1])
    yield from (_percent_encoded(secret), _percent_encoded(secret, b"/"))
    if "%" in secret:
        from urllib.parse import unquote  # hardly any secret needs it

        decoded = unquote(secret)
        if len(decoded) >= _SHORTEST:
            yield decoded


def _percent_encoded(text: str, kept: bytes = b"") -> str:
    """Write text as URLs do; the library that does so takes long to import."""
    data = text.encode(errors="surrogateescape")
    return "".join(
        chr(byte) if byte in _UNRESERVED or byte in kept else f"%{byte:02X}" for byte in data
    )


def secrets_in(values: Mapping[str, str]) -> Iterator[str]:
    """Find the values of named settings that are secret.

    Parameters
    ----------
    values : mapping of str to str
        An environment, for example.

    Yields
    ------
    str
        What has a name that says so, and passwords in URLs.
    """
    for name, value in values.items():
        upper = name.upper()
        if any(word in upper for word in _SECRET_NAMES) and not upper.endswith(_PLACE_NAMES):
            yield value.strip()
        if "@" in value and ("://" in value or any(word in upper for word in _URL_NAMES)):
            yield from _passwords(value)


def _passwords(url: str) -> Iterator[str]:
    """Find the password of a URL, and the parts that may be told of it by themselves."""
    found = _compiled(_PASSWORD, re.DOTALL).match(url)
    # What takes the URL apart may end the host at the first of these.
    yield from dict.fromkeys((found[1], *re.split("[/@]", found[1]))) if found else ()


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
    otherwise : str
        What to say of a word that may not be quoted, such as ``another value``.

    Examples
    --------
    >>> quoted("F", "another value"), quoted("token=abc", "another value")
    ("'F'", 'another value')
    """
    return repr(word) if is_quotable(word) else otherwise


_LISTED = 12
"""Words that one hint lists."""

_COMPARED = 20_000
"""Words that one unknown word is compared with; of more, only those that differ little in length
and begin or end alike."""

_NEAR = 2
_HINTED = 5
"""Unknown words of one list that get a hint; looking for near ones takes long."""


def nearest(wanted: str, known: Iterable[str]) -> str | None:
    """Give the known word that is closest to one, if any is close.

    Examples
    --------
    >>> nearest("BOLD", ["bold", "T1w"]), nearest("x", ["bold"])
    ('bold', None)
    """
    words, sought = sorted(known), wanted.casefold()
    if len(words) > _COMPARED:
        words = [word for word in words if _is_alike(word.casefold(), sought)][:_COMPARED]
    folded = {word.casefold(): word for word in words}
    near = difflib.get_close_matches(sought, folded, n=1, cutoff=0.6)
    return folded[near[0]] if near else None


def _is_alike(word: str, sought: str) -> bool:
    """Compare two words as far as that takes no time."""
    return abs(len(word) - len(sought)) <= _NEAR and (
        word[:_NEAR] == sought[:_NEAR] or word[-_NEAR:] == sought[-_NEAR:]
    )


def suggestion(wanted: str, known: Iterable[str]) -> str | None:
    """Say which known word was probably meant, or which there are.

    Parameters
    ----------
    known : iterable of str
        Words from storage, so they are escaped.

    Returns
    -------
    str or None
        A hint; None where nothing is known.
    """
    words = sorted(known if isinstance(known, set) else set(known))
    near = nearest(wanted, words)
    if near:
        return f"did you mean {printable(near)!r}?"
    if not words:
        return None
    listed = ", ".join(repr(printable(word)) for word in words[:_LISTED])
    return f"there are {listed}" + (f" and {len(words) - _LISTED} more" if words[_LISTED:] else "")


class Hints:
    """Suggestions for the first unknown words of a list, of which there may be thousands."""

    def __init__(self, known: Iterable[str]) -> None:
        # Of half a million, a copy would take much memory.
        self._known = known if isinstance(known, set) else set(known)
        self._left = _HINTED

    def __call__(self, wanted: str) -> str | None:
        """Suggest a word, as `suggestion` does."""
        if not self._left:
            return None
        self._left -= 1
        return suggestion(wanted, self._known)
