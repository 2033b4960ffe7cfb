"""From a manifest to the study that it describes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar, cast

from bidsplan.errors import Problem, SelectionError, UnsupportedError
from bidsplan.manifest.load import load_manifest
from bidsplan.s3bids.arguments import warn
from bidsplan.s3bids.hbn import SITES, HBNSite
from bidsplan.s3bids.manifests import download_arguments
from bidsplan.urls import parse_url

if TYPE_CHECKING:
    from os import PathLike

    from bidsplan.manifest import Manifest
    from bidsplan.manifest.load import ManifestFile
    from bidsplan.s3bids.study import S3BIDSStudy


Kind = TypeVar("Kind", bound="S3BIDSStudy")

_NOT_FETCHED = frozenset({"subjects", "random_seed", "limits"})
"""Fields that say nothing of the files of a subject."""


def study_of(path: str | PathLike[str], kind: type[Kind]) -> Kind:
    """Make the study that a manifest describes; see `S3BIDSStudy.from_manifest`."""
    loaded = load_manifest(path)
    manifest = loaded.manifest
    problems = [loaded.locate(problem) for problem in _problems(manifest, kind)]
    if problems:
        raise UnsupportedError(problems=problems)
    arguments = {
        "study_id": manifest.study.id,
        "bucket": parse_url(manifest.study.url).host,
        "s3_prefix": parse_url(manifest.study.url).path,
        "subjects": _subjects(loaded),
        "random_seed": manifest.random_seed,
    }
    study = cast("Kind", _made(manifest, kind, arguments))
    study.download_arguments = download_arguments(manifest)
    _warn_lost(manifest, study)
    return study


def _by_subject(manifest: Manifest) -> bool:
    return manifest.study.layout != "pipeline-first"


def _problems(manifest: Manifest, kind: type[S3BIDSStudy]) -> list[Problem]:
    """Tell why a study of a class can't be what a manifest describes."""
    problems = []
    if parse_url(manifest.study.url).protocol != "s3":
        problems.append(Problem(message="a study of this class is on S3", at=("study", "url")))
    if isinstance(manifest.site, tuple):
        text = "a study of this class is one dataset; name one site, and not a list"
        problems.append(Problem(message=text, at=("site",)))
    elif _by_subject(manifest) and manifest.site not in SITES:
        text = f"only the sites of HBN have this layout here: {', '.join(SITES)}"
        problems.append(Problem(message=text, at=("study", "layout")))
    elif issubclass(kind, HBNSite) and not _by_subject(manifest):
        text = "HBNSite has the layout subject-first"
        problems.append(Problem(message=text, at=("study", "layout")))
    return problems


def _subjects(loaded: ManifestFile) -> str | list[str]:
    """Choose the subjects as compiling does."""
    from bidsplan.compile import compile_manifest  # a tenth of a second
    from bidsplan.manifest import Subjects  # loaded by now

    manifest = loaded.manifest
    if manifest.subjects == Subjects():
        return "all"
    nothing: dict[str, Any] = {
        "files": (),
        "derivatives": {},
        "dataset_files": "none",
        "directories": (),
    }
    alone = manifest.model_copy(update=nothing)
    try:
        plan = compile_manifest(alone, base=loaded.path.parent).plan
    except SelectionError as error:
        raise error.located(loaded.locate) from error
    return [f"sub-{label}" for label in plan.header.subjects]


def _made(manifest: Manifest, kind: type[S3BIDSStudy], arguments: dict[str, Any]) -> S3BIDSStudy:
    site = manifest.site
    if _by_subject(manifest):
        hbn = kind if issubclass(kind, HBNSite) else HBNSite
        return hbn(site=str(site), **arguments)
    if site is not None:
        arguments["s3_prefix"] = f"{arguments['s3_prefix']}/{site}".lstrip("/")
    return kind(**arguments, anon=manifest.study.anonymous is not False)


def _warn_lost(manifest: Manifest, study: S3BIDSStudy) -> None:
    """Tell what of the manifest the study and its arguments don't say."""
    said = study.to_manifest(**study.download_arguments)
    here, there = _flat(manifest), _flat(said)
    lost = sorted(name for name in here if here[name] != there[name])
    if lost:
        warn(
            "the arguments of S3BIDSStudy.download can't say all of what the manifest says of "
            f"{', '.join(lost)}; 'bidsplan fetch' and bidsplan.materialise go by the manifest",
        )


def _flat(manifest: Manifest) -> dict[str, object]:
    """Give what a manifest says of the files to fetch, by field."""
    study = manifest.study
    url = study.url.rstrip("/") + (f"/{manifest.site}" if manifest.site else "")
    fields = {
        name: getattr(manifest, name)
        for name in type(manifest).model_fields
        if name not in _NOT_FETCHED | {"study", "site"}
    }
    return fields | {
        "study.url": url,
        "study.anonymous": study.anonymous is not False,
        "study.layout": study.layout,
        "study.versions": study.versions,
    }
