"""Converts a study and its download arguments to a manifest, and back."""

from __future__ import annotations

from dataclasses import replace
from itertools import chain
from typing import TYPE_CHECKING, Any

from bidsplan.bids.dataset_files import DESCRIPTION
from bidsplan.bids.names import bare_label
from bidsplan.bids.recordings import items_of
from bidsplan.compile.select.globs import Globs, is_glob
from bidsplan.errors import ManifestError, Problem, SelectionError, UnsupportedError
from bidsplan.messages import suggestion, warn
from bidsplan.s3bids.arguments import AGNOSTIC
from bidsplan.urls import parse_url

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping, Sequence

    from bidsplan.manifest import Manifest
    from bidsplan.manifest.load import ManifestFile
    from bidsplan.s3bids.arguments import DownloadOptions
    from bidsplan.s3bids.listed_study import ListedStudy
    from bidsplan.s3bids.snapshot import Keys


_BY_SUFFIX = "**/*"

_NOT_FILES = frozenset({"subjects", "random_seed", "limits", "study", "site"})
"""Fields of a filter that select no files by themselves."""


def agnostic_names(names: Iterable[str], wanted: str | Sequence[str]) -> list[str]:
    """Select files at a study's root: ``all``, or by name.

    Examples
    --------
    >>> agnostic_names(["README.md", "CHANGES", "T1w.json"], ["README"])
    ['README.md']
    """
    if wanted == "all":
        return sorted(names)
    several = {wanted} if isinstance(wanted, str) else set(wanted)
    return sorted(name for name in names if {name, name.partition(".")[0]} & several)


def filter_of(paths: Iterable[str], suffix: str) -> dict[str, list[str]] | None:
    """Make the filter that selects paths by their suffix.

    None if no path has it. A recording that is a folder is matched by its own name.

    Examples
    --------
    >>> filter_of(["sub-1/dwi/sub-1_profiles.csv", "sub-1/.x"], "")
    {'include': ['**', 'sub-1/.x']}
    """
    names = [item.name.path for item in items_of(paths) if item.name.path.endswith(suffix)]
    glob = f"{_BY_SUFFIX}{suffix}" if suffix else "**"
    globs = [glob] if not is_glob(suffix) and any(map(Globs([glob]).match, names)) else []
    # Only a glob that contains the dot matches dotfiles.
    known = Globs(globs)
    others = [name for name in names if not known.match(name)]
    return {"include": globs + others} if names else None


def document_of(
    study: ListedStudy, subjects: Mapping[str, Keys], options: DownloadOptions, *, named: bool
) -> dict[str, Any]:
    """Return the manifest's fields for the files of a download.

    Subjects are given with their keys; unless they are named, they are all there are. Raises
    SelectionError where none of them has a directory.
    """
    subjects = _with_directory(study, subjects)
    document: dict[str, Any] = {"manifest_version": 1, **_place(study)}
    if named:
        document["subjects"] = {"include": sorted(subjects)}
    if study.random_seed is not None and 0 <= study.random_seed < 1 << 32:
        document["random_seed"] = study.random_seed
    skip = len(study.snapshot.key(""))
    raw = [key[skip:] for keys in subjects.values() for key in keys["raw"]]
    document["files"] = filter_of(raw, options.suffix) or "none"
    derivatives = _derivatives(study, subjects, options)
    if derivatives:
        document["derivatives"] = derivatives
    names = agnostic_names(study.agnostic_files, options.agnostic)
    document["dataset_files"] = names or ("description" if options.described else "none")
    document["companions"] = "none"
    return document


def _with_directory(study: ListedStudy, subjects: Mapping[str, Keys]) -> dict[str, Keys]:
    """Keep the subjects that have a directory."""
    labels = set(study.snapshot.listing().subjects)
    present = {name: keys for name, keys in subjects.items() if bare_label(name) in labels}
    if not present:
        raise SelectionError(f"{study.snapshot.url}: no selected subject has a directory here")
    absent = [name for name in subjects if name not in present]
    if absent:
        warn(f"subjects without a directory are left out: {', '.join(absent)}")
    return present


def _place(study: ListedStudy) -> dict[str, Any]:
    url, site = study.snapshot.url, study.snapshot.site
    # Unsigned requests are the default.
    access = {} if study.anon else {"anonymous": False}
    if site is None:
        return {"study": {"id": study.study_id or "study", "url": url, **access}}
    url = url.removesuffix(f"/{site}")
    where = {"id": study.study_id or "study", "url": url, "layout": "subject-first-kept", **access}
    return {"study": where, "site": site}


def _derivatives(
    study: ListedStudy, subjects: Mapping[str, Keys], options: DownloadOptions
) -> dict[str, dict[str, Any]]:
    kinds = {kind: study.snapshot.pipeline(kind) for kind in study.derivative_types}
    found: dict[str, dict[str, Any]] = {}
    for kind, name in kinds.items():
        if not options.takes(name, kind):
            continue
        files = filter_of(_derivative_paths(study, subjects, kind), options.suffix)
        described = (
            options.descriptions
            and DESCRIPTION in study.snapshot.listing(f"derivatives/{name}/").files
        )
        if files is not None:
            found[name] = {**files, "dataset_files": "description" if described else "none"}
        elif described:
            found[name] = {"scope": "whole", "include": [DESCRIPTION], "dataset_files": "none"}
    _warn_unknown(kinds, options)
    return found


def _derivative_paths(study: ListedStudy, subjects: Mapping[str, Keys], kind: str) -> list[str]:
    """Return the paths of subjects' files below a pipeline's root."""
    name = study.snapshot.pipeline(kind)
    paths: list[str] = []
    for subject_id, keys in subjects.items():
        # Filters match subject-first files as if they were pipeline-first.
        above = "" if study.snapshot.site is None else f"{subject_id}/"
        skip = len(study.snapshot.key(f"derivatives/{above}{name}/"))
        paths += [above + key[skip:] for key in keys["derivatives"][kind]]
    return paths


def _warn_unknown(kinds: Mapping[str, str], options: DownloadOptions) -> None:
    """Warn of selected pipelines that do not exist."""
    for wanted in () if isinstance(options.derivatives, bool) else options.derivatives:
        one = replace(options, derivatives=(wanted,))
        if not any(one.takes(name, kind) for kind, name in kinds.items()):
            hint = suggestion(wanted, kinds.values())
            text = f"there is no derivative pipeline {wanted!r}" + (f"; {hint}" if hint else "")
            warn(f"{text}; names are exact, unless they end in '*'")


def manifest_of(document: dict[str, Any]) -> Manifest:
    """Validate the fields; raise ManifestError for names that are not allowed."""
    from pydantic import ValidationError  # imports for a tenth of a second

    from bidsplan.manifest import Manifest  # imports pydantic

    try:
        return Manifest.model_validate(document)
    except ValidationError as error:
        raise ManifestError(f"no manifest can describe the study: {error}") from error


def check_manifest(
    loaded: ManifestFile, kind: str, sites: Collection[str], *, subject_first: bool
) -> None:
    """Raise UnsupportedError if a class can't represent a manifest.

    `kind` is the class's name. `sites` are all of subject-first layout that have a class, and
    `subject_first` is whether this class is for one of them only.
    """
    study, site = loaded.manifest.study, loaded.manifest.site
    by_subject = _by_subject(loaded.manifest)
    problems: dict[tuple[str, ...], str] = {}
    if parse_url(study.url).protocol != "s3":
        problems["study", "url"] = "a study of this class is on S3"
    if isinstance(site, tuple):
        problems["site",] = "a study of this class is one dataset; name one site, and not a list"
    elif by_subject and site not in sites:
        text = f"only the sites of HBN have this layout here: {', '.join(sites)}"
        problems["study", "layout"] = text
    elif subject_first and not by_subject:
        problems["study", "layout"] = f"{kind} has the layout subject-first"
    if problems:
        found = (Problem(message=text, at=at) for at, text in problems.items())
        raise UnsupportedError(problems=list(map(loaded.locate, found)))


def _by_subject(manifest: Manifest) -> bool:
    return manifest.study.layout != "pipeline-first"


def study_arguments(loaded: ManifestFile) -> dict[str, Any]:
    """Return the constructor's arguments for a manifest.

    Raises SelectionError or StorageError if the subjects can't be selected.
    """
    manifest = loaded.manifest
    url = parse_url(manifest.study.url)
    arguments = {
        "study_id": manifest.study.id,
        "bucket": url.host,
        "s3_prefix": url.path,
        "subjects": _subjects(loaded),
        "random_seed": manifest.random_seed,
    }
    if _by_subject(manifest):
        return arguments | {"site": manifest.site}
    if manifest.site is not None:
        arguments["s3_prefix"] = f"{url.path}/{manifest.site}".lstrip("/")
    return arguments | {"anon": manifest.study.anonymous is not False}


def _subjects(loaded: ManifestFile) -> str | list[str]:
    """Select subjects in the same way as compiling."""
    from bidsplan.compile.compiler import compile_manifest  # imports for a tenth of a second
    from bidsplan.manifest import Subjects  # loaded by now

    manifest = loaded.manifest
    if manifest.subjects == Subjects():
        return "all"
    nothing = {"files": (), "derivatives": {}, "dataset_files": "none", "directories": ()}
    alone = manifest.model_copy(update=nothing)
    try:
        plan = compile_manifest(alone, base=loaded.path.parent).plan
    except SelectionError as error:
        raise error.located(loaded.locate) from error
    return [f"sub-{label}" for label in plan.header.subjects]


def download_arguments(manifest: Manifest) -> dict[str, Any]:
    """Return the `download` arguments that are closest to a manifest."""
    arguments: dict[str, Any] = {"include_modality_agnostic": _agnostic(manifest.dataset_files)}
    wanted = manifest.derivatives
    derivatives = {} if wanted == "all" else wanted
    if wanted:
        arguments["include_derivs"] = True if wanted == "all" else sorted(derivatives)
        if not _by_subject(manifest):
            arguments["include_derivs_dataset_description"] = wanted == "all" or any(
                each.dataset_files != "none" or each.scope == "whole"
                for each in derivatives.values()
            )
    filters = [*manifest.files, *chain.from_iterable(each.filters for each in derivatives.values())]
    globs = (glob for filter_ in filters for glob in filter_.include or ())
    suffixes = (glob.removeprefix(_BY_SUFFIX) for glob in globs if glob.startswith(_BY_SUFFIX))
    suffix = next((each for each in suffixes if each and not is_glob(each)), None)
    return arguments | ({"suffix": suffix} if suffix else {})


def _agnostic(dataset_files: str | tuple[str, ...]) -> bool | tuple[str, ...]:
    if isinstance(dataset_files, tuple):
        known = tuple(name for name in sorted(AGNOSTIC) if agnostic_names(dataset_files, [name]))
        return known if len(agnostic_names(dataset_files, known)) == len(dataset_files) else True
    by_word: dict[str, bool | tuple[str, ...]] = {
        "none": False,
        "description": (DESCRIPTION,),
        "standard": AGNOSTIC,
    }
    return by_word.get(dataset_files, True)


def warn_lost(manifest: Manifest, described: Manifest) -> None:
    """Warn of the parts of a manifest that the study can't express."""
    here, there = _file_fields(manifest), _file_fields(described)
    lost = sorted(name for name in here if here[name] != there[name])
    if lost:
        warn(
            "the arguments of S3BIDSStudy.download can't express all of what the manifest says of "
            f"{', '.join(lost)}; 'bidsplan fetch' and bidsplan.materialise follow the manifest",
        )


def _file_fields(manifest: Manifest) -> dict[str, object]:
    study = manifest.study
    names = type(manifest).model_fields.keys() - _NOT_FILES
    return {name: getattr(manifest, name) for name in names} | {
        "study.url": study.url.rstrip("/") + (f"/{manifest.site}" if manifest.site else ""),
        "study.anonymous": study.anonymous is not False,
        "study.layout": study.layout,
        "study.versions": study.versions,
    }
