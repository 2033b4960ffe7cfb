"""Secrets in text: what looks like one, and values that are known to be one.

Errors hide what looks like a secret when they are made; the command line hides the known values
as well, in everything that it writes.
"""

from __future__ import annotations

import functools
import re
from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

__all__ = ["HIDDEN", "Redactor", "has_user_info", "redacted", "secrets_in"]

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

    Parameters
    ----------
    text : str

    Returns
    -------
    str

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
        from urllib.parse import unquote  # noqa: PLC0415 - hardly any secret needs it

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
