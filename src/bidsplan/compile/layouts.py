"""Lists datasets and pipelines, in either directory layout."""

from __future__ import annotations

from dataclasses import replace
from itertools import chain, islice
from typing import TYPE_CHECKING, NamedTuple

from bidsplan.compile.select.subjects import label_of, site_of
from bidsplan.compile.survey.datasets import Dataset, RootListing
from bidsplan.compile.survey.study import locate_derivative, pipelines
from bidsplan.errors import Problem
from bidsplan.help_codes import HelpCode
from bidsplan.messages import suggestion
from bidsplan.paths import printable

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from bidsplan.compile.context import Context
    from bidsplan.compile.survey.study import Located
    from bidsplan.errors import Place
    from bidsplan.manifest import Derivative
    from bidsplan.storage import Object


_BATCH_FILES = 10_000
"""The number of files that are chosen together; each takes two kilobytes of memory."""


class Listing(NamedTuple):
    """A dataset, and the listed files of its root and some directories.

    The directories can be iterated once, and are listed while they are iterated. Iterate all
    directories of one dataset before those of the next.
    """

    dataset: Dataset
    at_root: RootListing
    directories: Iterator[Mapping[str, Object]]


def labels_in(dataset: Dataset, units: Iterable[str]) -> dict[str, str]:
    """Map labels to the units that a dataset may contain.

    A dataset without a site may contain the units of every site. If labels are equal, the last unit
    is kept.
    """
    return {
        label_of(unit): unit
        for unit in units
        if dataset.site is None or site_of(unit) == dataset.site
    }


def units_of(dataset: Dataset, units: Iterable[str], labels: set[str]) -> set[str]:
    """Return a dataset's units that have one of the given labels."""
    return {
        unit for unit in units if label_of(unit) in labels and dataset.site in {None, site_of(unit)}
    }


def list_subjects(context: Context, located: Located, units: Sequence[str]) -> list[Listing]:
    """List the units' directories in several datasets at the same time."""
    directories = [
        [
            name
            for label in labels_in(dataset, units).keys() & at_root.subjects.keys()
            for name in at_root.subjects[label]
        ]
        for dataset, at_root in located
    ]
    return _list(context, located, directories)


def _list(context: Context, located: Located, directories: list[list[str]]) -> list[Listing]:
    for names in directories:
        # In the order of the listing, so that few results have to wait.
        names.sort(key="{}/".format)
    wanted = [
        (dataset, name)
        for (dataset, _), names in zip(located, directories, strict=True)
        for name in names
    ]
    contents = context.lister.stream_directories(wanted)
    return [
        Listing(*pair, islice(contents, len(names)))
        for pair, names in zip(located, directories, strict=True)
    ]


def batches(
    directories: Iterable[Mapping[str, Object]], *, whole: bool = False
) -> Iterator[dict[str, Object]]:
    """Join the files of directories into batches of a minimum size."""
    files: dict[str, Object] = {}
    for some in directories:
        files.update(some)
        if len(files) >= _BATCH_FILES and not whole:
            yield files
            files = {}
    if files or whole:
        yield files


def _subject_first_homes(context: Context, units: Sequence[str]) -> list[tuple[Dataset, list[str]]]:
    """Pair each dataset's ``derivatives/`` with the labels of its directories."""
    return [
        (
            replace(dataset, prefix="derivatives/"),
            sorted(labels_in(dataset, units)) if "derivatives" in at_root.directories else [],
        )
        for dataset, at_root in context.study
    ]


def subject_pipelines(context: Context, units: Sequence[str]) -> list[str]:
    """List the sorted names of pipelines in ``derivatives/sub-<label>/``."""
    subjects = [
        replace(home, prefix=f"{home.prefix}sub-{label}/")
        for home, labels in _subject_first_homes(context, units)
        for label in labels
    ]
    names = {name for found in context.lister.list_roots(subjects) for name in found.directories}
    return sorted(name for name in names if not name.startswith("."))


def list_subject_first(
    context: Context, units: Sequence[str], pipeline: str, *, kept: bool
) -> list[Listing]:
    """List a pipeline with files in ``derivatives/sub-<label>/<pipeline>``.

    Its files get the paths that they would have in ``derivatives/<pipeline>/sub-<label>``, so that
    the same rules apply to both layouts. The files are also written to these paths, unless the
    layout is kept. If a pipeline has the name of a BIDS datatype, the directory is that datatype's.
    """
    from bidsplan.bids.schema import datatypes  # reads the BIDS schema

    inner = f"{pipeline}/" if pipeline in datatypes() else ""
    folder = "derivatives/" if kept else f"derivatives/{pipeline}/"
    within = f"{pipeline}/" if kept and not inner else ""
    homes = _subject_first_homes(context, units)
    wanted = [(home, f"sub-{label}/{pipeline}") for home, labels in homes for label in labels]
    contents = context.lister.stream_directories(wanted)
    at_root = RootListing(files={}, directories=(), subjects={})

    def moved(labels: list[str]) -> Iterator[dict[str, Object]]:
        for label, files in zip(labels, contents, strict=False):
            skip, start = len(f"sub-{label}/{pipeline}/"), f"sub-{label}/{inner}"
            yield {f"{start}{path[skip:]}": item for path, item in files.items()}

    return [
        Listing(
            replace(
                home, destination=f"{home.destination}{folder}", within=within, derivative=True
            ),
            at_root,
            moved(labels),
        )
        for home, labels in homes
    ]


def _unless_empty(listings: list[Listing]) -> list[Listing]:
    """Return the listings if any directory has a file."""
    for number, listing in enumerate(listings):
        for files in listing.directories:
            if files:
                further = chain([files], listing.directories)
                return [listing._replace(directories=further), *listings[number + 1 :]]
    return []


_SPELLING = 0.8
"""The least similarity of a misspelled name; names of different pipelines are also similar."""


class Pipeline(NamedTuple):
    """A pipeline that a manifest names, and the units to look for."""

    context: Context
    name: str
    derivative: Derivative
    units: Sequence[str]

    @property
    def layout(self) -> str:
        """The pipeline's layout; one with its own URL is not grouped by subject."""
        if self.derivative.url is not None:
            return "pipeline-first"
        return self.derivative.layout or self.context.manifest.study.layout

    @property
    def dataset_files(self) -> str | tuple[str, ...]:
        """The files at the pipeline's root to select."""
        if self.layout == "subject-first-kept":
            # With this layout, the pipeline has no directory that a description could be in.
            return "none"
        if self.derivative.dataset_files is not None:
            return self.derivative.dataset_files
        rule = self.context.manifest.dataset_files
        return "description" if rule == "none" else rule

    def listings(self) -> list[Listing]:
        """List the units' files; none if the pipeline does not exist."""
        context, units = self.context, self.units
        if self.layout != "pipeline-first":
            kept = self.layout == "subject-first-kept"
            return _unless_empty(list_subject_first(context, units, self.name, kept=kept))
        datasets = locate_derivative(
            self.name, self.derivative, context.manifest, context.study, context.roots
        )
        surveys = context.lister.list_roots(datasets)
        located = [pair for pair in zip(datasets, surveys, strict=True) if not pair[1].empty]
        if self.derivative.scope == "whole":
            directories = [
                [name for name in at_root.directories if not name.startswith(".")]
                for _, at_root in located
            ]
            return _list(context, located, directories)
        return list_subjects(context, located, units)

    def missing(self, at: Place) -> Problem:
        """Report that the pipeline does not exist, and which ones do."""
        if self.derivative.url is not None:
            return Problem(
                message=f"there is nothing at the url of the derivative {self.name!r}",
                at=("derivatives", self.name, "url"),
                hint="check its spelling, upper and lower case included",
                help_code=HelpCode.DERIVATIVE,
            )
        if self.layout == "pipeline-first":
            found, others = pipelines(self.context.study, self.context.lister)
            known, whose = [*found, *others], ""
        else:
            known = subject_pipelines(self.context, self.units)
            whose = " of the selected subjects"
        message = f"there is no derivative pipeline {self.name!r}{whose}"
        hint = suggestion(self.name, known, cutoff=_SPELLING)
        if not any("derivatives" in at_root.directories for _, at_root in self.context.study):
            where = f"'derivatives: {{{printable(self.name)}: {{url: …}}}}'"
            hint = f"the study has no derivatives/; if they are elsewhere, write {where}"
        return Problem(message=message, at=at, hint=hint, help_code=HelpCode.DERIVATIVE)
