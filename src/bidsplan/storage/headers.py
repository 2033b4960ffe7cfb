"""Response headers: entity tags, sizes, checksums."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bidsplan.errors import (
    StorageError,
)
from bidsplan.paths import printable
from bidsplan.plan.integrity import Checksum
from bidsplan.storage.objects import Identity, Object, ObjectMetadata

if TYPE_CHECKING:
    from collections.abc import Mapping


CHECKSUM_MODE = {"x-amz-checksum-mode": "ENABLED"}
"""The header that asks for checksums."""

_ALGORITHMS = ("sha256", "sha1", "crc64nvme", "crc32c", "crc32")
"""The strongest first."""
_LONGEST_SIZE = len(str(2**63 - 1))

_LONGEST_TAG = 1024


def bare_etag(text: str | None) -> str | None:
    """Give the strong entity tag that a listing has, with or without quotes."""
    if not text or text.startswith("W/"):
        return None
    return _clean(text[1:-1] if text[0] == '"' == text[-1] else text.strip('"'))


def strong_etag(text: str | None) -> str | None:
    """Give an answer's entity tag, where it is written as a strong one is (RFC 9110, 8.8.3)."""
    if not text or len(text) < 3 or not text[0] == '"' == text[-1]:
        return None
    return _clean(text[1:-1])


def compared_etag(text: str | None) -> str | None:
    """Give an answer's entity tag in whatever form; one that differs is of another object."""
    return (text or "").removeprefix("W/").strip('"') or None


def quoted_etag(tag: str) -> str:
    """Write an entity tag as a request's condition has it.

    Raises
    ------
    StorageError
        Where no header could hold it.
    """
    if _clean(tag) is None:
        raise StorageError(
            f"{printable(tag[:80])!r} is no entity tag that a request could name; expected "
            "printable ASCII without quotes; compile the plan anew"
        )
    return f'"{tag}"'


def _clean(tag: str) -> str | None:
    """Refuse a tag that no request could hold in quotes, or that is several."""
    plain = tag.isascii() and tag.isprintable() and '"' not in tag
    return tag if plain and 0 < len(tag) <= _LONGEST_TAG else None


def identity_of(etag: str | None, version: str | None) -> Identity | None:
    """Tell by an answer's ``ETag`` and VersionId which object it is of."""
    tag = strong_etag(etag)
    return None if tag is None else Identity(tag, version)


def listed_version(text: str | None) -> str | None:
    """Give a listing's VersionId; None where it is none that a request could name."""
    return text if text and text.isprintable() and len(text) <= _LONGEST_TAG else None


def content_length(headers: Mapping[str, str]) -> int | None:
    """Give the length that an answer says it has; None where that is no number of bytes."""
    text = headers.get("Content-Length") or ""
    is_size = len(text) <= _LONGEST_SIZE and text.isascii() and text.isdecimal()
    return int(text) if is_size else None


def object_of(key: str, headers: Mapping[str, str]) -> Object:
    """Describe an object by the headers of its answer."""
    return Object(key, content_length(headers) or 0, bare_etag(headers.get("ETag")))


def is_encrypted(headers: Mapping[str, str]) -> bool:
    """Tell whether an answer is of an object that is encrypted so that its tag is no digest."""
    kind = headers.get("x-amz-server-side-encryption", "AES256")
    return kind != "AES256" or "x-amz-server-side-encryption-customer-algorithm" in headers


def about_of(headers: Mapping[str, str], etag: str | None) -> ObjectMetadata:
    """Take what a storage tells of an object from its answer's headers.

    Parameters
    ----------
    headers : mapping
        By names in lower case, or whatever their case.
    etag : str or None
        The planned tag, if there is one; a checksum of an object with another is not given.
    """
    plain = not is_encrypted(headers)
    same = etag is None or bare_etag(headers.get("etag")) == etag
    if same and headers.get("x-amz-checksum-type", "FULL_OBJECT") == "FULL_OBJECT":
        for algorithm in _ALGORITHMS:
            value = headers.get(f"x-amz-checksum-{algorithm}", "")
            # One of parts' checksums ends with their number.
            if value and "-" not in value:
                return ObjectMetadata(plain, Checksum(algorithm, value))
    return ObjectMetadata(plain)


def whole_size(
    status: int, said: str | None, length: int | None, start: int, what: str
) -> int | None:
    """Tell how long the whole object is; refuse an answer of other bytes than were asked for.

    Parameters
    ----------
    status : int
        Of the answer.
    said : str or None
        Its ``Content-Range``.
    length : int or None
        Its ``Content-Length``.
    start : int
        The first byte that was asked for; all from there on were.
    what : str
        The object, as messages name it.

    Returns
    -------
    int or None
        None where an answer of the whole object does not say it.

    Raises
    ------
    StorageError
    """
    if not start:
        if status != 200:
            raise StorageError(
                f"{what}: the whole object was asked for, and the answer has the status {status}; "
                "expected 200"
            )
        return length
    text = (said or "").rpartition("/")[2]
    size = content_length({"Content-Length": text})
    whole = None if size is None else f"bytes {start}-{size - 1}/{text}"
    if status != 206 or said != whole or size is None or length not in {None, size - start}:
        raise StorageError(f"{what}: byte {start} was asked for, and another range came")
    return size
