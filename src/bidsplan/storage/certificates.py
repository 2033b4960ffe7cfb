"""Finds the certificates that all clients trust."""

from __future__ import annotations

import functools
import os
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from bidsplan.errors import UsageError
from bidsplan.help_codes import HelpCode
from bidsplan.paths import printable

if TYPE_CHECKING:
    import ssl
    from collections.abc import Iterator


HINT = (
    "name its CA's file (PEM) in AWS_CA_BUNDLE or the profile's ca_bundle (S3 only), "
    "REQUESTS_CA_BUNDLE or SSL_CERT_FILE"
)
"""The hint if a server's certificate is from an authority that is not trusted."""

_VARIABLES = ("REQUESTS_CA_BUNDLE", "SSL_CERT_FILE", "SSL_CERT_DIR")

_SYSTEM = (
    "/etc/ssl/cert.pem",
    "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",
    "/etc/pki/tls/cert.pem",
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/ssl/ca-bundle.pem",
)
"""Places of the system's certificates, for a Python that was built with other places."""

_HASHED = re.compile(r"[0-9a-f]{8}\.[0-9]")
_BLOCK = re.compile(rb"-----BEGIN CERTIFICATE-----[A-Za-z0-9+/=\s]+-----END CERTIFICATE-----")
_UNKNOWN_AUTHORITY = frozenset({18, 19, 20, 21})
"""OpenSSL's codes for a chain of certificates without a trusted end."""


class Authority(NamedTuple):
    """A file or directory with additional trusted certificates.

    Parameters
    ----------
    source : str
        The name of the setting that contains it, for messages.
    """

    path: str
    source: str


Authorities = tuple[Authority, ...]


def named_authorities() -> Authorities:
    """Return the certificate files that the environment names."""
    found = (Authority(os.environ.get(name, ""), name) for name in _VARIABLES)
    return tuple(each for each in found if each.path)


@functools.lru_cache(maxsize=16)
def certificates(authorities: Authorities) -> str:
    """Return certificates (PEM) to trust in addition to the libraries' own.

    Raises UsageError if the certificates can't be read.
    """
    found = dict.fromkeys(block for each in authorities for block in _read(each))
    if not found and not _system_has_some():
        found = dict.fromkeys(_blocks(_usual_bundle()))
    return b"\n".join(found).decode()


def _read(authority: Authority) -> list[bytes]:
    """Read the certificates in a file or directory."""
    try:
        path = Path(authority.path).expanduser()
        files = sorted(filter(Path.is_file, path.iterdir())) if path.is_dir() else [path]
        found = [block for file in files for block in _blocks(file)]
    except (OSError, RuntimeError) as error:
        reason = getattr(error, "strerror", None) or type(error).__name__
        raise _unusable(authority, f"can't be read ({reason})") from error
    if not found:
        raise _unusable(authority, "holds no certificate")
    return found


def _blocks(file: Path) -> list[bytes]:
    return _BLOCK.findall(file.read_bytes())


def _unusable(authority: Authority, why: str) -> UsageError:
    return UsageError(
        f"{printable(authority.path)!r}, which {authority.source} names, {why}; expected a file of "
        "certificates in PEM format",
        help_code=HelpCode.CONFIGURATION,
    )


def _system_has_some() -> bool:
    """Report whether OpenSSL finds the system's certificates."""
    import ssl  # not loaded by runs without requests

    paths = ssl.get_default_verify_paths()
    hashed = paths.capath and any(map(_HASHED.fullmatch, os.listdir(paths.capath)))
    return sys.platform == "darwin" or bool(paths.cafile or hashed)


def _usual_bundle() -> Path:
    from botocore.httpsession import get_cert_path  # imports for a tenth of a second

    usual = (path for path in _SYSTEM if Path(path).is_file())
    return Path(next(usual, None) or get_cert_path(True))


def new_context(authorities: Authorities) -> ssl.SSLContext:
    """Return a TLS context that trusts the system and `authorities`.

    Raises UsageError if the certificates can't be used.
    """
    import ssl  # not loaded by runs without requests

    context = _system_context()
    found = certificates(authorities)
    if found:
        try:
            context.load_verify_locations(cadata=found)
        except ssl.SSLError as error:
            named = " and ".join(each.source for each in authorities)
            raise UsageError(
                f"a certificate that {named} names is damaged; check it",
                help_code=HelpCode.CONFIGURATION,
            ) from error
    return context


shared_context = functools.lru_cache(maxsize=16)(new_context)
"""Like `new_context`, for clients that do not change the context."""


def _system_context() -> ssl.SSLContext:
    import ssl  # not loaded by runs without requests

    if sys.platform == "darwin":
        import truststore  # the keychain, which OpenSSL does not read

        return truststore.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.load_default_certs()
    return context


def untrusted(error: BaseException) -> str | None:
    """Return why a certificate was refused; None for other errors."""
    import ssl  # not loaded by runs without requests

    for each in _causes(error):
        # aiohttp raises a subclass without OpenSSL's code, which holds the error with the code.
        if isinstance(each, ssl.SSLCertVerificationError) and hasattr(each, "verify_code"):
            if each.verify_code in _UNKNOWN_AUTHORITY:
                return f"has a certificate that is not trusted; {HINT}"
            return f"has a certificate that is not valid: {printable(each.verify_message)}"
    return None


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    """Yield an error and its causes."""
    for _ in range(8):
        if error is None:
            return
        yield error
        held = (each for each in error.args if isinstance(each, BaseException))
        error = next(held, None) or error.__cause__ or error.__context__
