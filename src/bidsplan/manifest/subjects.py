"""Which subjects are wanted, and how some of them are drawn."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from bidsplan.bids.names import bare_label
from bidsplan.manifest.fields import (
    Count,
    ExactName,
    Fraction,
    Model,
    Name,
    Number,
    Text,
    Texts,
    as_list,
    mapping,
)
from bidsplan.manifest.filters import Filter
from bidsplan.paths import unsafe_key


def _bare(label: str) -> str:
    if "/" in label or not bare_label(label):
        raise ValueError("expected a subject's label, such as 01 or sub-01")
    return bare_label(label)


Label = Annotated[Text, AfterValidator(_bare)]
Labels = Annotated[
    tuple[Label, ...], BeforeValidator(as_list, json_schema_input_type=Label | list[Label])
]


def _beside(value: Any) -> Any:
    reason = unsafe_key(value) if isinstance(value, str) and value else None
    if reason:
        raise ValueError(f"expected a file beside the manifest, or below; {reason}")
    return value


class CohortTable(Model):
    """A table of participants beside the manifest.

    Parameters
    ----------
    file : str
        TSV, or CSV by its name; below the manifest's directory.
    """

    file: Annotated[Text, BeforeValidator(_beside, json_schema_input_type=str | float)]
    """TSV or CSV, relative to the manifest."""

    id_column: Text = "participant_id"
    """The column that names participants."""


class Predicate(Model):
    """What a table's cell must be.

    Parameters
    ----------
    min, max : Decimal, optional
        Both inclusive.
    not_ : tuple of str, optional
        None of these; written ``not``.
    """

    any_of: Texts | None = None
    """Any of these values."""

    min: Number | None = None
    """At least this number."""

    max: Number | None = None
    """At most this number."""

    not_: Texts | None = Field(default=None, alias="not")
    """None of these values; n/a asks for a value."""

    @model_validator(mode="before")
    @classmethod
    def _written(cls, value: Any) -> Any:
        if isinstance(value, dict | Predicate):
            if not value:
                raise ValueError("expected a value, a list of values, or {min, max, not}")
            return value
        return {"any_of": value}

    @model_validator(mode="after")
    def _ordered(self) -> Predicate:
        if self.min is not None and self.max is not None and self.min > self.max:
            raise ValueError(f"min {self.min:f} is above max {self.max:f}")
        return self


class Requirement(Model):
    """A file that a subject must have.

    Parameters
    ----------
    derivative : str, optional
        The pipeline that must have it; the study itself where not given.
    """

    filter: Filter = Filter()
    """What the file must be."""

    derivative: ExactName | None = None
    """The pipeline that must have it."""

    @model_validator(mode="before")
    @classmethod
    def _written(cls, value: Any) -> Any:
        if isinstance(value, Requirement) or (isinstance(value, dict) and "filter" in value):
            return value
        fields = {key: item for key, item in mapping(value).items() if key in Filter.model_fields}
        others = {key: item for key, item in value.items() if key not in fields}
        return {"filter": fields, **others}


class Sample(Model):
    """A draw.

    Parameters
    ----------
    fraction : Decimal, optional
        Of the subjects, half rounded up; either this or `count`.
    stratify_by : tuple of str
        Columns of the table, or ``site``.
    method : str
        ``rank`` or ``shuffle``.
    per : str, optional
        ``site`` draws in each site.
    """

    count: Count | None = None
    """How many to draw."""

    fraction: Fraction | None = None
    """Which part of the subjects to draw."""

    stratify_by: Texts = ()
    """Columns of the table, or site: draw from each stratum in proportion."""

    method: Literal["rank", "shuffle"] = "rank"
    """rank never reshuffles when a subject joins; shuffle is what s3bids draws."""

    per: Literal["site"] | None = None
    """site: draw in each site."""

    @model_validator(mode="after")
    def _one_of(self) -> Sample:
        if (self.count is None) == (self.fraction is None):
            raise ValueError("expected either count or fraction")
        return self


def _table(value: Any) -> Any:
    return mapping(value) if not isinstance(value, str) else value


class Subjects(Model):
    """Which subjects are wanted.

    Parameters
    ----------
    from_ : str
        ``tree``, ``participants`` or ``both``; written ``from``.
    include : tuple of str, optional
        Labels without ``sub-``, or globs; all where not given.
    where : dict of str to Predicate
        By column; all must hold.
    missing : str
        ``error`` or ``skip``.
    """

    from_: Literal["tree", "participants", "both"] = Field(default="tree", alias="from")
    """The sub- directories, the rows of the table, or those that are both."""

    table: Annotated[Name | CohortTable, BeforeValidator(_table)] = "participants.tsv"
    """Below the dataset's root, or {file, id_column} beside the manifest."""

    include: Labels | None = None
    """Labels or globs; all where not given."""

    exclude: Labels = ()
    """Labels or globs."""

    where: Annotated[
        dict[Text, Predicate],
        BeforeValidator(
            mapping,
            json_schema_input_type=dict[str, str | float | list[str | float] | Predicate],
        ),
    ] = Field(default_factory=dict)
    """What the table's columns must be; all must hold."""

    require: Annotated[
        tuple[Requirement, ...],
        BeforeValidator(as_list, json_schema_input_type=list[Requirement]),
    ] = ()
    """Only subjects that have a file for each of these."""

    sample: Sample | None = None
    """Draw some of what is left."""

    missing: Literal["error", "skip"] = "error"
    """What to do about a named subject that is not there."""
