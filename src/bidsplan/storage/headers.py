"""Reads response headers: entity tags, sizes, checksums."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bidsplan.errors import StorageError
from bidsplan.paths import printable
from bidsplan.plan.integrity import Checksum
from bidsplan.storage.objects import Identity, Object, ObjectMetadata

if TYPE_CHECKING:
    from collections.abc import Mapping


CHECKSUM_MODE = {"x-amz-checksum-mode": "ENABLED"}
"""The header that requests checksums."""

_ALGORITHMS = ("sha256", "sha1", "crc64nvme", "crc32c", "crc32")
"""The checksum algorithms, the strongest first."""
_LONGEST_SIZE = len(str(2**63 - 1))

_LONGEST_TAG = 1024


def bare_etag(text: str | None) -> str | None:
    """Return a listing's strong entity tag without quotes."""
    if not text or text.startswith("W/"):
        return None
    return _clean(text[1:-1] if text[0] == '"' == text[-1] else text.strip('"'))


def strong_etag(text: str | None) -> str | None:
    """Return an answer's entity tag if it is strong (RFC 9110, 8.8.3)."""
    if not text or len(text) < 3 or not text[0] == '"' == text[-1]:
        return None
    return _clean(text[1:-1])


def compared_etag(text: str | None) -> str | None:
    """Return an answer's entity tag, weak or strong, for comparisons."""
    return (text or "").removeprefix("W/").strip('"') or None


def quoted_etag(tag: str) -> str:
    """Write an entity tag for the condition of a request.

    Raises StorageError if a header can't contain the tag.
    """
    if _clean(tag) is None:
        raise StorageError(
            f"{printable(tag[:80])!r} is no entity tag that a request could name; expected "
            "printable ASCII without quotes; compile the plan again"
        )
    return f'"{tag}"'


def _clean(tag: str) -> str | None:
    """Refuse a tag that can't be quoted in a request, or is a list."""
    plain = tag.isascii() and tag.isprintable() and '"' not in tag
    return tag if plain and 0 < len(tag) <= _LONGEST_TAG else None


def identity_of(etag: str | None, version: str | None) -> Identity | None:
    """Identify an answer's object by its ``ETag`` and VersionId."""
    tag = strong_etag(etag)
    return None if tag is None else Identity(tag, version)


def listed_version(text: str | None) -> str | None:
    """Return a listing's VersionId; None if a request can't contain it."""
    return text if text and text.isprintable() and len(text) <= _LONGEST_TAG else None


def content_length(headers: Mapping[str, str]) -> int | None:
    """Return an answer's length; None if it is not a number."""
    text = headers.get("Content-Length") or ""
    is_size = len(text) <= _LONGEST_SIZE and text.isascii() and text.isdecimal()
    return int(text) if is_size else None


def object_of(key: str, headers: Mapping[str, str]) -> Object:
    """Describe an object by its answer's headers."""
    return Object(key, content_length(headers) or 0, bare_etag(headers.get("ETag")))


def is_encrypted(headers: Mapping[str, str]) -> bool:
    """Report whether an object is encrypted so that its tag is no digest."""
    kind = headers.get("x-amz-server-side-encryption", "AES256")
    return kind != "AES256" or "x-amz-server-side-encryption-customer-algorithm" in headers


def about_of(headers: Mapping[str, str], etag: str | None) -> ObjectMetadata:
    """Return an object's metadata from its answer's headers.

    Parameters
    ----------
    headers : mapping
        The headers, by names in lower case or in any case.
    etag : str or None
        The planned tag, if there is one. If the object has another tag, its checksum is left out.
    """
    plain = not is_encrypted(headers)
    same = etag is None or bare_etag(headers.get("etag")) == etag
    kind = headers.get("x-amz-checksum-type")
    if same and kind in {None, "FULL_OBJECT"}:
        for algorithm in _ALGORITHMS:
            value = headers.get(f"x-amz-checksum-{algorithm}", "")
            # A checksum of the parts' checksums ends with the number of parts, but not on every
            # gateway.
            if value and "-" not in value:
                # In S3, a CRC64NVME is never one of the parts' checksums.
                whole = kind is not None or algorithm == "crc64nvme"
                return ObjectMetadata(plain, Checksum(algorithm, value, whole))
    return ObjectMetadata(plain)


def range_header(start: int, stop: int | None) -> dict[str, str]:
    """Return the header that requests a range; empty for all bytes."""
    if not start and stop is None:
        return {}
    return {"Range": f"bytes={start}-{'' if stop is None else stop - 1}"}


def whole_size(
    status: int,
    content_range: str | None,
    length: int | None,
    start: int,
    what: str,
    stop: int | None = None,
) -> int | None:
    """Return the size of the whole object; None if the answer has no length.

    Raises StorageError if the answer contains other bytes than requested.

    Parameters
    ----------
    content_range : str or None
        The answer's ``Content-Range``.
    length : int or None
        The answer's ``Content-Length``.
    start : int
        The first byte that was requested.
    stop : int or None
        The byte to stop before; None if all bytes from `start` on were requested.
    what : str
        The object's name, for messages.
    """
    if not start and stop is None:
        if status != 200:
            raise StorageError(
                f"{what}: the whole object was asked for, and the answer has the status {status}; "
                "expected 200"
            )
        return length
    text = (content_range or "").rpartition("/")[2]
    size = content_length({"Content-Length": text})
    end = size if stop is None else stop
    wanted = None if end is None else f"bytes {start}-{end - 1}/{text}"
    if status != 206 or size is None or end is None or content_range != wanted:
        raise StorageError(f"{what}: byte {start} was asked for, and another range came")
    if length not in {None, end - start}:
        raise StorageError(f"{what}: {end - start} bytes were asked for, and {length} are sent")
    return size
