"""What a dataset's root holds: listed by subject, in parallel, and cleaned of unsafe keys."""

from __future__ import annotations

import re
from itertools import islice
from operator import attrgetter
from threading import Lock
from typing import TYPE_CHECKING, TypeVar

from bidsplan.compile.survey.datasets import RootListing, subject_directories
from bidsplan.compile.survey.listing_ranges import directory_id, in_listings, listing_ranges
from bidsplan.compile.survey.thread_pool import ThreadPool
from bidsplan.errors import Problem, SelectionError, StorageError
from bidsplan.events import Warned
from bidsplan.paths import (
    LONGEST_SEGMENT,
    is_plain,
    longest_segment,
    parents,
    printable,
    unsafe_key,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from bidsplan.compile.survey.datasets import Dataset
    from bidsplan.compile.survey.listing_ranges import DirectoryId, ListingRange
    from bidsplan.events import Event
    from bidsplan.storage import Object


Given = TypeVar("Given")
Result = TypeVar("Result")

_SAMPLE = 8
"""Directories, at least, that are listed one by one to see how much they hold."""

_PAGE = 800
"""Keys that should come on one page of a listing, which has room for a thousand."""

MOST_LISTED = 5_000_000
"""Objects and directories that one command lists; each takes about 2 kB until the plan is made."""

MOST_DIRECTORIES = 500_000
"""Directories that one dataset's root may have; no study has as many subjects."""

_SOME = 1000
"""Objects that are counted at a time."""

_ANNEX_KEY = re.compile(r"(MD5|SHA1|SHA256|SHA512)E?-s[0-9]+--")


def clean(
    objects: Iterable[Object], prefix: str, where: str, directories: Iterable[str] = ()
) -> tuple[dict[str, Object], list[Problem]]:
    """Make safe paths of a listing's keys.

    Parameters
    ----------
    objects : iterable of Object
        As a store lists them.
    prefix : str
        What all of their keys start with; stripped once, by its length.
    where : str
        The dataset's URL, for messages.
    directories : iterable of str
        Paths below `prefix` that are known to be directories, beyond what the keys show.

    Returns
    -------
    files : dict of str to Object
        By path below `prefix`, sorted.
    refused : list of Problem
        The keys that can't become files, by name. Directory markers are passed over.

    Raises
    ------
    StorageError
        Where a key is there twice with different sizes or entity tags.
    """
    known = set(directories)
    skip, above = len(prefix), ""
    files: dict[str, Object] = {}
    refused: list[Problem] = []
    long: list[str] = []
    for item in sorted(objects, key=attrgetter("key")):
        path = item.key[skip:]
        if not path or (path.endswith("/") and item.size == 0):
            continue
        if not is_plain(path):
            reason = unsafe_key(path)
            if reason is not None:
                refused.append(_refused(item.key, reason, where))
                continue
            if longest_segment(path) > LONGEST_SEGMENT:
                long.append(path)
        if files.setdefault(path, item) != item:
            raise _doubled(files[path], item, where)
        directory = path.rpartition("/")[0]
        if directory != above:
            known.update(parents(path))
            above = directory
    for path in sorted(known.intersection(files)):
        item = files.pop(path)
        if item.size:
            refused.append(_refused(item.key, "it is also a directory", where))
    refused += [_too_long(path, where) for path in long if path in files]
    return files, refused


def _refused(key: str, reason: str, where: str) -> Problem:
    return Problem(message=f"{where}: the key {printable(key)!r} is not planned: {reason}")


def _doubled(first: Object, second: Object, where: str) -> StorageError:
    # Which of the two was listed first says nothing about which of them is there now.
    told = [
        f"{item.size} bytes and entity tag {printable(str(item.etag))}" for item in (first, second)
    ]
    return StorageError(
        f"{where}: the listing has the key {printable(first.key)!r} twice, with "
        f"{' and with '.join(sorted(told))}; the storage may have changed while it was listed: "
        "run it again"
    )


def _too_long(path: str, where: str) -> Problem:
    return Problem(
        message=f"{where}: {printable(path)!r} has a name of over {LONGEST_SEGMENT} bytes, which "
        "most file systems can't hold"
    )


class Lister:
    """Lists many prefixes at once.

    Parameters
    ----------
    jobs : int
        The most listings under way at a time.
    notify : callable
        Takes each event.
    most : int
        The most objects and directories that are listed in all.
    most_directories : int
        The most directories that one dataset's root may have.
    """

    def __init__(
        self,
        jobs: int,
        notify: Callable[[Event], None],
        *,
        most: int = MOST_LISTED,
        most_directories: int = MOST_DIRECTORIES,
    ) -> None:
        self._workers = ThreadPool(jobs)
        self._jobs = jobs
        self._notify = notify
        self._names: dict[DirectoryId, list[str]] = {}
        self._listed: dict[DirectoryId, dict[str, Object]] = {}
        self._most, self._most_directories = most, most_directories
        self._counted = 0
        self._lock = Lock()

    def close(self) -> None:
        """Stop; what is under way is dropped."""
        self._workers.close()

    def each(self, work: Callable[[Given], Result], items: Iterable[Given]) -> list[Result]:
        """Do the same for many things at once, as `ThreadPool.each` does."""
        return self._workers.each(work, items)

    def surveys(self, datasets: Sequence[Dataset]) -> list[RootListing]:
        """Look at the roots of datasets.

        Returns
        -------
        list of RootListing
            In the same order.

        Raises
        ------
        StorageError
            Where a root can't be listed, or holds too much.
        SelectionError
            Where a root holds keys that name contents instead of files.
        """
        return self.each(self._survey, datasets)

    def _survey(self, dataset: Dataset) -> RootListing:
        found = dataset.store.children(dataset.prefix)
        self._count(len(found.objects) + len(found.directories), dataset)
        if len(found.directories) > self._most_directories:
            raise StorageError(
                f"{dataset.where}: it has {len(found.directories):,} directories, more than "
                f"{self._most_directories:,}; check its URL: no study has as many subjects"
            )
        length = len(dataset.prefix)
        names = [directory[length:-1] for directory in found.directories]
        files, refused = clean(found.objects, dataset.prefix, dataset.where, names)
        _refuse_key_addressed(dataset, files, names)
        reasons = {name: unsafe_key(name) for name in names}
        safe = [name for name, reason in reasons.items() if reason is None]
        refused += [
            _refused(f"{dataset.prefix}{name}/", reason, dataset.where)
            for name, reason in reasons.items()
            if reason is not None and name.startswith("sub-")
        ]
        self._warn(refused)
        self._names[dataset.root, dataset.prefix] = sorted(reasons, key=in_listings)
        return RootListing(
            files=files, directories=tuple(sorted(safe)), subjects=subject_directories(safe)
        )

    def directories(self, wanted: Sequence[tuple[Dataset, str]]) -> list[dict[str, Object]]:
        """List directories of datasets, however deep.

        Parameters
        ----------
        wanted : sequence of (Dataset, str)
            Each with a directory's path below the dataset's root, without a slash at its end.

        Returns
        -------
        list of dict
            In the same order: objects by path below the dataset's root.

        Raises
        ------
        StorageError
            Where one can't be listed, or too much is listed in all.
        """
        # What is required of subjects is listed before what is taken of them, and often the same.
        new = {
            directory_id(*pair): pair for pair in wanted if directory_id(*pair) not in self._listed
        }
        # A page of a listing has up to a thousand keys: of how many directories, some show.
        every = len(new) // _SAMPLE
        first = dict(islice(new.items(), 0, None, every)) if every > 1 else {}
        self._list_stretches(first.values(), 1)
        keys = sum(len(self._listed[each]) for each in first)
        others = [pair for each, pair in new.items() if each not in first]
        share = -(-len(others) // self._jobs)
        # More than can be listed at a time are listed together in any case, and no more than four
        # times as many: those that were looked at may be unlike the others.
        most = max(_SAMPLE, 4 * share)
        self._list_stretches(others, max(share, min(_PAGE * len(first) // max(keys, 1), most)))
        return [self._listed[directory_id(*pair)] for pair in wanted]

    def _list_stretches(self, wanted: Iterable[tuple[Dataset, str]], most: int) -> None:
        self.each(self._list_stretch, listing_ranges(wanted, self._names, most))

    def _list_stretch(self, stretch: ListingRange) -> None:
        dataset = stretch.dataset
        counted = self._counting(dataset)
        found = stretch.listed(counted) if len(stretch.names) > 1 else None
        for name in stretch.names:
            objects = (
                list(counted(dataset.store.list(f"{dataset.prefix}{name}/")))
                if found is None
                else found.get(name, [])
            )
            files, refused = clean(objects, dataset.prefix, dataset.where)
            self._warn(refused)
            self._listed[directory_id(dataset, name)] = files

    def _counting(self, dataset: Dataset) -> Callable[[Iterable[Object]], Iterator[Object]]:
        """Make a filter that counts the objects of a listing while they come."""

        def counted(objects: Iterable[Object]) -> Iterator[Object]:
            waiting = iter(objects)
            while some := list(islice(waiting, _SOME)):
                self._count(len(some), dataset)
                yield from some

        return counted

    def _count(self, number: int, dataset: Dataset) -> None:
        with self._lock:
            self._counted += number
        if self._counted > self._most:
            raise StorageError(
                f"{dataset.where}: more than {self._most:,} objects and directories are listed, "
                "too many for one plan; select fewer subjects, or split the manifest by site or "
                "derivative"
            )

    def _warn(self, problems: Iterable[Problem]) -> None:
        for problem in problems:
            self._notify(Warned(problem=problem))


def _refuse_key_addressed(dataset: Dataset, files: Iterable[str], directories: list[str]) -> None:
    """Refuse git-annex and DANDI stores: their keys name contents, so no file is found there."""
    annex = any(_ANNEX_KEY.match(name) for name in files)
    if annex or ("blobs" in directories and "zarr" in directories):
        raise SelectionError(
            problems=[
                Problem(
                    message=f"{dataset.where} is key-addressed: its objects are named after their "
                    f"contents ({'git-annex keys' if annex else 'DANDI blobs'}), not after files",
                    at=("study", "url"),
                    hint="name an exported copy of the dataset, with file names",
                )
            ]
        )
