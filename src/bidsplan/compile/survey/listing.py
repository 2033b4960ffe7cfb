"""Lists many directories in parallel, without unsafe keys."""

from __future__ import annotations

import re
from collections import Counter
from itertools import islice
from operator import attrgetter
from threading import Lock
from typing import TYPE_CHECKING

from bidsplan import paths
from bidsplan.bids.names import subject_label
from bidsplan.compile.survey.datasets import RootListing, subject_directories
from bidsplan.compile.survey.listing_ranges import directory_id, listing_ranges
from bidsplan.compile.survey.shared import Content
from bidsplan.compile.survey.thread_pool import ThreadPool
from bidsplan.errors import Problem, SelectionError, StorageError
from bidsplan.events import Listed, Warned
from bidsplan.help_codes import HelpCode

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from bidsplan.compile.survey.datasets import Dataset
    from bidsplan.compile.survey.listing_ranges import DirectoryId, ListingRange
    from bidsplan.compile.survey.shared import SharedListings
    from bidsplan.events import Event
    from bidsplan.storage import Object


_MOST_LISTED = 5_000_000  # objects and directories of one compilation
_MOST_DIRECTORIES = 500_000  # in one dataset's root; no study has so many subjects
_SAMPLE = 8  # least directories that are listed one by one, to see how large they are
_PAGE = 800  # keys to expect on one page of a listing, which may have a thousand
_PAGES = 8  # of one range: few, so that few objects wait; many, so that the last matters little
_AHEAD = 24_000  # objects that may be listed before their turn; a page takes megabytes meanwhile
_BATCH = 1000  # objects that are counted at a time
_ANNEX_KEY = re.compile(r"(MD5|SHA1|SHA256|SHA512)E?-s[0-9]+--")


def clean(
    objects: Iterable[Object], prefix: str, where: str, directories: Iterable[str] = ()
) -> tuple[dict[str, Object], list[Problem]]:
    """Turn listed keys into safe, sorted paths, without directory markers.

    Parameters
    ----------
    where : str
        The dataset's URL, for messages.
    directories : iterable of str
        Paths that are known to be directories, beyond what the keys show.

    Returns
    -------
    files : dict of str to Object
    refused : list of Problem
        The keys that can't become files.

    Raises
    ------
    StorageError
        If a key is listed twice with different sizes or entity tags.
    """
    known = set(directories)
    skip, above = len(prefix), ""
    files: dict[str, Object] = {}
    refused: list[Problem] = []
    long: list[str] = []
    for item in sorted(objects, key=attrgetter("key")):
        path = item.key[skip:]
        if not path or paths.is_marker(path, item.size):
            continue
        if not paths.is_plain(path):
            reason = paths.unsafe_key(path)
            if reason is not None:
                refused.append(_refused(item.key, reason, where))
                continue
            if paths.longest_segment(path) > paths.LONGEST_SEGMENT:
                long.append(path)
        if files.setdefault(path, item) != item:
            raise _listed_twice(files[path], item, where)
        directory = path.rpartition("/")[0]
        if directory != above:
            known.update(paths.parents(path))
            above = directory
    for path in sorted(known.intersection(files)):
        item = files.pop(path)
        if item.size:
            refused.append(_refused(item.key, "it is also a directory", where))
    refused += [
        Problem(
            message=f"{where}: {paths.printable(path)!r} has a name of over "
            f"{paths.LONGEST_SEGMENT} bytes, which most file systems can't hold"
        )
        for path in long
        if path in files
    ]
    return files, refused


def _refused(key: str, reason: str, where: str) -> Problem:
    return Problem(message=f"{where}: the key {paths.printable(key)!r} is not planned: {reason}")


def _listed_twice(first: Object, second: Object, where: str) -> StorageError:
    # The order of the two does not show which of them exists now.
    versions = sorted(
        f"{item.size} bytes and entity tag {paths.printable(str(item.etag))}"
        for item in (first, second)
    )
    return StorageError(
        f"{where}: the listing has the key {paths.printable(first.key)!r} twice, with "
        f"{' and with '.join(versions)}; the storage may have changed while it was listed: "
        "run it again",
        help_code=HelpCode.LISTING,
    )


class Lister(ThreadPool):
    """Lists many directories at the same time.

    Parameters
    ----------
    jobs : int
        The most listings at a time.
    notify : callable or None
        Called with events, one at a time.
    most, most_directories : int
        The most objects and directories to list in total, and the most directories of one root.
    shared : SharedListings, optional
        Stores the listings, and has earlier ones. Without it, no listing is kept.
    """

    def __init__(
        self,
        jobs: int,
        notify: Callable[[Event], None] | None,
        *,
        most: int = _MOST_LISTED,
        most_directories: int = _MOST_DIRECTORIES,
        shared: SharedListings | None = None,
    ) -> None:
        super().__init__(jobs)
        self._jobs = jobs
        self._notify = notify
        self._siblings: dict[DirectoryId, list[str]] = {}
        self._shared = shared
        self._most_listed, self._most_directories = most, most_directories
        self._counted = 0
        self._lock = Lock()

    def list_roots(self, datasets: Sequence[Dataset]) -> list[RootListing]:
        """List the roots of datasets, in the same order.

        Raises StorageError if a root contains too many objects, and SelectionError if its keys name
        contents instead of files.
        """
        return self.each(self._list_root, datasets)

    def _list_root(self, dataset: Dataset) -> RootListing:
        found = (
            dataset.store.children(dataset.prefix)
            if self._shared is None
            else self._shared.children(dataset.store, dataset.prefix)
        )
        self._count(len(found.objects) + len(found.directories), dataset)
        if len(found.directories) > self._most_directories:
            raise StorageError(
                f"{dataset.where}: it has {len(found.directories):,} directories, more than "
                f"{self._most_directories:,}; check its URL: no study has as many subjects",
                help_code=HelpCode.LIMIT,
            )
        length = len(dataset.prefix)
        names = [directory[length:-1] for directory in found.directories]
        files, refused = clean(found.objects, dataset.prefix, dataset.where, names)
        _refuse_key_addressed(dataset, files, names)
        reasons = {name: paths.unsafe_key(name) for name in names}
        safe = sorted(name for name, reason in reasons.items() if reason is None)
        refused += [
            _refused(f"{dataset.prefix}{name}/", reason, dataset.where)
            for name, reason in reasons.items()
            if reason is not None and name.startswith("sub-")
        ]
        linked = [item.key for name, item in files.items() if subject_label(name)]
        refused += [
            Problem(
                message=f"{dataset.where}: {paths.printable(key)!r} is a link that leads nowhere, "
                "and no subject's directory"
            )
            for key in dataset.store.absent(linked)
        ]
        self.warn(*refused)
        self._siblings[dataset.root, dataset.prefix] = sorted(reasons, key="{}/".format)
        subjects = subject_directories(safe, derivative=dataset.derivative)
        return RootListing(files=files, directories=tuple(safe), subjects=subjects)

    def directories(self, wanted: Sequence[tuple[Dataset, str]]) -> list[Mapping[str, Object]]:
        """List directories with their subdirectories, as objects by path.

        Parameters
        ----------
        wanted : sequence of (Dataset, str)
            Each with a directory's path below the dataset's root, without a slash at its end.
        """
        return list(self.stream_directories(wanted))

    def stream_directories(
        self, wanted: Sequence[tuple[Dataset, str]]
    ) -> Iterator[Mapping[str, Object]]:
        """List directories as `directories` does, and yield them one by one.

        Later directories are listed meanwhile. If the directories are in the order of the listing,
        few objects have to wait in memory.
        """
        keys = [directory_id(*pair) for pair in wanted]
        turns = Counter(keys)
        new = {
            key: pair for key, pair in zip(keys, wanted, strict=True) if not self._is_kept(*pair)
        }
        ready: dict[DirectoryId, Content] = {}
        further = self._listed(new, ready)
        for key, (dataset, name) in zip(keys, wanted, strict=True):
            if key not in new and self._shared is not None:
                ready[key] = self._shared.find(dataset.store, f"{dataset.prefix}{name}")
            while key not in ready:
                ready.update(next(further))
            turns[key] -= 1
            content = ready[key] if turns[key] else ready.pop(key)
            self.warn(*content.refused)
            yield content.files

    def _is_kept(self, dataset: Dataset, name: str) -> bool:
        shared = self._shared
        return shared is not None and shared.has(dataset.store, f"{dataset.prefix}{name}")

    def _listed(
        self, new: Mapping[DirectoryId, tuple[Dataset, str]], ready: dict[DirectoryId, Content]
    ) -> Iterator[list[tuple[DirectoryId, Content]]]:
        """List directories in ranges, some of them in advance.

        A page of a listing has up to a thousand keys. A sample shows how many directories fit
        into a page.
        """
        every = len(new) // _SAMPLE
        sample = dict(islice(new.items(), 0, None, every)) if every > 1 else {}
        for found in self.each(self._list_range, self._ranges(sample.values(), 1)):
            ready.update(found)
        keys = sum(len(ready[each].files) for each in sample)
        others = [pair for each, pair in new.items() if each not in sample]
        share = -(-len(others) // self._jobs)
        # More directories than can be listed at a time are listed together in any case. At most
        # four times as many are, since the sample may not be typical.
        on_page = _PAGE * len(sample) // max(keys, 1)
        most = max(share, min(on_page, max(_SAMPLE, 4 * share)))
        ahead = self._jobs
        if sample:
            most = min(most, max(_PAGES * on_page, 1))
            ahead = max(_SAMPLE, _AHEAD * len(sample) // max(keys * most, 1))
        return self.stream(self._list_range, self._ranges(others, most), ahead)

    def _ranges(self, wanted: Iterable[tuple[Dataset, str]], most: int) -> list[ListingRange]:
        return listing_ranges(wanted, self._siblings, most)

    def _list_range(self, together: ListingRange) -> list[tuple[DirectoryId, Content]]:
        dataset = together.dataset

        def counted(objects: Iterable[Object]) -> Iterator[Object]:
            """Count the objects of a listing as they arrive."""
            waiting = iter(objects)
            while batch := list(islice(waiting, _BATCH)):
                self._count(len(batch), dataset)
                yield from batch

        found = together.list_together(counted) if len(together.names) > 1 else {}
        contents = []
        for name in together.names:
            directory = f"{dataset.prefix}{name}"
            # A listed directory is not empty. If it seems so, the storage's keys are in another
            # order, and the directory may have been skipped.
            objects = found.pop(name, ()) or counted(dataset.store.list(f"{directory}/"))
            content = Content(*clean(objects, dataset.prefix, dataset.where))
            if self._shared is not None:
                self._shared.add(dataset.store, directory, content)
            contents.append((directory_id(dataset, name), content))
        return contents

    def _count(self, number: int, dataset: Dataset) -> None:
        with self._lock:
            self._counted += number
            self._emit(Listed(url=dataset.where, objects=number))
        if self._counted > self._most_listed:
            raise StorageError(
                f"{dataset.where}: more than {self._most_listed:,} objects and directories are "
                "listed, too many for one plan; select fewer subjects, or split the manifest by "
                "site or derivative",
                help_code=HelpCode.LIMIT,
            )

    def warn(self, *problems: Problem) -> None:
        """Report problems as events."""
        with self._lock:
            for problem in problems:
                self._emit(Warned(problem=problem))

    def _emit(self, event: Event) -> None:
        if self._notify is not None:
            self._notify(event)


def _refuse_key_addressed(dataset: Dataset, files: Iterable[str], directories: list[str]) -> None:
    """Refuse git-annex and DANDI stores, whose keys are not file names."""
    annex = any(_ANNEX_KEY.match(name) for name in files)
    if annex or ("blobs" in directories and "zarr" in directories):
        problem = Problem(
            message=f"{dataset.where} is key-addressed: its objects are named after their "
            f"contents ({'git-annex keys' if annex else 'DANDI blobs'}), not after files",
            at=("study", "url"),
            hint="name an exported copy of the dataset, with file names",
        )
        raise SelectionError(problems=[problem], help_code=HelpCode.KEY_ADDRESSED)
