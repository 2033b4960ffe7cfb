"""Finds the version of each selected object, if a manifest pins versions."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import partial
from itertools import groupby
from operator import call
from typing import TYPE_CHECKING

import msgspec

from bidsplan import errors
from bidsplan.compile.survey.sources import errors_at
from bidsplan.help_codes import HelpCode
from bidsplan.paths import printable

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from bidsplan.compile.context import Context
    from bidsplan.compile.survey.sources import Opener
    from bidsplan.plan import Entry
    from bidsplan.storage import Access, Object, Store


_TOGETHER = 10_000
"""The number of entries whose versions are looked up at a time."""

_BEFORE_VERSIONING = "null"
"""S3's name for the version of an object in a bucket that kept no versions at the time."""


def _unversioned(message: str) -> errors.Problem:
    hint = "leave it out; requests are bound to entity tags all the same, where there are any"
    return errors.Problem(
        message=message, at=("study", "versions"), hint=hint, help_code=HelpCode.UNVERSIONED
    )


def only_versioned(opener: Opener) -> Opener:
    """Return an opener that refuses storage without versions."""

    def opened(url: str, *, access: Access, anonymous: bool | None, base: str | None) -> Store:
        store = opener(url, access=access, anonymous=anonymous, base=base)
        if not store.abilities.versions:
            message = f"{printable(store.url)}: this storage has no versions to pin; only S3 has"
            raise errors.SelectionError(problems=[_unversioned(message)])
        return store

    return opened


@dataclass(kw_only=True, slots=True)
class _Source:
    """Selected objects of one root, as listed and with their versions."""

    store: Store
    place: errors.Place
    listed: dict[str, Entry] = field(default_factory=dict)
    found: dict[str, Object] = field(default_factory=dict)
    refused: list[errors.StorageError] = field(default_factory=list)
    """The error if versions can't be listed; it is not tried again."""
    known_to_keep: bool = False
    """Whether an object was looked up, which shows whether the bucket keeps versions."""

    def list_versions(self, directory: str) -> None:
        """List the versions of one directory's objects, if allowed."""
        if self.refused:
            return
        try:
            with errors_at(self.place):
                self._list_directory(directory)
        except (errors.ListingError, errors.ThrottledError, errors.UnreachableError):
            raise
        except errors.StorageError as error:
            self.refused.append(error)

    def _list_directory(self, directory: str) -> None:
        for item in self.store.versions(directory):
            if item.key in self.listed:
                self.found[item.key] = item

    def unsure(self) -> list[str]:
        """List the keys that must be looked up one by one.

        In a bucket without versions, a listing names every version "null". To find that out, one
        object has to be looked up, which then has no version at all.
        """
        unsure = self.listed.keys() - self.found
        before = all(item.version == _BEFORE_VERSIONING for item in self.found.values())
        if self.found and before and not self.known_to_keep:
            self.known_to_keep = True
            unsure.add(min(self.found))
        return sorted(unsure)

    def look_up(self, key: str) -> None:
        """Find one object's version."""
        try:
            with errors_at(self.place):
                self.found[key] = self.store.version_of(key)
        except errors.SourceMissingError as error:
            raise self._changed([key], "it is no longer there") from error

    def problems(self) -> list[errors.Problem]:
        """Report objects without a version, or that have changed."""
        others = []
        for key, item in sorted(self.found.items()):
            if item.version is None:
                url, name = printable(self.store.url), printable(key)
                return [_unversioned(f"{url} keeps no versions: {name!r} has none to pin")]
            was = self.listed[key]
            if (item.size, item.etag) != (was.size, was.etag):
                others.append(key)
        if not others:
            return []
        was, now = self.listed[others[0]], self.found[others[0]]
        raise self._changed(
            others,
            f"it was listed with entity tag {printable(str(was.etag))} and {was.size} bytes, "
            f"and now has {printable(str(now.etag))} and {now.size}",
        )

    def _changed(self, keys: Sequence[str], how: str) -> errors.SourceChangedError:
        more = f" (and {len(keys) - 1} more)" if len(keys) > 1 else ""
        where = printable(f"{self.store.url}/{keys[0]}")
        return errors.SourceChangedError(
            f"{where}{more}: the source changed while it was compiled: {how}; compile again"
        )


def pin_versions(context: Context, entries: Iterable[Entry]) -> Iterator[Entry]:
    """Yield entries with the version of each entry's object.

    Raises SelectionError if a bucket keeps no versions, and SourceChangedError if an object has
    changed since it was listed.
    """
    sources: dict[int, _Source] = {}
    waiting: list[Entry] = []
    for _, some in groupby(entries, _directory_of):
        waiting += some
        if len(waiting) >= _TOGETHER:
            yield from _pinned(context, waiting, sources)
            waiting = []
    yield from _pinned(context, waiting, sources)


def _directory_of(entry: Entry) -> tuple[int, str]:
    return entry.root, entry.key.rpartition("/")[0]


def _pinned(
    context: Context, entries: Sequence[Entry], sources: dict[int, _Source]
) -> Iterator[Entry]:
    """Find the versions of entries, listing directories in parallel."""
    for source in sources.values():
        source.listed, source.found = {}, {}
    for entry in entries:
        if entry.version is None and entry.content is None:
            if entry.root not in sources:
                store, place = context.roots.store(entry.root), context.roots.place(entry.root)
                sources[entry.root] = _Source(store=store, place=place)
            sources[entry.root].listed[entry.key] = entry
    listings = [
        partial(source.list_versions, directory)
        for source in sources.values()
        for directory in sorted({"".join(key.rpartition("/")[:2]) for key in source.listed})
    ]
    context.lister.each(call, listings)
    others = [partial(some.look_up, key) for some in sources.values() for key in some.unsure()]
    context.lister.each(call, others)
    for source in sources.values():
        context.report.add_errors(*source.problems())
    context.report.raise_errors()
    for entry in entries:
        item = sources[entry.root].found.get(entry.key) if entry.root in sources else None
        yield entry if item is None else msgspec.structs.replace(entry, version=item.version)
