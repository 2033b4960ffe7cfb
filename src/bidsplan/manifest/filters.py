"""Filters: which files of a dataset to select."""

from __future__ import annotations

from functools import cache, lru_cache
from typing import Annotated, Any, Literal, NamedTuple, get_args

from pydantic import BeforeValidator, Field, WithJsonSchema

from bidsplan.bids.schema import datatypes, suffixes
from bidsplan.manifest import fields
from bidsplan.manifest.fields import Model, Text, Texts, as_list, mapping, shown

Layout = Literal["pipeline-first", "subject-first", "subject-first-kept"]
"""``derivatives/<pipeline>/sub-<label>``, or ``derivatives/sub-<label>/<pipeline>``, which is
fetched as pipeline-first unless it is to be kept."""


class EntityRule(Model):
    """The values that an entity may have, or that the entity must be absent."""

    any_of: Texts | None = None
    """The entity must have one of these values."""
    absent: fields.Boolean = False
    """If true, the file name must not contain the entity."""

    @classmethod
    def _written(cls, value: Any) -> Any:
        if not isinstance(value, dict):
            return {"any_of": value}
        if set(value) != {"any_of"} and value not in ({"absent": "true"}, {"absent": True}):
            raise ValueError("expected a value, a list of values, or {absent: true}")
        return value


class _Vocabulary(NamedTuple):
    """The words that stand for a filter, by their folded forms; of several, the shortest."""

    words: dict[str, str]
    beginnings: dict[str, str]
    misspelled: dict[str, str]
    """By what is left of each word without a letter, and by the word."""
    longest: int


@cache
def _vocabulary() -> _Vocabulary:
    known = sorted(datatypes() | suffixes(), key=lambda word: (len(word), word), reverse=True)
    folded = [(word.casefold(), word) for word in known]
    return _Vocabulary(
        dict(folded),
        {form[:end]: word for form, word in folded for end in range(1, len(form) + 1)},
        {short: word for form, word in folded for short in _shortened(form)},
        max(len(form) for form, _ in folded),
    )


def _shortened(word: str) -> list[str]:
    return [word, *(word[:number] + word[number + 1 :] for number in range(len(word)))]


_COMPARED = range(4, 21)
"""Lengths of words that are compared with those that differ in a letter."""


@lru_cache(1024)
def _similar(word: str) -> str | None:
    """Return a word of BIDS that begins similarly, or differs in a letter.

    Only looks words up, since a manifest may have a million.
    """
    folded, known = word.casefold(), _vocabulary()
    if len(folded) < 2:
        return None
    starts = (folded[:end] for end in range(2, min(len(folded), known.longest) + 1))
    found = next((known.words[start] for start in starts if start in known.words), None)
    found = found or known.beginnings.get(folded)
    if found or len(folded) not in _COMPARED:
        return found
    forms = (form for form in _shortened(folded) if form in known.misspelled)
    return next((known.misspelled[form] for form in forms), None)


def _filter_of(word: str, *, derivative: bool = False) -> dict[str, list[str]]:
    """Return the filter that a word of BIDS stands for, if it is not one of several.

    Derivatives may have suffixes of their own, so the advice about an unknown word differs.
    """
    if word == "all":
        return {}
    if word in {"true", "false"}:
        raise ValueError("expected a filter; write all or none")
    known = {"datatypes": datatypes, "suffixes": suffixes}
    found = [field for field, words in known.items() if word in words()]
    if len(found) == 1:
        return {found[0]: [word]}
    quoted = shown(word)
    if quoted != repr(word):
        raise ValueError(f"expected a filter such as {{suffixes: [T1w]}}; got {quoted}")
    field = word.partition(":")[0]
    if field != word and field in Filter.model_fields:
        raise ValueError(f"expected a filter; write a space after the colon: '{field}: …'")
    if found:
        why = f"{quoted} is a datatype and a suffix;"
    elif set(word) & set("*?/"):
        raise ValueError(f"expected a filter; write {{include: ['{word}']}}")
    elif word.startswith("."):
        raise ValueError(f"expected a filter; write {{extensions: [{word}]}}")
    else:
        near = _similar(word)
        if derivative:
            correction = f"; or did you mean {near!r}?" if near else ""
            raise ValueError(
                f"BIDS has no word {quoted}; if it is a suffix of this pipeline's files, write "
                f"{{suffixes: [{word}]}}{correction}"
            )
        correction = f"; did you mean {near!r}? Otherwise" if near else ";"
        why = f"{quoted} is neither a BIDS datatype nor a BIDS suffix{correction}"
    raise ValueError(f"{why} write {{datatypes: [{word}]}} or {{suffixes: [{word}]}}")


class Filter(Model):
    """A filter, which selects the files that match all of its fields."""

    _example = "{suffixes: [T1w]}"

    datatypes: Texts | None = None
    """The datatype directory that a file is in, such as anat, dwi or func."""
    suffixes: Texts | None = None
    """The last word of the file name, after the last underscore, such as T1w or bold."""
    extensions: fields.Extensions | None = None
    """The rest of the file name from its first dot, such as .nii.gz."""

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
    """Short names of entities and their values: {task: rest, run: [1, 2], acq: {absent: true}}."""

    include: fields.Globs | None = None
    """Globs relative to the dataset's root; one must match. ** matches any directories."""
    exclude: fields.Globs = ()
    """Globs for files to leave out, even if another rule selects them."""

    @classmethod
    def _written(cls, value: Any) -> Any:
        return _filter_of(value) if isinstance(value, str) and value else value

    @property
    def restricts(self) -> bool:
        """Whether this selects by file; an exclude alone does not."""
        given = (self.datatypes, self.suffixes, self.extensions, self.entities, self.include)
        return any(value is not None for value in given)


def _filters(value: Any) -> Any:
    if value == "none":
        return ()
    if value == "" or not isinstance(value, str | dict | list | tuple | Filter):
        raise ValueError(
            "expected a filter such as {suffixes: [T1w]}, a list of filters, all or none; got "
            f"{shown(value)}"
        )
    return tuple(as_list(value))


Filters = Annotated[
    tuple[Filter, ...],
    BeforeValidator(_filters, json_schema_input_type=Literal["none"] | Filter | list[Filter]),
]
"""One filter, several of which any may match, or ``none``."""


def split_filter(value: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    """Split a mapping into the fields of a filter and the others."""
    own = {key: item for key, item in mapping(value).items() if key in Filter.model_fields}
    return own, {key: item for key, item in value.items() if key not in own}


_Word = Literal["none", "description", "standard", "all"]


def _dataset_files(value: Any) -> Any:
    words = get_args(_Word)
    if isinstance(value, str):
        if value not in words:
            raise ValueError(f"expected one of {', '.join(words)}, or a list of file names")
        return value
    return as_list(value)


DatasetFiles = Annotated[
    _Word | fields.Names,
    BeforeValidator(_dataset_files, json_schema_input_type=_Word | list[str]),
]
"""The files at a dataset's root to fetch."""


def _derivative_filter(value: Any) -> Any:
    return _filter_of(value, derivative=True) if isinstance(value, str) and value else value


class Derivative(Model):
    """The files to select from a derivative pipeline."""

    filters: Annotated[
        tuple[Filter, ...], BeforeValidator(_filters), Field(json_schema_extra={"hidden": True})
    ] = (Filter(),)
    """Several filters, one of which must match."""

    scope: Literal["subjects", "whole"] = "subjects"
    """Select files of the selected subjects, or of the pipeline's whole directory."""
    layout: Layout | None = None
    """The directory layout of this pipeline; by default the study's layout."""
    url: fields.Url | None = None
    """The pipeline's location outside the study; {site} is replaced with the site's name."""
    dataset_files: DatasetFiles | None = None
    """Files at the pipeline's root; by default the study's value, but at least description."""

    @classmethod
    def _written(cls, value: Any) -> Any:
        if isinstance(value, str | list | tuple) and value:
            filters = value if value == "none" else as_list(value)
            return {
                "filters": filters if filters == "none" else [*map(_derivative_filter, filters)]
            }
        if not isinstance(value, dict) or "filters" in value:
            return value
        own, others = split_filter(value)
        return {"filters": (own,), **others}
