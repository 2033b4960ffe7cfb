"""The version of each selected object, where a manifest pins them."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import msgspec

from bidsplan.errors import (
    Problem,
    SelectionError,
    SourceChangedError,
    SourceMissingError,
    StorageError,
    ThrottledError,
    UnreachableError,
)
from bidsplan.paths import printable

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from bidsplan.compile.context import Context
    from bidsplan.compile.entries import DatasetEntries
    from bidsplan.compile.survey.sources import Opener
    from bidsplan.storage import Access, Object, Store


_PLACE = ("study", "versions")
"""Where a manifest asks for them."""

_HINT = "leave it out; requests are bound to entity tags all the same, where there are any"

_BEFORE_VERSIONING = "null"
"""What S3 calls the version of an object from before its bucket had versions, or that has none."""


def only_versioned(opener: Opener) -> Opener:
    """Make an opener that refuses storage without versions, before anything is listed.

    Returns
    -------
    Opener
        Raises a SelectionError where a root's storage has none.
    """

    def opened(url: str, *, access: Access, anonymous: bool | None, base: str | None) -> Store:
        store = opener(url, access=access, anonymous=anonymous, base=base)
        if not store.abilities.versions:
            store.close()
            message = f"{printable(store.url)}: this storage has no versions to pin; only S3 has"
            raise SelectionError(problems=[Problem(message=message, at=_PLACE, hint=_HINT)])
        return store

    return opened


@dataclass(frozen=True, kw_only=True, slots=True)
class _Source:
    """The selected objects of one root.

    Parameters
    ----------
    listed, found : dict of str to Object
        By key: as the listing had them, and with their versions.
    refused : list of StorageError
        Why versions can't be listed; not asked for again then.
    """

    store: Store
    listed: dict[str, Object] = field(default_factory=dict)
    found: dict[str, Object] = field(default_factory=dict)
    refused: list[StorageError] = field(default_factory=list)

    def directories(self) -> set[str]:
        """Name the directories that selected objects stand in, each with its slash."""
        return {"".join(key.rpartition("/")[:2]) for key in self.listed}

    def look_through(self, directory: str) -> None:
        """Take the versions of one directory's objects, where they may be listed."""
        if self.refused:
            return
        try:
            for item in self.store.versions(directory):
                if item.key in self.listed:
                    self.found[item.key] = item
        except (ThrottledError, UnreachableError):
            raise
        except StorageError as error:
            self.refused.append(error)

    def unsure(self) -> list[str]:
        """Name the keys that must be looked at one by one.

        A listing calls every version "null" where the bucket keeps none; then the object itself
        tells, since it has no version at all.
        """
        unsure = self.listed.keys() - self.found
        if self.found and all(item.version == _BEFORE_VERSIONING for item in self.found.values()):
            unsure.add(min(self.found))
        return sorted(unsure)

    def ask(self, key: str) -> None:
        """Take one object's version."""
        try:
            self.found[key] = self.store.version_of(key)
        except SourceMissingError as error:
            raise _changed(self.store, [key], "it is no longer there") from error

    def check(self) -> Iterator[Problem]:
        """Tell where there is no version, and raise where it is another object's."""
        for key, item in sorted(self.found.items()):
            if item.version is None:
                yield Problem(
                    message=f"{printable(self.store.url)} keeps no versions: "
                    f"{printable(key)!r} has none to pin",
                    at=_PLACE,
                    hint=_HINT,
                )
                return
        others = [
            key
            for key, item in sorted(self.found.items())
            if msgspec.structs.replace(item, version=None) != self.listed[key]
        ]
        if others:
            was, now = self.listed[others[0]], self.found[others[0]]
            raise _changed(
                self.store,
                others,
                f"it was listed with entity tag {printable(str(was.etag))} and {was.size} bytes, "
                f"and now has {printable(str(now.etag))} and {now.size}",
            )


def _changed(store: Store, keys: Sequence[str], how: str) -> SourceChangedError:
    more = f" (and {len(keys) - 1} more)" if len(keys) > 1 else ""
    return SourceChangedError(
        f"{printable(f'{store.url}/{keys[0]}')}{more}: the source changed while it was compiled: "
        f"{how}; compile again"
    )


def pin_versions(context: Context, taken: Iterable[DatasetEntries]) -> list[DatasetEntries]:
    """Find the version of each object that is taken.

    Returns
    -------
    list of DatasetEntries
        Their files with versions.

    Raises
    ------
    SelectionError
        Where a bucket keeps no versions.
    SourceChangedError
        Where an object is no longer the one that was listed.
    StorageError
        Where versions can't be had.
    """
    taken = list(taken)
    sources: dict[int, _Source] = {}
    for some in taken:
        source = sources.setdefault(some.dataset.root, _Source(store=some.dataset.store))
        source.listed.update({item.key: item for item in some.objects() if item.version is None})
    each = context.lister.each
    each(
        lambda pair: pair[0].look_through(pair[1]),
        [(source, name) for source in sources.values() for name in sorted(source.directories())],
    )
    each(
        lambda pair: pair[0].ask(pair[1]),
        [(source, key) for source in sources.values() for key in source.unsure()],
    )
    for source in sources.values():
        context.report.add_errors(source.check())
    context.report.raise_errors()
    return [_pinned(some, sources[some.dataset.root].found) for some in taken]


def _pinned(some: DatasetEntries, found: dict[str, Object]) -> DatasetEntries:
    files = {path: some.files[path] for path in some.reasons}
    return replace(some, files={path: found.get(item.key, item) for path, item in files.items()})
