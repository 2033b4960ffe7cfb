"""The page of every field of a manifest, from the JSON Schema that is made of the models."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import yaml

from bidsplan.cli.json_schemas import manifest_schema
from markup import code, plain, table
from snippets import read_page

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

Schema = dict[str, Any]

_HEAD = """# Fields of a manifest

This page lists every field of a manifest. It is generated from the code that reads manifests.
[The manifest](manifest.md) explains the fields with examples. Editors and programs can use the
[JSON Schema](../../schemas/manifest.schema.json), which has the same content.

"""
_COLUMNS = ["field", "value", "default", "meaning", "example"]
_WORDS = {
    "integer": "whole number",
    "string": "text",
    "boolean": "`true`, `false`",
    "null": "nothing",
}
_REFERENCE = "#/$defs/"


def fields_page(root: Path) -> str:
    """Write the page; the manifests of the guide give the examples."""
    guide = root / "docs" / "reference" / "manifest.md"
    schema = manifest_schema()
    definitions = schema["$defs"]
    examples = dict(_examples(guide, schema, definitions))
    sections = [("Manifest", schema), *((name, definitions[name]) for name in _in_order(schema))]
    return _HEAD + "\n".join(_section(name, part, examples) for name, part in sections)


def _in_order(schema: Schema) -> list[str]:
    """List the definitions in the order in which fields first refer to them."""
    found: dict[str, None] = {}
    waiting = [schema]
    while waiting:
        new = [name for name in _references(waiting.pop(0)["properties"]) if name not in found]
        found |= dict.fromkeys(new)
        waiting += [_mapping(schema["$defs"][name]) for name in dict.fromkeys(new)]
    return list(found)


def _references(part: Any) -> Iterator[str]:
    """Yield the names of the definitions that a part of the schema refers to."""
    if isinstance(part, dict):
        if "$ref" in part:
            yield part["$ref"].removeprefix(_REFERENCE)
        for value in part.values():
            yield from _references(value)
    elif isinstance(part, list):
        for value in part:
            yield from _references(value)


def _mapping(definition: Schema) -> Schema:
    """Return the form of a definition that has fields; the others are shorter ones."""
    forms = definition.get("anyOf", [definition])
    found: Schema = next(form for form in forms if "properties" in form)
    return found


def _section(name: str, definition: Schema, examples: dict[tuple[str, str], str]) -> str:
    mapping = _mapping(definition)
    required = mapping.get("required", [])
    rows = [
        [
            code(field),
            _value(part),
            "required" if field in required else _default(part),
            plain(part.get("description", "")),
            code(_example(name, field, part, examples)),
        ]
        for field, part in mapping["properties"].items()
    ]
    shorter = [form for form in definition.get("anyOf", []) if form is not mapping]
    lines = [f"## {name}\n", f"{mapping['description']}\n", table(_COLUMNS, rows)]
    if shorter:
        lines.append(f"You may also write this as {_value({'anyOf': shorter})}.\n")
    return "\n".join(lines)


def _example(name: str, field: str, part: Schema, examples: dict[tuple[str, str], str]) -> str:
    """Return an example of a field; where the guide has none, a value that is not the default."""
    values = [True, False] if part.get("type") == "boolean" else part.get("enum", [])
    if (name, field) in examples or not values:
        return examples.get((name, field)) or examples["Filter", field]
    return yaml_text(next(value for value in values if value != part.get("default")))


def _default(part: Schema) -> str:
    return code(yaml_text(part["default"])) if "default" in part else ""


def _value(part: Schema) -> str:
    """Say what a value may be."""
    if "$ref" in part:
        name = part["$ref"].removeprefix(_REFERENCE)
        return f"[{name}](#{name.lower()})"
    if "anyOf" in part:
        forms = dict.fromkeys(_value(form) for form in part["anyOf"])
        return " or ".join(form for form in forms if not ("text" in forms and form == "number"))
    if "enum" in part or "const" in part:
        return ", ".join(code(yaml_text(value)) for value in part.get("enum", [part.get("const")]))
    # A number where text is expected is read as text.
    kind = part["type"] if isinstance(part["type"], str) else part["type"][0]
    return _kind(kind, part)


def _kind(kind: str, part: Schema) -> str:
    if kind == "array":
        return f"list of {_value(part['items'])}"
    if kind == "object":
        values = part.get("additionalProperties")
        return f"mapping of names to {_value(values)}" if isinstance(values, dict) else "mapping"
    return _WORDS.get(kind, kind)


def yaml_text(value: Any) -> str:
    """Write a value in one line, as in a manifest."""
    text = yaml.safe_dump(value, default_flow_style=True, width=1000, sort_keys=False)
    return text.removesuffix("\n").removesuffix("\n...")


def _examples(
    guide: Path, schema: Schema, definitions: Schema
) -> Iterator[tuple[tuple[str, str], str]]:
    """Yield an example for each field that the manifests of a page have."""
    texts = [block.text for block in read_page(guide).blocks if block.language == "yaml"]
    # Of several examples the first one stays, so it comes last here.
    for text in reversed([text for text in texts if "manifest_version" in text]):
        yield from _values("Manifest", schema, _read(text), definitions)


def _read(text: str) -> Any:
    """Read a manifest, each scalar as text."""
    return yaml.load(text, yaml.BaseLoader)  # noqa: S506 - it makes text, lists and mappings only


def _values(
    name: str, definition: Schema, value: Any, definitions: Schema
) -> Iterator[tuple[tuple[str, str], str]]:
    """Yield the fields that a value of a definition has, and those of the values in it."""
    properties = _mapping(definition)["properties"]
    for field, found in value.items() if isinstance(value, dict) else ():
        if field in properties:
            yield (name, field), written(found)
            for below in dict.fromkeys(_references(properties[field])):
                for item in _items(found):
                    yield from _values(below, definitions[below], item, definitions)


def _items(value: Any) -> list[Any]:
    """List the values that may be of the definition: itself, or those that it holds."""
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return [value, *inner]


def written(value: Any) -> str:
    """Write a value that was read as text, as a person would."""
    if isinstance(value, list):
        return f"[{', '.join(map(written, value))}]"
    if isinstance(value, dict):
        return f"{{{', '.join(f'{name}: {written(item)}' for name, item in value.items())}}}"
    special = set(str(value)) & set("*?[]{},") or (str(value)[:1].isdigit() and ":" in str(value))
    return f'"{value}"' if special else str(value)
