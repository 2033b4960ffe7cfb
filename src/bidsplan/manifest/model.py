"""The manifest model."""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    ValidationInfo,
    field_validator,
)
from pydantic_core import PydanticCustomError

from bidsplan.bids.names import bare_label
from bidsplan.manifest import fields
from bidsplan.manifest.fields import Boolean, Count, ExactName, Model, mapping
from bidsplan.manifest.filters import DatasetFiles, Derivative, Filter, Filters, Layout
from bidsplan.manifest.subjects import Subjects

if TYPE_CHECKING:
    from collections.abc import Iterable


MANIFEST_VERSION = 1


class Study(Model):
    """The name and the location of the study."""

    _example = "{id: ds000114, url: s3://openneuro.org/ds000114}"

    id: fields.Title
    """A name for readers, which bidsplan copies to the plan."""
    url: fields.Url
    """The dataset's root, or the directory above its sites; a path is relative to the manifest."""
    anonymous: Boolean | None = None
    """Send unsigned requests to an object store (true, the default), or sign requests (false)."""
    layout: Layout = "pipeline-first"
    """pipeline-first: derivatives/<pipeline>/sub-X. subject-first: derivatives/sub-X/<pipeline>,
    which fetch writes as pipeline-first. subject-first-kept: the same, written as in the study."""
    versions: Literal["latest", "pinned"] = "latest"
    """latest, or pinned to record the VersionId of each object in the plan."""


def _bare_sessions(labels: tuple[str, ...]) -> tuple[str, ...]:
    bare = tuple(bare_label(label, "ses-") for label in labels)
    if any(not label or set(label) & set("/*?") for label in bare):
        raise ValueError("expected exact session labels, such as 01 or ses-01")
    return bare


class Sessions(Model):
    """The sessions to select."""

    include: Annotated[fields.Texts, AfterValidator(_bare_sessions)] | None = None
    """The labels of the sessions; by default all sessions."""
    sessionless: Literal["exclude", "include"] = "exclude"
    """If include lists sessions: exclude or include raw files without a session."""

    @classmethod
    def _written(cls, value: Any) -> Any:
        return value if isinstance(value, dict) else {"include": value}


def _sessions(value: Any) -> Any:
    return None if value == "all" else value


def _tables(value: Any) -> Any:
    return str(value).lower() if isinstance(value, bool) else value


class Companions(Model):
    """The related files to fetch with the files that filters select."""

    inherit: Boolean = True
    """Sidecars and other metadata that apply to a selected file."""
    associations: Boolean = True
    """Events, channels, gradient tables and other files that belong to a selected file."""
    fieldmaps: Boolean = True
    """Field maps that are intended for a selected file."""
    targets: Boolean | None = None
    """Other files that selected field maps are intended for; by default a warning counts them."""
    references: Boolean = True
    """Empty-room recordings and stimuli that a selected file names."""

    tables: Annotated[
        Literal["auto", "true", "false"],
        BeforeValidator(_tables, json_schema_input_type=Literal["auto"] | bool),
    ] = "auto"
    """The scans and sessions tables; auto leaves scans tables out if files are filtered."""

    @classmethod
    def _written(cls, value: Any) -> Any:
        if value == "full":
            return {}
        if value == "none":
            return {name: False for name in cls.model_fields if name != "targets"}
        if isinstance(value, str):
            raise ValueError(  # noqa: TRY004 - pydantic's way
                "expected full, none, or a mapping such as {tables: false}; got "
                f"{fields.shown(value)}"
            )
        return value


class Limits(Model):
    """The largest plan that compile may write."""

    _example = "{max_bytes: 500GB}"

    max_bytes: fields.Size | None = None
    """The maximum total size of the files, such as 500GB."""
    max_files: Count | None = None
    """The maximum number of files."""


def _site(value: Any) -> Any:
    return fields.as_list(value) if isinstance(value, list | tuple) else value


def _derivatives(value: Any) -> Any:
    if value == "all":
        return value
    if value == "none":
        return {}
    if isinstance(value, bool) or value in ("true", "false"):
        word = "all" if str(value).lower() == "true" else "none"
        raise ValueError(f"expected names, all or none; write 'derivatives: {word}'")
    if isinstance(value, str) and value:
        value = [value]
    if isinstance(value, list | tuple):
        if not all(isinstance(name, str) for name in value):
            raise ValueError(
                "expected names of pipelines; write filters as 'derivatives: {fmriprep: {suffixes: "
                "[bold]}}'"
            )
        return {name: {} for name in value}
    # A name without a value is a pipeline without a filter.
    return {
        name: {} if item in (None, "") else item
        for name, item in mapping(value, "{fmriprep: {suffixes: [bold]}}").items()
    }


def _single_site(names: str | tuple[str, ...]) -> str | tuple[str, ...]:
    if isinstance(names, tuple) and len(set(names)) != len(names):
        raise ValueError("a site is named twice")
    return names


class Manifest(Model):
    """A study manifest, which says which files of a study to fetch.

    Notes
    -----
    `Manifest.model_validate` accepts the same shapes as the YAML file; its fields are described
    below and in the documentation.
    """

    manifest_version: Count
    """The version of the manifest language: 1."""
    study: Study
    """The name and the location of the study."""

    site: (
        Annotated[
            ExactName | fields.ExactNames,
            BeforeValidator(_site, json_schema_input_type=str | list[str]),
            AfterValidator(_single_site),
        ]
        | None
    ) = None
    """Directories below the study's URL. One name is the dataset's root; each name in a list is a
    separate dataset."""

    subjects: Subjects = Subjects()
    """The subjects to select: all (default), a list of labels, or a mapping."""
    random_seed: Annotated[fields.Seed | None, Field(validate_default=True)] = None
    """The seed of the random sample of subjects."""
    sessions: Annotated[Sessions | None, BeforeValidator(_sessions)] = None
    """The sessions to select: a list of labels, or {include, sessionless}."""
    files: Filters = (Filter(),)
    """The raw files to select: one filter, a list of filters, all (default) or none."""

    derivatives: Annotated[
        Literal["all"] | dict[ExactName, Derivative],
        BeforeValidator(_derivatives),
    ] = Field(default_factory=dict)
    """The derivatives to select: none (default), all, names, or a mapping of names to filters."""

    directories: fields.Names = ()
    """Directories at the dataset's root to fetch as a whole."""
    dataset_files: DatasetFiles = "standard"
    """The files to fetch at the dataset's root: none, description, standard, all, or file names."""
    companions: Companions = Companions()
    """The companion files to fetch: full, none, or a mapping."""
    limits: Limits = Limits()
    """The largest plan that compile may write."""

    @classmethod
    def _written(cls, value: Any) -> Any:
        # First of all, since a newer language may have any fields.
        version = value.get("manifest_version") if isinstance(value, dict) else None
        if fields.is_newer(version, MANIFEST_VERSION):
            raise _placed(
                f"the manifest has version {version}, and this bidsplan reads {MANIFEST_VERSION}; "
                "update bidsplan",
                "manifest_version",
            )
        return value

    @field_validator("subjects")
    @classmethod
    def _sites_to_draw_by(cls, subjects: Subjects, info: ValidationInfo) -> Subjects:
        sample = subjects.sample
        by_site = sample and "site" in (*sample.per, *sample.stratify_by)
        if by_site and not isinstance(info.data.get("site", ()), tuple):
            message = "sampling by site needs a list of sites, such as 'site: [Site-CBIC, Site-RU]'"
            raise _placed(message, "subjects", "sample")
        return subjects

    @field_validator("random_seed")
    @classmethod
    def _seed_to_draw_by(cls, seed: int | None, info: ValidationInfo) -> int | None:
        subjects = info.data.get("subjects")
        if seed is None and subjects and subjects.sample:
            raise _placed(
                "a sample needs a seed, so that others draw the same subjects; write "
                "'random_seed: 42' at the top level",
                *("subjects", "sample"),
            )
        return seed

    @field_validator("derivatives")
    @classmethod
    def _sites_to_fill_in(cls, derivatives: Any, info: ValidationInfo) -> Any:
        if info.data.get("site", "") is not None or derivatives == "all":
            return derivatives
        for name, derivative in derivatives.items():
            if derivative.url and "{site}" in derivative.url:
                message = "the url names a {site}, and the manifest has none"
                raise _placed(message, "derivatives", name, "url")
        return derivatives

    def canonical(self) -> bytes:
        """Return the manifest as JSON that does not depend on comments, layout and spelling."""
        data = self.model_dump(mode="json", by_alias=True)
        if self.companions.targets is None:
            # As before there was this field, so that plans remain those of their manifests.
            del data["companions"]["targets"]
        return json.dumps(data, sort_keys=True, ensure_ascii=False, separators=(",", ":")).encode()

    def sha256(self, extra: Iterable[bytes] = ()) -> str:
        """Return the digest of the canonical form, in hexadecimal.

        Parameters
        ----------
        extra : iterable of bytes
            Other data to include, such as the content of a cohort file.
        """
        digest = hashlib.sha256(self.canonical())
        for data in extra:
            digest.update(hashlib.sha256(data).digest())
        return digest.hexdigest()


def _placed(message: str, *at: str) -> PydanticCustomError:
    """Make an error at another place than the field that is validated."""
    return PydanticCustomError("place", message, {"at": at})
