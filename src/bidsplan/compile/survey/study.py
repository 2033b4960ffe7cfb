"""Where a manifest's datasets are: the study, its sites, its derivatives."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from bidsplan.compile.survey.datasets import Dataset
from bidsplan.errors import Problem, SelectionError, SourceMissingError
from bidsplan.messages import suggestion
from bidsplan.paths import printable

if TYPE_CHECKING:
    from bidsplan.compile.survey.datasets import RootListing
    from bidsplan.compile.survey.listing import Lister
    from bidsplan.compile.survey.sources import Roots
    from bidsplan.manifest import Derivative, Manifest


Located = list[tuple[Dataset, "RootListing"]]
"""Datasets, each with what stands at its root."""

_URL = ("study", "url")
"""Where a manifest says where the study is."""


def survey_study(manifest: Manifest, roots: Roots, lister: Lister) -> Located:
    """Find the study's raw datasets: one, or one for each site.

    Returns
    -------
    list of (Dataset, Survey)
        In the manifest's order.

    Raises
    ------
    SourceMissingError
        Where there is nothing below the study's URL.
    SelectionError
        Where a site is not there, or no dataset has subjects.
    """
    datasets = _study_datasets(manifest, roots)
    located = list(zip(datasets, lister.surveys(datasets), strict=True))
    missing = [number for number, (_, survey) in enumerate(located) if survey.empty]
    if missing and manifest.site is None:
        raise SourceMissingError(
            f"{located[0][0].where}: there is nothing here; check study.url for its spelling, "
            "upper and lower case included"
        )
    if missing:
        raise SelectionError(problems=_missing_sites(manifest, missing, roots))
    if not any(survey.subjects for _, survey in located):
        raise SelectionError(problems=[_no_subjects(located)])
    return located


def _study_datasets(manifest: Manifest, roots: Roots) -> list[Dataset]:
    url, anonymous = manifest.study.url.rstrip("/"), manifest.study.anonymous
    if manifest.site is None:
        store, root = roots.open(url, anonymous, _URL)
        return [Dataset(store=store, root=root)]
    if isinstance(manifest.site, str):
        store, root = roots.open(f"{url}/{manifest.site}", anonymous, _URL)
        return [Dataset(store=store, root=root)]
    datasets = []
    for site in manifest.site:
        store, root = roots.open(f"{url}/{site}", anonymous, _URL)
        datasets.append(Dataset(store=store, root=root, destination=f"{site}/", site=site))
    return datasets


def _missing_sites(manifest: Manifest, missing: list[int], roots: Roots) -> list[Problem]:
    """Name the sites that are not there, beside those that are."""
    store, _ = roots.open(manifest.study.url, manifest.study.anonymous)
    there = [directory.rstrip("/") for directory in store.children().directories]
    sites = [manifest.site] if isinstance(manifest.site, str) else list(manifest.site or ())
    return [
        Problem(
            message=f"there is no site {sites[number]!r} at {printable(store.url)}",
            at=("site",) if isinstance(manifest.site, str) else ("site", number),
            hint=suggestion(sites[number], there),
        )
        for number in missing
    ]


def _no_subjects(located: Located) -> Problem:
    dataset, survey = located[0]
    hint = None
    if survey.directories:
        listed = ", ".join(repr(printable(name)) for name in survey.directories[:8])
        hint = f"there are {listed}: one of them in study.url, or as site?"
    return Problem(
        message=f"{dataset.where} has no subject directories (sub-…)",
        at=_URL,
        hint=hint,
    )


def locate_derivative(
    name: str, derivative: Derivative, manifest: Manifest, raw: Located, roots: Roots
) -> list[Dataset]:
    """Say where a derivative pipeline's datasets would be.

    Parameters
    ----------
    name : str
        The pipeline's name.
    raw : list of (Dataset, Survey)
        The study's own datasets.

    Returns
    -------
    list of Dataset
        Whether they are there is not known yet.
    """
    place = f"derivatives/{name}/"
    if derivative.url is None:
        return [
            replace(dataset, prefix=place, destination=dataset.destination + place)
            for dataset, _ in raw
        ]
    anonymous, at = manifest.study.anonymous, ("derivatives", name, "url")
    if "{site}" not in derivative.url:
        store, root = roots.open(derivative.url, anonymous, at)
        return [Dataset(store=store, root=root, destination=place)]
    datasets = []
    for dataset, _ in raw:
        site = dataset.site or str(manifest.site or "")
        store, root = roots.open(derivative.url.replace("{site}", site), anonymous, at)
        datasets.append(
            replace(dataset, store=store, root=root, destination=dataset.destination + place)
        )
    return datasets


def pipelines(raw: Located, lister: Lister) -> tuple[list[str], list[str]]:
    """Look for derivative pipelines inside the study, at most two levels deep.

    Returns
    -------
    found : list of str
        Names of those with subject directories, sorted.
    others : list of str
        Names of directories without any.
    """
    tops = [
        replace(dataset, prefix="derivatives/")
        for dataset, survey in raw
        if "derivatives" in survey.directories
    ]
    found: set[str] = set()
    others: set[str] = set()
    for top, names in zip(tops, lister.surveys(tops), strict=True):
        candidates = [name for name in names.directories if _may_be_pipeline(name)]
        first = _surveys_below(top, candidates, lister)
        for name, survey in first.items():
            deeper = filter(_may_be_pipeline, () if survey.subjects else survey.directories)
            nested = [f"{name}/{below}" for below in deeper]
            second = _surveys_below(top, nested, lister)
            below = [path for path, held in second.items() if held.subjects]
            found.update([name] if survey.subjects else below)
            if not survey.subjects and not below:
                others.add(name)
    return sorted(found), sorted(others - found)


def _may_be_pipeline(name: str) -> bool:
    """Pass over what never comes by itself, and what subjects have in the other layout."""
    return not name.startswith(("sub-", ".")) and name not in {"code", "sourcedata"}


def _surveys_below(top: Dataset, names: list[str], lister: Lister) -> dict[str, RootListing]:
    datasets = [replace(top, prefix=f"{top.prefix}{name}/") for name in names]
    return dict(zip(names, lister.surveys(datasets), strict=True))
