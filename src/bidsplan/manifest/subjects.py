"""Which subjects to select, and how to sample them."""

from __future__ import annotations

import json
import re
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field, field_serializer, model_validator

from bidsplan.bids.labels import normal_label
from bidsplan.bids.names import bare_label
from bidsplan.manifest import fields
from bidsplan.manifest.fields import Model, Text, Texts, list_of, mapping
from bidsplan.manifest.filters import Filter, split_filter
from bidsplan.manifest.ranges import where_hint
from bidsplan.paths import unsafe_key


def _bare(label: str) -> str:
    if "/" in label or not bare_label(label):
        raise ValueError("expected a subject's label, such as 01 or sub-01")
    return normal_label(bare_label(label))


Label = Annotated[Text, AfterValidator(_bare)]
Labels = Annotated[tuple[Label, ...], list_of(Label)]


def _beside(value: Any) -> Any:
    reason = unsafe_key(value) if isinstance(value, str) and value else None
    if reason:
        raise ValueError(f"expected a file beside the manifest, or below; {reason}")
    return value


_File = Annotated[Text, BeforeValidator(_beside, json_schema_input_type=str | float)]


class LabelFile(Model):
    """A list of subject labels in a file next to the manifest."""

    file: _File
    """A text file with one label or glob on each line, next to the manifest or below."""


class CohortTable(Model):
    """A table of participants next to the manifest."""

    file: _File
    """A table next to the manifest or below: CSV if its name ends in .csv, otherwise TSV."""
    id_column: Text = "participant_id"
    """The column with the participants' labels."""


class Predicate(Model):
    """A condition on the values in a column of the table."""

    any_of: Texts | None = None
    """The cell must equal one of these values."""
    min: fields.Number | None = None
    """The cell must be a number of at least this value."""
    max: fields.Number | None = None
    """The cell must be a number of at most this value."""
    not_: Texts | None = Field(default=None, alias="not")
    """The cell must not equal any of these values; n/a means that the cell must have a value."""

    @classmethod
    def _written(cls, value: Any) -> Any:
        if value == {}:
            raise ValueError("expected a value, a list of values, or {min, max, not}")
        return value if isinstance(value, dict) else {"any_of": value}

    @model_validator(mode="after")
    def _ordered(self) -> Predicate:
        if self.min is not None and self.max is not None and self.min > self.max:
            raise ValueError(f"min {self.min:f} is above max {self.max:f}")
        return self


class Requirement(Model):
    """A file that a subject must have."""

    filter: Filter = Filter()
    """The filter that the file must match."""
    derivative: fields.ExactName | None = None
    """The pipeline that must have the file; by default the file must be in the study's raw data."""

    @classmethod
    def _written(cls, value: Any) -> Any:
        if isinstance(value, str) and value:
            return {"filter": value}
        if isinstance(value, dict) and "filter" in value:
            return value
        own, others = split_filter(value)
        return {"filter": own, **others}


class Sample(Model):
    """A random sample of the subjects, by count or by fraction."""

    _example = "{count: 5}"

    count: fields.Count | None = None
    """The number of subjects to sample."""
    fraction: fields.Fraction | None = None
    """The fraction of the subjects to sample; half a subject is rounded up."""
    stratify_by: Texts = ()
    """Columns of the table, or site, that form groups to sample in proportion to their size."""
    method: Literal["rank", "shuffle"] = "rank"
    """rank: the sample stays stable if subjects join; shuffle: the same sample as with s3bids."""
    per: Texts = ()
    """Columns of the table, or site, that form groups; bidsplan draws a sample from each group."""

    @classmethod
    def _written(cls, value: Any) -> Any:
        number = fields.scalar(value)
        if number is None:
            return value
        if fields.is_integer(number):
            return {"count": number}
        if re.fullmatch(r"0?\.[0-9]{1,9}", number):
            return {"fraction": number}
        raise ValueError(
            "expected how many subjects to sample, such as 5 or {count: 5}, or {fraction: 0.5}; "
            f"got {fields.shown(value)}"
        )

    @field_serializer("per")
    def _as_one(self, per: tuple[str, ...]) -> str | list[str] | None:
        # As when there was only `per: site`, so that plans remain those of their manifests.
        return per[0] if len(per) == 1 else list(per) or None

    @model_validator(mode="after")
    def _one_of(self) -> Sample:
        if (self.count is None) == (self.fraction is None):
            raise ValueError("expected either {count: 5} or {fraction: 0.5}")
        return self


def _table(value: Any) -> Any:
    return mapping(value) if not isinstance(value, str) else value


def _where(value: Any) -> Any:
    if hint := where_hint(value):
        raise ValueError(f"expected a mapping of columns; write 'where: {hint}'")
    return mapping(value, "{age: {min: 10}}")


def _labels(value: Any) -> Any:
    return LabelFile.model_validate(value) if isinstance(value, dict) else value


_RESERVED = frozenset({"none", "tree", "participants", "both", "true", "false"})
"""Words that people may write for subjects, and that are hardly labels."""


class Subjects(Model):
    """The subjects to select."""

    _example = '{include: ["01", "02"]}'

    from_: Literal["tree", "participants", "both"] = Field(default="tree", alias="from")
    """Subjects with a sub- directory (tree), with a row in the table (participants), or both."""
    table: Annotated[fields.Name | CohortTable, BeforeValidator(_table)] = "participants.tsv"
    """A table below the dataset's root, or {file, id_column} for one next to the manifest."""
    include: Annotated[Labels | LabelFile | None, BeforeValidator(_labels)] = None
    """Labels or globs of subjects to select, or {file} with one on each line; by default all."""
    exclude: Annotated[Labels | LabelFile, BeforeValidator(_labels)] = ()
    """Labels or globs of subjects to leave out, or {file} with one on each line."""

    where: Annotated[
        dict[Text, Predicate],
        BeforeValidator(
            _where,
            json_schema_input_type=dict[str, str | float | list[str | float] | Predicate],
        ),
    ] = Field(default_factory=dict)
    """Columns of the table, and the values that select a subject; all columns must match."""

    require: Annotated[
        tuple[Requirement, ...],
        BeforeValidator(fields.as_list, json_schema_input_type=list[Requirement]),
    ] = ()
    """Select only subjects that have a file for each of these filters."""

    sample: Sample | None = None
    """Draw a random sample of the remaining subjects."""
    missing: Literal["error", "skip"] = "error"
    """If a named subject does not exist: error stops compile, skip continues without it."""

    @classmethod
    def _written(cls, value: Any) -> Any:
        if isinstance(value, list | tuple):
            return {"include": value}
        word = fields.scalar(value)
        if word is None or value == "":
            return value
        if word == "all":
            return {}
        if fields.is_integer(word):
            raise ValueError(
                f"{word} may be a number or a label; write 'subjects: {{sample: {word}}}' for "
                f"{word} subjects, or 'subjects: [\"{word}\"]' for sub-{word}"
            )
        labels = re.split(r"[,;\s]+", word.strip())
        if len(labels) > 1 and fields.shown(word) == repr(word):
            raise ValueError(f"expected a list; write 'subjects: {json.dumps(labels)}'")
        if word in _RESERVED or fields.shown(word) != repr(word):
            raise ValueError(
                'expected all, labels such as ["01", "02"], or a mapping such as {sample: 5}; got '
                f"{fields.shown(value)}"
            )
        return {"include": [word]}
