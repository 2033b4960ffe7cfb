"""Secrets in text: what looks like one, and values that are known to be one.

Errors hide what looks like a secret when they are made; the command line hides the known values
as well, in everything that it writes.
"""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING
from urllib.parse import quote, unquote

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
_USER_INFO = re.compile(f"{_PAIR}|{_USER}|{_BARE}")
_PARAMETER = re.compile(
    r"([?&;][\w.\-]{0,64}(?:sig|token|credential|secret|passw|pwd|auth|key)[\w.\-]{0,64}=)"
    r"[^\s&#;'\"]+",
    re.IGNORECASE,
)
_ASSIGNED = re.compile(
    r"((?:aws_secret_access_key|aws_session_token|aws_security_token|x-amz-security-token|"
    r"AccountKey|SharedAccessKey|SharedAccessSignature|client_secret|\bSignature)"
    r"['\"]?\s{0,8}[=:]\s{0,8})[^\s,;&]+",
    re.IGNORECASE,
)
_PRIVATE_KEY = re.compile(r"-----BEGIN [A-Z ]{0,32}PRIVATE KEY-----.{0,16384}", re.DOTALL)

_SECRET_NAME = re.compile(
    r"SECRET|TOKEN|PASSW|PASSPHRASE|ACCOUNT_KEY|STORAGE_KEY|SAS_|CONNECTION_STRING", re.IGNORECASE
)
_PLACE_NAME = re.compile(r"_(?:FILE|PATH|DIR|URI|URL|ARN|ID)\Z", re.IGNORECASE)
_URL_NAME = re.compile(r"URL|URI|PROXY|ENDPOINT", re.IGNORECASE)
_PASSWORD = re.compile(
    rf"(?:{_SCHEME})?/*[^/:@]{{0,512}}:(?!/|\d{{1,5}}/)(.{{1,1024}})@", re.DOTALL
)


def has_user_info(url: str) -> bool:
    """Tell whether a URL holds a user name or a password, also where it is mistyped.

    Examples
    --------
    >>> has_user_info("s3:/AKIA0:pw@bucket"), has_user_info("https://host:8080/a@b")
    (True, False)
    """
    return "@" in url and _USER_INFO.search(url) is not None


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
        text = _USER_INFO.sub(_without_user_info, text)
    if "=" in text or ":" in text:
        text = _PARAMETER.sub(rf"\1{HIDDEN}", text)
        text = _ASSIGNED.sub(rf"\1{HIDDEN}", text)
    if "PRIVATE KEY" in text:
        text = _PRIVATE_KEY.sub(HIDDEN, text)
    return text


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
    yield from (secret, quote(secret, safe=""), quote(secret, safe="/"), repr(secret)[1:-1])
    yield from (json.dumps(secret)[1:-1], json.dumps(secret, ensure_ascii=False)[1:-1])
    if len(unquote(secret)) >= _SHORTEST:
        yield unquote(secret)


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
        if _SECRET_NAME.search(name) and not _PLACE_NAME.search(name):
            yield value.strip()
        if "@" in value and ("://" in value or _URL_NAME.search(name)):
            found = _PASSWORD.match(value)
            # What takes the URL apart may end the host at the first of these.
            pieces = (found[1], *re.split("[/@]", found[1])) if found else ()
            yield from dict.fromkeys(pieces)
