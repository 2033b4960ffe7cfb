"""Filters: which files of a dataset are wanted."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, WithJsonSchema, model_validator

from bidsplan.manifest.fields import (
    Boolean,
    Extensions,
    Globs,
    Model,
    Names,
    Text,
    Texts,
    Url,
    as_list,
    kind,
    mapping,
)

Layout = Literal["pipeline-first", "subject-first", "subject-first-kept"]
"""``derivatives/<pipeline>/sub-<label>``, or ``derivatives/sub-<label>/<pipeline>``, which lands by
pipeline all the same unless it is to be kept."""


class EntityRule(Model):
    """What a file's entity must be: one of some values, or absent."""

    any_of: Texts | None = None
    """Any of these values."""

    absent: Boolean = False
    """The file must not have the entity."""

    @model_validator(mode="before")
    @classmethod
    def _written(cls, value: Any) -> Any:
        if isinstance(value, EntityRule):
            return value
        if not isinstance(value, dict):
            return {"any_of": value}
        if set(value) == {"any_of"}:
            return value
        if value not in ({"absent": "true"}, {"absent": True}):
            raise ValueError("expected a value, a list of values, or {absent: true}")
        return value


class Filter(Model):
    """Files that have all of what is given here.

    Parameters
    ----------
    datatypes, suffixes, extensions : tuple of str, optional
        Any of these; a suffix is the last underscore-separated word of a name.
    entities : dict, optional
        An `EntityRule` for each entity's short name.
    include : tuple of str, optional
        Globs, any of which must match.
    exclude : tuple of str
        Globs of files to leave out of the whole dataset, companions included.
    """

    datatypes: Texts | None = None
    """Directories of the files, such as anat, dwi or func."""

    suffixes: Texts | None = None
    """Last words of file names, such as T1w or bold."""

    extensions: Extensions | None = None
    """Such as .nii.gz, from the leftmost dot."""

    entities: Annotated[
        dict[Text, EntityRule] | None,
        BeforeValidator(mapping),
        WithJsonSchema(
            {
                "type": "object",
                "additionalProperties": {
                    "anyOf": [
                        {"type": ["string", "number"]},
                        {"type": "array", "items": {"type": ["string", "number"]}},
                        {
                            "type": "object",
                            "properties": {"absent": {"const": True}},
                            "required": ["absent"],
                            "additionalProperties": False,
                        },
                    ]
                },
            }
        ),
    ] = None
    """Values by an entity's short name: {task: rest, run: [1, 2], acq: {absent: true}}."""

    include: Globs | None = None
    """Globs relative to the dataset's root; ** crosses directories."""

    exclude: Globs = ()
    """Globs of files to leave out, whatever else asks for them."""

    @model_validator(mode="before")
    @classmethod
    def _written(cls, value: Any) -> Any:
        return mapping(value)

    @property
    def restricts(self) -> bool:
        """Whether this is a file-level filter; an exclude alone is none."""
        given = (self.datatypes, self.suffixes, self.extensions, self.entities, self.include)
        return any(value is not None for value in given)


def _filters(value: Any) -> Any:
    if value == "none":
        return ()
    if not isinstance(value, dict | list | tuple | Filter):
        raise ValueError(  # noqa: TRY004 - pydantic's way
            f"expected a filter, a list of filters, or none; got {kind(value)}"
        )
    return tuple(as_list(value))


Filters = Annotated[
    tuple[Filter, ...],
    BeforeValidator(_filters, json_schema_input_type=Literal["none"] | Filter | list[Filter]),
]
"""One filter, several of which any may take a file, or ``none``."""


def _dataset_files(value: Any) -> Any:
    words = ("none", "description", "standard", "all")
    if isinstance(value, str):
        if value not in words:
            raise ValueError(f"expected one of {', '.join(words)}, or a list of file names")
        return value
    return as_list(value)


_Word = Literal["none", "description", "standard", "all"]
DatasetFiles = Annotated[
    _Word | Names,
    BeforeValidator(_dataset_files, json_schema_input_type=_Word | list[str]),
]
"""Which files at a dataset's root come along."""


class Derivative(Model):
    """What to take of one derivative pipeline.

    Parameters
    ----------
    filters : tuple of Filter
        Any of which may take a file.
    scope : str
        ``subjects``, or ``whole`` for all of the pipeline's directory.
    layout : str, optional
        Where it is not the study's.
    url : str, optional
        Where it is not inside the study; ``{site}`` stands for each site.
    dataset_files : str or tuple of str, optional
        Where it is not the study's rule.
    """

    filters: Annotated[
        tuple[Filter, ...], BeforeValidator(_filters), Field(json_schema_extra={"hidden": True})
    ] = (Filter(),)
    """Several filters, of which any may take a file."""

    scope: Literal["subjects", "whole"] = "subjects"
    """Files of the selected subjects, or the pipeline's whole directory."""

    layout: Layout | None = None
    """Where it is not the study's layout."""

    url: Url | None = None
    """Where the pipeline is not inside the study; {site} stands for each site."""

    dataset_files: DatasetFiles | None = None
    """Where it is not the study's rule."""

    @model_validator(mode="before")
    @classmethod
    def _written(cls, value: Any) -> Any:
        if isinstance(value, list | tuple):
            return {"filters": value}
        if not isinstance(value, dict) or "filters" in value:
            return mapping(value)
        fields = {key: item for key, item in value.items() if key in Filter.model_fields}
        others = {key: item for key, item in value.items() if key not in fields}
        return {"filters": (fields,), **others}
