"""The requests to stores, and their results."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, Protocol

import msgspec

if TYPE_CHECKING:
    from collections.abc import Iterator

    from typing_extensions import Buffer

    from bidsplan.plan.integrity import Checksum


class Object(msgspec.Struct, frozen=True, order=True, gc=False):
    """One object of a listing.

    Parameters
    ----------
    key : str
        The object's name below the store's root, exactly as stored: not normalised, not unquoted.
    size : int
        Size in bytes.
    etag : str or None
        The entity tag without quotes; None if the storage has no tag that is the same on every
        machine.
    version : str or None
        The VersionId, if the listing contains it.
    """

    key: str
    size: int
    etag: str | None = None
    version: str | None = None


class ArchivedObject(Object, frozen=True, order=True, gc=False):
    """An object in an archive, which must be restored before it can be read.

    This is a separate class, because another field would take memory for millions of objects.
    """


class Children(NamedTuple):
    """The objects and directories directly below a prefix.

    Parameters
    ----------
    objects : tuple of Object
        Sorted by key.
    directories : tuple of str
        Keys that end in ``/``, sorted.
    """

    objects: tuple[Object, ...]
    directories: tuple[str, ...]


class Identity(NamedTuple):
    """Identifies the object in an answer: equal identities mean equal bytes.

    Parameters
    ----------
    tag : str
        A strong entity tag without quotes, or another text that the store's `stream` accepts as
        its `etag`.
    version : str or None
        The VersionId, if the answer has one.
    url : str or None
        The URL that the answer came from, after redirects and without its query. A tag is only
        valid for one URL.
    """

    tag: str
    version: str | None = None
    url: str | None = None


class Stream(Protocol):
    """An object's bytes as they arrive; close it after use.

    Attributes
    ----------
    size : int or None
        Size of the whole object in bytes, as the answer says.
    etag : str or None
        The answer's entity tag, weak or strong, without quotes. If it differs from the planned tag,
        the object has changed; if it is the same, that proves little.
    identity : Identity or None
        None if the answer has nothing by which another range can be requested of the same object.
    """

    size: int | None
    etag: str | None
    identity: Identity | None

    def __iter__(self) -> Iterator[Buffer]: ...

    def close(self) -> None:
        """Release the connection."""


class FetchRequest(NamedTuple):
    """A request for a small object, which is read whole.

    Parameters
    ----------
    key : str
    size : int
        The expected size in bytes. A larger object is not read to its end.
    etag, version : str or None
        As in `Store.stream`.
    digested : bool
        Whether the caller checks the bytes by a digest. The request may then leave out the tag if
        that is faster.
    """

    key: str
    size: int
    etag: str | None = None
    version: str | None = None
    digested: bool = False


class FetchedObject(NamedTuple):
    """An object's bytes, as a flat buffer, and its entity tag without quotes."""

    data: Buffer
    etag: str | None


class ObjectMetadata(NamedTuple):
    """An object's metadata.

    Parameters
    ----------
    etag_is_md5 : bool
        Whether the object's entity tag, if it is not multipart, is the MD5 of its bytes.
    checksum : Checksum or None
        The checksum of the whole object; None if the storage has none, or only of upload parts.
    """

    etag_is_md5: bool
    checksum: Checksum | None = None


class Abilities(NamedTuple):
    """What a store can do beyond listing and reading.

    Parameters
    ----------
    async_reads : bool
        Whether `Store.whole` can be called, on an event loop and hundreds of times at once.
    versions : bool
        Whether the storage may keep versions of objects.
    ordered_listings : bool
        Whether `Store.list_after` can be called: listings are in the order of keys, and can start
        at any key.
    checksums : bool
        Whether the storage may keep checksums of whole objects.
    ranges : bool
        Whether `Store.stream` accepts `stop`, so that several ranges of an object can be read at
        the same time.
    """

    async_reads: bool = False
    versions: bool = False
    ordered_listings: bool = False
    checksums: bool = False
    ranges: bool = False
