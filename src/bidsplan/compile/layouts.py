"""What is listed of datasets before files are chosen: subjects, whole pipelines, either layout."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

from bidsplan.compile.subjects import labels_in
from bidsplan.compile.survey.datasets import Dataset, RootListing

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bidsplan.compile.context import Context
    from bidsplan.compile.survey.study import Located
    from bidsplan.storage import Object


class Listing(NamedTuple):
    """A dataset, and what was listed of it.

    Parameters
    ----------
    survey : RootListing
        What stands directly at its root.
    below : dict of str to Object
        What else was listed, by path below its root.
    """

    dataset: Dataset
    survey: RootListing
    below: dict[str, Object]


def list_subjects(context: Context, located: Located, units: Sequence[str]) -> list[Listing]:
    """List subjects of several datasets, all of them in parallel.

    Returns
    -------
    list of Listing
        In the same order.
    """
    directories = [
        [
            f"sub-{label}"
            for label in sorted(labels_in(dataset, units).keys() & set(survey.subjects))
        ]
        for dataset, survey in located
    ]
    return _list(context, located, directories)


def list_whole(context: Context, located: Located) -> list[Listing]:
    """List all directories of several datasets, but for hidden ones.

    Returns
    -------
    list of Listing
        In the same order.
    """
    directories = [
        [name for name in survey.directories if not name.startswith(".")] for _, survey in located
    ]
    return _list(context, located, directories)


def _list(context: Context, located: Located, directories: list[list[str]]) -> list[Listing]:
    wanted = [
        (dataset, name)
        for (dataset, _), names in zip(located, directories, strict=True)
        for name in names
    ]
    listed = iter(context.lister.directories(wanted))
    return [
        Listing(dataset, survey, {path: item for _ in names for path, item in next(listed).items()})
        for (dataset, survey), names in zip(located, directories, strict=True)
    ]


def _homes(raw: Located, units: Sequence[str]) -> list[tuple[Dataset, str, str]]:
    """List each unit's directory among subject-first derivatives, with its label."""
    return [
        (replace(dataset, prefix="derivatives/"), f"sub-{label}", label)
        for dataset, survey in raw
        if "derivatives" in survey.directories
        for label in sorted(labels_in(dataset, units))
    ]


def subject_pipelines(context: Context, raw: Located, units: Sequence[str]) -> list[str]:
    """Name the pipelines that units have in ``derivatives/sub-<label>/``.

    Parameters
    ----------
    raw : list of (Dataset, Survey)
        The study's own datasets.

    Returns
    -------
    list of str
        Sorted.
    """
    homes = [
        replace(dataset, prefix=f"{dataset.prefix}{name}/")
        for dataset, name, _ in _homes(raw, units)
    ]
    return sorted(
        {
            name
            for survey in context.lister.surveys(homes)
            for name in survey.directories
            if not name.startswith(".")
        }
    )


def list_subject_first(
    context: Context, raw: Located, units: Sequence[str], pipeline: str, *, kept: bool
) -> list[Listing]:
    """List a pipeline that stands in ``derivatives/sub-<label>/<pipeline>``.

    Its files get the paths that they would have in ``derivatives/<pipeline>/sub-<label>``, so that
    the same rules hold in both layouts; that is also where they land, unless the layout is kept. A
    pipeline that is called like a BIDS datatype is that datatype's directory.

    Parameters
    ----------
    raw : list of (Dataset, Survey)
        The study's own datasets.
    kept : bool
        Whether files land in ``derivatives/sub-<label>/<pipeline>``, as they stand.

    Returns
    -------
    list of Listing
        One for each of `raw`.
    """
    from bidsplan.bids.schema import datatypes  # reads the BIDS schema

    inner = f"{pipeline}/" if pipeline in datatypes() else ""
    by_pipeline = "" if kept else f"{pipeline}/"
    homes = _homes(raw, units)
    listed = context.lister.directories(
        [(dataset, f"{name}/{pipeline}") for dataset, name, _ in homes]
    )
    listings = []
    for dataset, _ in raw:
        below: dict[str, Object] = {}
        subjects = []
        for (home, name, label), files in zip(homes, listed, strict=True):
            if home.root == dataset.root and files:
                subjects.append(label)
                skip = len(f"{name}/{pipeline}/")
                below.update({f"{name}/{inner}{p[skip:]}": item for p, item in files.items()})
        place = replace(
            dataset,
            prefix="derivatives/",
            destination=f"{dataset.destination}derivatives/{by_pipeline}",
            within=f"{pipeline}/" if kept and not inner else "",
        )
        survey = RootListing(files={}, directories=(), subjects=tuple(sorted(subjects)))
        listings.append(Listing(place, survey, below))
    return listings
