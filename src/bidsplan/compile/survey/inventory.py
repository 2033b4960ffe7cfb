"""Counts a study's files from its listing, for `inspect` and `init`."""

from __future__ import annotations

from collections import Counter
from contextlib import closing
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

from bidsplan.bids.data_files import Role, kind_of, role_of
from bidsplan.bids.recordings import items_of
from bidsplan.compile.survey.datasets import Dataset
from bidsplan.compile.survey.listing import Lister
from bidsplan.compile.survey.participants import LARGEST_TABLE, parse_table
from bidsplan.compile.survey.small_files import read_small
from bidsplan.compile.survey.sources import Roots, errors_at
from bidsplan.compile.survey.study import locate_raw, nothing_at, pipelines
from bidsplan.errors import Problem, SelectionError, SourceMissingError
from bidsplan.help_codes import HelpCode
from bidsplan.messages import suggestion
from bidsplan.storage import Access, open_store

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from os import PathLike

    from bidsplan.bids.recordings import Item
    from bidsplan.compile.survey.study import Located
    from bidsplan.errors import Place
    from bidsplan.events import Event
    from bidsplan.storage import Object


_TABLE = "participants.tsv"

_SAMPLED = 3
"""The most subjects of a pipeline that are listed, in all sites together."""

_MOST_PIPELINES = 12
"""The most pipelines of which subjects are listed."""


@dataclass(frozen=True, kw_only=True, slots=True)
class PipelineSample:
    """What some subjects of a derivative contain.

    Parameters
    ----------
    subjects, listed : int
        The number of subjects with a directory, and of those that were listed.
    suffixes : Counter
        The number of files of each suffix, of the listed subjects.
    """

    subjects: int
    listed: int
    suffixes: Counter[str] = field(default_factory=Counter)

    def title(self, name: str) -> str:
        """Return the pipeline's name, and the part of its subjects if not all were listed."""
        some = f", in {self.listed} of {self.subjects:,} subjects"
        return name + some if self.listed < self.subjects else name


@dataclass(kw_only=True, slots=True)
class Inventory:
    """The contents of a study, counted from its listing.

    Parameters
    ----------
    url : str
        The study's URL.
    sites : list of str
        Directories that contain subjects; empty if the subjects are at the root.
    files, bytes : int
        Number and total size of the files in subjects' directories.
    subjects : dict of str to Counter
        For each subject, the number of files of each datatype. Files of a session and datatype
        without data, such as sidecars alone, do not count. With sites, a subject is
        ``site/label``.
    sessions, datatypes, suffixes : Counter
        The number of files of each session, datatype and suffix.
    pipelines, flat_pipelines : list of str
        Names of derivatives with subject directories, and of derivatives without them.
    pipeline_samples : dict of str to PipelineSample
        The first derivatives in `pipelines`, each with the suffixes that some subjects have. A
        whole derivative would take many requests to list.
    columns : list of str
        Columns of ``participants.tsv`` that messages may quote; empty if the file does not look
        like a table.
    """

    url: str
    sites: list[str] = field(default_factory=list)
    files: int = 0
    bytes: int = 0
    subjects: dict[str, Counter[str]] = field(default_factory=dict)
    sessions: Counter[str] = field(default_factory=Counter)
    datatypes: Counter[str] = field(default_factory=Counter)
    suffixes: Counter[str] = field(default_factory=Counter)
    pipelines: list[str] = field(default_factory=list)
    flat_pipelines: list[str] = field(default_factory=list)
    pipeline_samples: dict[str, PipelineSample] = field(default_factory=dict)
    columns: list[str] = field(default_factory=list)

    def count(self, unit: str, files: Mapping[str, Object], *, derivative: bool = False) -> None:
        """Count the files of a subject."""
        held: Counter[str] = Counter()
        with_data: Counter[str] = Counter()
        items = items_of(files)
        having = {_part(item) for item in items if derivative or _is_data(item)}
        self.files += len(files)
        self.bytes += sum(item.size for item in files.values())
        for item in items:
            held[item.name.datatype or "other"] += len(item.paths)
            if item.name.datatype is None or _part(item) in having:
                with_data[item.name.datatype or "other"] += len(item.paths)
            if item.name.datatype:
                self.suffixes[item.name.suffix] += len(item.paths)
            if item.name.session:
                self.sessions[item.name.session] += len(item.paths)
        self.datatypes += held
        self.subjects[unit] = self.subjects.get(unit, Counter()) + with_data


def _part(item: Item) -> tuple[str | None, str | None]:
    return item.name.session, item.name.datatype


def _is_data(item: Item) -> bool:
    return role_of(kind_of(item.name)) is Role.DATA


def take_inventory(
    url: str,
    *,
    sites: Sequence[str] = (),
    anonymous: bool | None = None,
    base: str | PathLike[str] = ".",
    access: Access | None = None,
    notify: Callable[[Event], None] | None = None,
    at: Place = (),
) -> Inventory:
    """List a whole study, and count its files.

    Parameters
    ----------
    url : str
        The dataset's root, or the directory above the sites.
    sites : sequence of str
        The sites to count. By default, if the root contains no subjects, all directories directly
        below it that contain subjects are sites.
    anonymous : bool, optional
        Whether requests are unsigned, as in a manifest.
    base : path
        The directory that a relative URL is relative to.
    access : Access, optional
        How storage may be reached.
    notify : callable, optional
        Called with each event of listing. The calls come from several threads, but one at a time.
    at : tuple of str or int
        The URL's place in the manifest, for errors about the URL.

    Returns
    -------
    Inventory

    Raises
    ------
    SourceMissingError, SelectionError
        If there is nothing at the URL, or one of the sites does not exist.
    StorageError
        If a directory can't be listed, or a file can't be read.
    UrlError
        If the URL is refused.
    """
    access = access or Access()
    with (
        closing(Roots(access, Path(base), Path(base), open_store)) as roots,
        closing(Lister(access.jobs, notify)) as lister,
        errors_at(at),
    ):
        store, root = roots.open(url, anonymous, at)
        located, found = _locate(Dataset(store=store, root=root), url, sites, lister)
        inventory = Inventory(url=url, sites=found)
        wanted = [
            (dataset, label, name)
            for dataset, listing in located
            for label, names in listing.subjects.items()
            for name in names
        ]
        listed = lister.stream_directories([(dataset, name) for dataset, _, name in wanted])
        for (dataset, label, _), files in zip(wanted, listed, strict=True):
            inventory.count(dataset.unit(label), files, derivative=dataset.derivative)
        found_in, inventory.flat_pipelines = pipelines(located, lister)
        inventory.pipelines = list(found_in)
        inventory.pipeline_samples = _sample_pipelines(found_in, lister)
        inventory.columns = _columns(located)
        return inventory


def _locate(
    top: Dataset, url: str, sites: Sequence[str], lister: Lister
) -> tuple[Located, list[str]]:
    """Find the datasets, at the root or one level down."""
    [(top, listing)] = locate_raw([top], lister)
    if listing.empty:
        raise SourceMissingError(problems=[nothing_at(top, url)])
    if listing.subjects and not sites:
        return [(top, listing)], []
    names = sites or [name for name in listing.directories if not name.startswith(".")]
    below = [
        Dataset(store=top.store, root=top.root, prefix=f"{name}/", site=name) for name in names
    ]
    pairs = locate_raw(below, lister)
    located = [(dataset, listing) for dataset, listing in pairs if listing.subjects]
    found = {dataset.site for dataset, _ in located}
    if lacking := [name for name in sites if name not in found]:
        problems = [
            Problem(
                message=f"there is no site {name!r} with subjects at {top.where}",
                at=("site",),
                hint=suggestion(name, listing.directories),
            )
            for name in lacking
        ]
        raise SelectionError(problems=problems, help_code=HelpCode.SITE_MISSING)
    return located, [dataset.site or "" for dataset, _ in located]


def _sample_pipelines(found: Mapping[str, Located], lister: Lister) -> dict[str, PipelineSample]:
    """Count the suffixes of each pipeline's first subjects."""
    samples: dict[str, PipelineSample] = {}
    wanted: list[tuple[str, Dataset, str]] = []
    for name, located in islice(found.items(), _MOST_PIPELINES):
        subjects = [(each, names) for each, at in located for names in at.subjects.values()]
        some = subjects[:_SAMPLED]
        samples[name] = PipelineSample(subjects=len(subjects), listed=len(some))
        wanted += [(name, dataset, directory) for dataset, names in some for directory in names]
    listed = lister.stream_directories([(dataset, directory) for _, dataset, directory in wanted])
    for (name, _, _), files in zip(wanted, listed, strict=True):
        for item in items_of(files):
            # Without entities, as in FreeSurfer's directories, the name is not one of BIDS.
            if item.name.entities:
                samples[name].suffixes[item.name.suffix] += len(item.paths)
    return samples


def _columns(located: Located) -> list[str]:
    columns: dict[str, None] = {}
    for dataset, listing in located:
        found = listing.files.get(_TABLE)
        if found is not None:
            data = read_small(dataset.store, found, LARGEST_TABLE)
            table, _ = parse_table(data, _TABLE, columns=())
            if table and table.plausible:
                columns.update(dict.fromkeys(table.columns))
    return list(columns)
