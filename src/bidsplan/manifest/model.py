"""The manifest itself."""

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
    model_validator,
)
from pydantic_core import PydanticCustomError

from bidsplan.bids.names import bare_label
from bidsplan.manifest.fields import (
    Boolean,
    Count,
    ExactName,
    ExactNames,
    Model,
    Names,
    Seed,
    Size,
    Texts,
    Title,
    Url,
    as_list,
    is_newer,
    mapping,
)
from bidsplan.manifest.filters import DatasetFiles, Derivative, Filter, Filters, Layout
from bidsplan.manifest.subjects import Subjects

if TYPE_CHECKING:
    from collections.abc import Iterable


MANIFEST_VERSION = 1


class Study(Model):
    """What study it is, and where.

    Parameters
    ----------
    url : str
        The dataset's root, or the directory above the sites.
    anonymous : bool, optional
        Whether requests to an object store go unsigned; they do where it is not given.
    versions : str
        ``latest`` or ``pinned``.
    """

    id: Title
    """A name for people; it stands in the plan."""

    url: Url
    """The dataset's root, or the directory above the sites; a path is relative to the manifest."""

    anonymous: Boolean | None = None
    """Whether requests to an object store go unsigned, as by default they do."""

    layout: Layout = "pipeline-first"
    """derivatives/<pipeline>/sub-X, or derivatives/sub-X/<pipeline>, kept as it stands or not."""

    versions: Literal["latest", "pinned"] = "latest"
    """pinned records each object's VersionId."""


def _bare_sessions(labels: tuple[str, ...]) -> tuple[str, ...]:
    bare = tuple(bare_label(label, "ses-") for label in labels)
    if any(not label or set(label) & set("/*?") for label in bare):
        raise ValueError("expected exact session labels, such as 01 or ses-01")
    return bare


class Sessions(Model):
    """Which sessions are wanted.

    Parameters
    ----------
    include : tuple of str, optional
        Labels without ``ses-``.
    sessionless : str
        What becomes of raw files without a session.
    """

    include: Annotated[Texts, AfterValidator(_bare_sessions)] | None = None
    """Labels; all sessions where not given."""

    sessionless: Literal["exclude", "include"] = "exclude"
    """What becomes of raw files without a session."""

    @model_validator(mode="before")
    @classmethod
    def _written(cls, value: Any) -> Any:
        return value if isinstance(value, dict | Sessions) else {"include": value}


def _tables(value: Any) -> Any:
    return str(value).lower() if isinstance(value, bool) else value


class Companions(Model):
    """Which files come along with those that are selected.

    Parameters
    ----------
    tables : str
        ``auto``, ``true`` or ``false``.
    """

    inherit: Boolean = True
    """Sidecars and other metadata that apply to a file."""

    associations: Boolean = True
    """Events, channels, gradient tables and other files that belong to a file."""

    fieldmaps: Boolean = True
    """Field maps that are meant for a file."""

    references: Boolean = True
    """Empty-room recordings and stimuli that a file names."""

    tables: Annotated[
        Literal["auto", "true", "false"],
        BeforeValidator(_tables, json_schema_input_type=Literal["auto"] | bool),
    ] = "auto"
    """scans and sessions tables; auto leaves scans out where files are filtered."""

    @model_validator(mode="before")
    @classmethod
    def _written(cls, value: Any) -> Any:
        if value == "full":
            return {}
        if value == "none":
            return {**dict.fromkeys(cls.model_fields, False), "tables": "false"}
        if isinstance(value, str):
            raise ValueError("expected full, none, or a mapping")  # noqa: TRY004
        return mapping(value)


class Limits(Model):
    """The largest plan that may be written."""

    max_bytes: Size | None = None
    """Such as 500GB."""

    max_files: Count | None = None
    """A number of files."""


def _site(value: Any) -> Any:
    return as_list(value) if isinstance(value, list | tuple) else value


def _derivatives(value: Any) -> Any:
    if value == "all":
        return value
    if value == "none":
        return {}
    if isinstance(value, str):
        raise ValueError("expected none, all, a list of names, or a mapping")  # noqa: TRY004
    if isinstance(value, list | tuple):
        if not all(isinstance(name, str) for name in value):
            raise ValueError("expected names of pipelines; filters go into a mapping by name")
        return {name: {} for name in value}
    # A name with nothing after it is a pipeline without a filter.
    return {name: {} if item in (None, "") else item for name, item in mapping(value).items()}


def _single_site(names: str | tuple[str, ...]) -> str | tuple[str, ...]:
    if isinstance(names, tuple) and len(set(names)) != len(names):
        raise ValueError("a site is named twice")
    return names


class Manifest(Model):
    """A study manifest.

    Parameters
    ----------
    manifest_version : int
    study : Study
    site : str or tuple of str, optional
        Directories below the study's URL: one is the dataset's root, several are datasets each.
    subjects : Subjects
    random_seed : int, optional
    sessions : Sessions, optional
    files : tuple of Filter
        Any of which may take a raw file; empty for none.
    derivatives : ``all`` or dict of str to Derivative
    directories : tuple of str
    dataset_files : str or tuple of str
    companions : Companions
    limits : Limits

    Notes
    -----
    `Manifest.model_validate` takes the same shapes as the YAML file.
    """

    manifest_version: Count
    """The language's version: 1."""

    study: Study
    """What study it is, and where."""

    site: (
        Annotated[
            ExactName | ExactNames,
            BeforeValidator(_site, json_schema_input_type=str | list[str]),
            AfterValidator(_single_site),
        ]
        | None
    ) = None
    """Directories below the study's URL; a list makes a dataset of each."""

    subjects: Annotated[Subjects, BeforeValidator(mapping)] = Subjects()
    """Which subjects; all where not given."""

    random_seed: Annotated[Seed | None, Field(validate_default=True)] = None
    """The seed of the draw."""

    sessions: Sessions | None = None
    """A list of labels, or {include, sessionless}."""

    files: Filters = (Filter(),)
    """One filter, a list of which any may take a file, or none; all files where not given."""

    derivatives: Annotated[
        Literal["all"] | dict[ExactName, Derivative],
        BeforeValidator(_derivatives),
    ] = Field(default_factory=dict)
    """none, all, a list of names, or a mapping of names to filters."""

    directories: Names = ()
    """Whole directories of the dataset's root to take along."""

    dataset_files: DatasetFiles = "standard"
    """none, description, standard, all, or names of files at the root."""

    companions: Companions = Companions()
    """full, none, or a mapping."""

    limits: Limits = Limits()
    """The largest plan that may be written."""

    @model_validator(mode="before")
    @classmethod
    def _known_version(cls, value: Any) -> Any:
        # Before all else: of a newer language's fields, nothing else can be said.
        version = value.get("manifest_version") if isinstance(value, dict) else None
        if is_newer(version, MANIFEST_VERSION):
            raise PydanticCustomError(
                "place",
                "the manifest has version {version}, and this bidsplan reads {known}; "
                "update bidsplan",
                {
                    "version": version,
                    "known": MANIFEST_VERSION,
                    "at": ("manifest_version",),
                },
            )
        return value

    @field_validator("subjects")
    @classmethod
    def _sites_to_draw_by(cls, subjects: Subjects, info: ValidationInfo) -> Subjects:
        sample = subjects.sample
        by_site = sample and (sample.per or "site" in sample.stratify_by)
        if by_site and not isinstance(info.data.get("site", ()), tuple):
            raise PydanticCustomError(
                "place",
                "drawing by site needs a list of sites",
                {"at": ("subjects", "sample")},
            )
        return subjects

    @field_validator("random_seed")
    @classmethod
    def _seed_to_draw_by(cls, seed: int | None, info: ValidationInfo) -> int | None:
        subjects = info.data.get("subjects")
        if seed is None and subjects and subjects.sample:
            raise PydanticCustomError(
                "place",
                "a sample needs a random_seed at the top of the manifest, so that others draw "
                "the same",
                {"at": ("subjects", "sample")},
            )
        return seed

    @field_validator("derivatives")
    @classmethod
    def _sites_to_fill_in(cls, derivatives: Any, info: ValidationInfo) -> Any:
        if info.data.get("site", "") is not None or derivatives == "all":
            return derivatives
        for name, derivative in derivatives.items():
            if derivative.url and "{site}" in derivative.url:
                raise PydanticCustomError(
                    "place",
                    "the url names a {site}, and the manifest has none",
                    {"at": ("derivatives", name, "url")},
                )
        return derivatives

    def canonical(self) -> bytes:
        """Write what the manifest means, whatever its comments, layout and spelling.

        Returns
        -------
        bytes
            JSON with sorted keys.
        """
        data = self.model_dump(mode="json", by_alias=True)
        return json.dumps(data, sort_keys=True, ensure_ascii=False, separators=(",", ":")).encode()

    def sha256(self, extra: Iterable[bytes] = ()) -> str:
        """Give the digest of the canonical form.

        Parameters
        ----------
        extra : iterable of bytes
            What else counts, such as the content of a cohort file.

        Returns
        -------
        str
            In hexadecimal.
        """
        digest = hashlib.sha256(self.canonical())
        for data in extra:
            digest.update(hashlib.sha256(data).digest())
        return digest.hexdigest()
