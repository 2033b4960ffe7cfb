"""Collects the selected files, and makes the plan's entries from them."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import msgspec

from bidsplan.bids.dataset_files import DESCRIPTION
from bidsplan.errors import Problem, SourceMissingError
from bidsplan.help_codes import HelpCode
from bidsplan.messages import listed
from bidsplan.paths import printable
from bidsplan.plan import ClashFinder, Entry
from bidsplan.plan.spool import EntrySorter, collect
from bidsplan.storage.objects import ArchivedObject

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from bidsplan.compile.survey.datasets import Dataset
    from bidsplan.errors import Place
    from bidsplan.plan import Reason
    from bidsplan.storage import Object


def description(name: str, *, derivative: bool) -> str:
    """Write a dataset_description.json for a study or pipeline without one."""
    text: dict[str, object] = {
        "Name": name,
        "BIDSVersion": "1.10.0",
        "DatasetType": "derivative" if derivative else "raw",
        "GeneratedBy": [
            {
                "Name": "bidsplan",
                "Description": "The source has no dataset_description.json; "
                "this one only makes the folder a BIDS dataset.",
            }
        ],
    }
    return msgspec.json.format(msgspec.json.encode(text), indent=2).decode() + "\n"


class Source(NamedTuple):
    """A dataset that entries come from, with its name and its filters' place.

    Parameters
    ----------
    at : tuple of str or int
        The place of the filters in the manifest.
    """

    dataset: Dataset
    name: str
    at: Place


class Selected:
    """Collects the selected files as entries of the plan.

    A file that is selected twice is planned once, with its first reason. Whole directories and
    pipelines may contain files that filters select, too.

    Parameters
    ----------
    spool : bool
        Whether many entries are kept in a temporary file.

    Attributes
    ----------
    archived : dict of str to int
        Sizes of the files that must be restored before they can be fetched, by planned path.
    bytes : int
        The total size of all files, after `entries` was called.
    clashes : ClashFinder
        Has the paths of all files, after `entries` was called.
    """

    def __init__(self, *, spool: bool) -> None:
        self._spool = spool
        self._sorter = EntrySorter(spool=spool)
        self._sources: list[Source] = []
        self._absent: set[str] = set()
        self.archived: dict[str, int] = {}
        self.bytes = 0
        self.clashes = ClashFinder()

    def add(
        self, source: Source, files: Mapping[str, Object], reasons: Mapping[str, Reason]
    ) -> None:
        """Add files of a dataset.

        Parameters
        ----------
        files : mapping of str to Object
            By path below the dataset's root.
        reasons : mapping of str to str
            Why each path is selected.
        """
        dataset = source.dataset
        if source not in self._sources[-1:]:
            self._sources.append(source)
        self._sorter.add(
            Entry(
                path=dataset.target_path(path),
                key=files[path].key,
                size=files[path].size,
                reason=reason,
                root=dataset.root,
                etag=files[path].etag,
                version=files[path].version,
            )
            for path, reason in reasons.items()
        )
        store = dataset.store
        absent = store.absent(files[path].key for path in reasons)
        self._absent.update(printable(f"{store.url.rstrip('/')}/{key}") for key in absent)
        for path in reasons:
            if isinstance(files[path], ArchivedObject):
                self.archived[dataset.target_path(path)] = files[path].size

    def add_description(self, dataset: Dataset, text: str) -> None:
        """Add a generated dataset_description.json."""
        path, size = dataset.target_path(DESCRIPTION), len(text.encode())
        self._sorter.add([Entry(path=path, size=size, reason="dataset", content=text)])

    def entries(self) -> tuple[Sequence[Entry], list[Problem]]:
        """Return all entries, sorted, and the conflicts between them."""
        problems: dict[Source, Problem] = {}
        return collect(self._unique(problems), spool=self._spool), list(problems.values())

    def _unique(self, problems: dict[Source, Problem]) -> Iterator[Entry]:
        last: Entry | None = None
        for some in self._sorter.sorted():
            for entry in some:
                if last is None or entry.path != last.path:
                    last = entry
                    self.bytes += entry.size
                    self.clashes.add(entry.path)
                    yield entry
                elif (entry.root, entry.key) != (last.root, last.key):
                    self._report_conflict(last, entry, problems)

    def _report_conflict(self, first: Entry, other: Entry, problems: dict[Source, Problem]) -> None:
        """Report the first conflict of each dataset."""
        before, source = self._sources_of(first)[0], self._sources_of(other)[-1]
        message = (
            f"{printable(other.path)!r} would come both from {before.dataset.where} and "
            f"from {source.dataset.where}"
        )
        problems.setdefault(source, Problem(message=message, at=source.at))

    def _sources_of(self, entry: Entry) -> list[Source]:
        """Return the datasets that an entry may come from."""
        return [
            source
            for source in self._sources
            if entry.path.startswith(source.dataset.destination)
            and (source.dataset.root == entry.root or entry.content is not None)
            and (entry.key.startswith(source.dataset.prefix) or entry.content is not None)
        ]

    def archive_warnings(self) -> Iterator[Problem]:
        """Yield warnings about selected files that must be restored first."""
        found = self.archived
        if not found:
            return
        files = "planned file is" if len(found) == 1 else "planned files are"
        size = sum(found.values())
        yield Problem(
            message=f"{len(found):,} {files} archived (storage class GLACIER or DEEP_ARCHIVE), "
            f"with {size:,} byte{'s' * (size != 1)}: {listed(map(printable, sorted(found)))}",
            hint="restore them before they are fetched, or exclude them",
        )

    def check_content(self, unread: Iterable[str]) -> None:
        """Raise SourceMissingError if files have no content here."""
        absent = self._absent.union(unread)
        if absent:
            raise SourceMissingError(
                f"{len(absent):,} planned file{'s' * (len(absent) > 1)} without content here "
                f"(links that lead nowhere, or git-annex pointers): {listed(sorted(absent))}; get "
                "it first, as by 'datalad get'",
                help_code=HelpCode.CONTENT_MISSING,
            )
