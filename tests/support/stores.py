"""Stores for tests: listings without data, so that a rule can be shown by names alone."""

from __future__ import annotations

import csv
import gzip
import random
import tarfile
from typing import TYPE_CHECKING

from bidsplan.errors import SourceMissingError
from bidsplan.storage import Children, Object, Store

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path


class _Bytes:
    def __init__(self, data: bytes, etag: str | None) -> None:
        self._data, self.size, self.etag = data, len(data), etag
        self.identity = None

    def __iter__(self) -> Iterator[bytes]:
        yield self._data

    def close(self) -> None:
        pass


class ListingStore(Store):
    """Serves a listing, and the bytes of those of its files that are given.

    Parameters
    ----------
    url : str
    listing : mapping of str to (int, str or None)
        Size and entity tag by key.
    contents : mapping of str to bytes
    order : random.Random, optional
        Shuffles each listing.
    """

    def __init__(self, url, listing, contents=None, *, order: random.Random | None = None) -> None:
        self.url = url
        self._objects = [Object(key, size, etag) for key, (size, etag) in sorted(listing.items())]
        self._contents: Mapping[str, bytes] = contents or {}
        self._order = order

    def _shuffled(self, objects):
        if self._order is not None:
            self._order.shuffle(objects)
        return objects

    def list(self, prefix: str = "") -> Iterator[Object]:
        return iter(self._shuffled([o for o in self._objects if o.key.startswith(prefix)]))

    def children(self, prefix: str = "") -> Children:
        objects, directories = [], set()
        for item in self.list(prefix):
            name, slash, _ = item.key[len(prefix) :].partition("/")
            if slash:
                directories.add(f"{prefix}{name}/")
            else:
                objects.append(item)
        return Children(tuple(sorted(objects)), tuple(sorted(directories)))

    def stream(self, key, *, etag=None, version=None, start=0):
        found = next((item for item in self._objects if item.key == key), None)
        if found is None:
            raise SourceMissingError(f"{self.url}: no object {key!r}")
        # A listing comes with the contents of some of its files; the others say nothing, at length.
        nothing = (b"{}" if key.endswith(".json") else b"").ljust(found.size, b"\n")[: found.size]
        return _Bytes(self._contents.get(key, nothing)[start:], etag)


class Listings:
    """Opens `ListingStore` roots below URLs, as the compiler asks for them.

    Parameters
    ----------
    roots : mapping of str to (listing, contents)
        By URL; a URL below one of them opens that part of it.
    seed : int, optional
        Shuffles listings.
    """

    def __init__(self, roots, *, seed: int | None = None) -> None:
        self._roots = roots
        self._order = None if seed is None else random.Random(seed)

    def __call__(self, url, *, access, anonymous, base):
        for root, (listing, contents) in self._roots.items():
            if url == root or url.startswith(f"{root}/"):
                prefix = url[len(root) + 1 :] + "/" if url != root else ""
                below = {k[len(prefix) :]: v for k, v in listing.items() if k.startswith(prefix)}
                bytes_ = {k[len(prefix) :]: v for k, v in contents.items() if k.startswith(prefix)}
                return ListingStore(url, below, bytes_, order=self._order)
        return ListingStore(url, {})


def corpus(folder: Path, name: str):
    """Read a real bucket's listing and the small files that a planner reads."""
    with gzip.open(folder / f"{name}.tsv.gz", "rt", encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE))
    listing = {
        row["key"]: (max(int(row["size"]), 0), row["etag_or_checksum"].rpartition(":")[2] or None)
        for row in rows
    }
    contents = {}
    with tarfile.open(folder / f"{name}.files.tar.xz") as archive:
        for member in archive:
            file = archive.extractfile(member) if member.isfile() else None
            if file is not None:
                contents[member.name.partition("/")[2]] = file.read()
    for key, data in contents.items():
        listing[key] = (len(data), listing.get(key, (0, None))[1])
    return listing, contents


def in_memory(files: Mapping[str, bytes]):
    """Give a listing and contents of whole files."""
    return {key: (len(data), None) for key, data in files.items()}, dict(files)


__all__ = ["ListingStore", "Listings", "corpus", "in_memory"]
