"""What stores are asked for, and what they return."""

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
        Its name below the store's root, exactly as stored: not normalised, not unquoted.
    size : int
        Bytes.
    etag : str or None
        Its entity tag without quotes; None where the storage has none that holds across machines.
    version : str or None
        Its VersionId, where the listing has it.
    """

    key: str
    size: int
    etag: str | None = None
    version: str | None = None


class ArchivedObject(Object, frozen=True, order=True, gc=False):
    """An object in an archive, from which it must be restored before it can be read.

    A class of its own, since a field would take memory of millions of objects.
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
    """The object that an answer is of; answers with equal identities are of the same bytes.

    Parameters
    ----------
    tag : str
        A strong entity tag without quotes, or whatever else the store's `stream` takes as one.
    version : str or None
        The VersionId, where the answer has one.
    url : str or None
        Where the answer came from after redirects, without its query: tags are of one URL.
    """

    tag: str
    version: str | None = None
    url: str | None = None


class Stream(Protocol):
    """An object's bytes as they arrive, to be closed after use.

    Attributes
    ----------
    size : int or None
        Bytes of the whole object, by the answer.
    etag : str or None
        The answer's entity tag, weak or strong, without quotes. Another one than the planned tag
        shows that the object has changed; the same one shows little.
    identity : Identity or None
        None where the answer names nothing that binds another range to it.
    """

    size: int | None
    etag: str | None
    identity: Identity | None

    def __iter__(self) -> Iterator[Buffer]: ...

    def close(self) -> None:
        """Release the connection."""


class FetchRequest(NamedTuple):
    """A small object to be read whole, and what it should be.

    Parameters
    ----------
    size : int
        How many bytes it should have; one that has more is not read to its end.
    etag, version : str or None
        As in `Store.stream`.
    digested : bool
        Whether the caller checks the bytes by a digest. They may then be requested without the tag,
        where that is quicker.
    """

    key: str
    size: int
    etag: str | None = None
    version: str | None = None
    digested: bool = False


class FetchedObject(NamedTuple):
    """An object's bytes, of one dimension, and the answer's entity tag without quotes."""

    data: Buffer
    etag: str | None


class ObjectMetadata(NamedTuple):
    """An object's metadata.

    Parameters
    ----------
    etag_is_md5 : bool
        Whether its plain entity tag is the MD5 of its bytes.
    checksum : Checksum or None
        Of the whole object; None where there is none, or only of its parts.
    """

    etag_is_md5: bool
    checksum: Checksum | None = None


class Abilities(NamedTuple):
    """What a store can do beyond listing and reading.

    Parameters
    ----------
    async_reads : bool
        `Store.whole` can be called: on an event loop, hundreds at a time.
    versions : bool
        The storage may keep versions of objects.
    ordered_listings : bool
        `Store.list_after` can be called: listings come in the order of keys, and may begin
        anywhere.
    checksums : bool
        The storage may keep checksums of whole objects.
    ranges : bool
        `Store.stream` takes `stop`, so that parts of an object can be read side by side.
    """

    async_reads: bool = False
    versions: bool = False
    ordered_listings: bool = False
    checksums: bool = False
    ranges: bool = False
