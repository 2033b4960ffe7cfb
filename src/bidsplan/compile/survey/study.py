"""Finds the datasets of a manifest: the study, its sites and derivatives."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import TYPE_CHECKING

from bidsplan.bids.dataset_files import DESCRIPTION, is_derivative
from bidsplan.compile.survey.datasets import Dataset, subject_directories
from bidsplan.compile.survey.small_files import LARGEST_SIDECAR, parse_json, read_small
from bidsplan.compile.survey.sources import STUDY_URL
from bidsplan.errors import Problem, SelectionError, SourceMissingError
from bidsplan.help_codes import HelpCode
from bidsplan.messages import listed, suggestion
from bidsplan.paths import printable
from bidsplan.urls import suggested_url

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bidsplan.compile.survey.datasets import RootListing
    from bidsplan.compile.survey.listing import Lister
    from bidsplan.compile.survey.sources import Roots
    from bidsplan.errors import Place
    from bidsplan.manifest import Derivative, Manifest


Located = list[tuple[Dataset, "RootListing"]]
"""Datasets, each with the listing of its root."""


def survey_study(manifest: Manifest, roots: Roots, lister: Lister) -> Located:
    """List the roots of the study's raw datasets, one for each site.

    Raises SourceMissingError if there is nothing below the study's URL, and SelectionError if a
    site does not exist or no dataset has subjects.
    """
    url, anonymous, site = manifest.study.url.rstrip("/"), manifest.study.anonymous, manifest.site
    sites = [site] if site is None or isinstance(site, str) else list(site)
    datasets = []
    for name in sites:
        store, root = roots.open(url if name is None else f"{url}/{name}", anonymous, STUDY_URL)
        dataset = Dataset(store=store, root=root)
        if name != site:
            dataset = replace(dataset, destination=f"{name}/", site=name)
        datasets.append(dataset)
    located = locate_raw(datasets, lister)
    missing = [number for number, (_, listing) in enumerate(located) if listing.empty]
    if missing and site is None:
        raise SourceMissingError(problems=[nothing_at(located[0][0], url, STUDY_URL)])
    if missing:
        store, _ = roots.open(manifest.study.url, anonymous)
        there = [directory.rstrip("/") for directory in store.children().directories]
        problems = [
            Problem(
                message=f"there is no site {sites[number]!r} at {printable(store.url)}",
                at=("site",) if isinstance(site, str) else ("site", number),
                hint=suggestion(str(sites[number]), there),
            )
            for number in missing
        ]
        raise SelectionError(problems=problems, help_code=HelpCode.SITE_MISSING)
    if not any(listing.subjects for _, listing in located):
        problem = _no_subjects(*located[0])
        raise SelectionError(problems=[problem], help_code=HelpCode.NO_SUBJECTS)
    return located


def locate_raw(datasets: Sequence[Dataset], lister: Lister) -> Located:
    """List the roots of a study's datasets, which may be derivatives."""
    listings = lister.list_roots(datasets)
    derivatives = lister.each(
        lambda pair: _is_derivative(*pair, lister), zip(datasets, listings, strict=True)
    )
    located: Located = []
    for dataset, listing, derivative in zip(datasets, listings, derivatives, strict=True):
        subjects = subject_directories(listing.directories, derivative=derivative)
        known = replace(listing, subjects=subjects)
        _warn_of_nobodys(dataset, known, lister)
        located.append((replace(dataset, derivative=derivative), known))
    return located


def _is_derivative(dataset: Dataset, listing: RootListing, lister: Lister) -> bool:
    """Report whether a dataset's description says that it is a derivative."""
    found = listing.files.get(DESCRIPTION)
    if found is None:
        return False
    where = f"{dataset.where}/{DESCRIPTION}"
    if dataset.store.absent([found.key]):
        hint = "get it first, as by 'datalad get'; until then the dataset is taken as raw data"
        lister.warn(Problem(message=f"{where} has no content here", hint=hint))
        return False
    data = read_small(dataset.store, found, LARGEST_SIDECAR)
    try:
        return is_derivative(parse_json(data, where, lister.warn))
    except ValueError as error:
        lister.warn(Problem(message=f"{where} {error}; the dataset is taken as raw data"))
        return False


def _warn_of_nobodys(dataset: Dataset, listing: RootListing, lister: Lister) -> None:
    """Warn of directories that only look like subjects'."""
    if names := listing.nobodys:
        shown = listed(map(printable, names))
        message = f"{dataset.where}: not a subject's directory, and left out: {shown}"
        hint = "a subject's label has letters and digits only"
        lister.warn(Problem(message=message, hint=hint))


def nothing_at(dataset: Dataset, url: str, at: Place = ()) -> Problem:
    """Make the problem of an empty URL, with a similar URL as hint."""
    suggested = suggested_url(url)
    spelling = "check its spelling, upper and lower case included"
    hint = f"write {suggested}" if suggested else spelling
    return Problem(
        message=f"there is nothing at {dataset.where}",
        at=at,
        hint=hint,
        help_code=HelpCode.STUDY_MISSING,
    )


def _no_subjects(dataset: Dataset, listing: RootListing) -> Problem:
    message = f"{dataset.where} has no subject directories (sub-…)"
    names = ", ".join(repr(printable(name)) for name in listing.directories[:8])
    hint = f"there are {names}: one of them in study.url, or as site?" if names else None
    if above := study_above(dataset.where):
        hint = f"this is a subject's directory; write {above}, and choose subjects by 'subjects'"
    return Problem(message=message, at=STUDY_URL, hint=hint)


_INSIDE_SUBJECT = re.compile(r"(?:(.*?[^/:])/+)?sub-[^/_]+(?:/.*)?")


def study_above(url: str) -> str | None:
    """Return the study's URL, if a URL leads to a subject's directory or below it."""
    found = _INSIDE_SUBJECT.fullmatch(url)
    return (found[1] or ".") if found else None


def place_of_derivative(manifest: Manifest, name: str | None) -> Place:
    """Return where a manifest says where a pipeline is; the study itself where it is None."""
    wanted = manifest.derivatives
    if name is None or (wanted != "all" and name not in wanted):
        return STUDY_URL
    if wanted == "all":
        return ("derivatives",)
    return ("derivatives", name, "url") if wanted[name].url else ("derivatives", name)


def locate_derivative(
    name: str, derivative: Derivative, manifest: Manifest, raw: Located, roots: Roots
) -> list[Dataset]:
    """Return where a pipeline's datasets would be."""
    place = f"derivatives/{name}/"
    if derivative.url is None:
        return [
            replace(dataset, prefix=place, destination=dataset.destination + place, derivative=True)
            for dataset, _ in raw
        ]
    anonymous, at = manifest.study.anonymous, ("derivatives", name, "url")
    if "{site}" not in derivative.url:
        store, root = roots.open(derivative.url, anonymous, at)
        return [Dataset(store=store, root=root, destination=place, derivative=True)]
    datasets = []
    for dataset, _ in raw:
        url = derivative.url.replace("{site}", dataset.site or str(manifest.site or ""))
        store, root = roots.open(url, anonymous, at)
        there = replace(dataset, store=store, root=root, derivative=True)
        datasets.append(replace(there, destination=dataset.destination + place))
    return datasets


def pipelines(raw: Located, lister: Lister) -> tuple[dict[str, Located], list[str]]:
    """Find derivative pipelines inside the study, at most two levels deep.

    Returns the pipelines with subject directories, each with its datasets, and the names of those
    without. Both are sorted.
    """
    tops = [
        replace(dataset, prefix="derivatives/")
        for dataset, listing in raw
        if "derivatives" in listing.directories
    ]
    found: dict[str, Located] = {}
    others: set[str] = set()
    for top, listing in zip(tops, lister.list_roots(tops), strict=True):
        first = _list_candidates(top, "", listing, lister)
        for name, pair in first.items():
            if pair[1].subjects:
                found.setdefault(name, []).append(pair)
                continue
            second = _list_candidates(top, f"{name}/", pair[1], lister)
            nested = {path: below for path, below in second.items() if below[1].subjects}
            for path, below in nested.items():
                found.setdefault(path, []).append(below)
            if not nested:
                others.add(name)
    return dict(sorted(found.items())), sorted(others - found.keys())


def _list_candidates(
    top: Dataset, above: str, listing: RootListing, lister: Lister
) -> dict[str, tuple[Dataset, RootListing]]:
    """List the directories that may be pipelines, by path.

    Subjects' directories are skipped, since they belong to the other layout. The other skipped
    directories are never found automatically.
    """
    names = [
        above + name
        for name in listing.directories
        if not name.startswith(("sub-", ".")) and name not in {"code", "sourcedata"}
    ]
    datasets = [replace(top, prefix=f"{top.prefix}{name}/", derivative=True) for name in names]
    listings = lister.list_roots(datasets)
    return dict(zip(names, zip(datasets, listings, strict=True), strict=True))
