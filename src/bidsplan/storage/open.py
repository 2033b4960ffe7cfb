"""Opens a URL as a store, if the URL is allowed."""

from __future__ import annotations

import socket
from pathlib import Path
from typing import TYPE_CHECKING

from bidsplan.errors import RefusedHostError, UnsupportedError, UrlError, UsageError
from bidsplan.help_codes import HelpCode
from bidsplan.storage.access import Transport
from bidsplan.storage.s3.credentials import connect
from bidsplan.urls import NO_MACHINES, OBJECT_STORES, parse_host, parse_url, refused_url

if TYPE_CHECKING:
    from threading import Event
    from typing import Any

    from bidsplan.storage.access import Access
    from bidsplan.storage.store import Store
    from bidsplan.storage.writable import WritableStore
    from bidsplan.urls import Location


_WEB = frozenset({"http", "https"})
_LOCAL = frozenset({"file", "memory"})
_ANONYMOUS: dict[str, dict[str, Any]] = {"gs": {"token": "anon"}, "az": {"anon": True}}
"""Options of fsspec's file systems for unsigned requests."""


def open_store(
    url: str, *, access: Access, anonymous: bool | None = None, base: str | None = None
) -> Store:
    """Open a dataset's root in storage, to list and read it.

    Parameters
    ----------
    url : str
        The root's URL, as in a manifest or a plan.
    access : Access
        How storage may be reached.
    anonymous : bool, optional
        Whether requests are unsigned, as in a manifest or plan. `access` overrides it, and the
        default is unsigned.
    base : str, optional
        The directory that a relative local path is relative to.

    Returns
    -------
    Store

    Raises
    ------
    UrlError
        If the URL or its host is refused.
    UsageError
        If the chosen transport can't reach the URL.
    """
    location = _allowed(url, access, "URL")
    if access.anonymous is not None:
        anonymous = access.anonymous
    unsigned = access.untrusted or anonymous is not False
    if location.protocol == "s3":
        connection = connect(access, anonymous=unsigned)
        if not unsigned:
            # Without credentials all requests would fail.
            connection.credentials()
        if access.transport is Transport.FSSPEC:
            from bidsplan.storage.s3.s3fs_store import S3fsStore  # half a second

            return S3fsStore(location.host, location.path, connection)
        from bidsplan.storage.s3.store import S3Store  # on demand

        return S3Store(location.host, location.path, connection)
    return _open_other(location, access, anonymous=unsigned, base=base)


def open_writable(url: str, *, access: Access, stop: Event) -> WritableStore:
    """Open a URL for writing; for local paths, see `bidsplan.destination`.

    Requests are always signed. Setting `stop` ends waits between attempts. Raises UrlError if the
    URL or its host is refused, and UsageError if it can't be written to.
    """
    location = _allowed(url, access, "destination's URL")
    if access.untrusted and location.protocol in OBJECT_STORES:
        raise UrlError(
            "the destination's URL is refused: requests to a destination are signed, and an "
            "untrusted plan may not use credentials; fetch to a directory",
            help_code=HelpCode.UNTRUSTED,
        )
    if location.protocol == "s3":
        from bidsplan.storage.s3.writable import S3Writable  # on demand

        connection = connect(access, anonymous=False, written=True)
        return S3Writable(location.host, location.path, connection, stop)
    if location.protocol in _WEB:
        raise UnsupportedError(
            "web servers are not written to; name a directory or an object store as destination"
        )
    from bidsplan.storage.fsspec_writable import FsspecWritable  # imports for a tenth of a second

    return FsspecWritable(location.protocol, _fsspec_url(location), {})


def _allowed(url: str, access: Access, what: str) -> Location:
    """Parse a URL; raise UrlError if the URL or its host is refused."""
    location = allowed_location(url, access, what)
    # Our own client checks each host that it connects to; other libraries do not.
    named = location.protocol not in OBJECT_STORES | NO_MACHINES | _LOCAL
    if named and (access.untrusted or location.protocol not in _WEB):
        _check_host(location, access)
    return location


def allowed_location(url: str, access: Access, what: str = "URL") -> Location:
    """Parse a URL, and check it without looking up its host's addresses.

    Raises UrlError if the URL is refused; `what` names the URL in the message.
    """
    reason = refused_url(url, allow=access.allow_protocols)
    if reason:
        raise UrlError(f"the {what} is refused: {reason}")
    location = parse_url(url)
    if access.untrusted:
        _check_untrusted(location)
    return location


def _open_other(location: Location, access: Access, *, anonymous: bool, base: str | None) -> Store:
    objects = location.protocol in OBJECT_STORES
    if access.transport is Transport.OBSTORE and not objects:
        raise UsageError(f"obstore can't reach {location.protocol!r}; leave --transport out")
    if location.protocol in _WEB:
        from bidsplan.storage.http.store import HttpStore  # on demand

        return HttpStore(f"{location.protocol}://{location.host}/{location.path}", access)
    if objects and access.transport is not Transport.FSSPEC:
        from bidsplan.storage.obstore_stores import open_objects  # on demand

        return open_objects(location, access, anonymous=anonymous)
    if location.protocol == "file":
        from bidsplan.storage.local import LocalStore  # on demand

        # A relative path is relative to the manifest or plan, on every machine.
        return LocalStore(str((Path(base or ".") / location.path).resolve()), location.path)
    from bidsplan.storage.fsspec_store import FsspecStore, filesystem_of  # takes 0.1 s

    url = _fsspec_url(location)
    options = _ANONYMOUS.get(location.protocol, {}) if anonymous else {}
    return FsspecStore(
        location.protocol, url, url, filesystem_of(location.protocol, url, **options)
    )


def _fsspec_url(location: Location) -> str:
    path = f"{location.host}/{location.path}".strip("/")
    separator = "://" if location.protocol != "memory" else ":///"
    return f"{location.protocol}{separator}{path}"


def _check_untrusted(location: Location) -> None:
    """Refuse URLs of this machine and its network, for a stranger's manifest."""
    if location.protocol in _LOCAL:
        raise UrlError(
            f"an untrusted manifest may not name {location.protocol} URLs or local paths",
            help_code=HelpCode.UNTRUSTED,
        )
    if location.protocol in OBJECT_STORES:
        return
    if location.protocol not in _WEB:
        raise UrlError(
            f"an untrusted manifest may not name {location.protocol} URLs, since where their "
            "connections lead can't be checked",
            help_code=HelpCode.UNTRUSTED,
        )


def _check_host(location: Location, access: Access) -> None:
    """Refuse a host before any request is sent to it."""
    from bidsplan.storage.addresses import resolve  # on demand

    host = parse_host(location.host)
    try:
        resolve(host.name, host.port or 443, public_only=access.untrusted)
    except RefusedHostError as error:
        raise UrlError(f"the URL is refused: {error}", help_code=error.help_code) from error
    except (socket.gaierror, UnicodeError) as error:
        if access.untrusted:
            raise UrlError("the URL names a host that can't be resolved") from error
