"""The JSON Schemas of manifests, plans and reports, made from the models."""

from __future__ import annotations

import ast
import inspect
import json
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import msgspec

from bidsplan import errors
from bidsplan.events import Action
from bidsplan.manifest import Filter, Manifest
from bidsplan.manifest.fields import Model
from bidsplan.plan import Entry, Header
from bidsplan.plan.integrity import CheckMethod

if TYPE_CHECKING:
    from collections.abc import Iterator


def manifest_schema() -> dict[str, Any]:
    """Give the JSON Schema of manifests as people write them.

    Returns
    -------
    dict
        JSON Schema 2020-12.
    """
    schema = Manifest.model_json_schema(by_alias=True)
    definitions = schema["$defs"]
    _describe(schema, Manifest)
    for model in _models(Model):
        if model.__name__ in definitions:
            _describe(definitions[model.__name__], model)
    _refuse_nothing(schema)
    _write_shorthands(definitions, schema["properties"])
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        **schema,
        "title": "bidsplan study manifest",
        "description": "Which data of a neuroimaging study, exactly.",
    }


def _models(model: type[Model]) -> Iterator[type[Model]]:
    for below in model.__subclasses__():
        yield below
        yield from _models(below)


def _describe(definition: dict[str, Any], model: type[Model]) -> None:
    """Describe fields by the docstrings below them.

    pydantic can do so as well, but only while it makes the models, which every command would wait
    for.
    """
    fields = definition["properties"]
    names = {name: field.alias or name for name, field in model.model_fields.items()}
    for place in model.__mro__[::-1]:
        if issubclass(place, Model):
            for name, text in _docstrings(place):
                described = {**fields[names[name]], "description": text}
                fields[names[name]] = dict(sorted(described.items()))


def _docstrings(model: type[Model]) -> Iterator[tuple[str, str]]:
    """Find a model's own fields that have a text below them."""
    [tree] = ast.parse(inspect.getsource(model)).body
    assert isinstance(tree, ast.ClassDef)  # noqa: S101 - for the type checker
    for field, text in pairwise(tree.body):
        match field, text:
            case (
                ast.AnnAssign(target=ast.Name(id=name)),
                ast.Expr(value=ast.Constant(value=str(words))),
            ):
                yield name, inspect.cleandoc(words)


def _refuse_nothing(schema: Any) -> None:
    """Refuse null and empty lists: who wants a field's default leaves the field out."""
    if isinstance(schema, dict):
        if schema.get("type") == "array":
            schema["minItems"] = 1
        alternatives = schema.pop("anyOf", [])
        written = [item for item in alternatives if item != {"type": "null"}]
        if len(written) == 1:
            schema.update({**written[0], **schema})
        elif written:
            schema["anyOf"] = written
        if not isinstance(schema.get("default"), str | bool):
            schema.pop("default", None)
        schema = schema.values()
    for part in schema:
        if isinstance(part, dict | list):
            _refuse_nothing(part)


def _write_shorthands(definitions: dict[str, Any], fields_of_all: dict[str, Any]) -> None:
    """Allow the shorter forms that models take before they look at their fields."""
    text = {"type": ["string", "number"]}
    texts = [text, {"type": "array", "items": text, "minItems": 1}]
    for definition in definitions.values():
        # An editor shows it beside the field, where the lines about parameters only get in the way.
        definition["description"] = definition["description"].partition("\n")[0]
    definitions["Predicate"]["properties"].pop("any_of")
    definitions["Sample"]["oneOf"] = [{"required": ["count"]}, {"required": ["fraction"]}]
    definitions["Sessions"] = {"anyOf": [*texts, definitions["Sessions"]]}
    definitions["Companions"] = {"anyOf": [{"enum": ["full", "none"]}, definitions["Companions"]]}
    fields = definitions["Filter"]["properties"]
    for name in ("Derivative", "Requirement"):
        own = definitions[name]["properties"]
        own.pop("filters", None)
        own.pop("filter", None)
        definitions[name]["properties"] = {**fields, **own}
    derivatives = fields_of_all["derivatives"]
    names = {"type": "array", "items": {"type": "string"}}
    derivatives["anyOf"] = [{"enum": ["none", "all"]}, names, *derivatives["anyOf"][1:]]
    filters = {"type": "array", "items": {"$ref": "#/$defs/Filter"}, "minItems": 1}
    definitions["Derivative"] = {"anyOf": [definitions["Derivative"], filters, {"type": "null"}]}
    assert set(fields) == set(Filter.model_fields)  # noqa: S101 - the models and this agree


def plan_schema() -> dict[str, object]:
    """Give the JSON Schema of a plan's lines.

    Returns
    -------
    dict
        JSON Schema 2020-12: a line is a header or an entry.
    """
    (header, entry), definitions = msgspec.json.schema_components(
        [Header, Entry], ref_template="#/$defs/{name}"
    )
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "bidsplan plan",
        "description": "One line of a plan (JSON Lines): the header first, then the entries.",
        "anyOf": [header, entry],
        "$defs": definitions,
    }


def report_schema() -> dict[str, Any]:
    """Give the JSON Schema of what ``--json`` tells of a plan's files.

    Returns
    -------
    dict
        JSON Schema 2020-12: a line is a file's row, or the sum that comes last.
    """
    whole = {"type": "integer", "minimum": 0}
    path, actions = {"type": "string"}, [action.value for action in Action]
    done = {"enum": [Action.FETCH.value, Action.REPLACE.value, Action.KEEP.value]}
    proof = {"enum": [proof.value for proof in CheckMethod]}
    kinds = [kind for kind in vars(errors).values() if isinstance(kind, type)]
    codes = {kind.code for kind in kinds if issubclass(kind, errors.BidsplanError)}
    failed = {
        "error": {"enum": sorted(codes)},
        "message": {"type": "string"},
        "problems": {"type": "array", "items": _problem()},
    }
    counts = {"type": "object", "additionalProperties": whole}
    total = dict.fromkeys(("decided", "done", "proofs", "failures"), counts)
    endpoints = {"type": "array", "items": {"type": "string"}}
    ends = {
        "summary": {"type": "string"},
        "skipped": whole,
        "bytes": whole,
        "resumed": whole,
        "endpoints": endpoints,
        "destination": {"type": ["string", "null"]},
        "slow": {"anyOf": [_slow(), {"type": "null"}]},
    }
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "bidsplan report",
        "description": "One line of what fetch and verify tell with --json (JSON Lines): a row for "
        "each planned file, in the order in which they ended, and a sum at last.",
        "anyOf": [
            _row("The file is there, and it was checked.", path=path, action=done, proof=proof),
            _row("The run stopped before it.", path=path, action={"const": "skip"}),
            _row("It could not be brought; its path is as it was.", path=path, **failed),
            _row(
                "In a dry run: what would be done.", path=path, action={"enum": actions}, size=whole
            ),
            _row("The command failed as a whole.", **failed),
            _row("The sum.", **total, **ends),
        ],
    }


def _row(description: str, **properties: object) -> dict[str, Any]:
    return {
        "description": description,
        "type": "object",
        "properties": properties,
        "required": list(properties),
        "additionalProperties": False,
    }


def _slow() -> dict[str, Any]:
    whole, seconds = {"type": "integer", "minimum": 0}, {"type": "number", "minimum": 0}
    return _row(
        "The storage asked to slow down, or entries came too slowly; times are in seconds.",
        throttled=whole,
        asked={"type": ["number", "null"], "minimum": 0},
        waited=seconds,
        late=whole,
        path={"type": ["string", "null"]},
        seconds=seconds,
    )


def _problem() -> dict[str, Any]:
    text = {"type": "string"}
    row = _row(
        "One thing that is wrong.", message=text, file=text, at=text, expected=text, hint=text
    )
    row["properties"]["line"] = {"type": "integer", "minimum": 1}
    return {**row, "required": ["message"]}


_MAKERS = {"manifest": manifest_schema, "plan": plan_schema, "report": report_schema}

SCHEMAS = tuple(_MAKERS)
"""Names of the documents that have a schema."""


def schema_text(what: str) -> str:
    """Write a schema as it stands in ``schemas/``.

    Parameters
    ----------
    what : str
        One of `SCHEMAS`.
    """
    return json.dumps(_MAKERS[what](), indent=2, ensure_ascii=False) + "\n"
