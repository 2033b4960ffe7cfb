"""JSON Schemas of manifests, plans and reports, made from the models."""

from __future__ import annotations

import ast
import inspect
import json
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import msgspec

from bidsplan import errors
from bidsplan.events import Action
from bidsplan.help_codes import HelpCode
from bidsplan.manifest import Filter, Manifest
from bidsplan.manifest.fields import Model
from bidsplan.plan import Entry, Header
from bidsplan.plan.integrity import CheckMethod

if TYPE_CHECKING:
    from collections.abc import Iterator


_DIALECT = "https://json-schema.org/draft/2020-12/schema"


def manifest_schema() -> dict[str, Any]:
    """Return the JSON Schema of manifests, in the forms that people write."""
    schema = Manifest.model_json_schema(by_alias=True)
    definitions = schema["$defs"]
    _describe(schema, Manifest)
    for model in _models(Model):
        if model.__name__ in definitions:
            _describe(definitions[model.__name__], model)
    _refuse_nothing(schema)
    _write_shorthands(definitions, schema["properties"])
    return {
        "$schema": _DIALECT,
        **schema,
        "title": "bidsplan study manifest",
        "description": "A manifest says which files of a neuroimaging study to fetch.",
    }


def _models(model: type[Model]) -> Iterator[type[Model]]:
    for below in model.__subclasses__():
        yield below
        yield from _models(below)


def _describe(definition: dict[str, Any], model: type[Model]) -> None:
    """Describe fields by the docstrings below them.

    pydantic can read the docstrings too, but only while it makes the models, which would delay
    every command.
    """
    fields = definition["properties"]
    names = {name: field.alias or name for name, field in model.model_fields.items()}
    for place in model.__mro__[::-1]:
        if issubclass(place, Model):
            for name, text in _docstrings(place):
                described = {**fields[names[name]], "description": text}
                fields[names[name]] = dict(sorted(described.items()))


def _docstrings(model: type[Model]) -> Iterator[tuple[str, str]]:
    """Yield a model's own fields that have a docstring below them."""
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
    """Refuse null and empty lists; people leave such fields out."""
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
    """Allow the short forms that the models accept."""
    text = {"type": ["string", "number"]}
    texts = [text, {"type": "array", "items": text, "minItems": 1}]
    for definition in definitions.values():
        # Editors show the first line next to the field. The other lines are about parameters.
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
    pipeline = {"type": "string", "not": {"enum": ["true", "false"]}}
    derivatives["anyOf"] = [{"enum": ["none", "all"]}, pipeline, names, *derivatives["anyOf"][1:]]
    filters = {"type": "array", "items": {"$ref": "#/$defs/Filter"}, "minItems": 1}
    word = {"type": "string", "pattern": "^[A-Za-z0-9]+$"}
    some = [{"type": "integer", "minimum": 1}, {"type": "number", "exclusiveMaximum": 1}]
    shorter: dict[str, list[dict[str, Any]]] = {
        "Derivative": [word, filters, {"type": "null"}],
        "Filter": [word],
        "Requirement": [word],
        "Sample": [{**number, "exclusiveMinimum": 0} for number in some],
        # A number could be meant as a label or as a number of subjects.
        "Subjects": [{"type": "string"}, {"type": "array", "items": text, "minItems": 1}],
    }
    assert set(fields) == set(Filter.model_fields)  # noqa: S101 - the models and this agree
    for model, forms in shorter.items():
        definitions[model] = {"anyOf": [definitions[model], *forms]}


def plan_schema() -> dict[str, object]:
    """Return the JSON Schema of a plan's lines."""
    (header, entry), definitions = msgspec.json.schema_components(
        [Header, Entry], ref_template="#/$defs/{name}"
    )
    return {
        "$schema": _DIALECT,
        "title": "bidsplan plan",
        "description": "One line of a plan (JSON Lines): the header first, then the entries.",
        "anyOf": [header, entry],
        "$defs": definitions,
    }


_TEXT = {"type": "string"}
_COUNT = {"type": "integer", "minimum": 0}
_HELP_CODE = {"enum": [code.value for code in HelpCode]}
_SECONDS = {"type": "number", "minimum": 0}


def report_schema() -> dict[str, Any]:
    """Return the JSON Schema of the lines of ``fetch`` and ``verify --json``."""
    kinds = [kind for kind in vars(errors).values() if isinstance(kind, type)]
    codes = {kind.code for kind in kinds if issubclass(kind, errors.BidsplanError)}
    failed = {
        "error": {"enum": sorted(codes)},
        "help_code": _HELP_CODE,
        "message": _TEXT,
        "problems": {"type": "array", "items": _problem()},
    }
    done = {"enum": [Action.FETCH.value, Action.REPLACE.value, Action.KEEP.value]}
    decided = {"enum": [action.value for action in Action]}
    proof = {"enum": [proof.value for proof in CheckMethod]}
    skip = {"const": "skip"}
    return {
        "$schema": _DIALECT,
        "title": "bidsplan report",
        "description": "One line that fetch and verify write with --json (JSON Lines): a row for "
        "each planned file, in the order in which they ended, and the summary last.",
        "anyOf": [
            _finished(path=_TEXT, action=done, proof=proof),
            _row("The run stopped before it.", path=_TEXT, action=skip),
            _row("It could not be fetched; its path is unchanged.", path=_TEXT, **failed),
            _row("In a dry run: what would be done.", path=_TEXT, action=decided, size=_COUNT),
            _row("The command failed as a whole.", **failed),
            _summary(),
        ],
    }


def _finished(**properties: object) -> dict[str, Any]:
    row = _row("The file is there, and it was checked.", **properties)
    cached = {"const": True, "description": "Its bytes came from the content cache."}
    return {**row, "properties": {**properties, "cached": cached}}


def _row(description: str, **properties: object) -> dict[str, Any]:
    return {
        "description": description,
        "type": "object",
        "properties": properties,
        "required": list(properties),
        "additionalProperties": False,
    }


def _summary() -> dict[str, Any]:
    counts = {"type": "object", "additionalProperties": _COUNT}
    slow = _row(
        "The storage asked to slow down, or entries came too slowly; times are in seconds.",
        throttled=_COUNT,
        retry_after={"type": ["number", "null"], "minimum": 0},
        waited=_SECONDS,
        late=_COUNT,
        path={"type": ["string", "null"]},
        seconds=_SECONDS,
    )
    return _row(
        "The summary.",
        decided=counts,
        done=counts,
        proofs=counts,
        recalled=counts,
        failures=counts,
        help_codes={"type": "array", "items": _HELP_CODE},
        summary=_TEXT,
        skipped=_COUNT,
        bytes=_COUNT,
        resumed=_COUNT,
        resumable=_COUNT,
        cached=_COUNT,
        cached_bytes=_COUNT,
        endpoints={"type": "array", "items": _TEXT},
        destination={"type": ["string", "null"]},
        slow={"anyOf": [slow, {"type": "null"}]},
    )


def _problem() -> dict[str, Any]:
    texts = dict.fromkeys(("message", "file", "at", "expected", "hint"), _TEXT)
    line = {"type": "integer", "minimum": 1}
    row = _row("One thing that is wrong.", **texts, line=line, help_code=_HELP_CODE)
    return {**row, "required": ["message"]}


_MAKERS = {"manifest": manifest_schema, "plan": plan_schema, "report": report_schema}

SCHEMAS = tuple(_MAKERS)
"""The names of the documents with a schema."""


def schema_text(what: str) -> str:
    """Return the text of a file in ``schemas/``, by a name in `SCHEMAS`."""
    return json.dumps(_MAKERS[what](), indent=2, ensure_ascii=False) + "\n"
