"""What a download asks for, as a manifest; and having it fetched."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from bidsplan.bids.dataset_files import DESCRIPTION
from bidsplan.bids.names import bare_label
from bidsplan.errors import ManifestError, SelectionError
from bidsplan.messages import suggestion
from bidsplan.s3bids.arguments import warn
from bidsplan.s3bids.delivery import compile_over, deliver
from bidsplan.s3bids.manifests import agnostic_names, derivative_of, filter_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from bidsplan.manifest import Manifest
    from bidsplan.s3bids.arguments import DownloadOptions
    from bidsplan.s3bids.study import S3BIDSStudy
    from bidsplan.s3bids.subject import S3BIDSSubject


def document_of(
    study: S3BIDSStudy,
    subjects: Sequence[S3BIDSSubject],
    options: DownloadOptions,
    *,
    named: bool = True,
) -> dict[str, Any]:
    """Make the fields of the manifest that says what a download asks for.

    Parameters
    ----------
    named : bool
        Whether to name the subjects. Else they are all there are.

    Returns
    -------
    dict
        As people write a manifest.

    Raises
    ------
    SelectionError
        Where none of the subjects has a directory.
    """
    there = _there(study, subjects)
    document: dict[str, Any] = {"manifest_version": 1, **_place(study)}
    if named:
        document["subjects"] = {"include": sorted(subject.subject_id for subject in there)}
    if study.random_seed is not None and 0 <= study.random_seed < 1 << 32:
        document["random_seed"] = study.random_seed
    document["files"] = filter_of(_raw(study, there), options.suffix) or "none"
    derivatives = _derivatives(study, there, options)
    if derivatives:
        document["derivatives"] = derivatives
    document["dataset_files"] = _dataset_files(study, options)
    document["companions"] = "none"
    return document


def _place(study: S3BIDSStudy) -> dict[str, Any]:
    url, site = study.snapshot.url, study.snapshot.site
    where: dict[str, Any] = {"id": study.study_id or "study", "url": url}
    if site is not None:
        where |= {"url": url.removesuffix(f"/{site}"), "layout": "subject-first-kept"}
    # Unsigned is the default, so that only its opposite is worth a word.
    where |= {} if study.anon else {"anonymous": False}
    return {"study": where} | ({"site": site} if site is not None else {})


def _there(study: S3BIDSStudy, subjects: Iterable[S3BIDSSubject]) -> list[S3BIDSSubject]:
    """Keep the subjects that have a directory: those of a table need not have one."""
    labels = set(study.snapshot.survey().subjects)
    there: list[S3BIDSSubject] = []
    absent: list[str] = []
    for subject in subjects:
        if bare_label(subject.subject_id) in labels:
            there.append(subject)
        else:
            absent.append(subject.subject_id)
    if not there:
        raise SelectionError(f"{study.snapshot.url}: no selected subject has a directory here")
    if absent:
        listed = ", ".join(absent)
        warn(f"subjects without a directory are left out: {listed}")
    return there


def _raw(study: S3BIDSStudy, subjects: Iterable[S3BIDSSubject]) -> list[str]:
    skip = len(study.snapshot.key(""))
    return [key[skip:] for subject in subjects for key in subject.s3_keys["raw"]]


def _derivatives(
    study: S3BIDSStudy, subjects: Sequence[S3BIDSSubject], options: DownloadOptions
) -> dict[str, dict[str, Any]]:
    snapshot = study.snapshot
    found: dict[str, dict[str, Any]] = {}
    for kind in study.derivative_types:
        name = snapshot.pipeline(kind)
        if not options.takes(name, kind):
            continue
        keys = [(s.subject_id, key) for s in subjects for key in s.s3_keys["derivatives"][kind]]
        if snapshot.site is None:
            skip = len(snapshot.key(f"derivatives/{name}/"))
            paths = [key[skip:] for _, key in keys]
            described = DESCRIPTION in snapshot.survey(f"derivatives/{name}/").files
        else:
            # Filters read files as if they stood by pipeline.
            start = len(snapshot.key("derivatives/")) + len(name) + 2
            paths = [f"{subject}/{key[start + len(subject) :]}" for subject, key in keys]
            described = False
        derivative = derivative_of(paths, options, described=described)
        if derivative is not None:
            found[name] = derivative
    _warn_unknown(study, options)
    return found


def _warn_unknown(study: S3BIDSStudy, options: DownloadOptions) -> None:
    """Tell the pipelines that are asked for and not there: a part of a name no longer counts."""
    if isinstance(options.derivatives, bool):
        return
    kinds = study.derivative_types
    names = [study.snapshot.pipeline(kind) for kind in kinds]
    for wanted in options.derivatives:
        one = replace(options, derivatives=(wanted,))
        if not any(one.takes(name, kind) for name, kind in zip(names, kinds, strict=True)):
            hint = suggestion(wanted, names)
            text = f"there is no derivative pipeline {wanted!r}" + (f"; {hint}" if hint else "")
            warn(f"{text}; names are exact, unless they end in '*'")


def _dataset_files(study: S3BIDSStudy, options: DownloadOptions) -> str | list[str]:
    names = agnostic_names(study.agnostic_files, options.agnostic)
    return names or ("description" if options.described else "none")


def manifest_of(document: dict[str, Any]) -> Manifest:
    """Make a manifest of its fields.

    Raises
    ------
    ManifestError
        Where the study has a name, or files have names, that no manifest may have.
    """
    from pydantic import ValidationError  # a tenth of a second

    from bidsplan.manifest import Manifest  # imports pydantic

    try:
        return Manifest.model_validate(document)
    except ValidationError as error:
        raise ManifestError(f"the study can't be said by a manifest: {error}") from error


def fetch(
    study: S3BIDSStudy,
    subjects: Sequence[S3BIDSSubject],
    options: DownloadOptions,
    directory: str,
    *,
    overwrite: bool,
    pbar: bool,
    position: int | None = None,
) -> None:
    """Fetch what is asked for of subjects, and have each of them take note of its files.

    Parameters
    ----------
    position : int, optional
        The bar's line.

    Raises
    ------
    BidsplanError
        Where files could not be brought. The others were.
    """
    manifest = manifest_of(document_of(study, subjects, options))
    plan = compile_over(manifest, study.snapshot.store)
    delivery = deliver(plan, directory, overwrite=overwrite, pbar=pbar, position=position)
    local = {study.snapshot.key(key): path for key, path in delivery.files.items()}
    for subject in subjects:
        subject.note(local, options)
    delivery.check()
