"""Finds files with other suffixes that belong to a file or a recording.

The associations are those of the BIDS schema. Magnitude images, optodes, stimulus and physiological
recordings are associated as in real datasets.
"""

from __future__ import annotations

import ast
import re
from functools import cache, lru_cache
from typing import TYPE_CHECKING, Any, NamedTuple

from bidsplan.bids.schema import Association, Target, associations

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from bidsplan.bids.inheritance import Metadata
    from bidsplan.bids.names import Name
    from bidsplan.bids.recordings import Item


NIFTI = (".nii.gz", ".nii")
"""The extensions of images."""

_DATA = "extension != '.json'"
_PHASES = ("intersects([suffix], ['phasediff', 'phase1', 'phase2'])",)

# In addition to the schema's associations, of which older releases have fewer.
_IN_PRACTICE = (
    Association(_PHASES, Target(NIFTI, "magnitude1"), inherit=False),
    Association(_PHASES, Target(NIFTI, "magnitude2"), inherit=False),
    Association(("suffix == 'nirs'", _DATA), Target(".tsv", "optodes"), inherit=True),
    Association((_DATA,), Target(".tsv.gz", "physio"), inherit=False),
    Association((_DATA,), Target(".tsv.gz", "physioevents", ("recording",)), inherit=False),
    Association((_DATA,), Target(".tsv.gz", "stim", ("recording",)), inherit=False),
)
_BEYOND = {"coordsystem": ("space",), "physio": ("recording",)}
"""Entities that files with a suffix have in practice, in addition to those of the schema."""

# For BrainVision, EEGLAB and NIfTI pairs.
_FAMILIES = ((".vhdr", ".vmrk", ".eeg"), (".set", ".fdt"), (".img", ".hdr"))
_FAMILY_OF = {extension: family for family in _FAMILIES for extension in family}

_METADATA = frozenset({".tsv", ".bval", ".bvec"})
_ENTITY = re.compile(r"\bentities\.(\w+)")
_NONE: frozenset[str] = frozenset()
_TABLES_OF_FILES = frozenset({"scans", "sessions"})


def associated(name: Name, metadata: Metadata) -> Iterator[Item]:
    """List the files that belong to a file, or form one recording with it."""
    stem = name.path.removesuffix(name.extension)
    for extension in _FAMILY_OF.get(name.extension, ()):
        member = metadata.find(stem + extension)
        if member is not None and extension != name.extension:
            yield member
    if not name.shaped:
        return
    # Few entities change the result, so files with the same ones share it.
    entities = _NONE if _selector_entities().isdisjoint(name.entities) else frozenset(name.entities)
    kinds = _kinds_of(name.suffix, name.extension, name.datatype, entities)
    for suffix, extension, inherit, beyond in kinds:
        if inherit:
            yield from metadata.lowest(name, suffix, extension, beyond=beyond)
        else:
            yield from metadata.applying(
                name.directory, suffix, extension, name.entities, beyond=beyond
            )


@cache
def companion_targets() -> frozenset[tuple[str, str]]:
    """Return suffix and extension of the files that belong to others, except images."""
    targets = [kind.target for kind in (*associations().values(), *_IN_PRACTICE)]
    found = {(target.suffix, each) for target in targets for each in target.extensions}
    return frozenset(
        (suffix, extension)
        for suffix, extension in found
        if suffix is not None and extension not in NIFTI
    ) | {(suffix, ".tsv") for suffix in _TABLES_OF_FILES}


class _Kind(NamedTuple):
    """Files with one extension that belong to others; see `Association`."""

    suffix: str
    extension: str
    inherit: bool
    beyond: frozenset[str]


@cache
def _selector_entities() -> frozenset[str]:
    """Return the entities that the schema's selectors ask for."""
    selectors = (text for kind in associations().values() for text in kind.selectors)
    return frozenset(name for text in selectors for name in _ENTITY.findall(text))


@lru_cache(maxsize=4096)
def _kinds_of(
    suffix: str, extension: str, datatype: str | None, entities: frozenset[str]
) -> tuple[_Kind, ...]:
    """List the kinds of files that may belong to files of one kind."""
    known = {"suffix": suffix, "extension": extension, "datatype": datatype, "entities": entities}
    all_kinds = (*associations().values(), *_IN_PRACTICE)
    # Files that belong to any data file do not belong to tables of its channels or events.
    metadata = suffix in _TABLES_OF_FILES or (
        extension in _METADATA
        and any(
            extension in kind.target.extensions and kind.target.suffix in {None, suffix}
            for kind in all_kinds
        )
    )
    kinds: dict[_Kind, None] = {}
    for kind in all_kinds:
        if metadata and kind.selectors == (_DATA,):
            continue
        if all(_holds(selector, known) for selector in kind.selectors):
            wanted = kind.target.suffix or suffix
            beyond = frozenset((*kind.target.entities, *_BEYOND.get(wanted, ())))
            kinds |= {
                _Kind(wanted, each, kind.inherit, beyond): None
                for each in kind.target.extensions
                if (wanted, each) != (suffix, extension)
            }
    return tuple(kinds)


def _holds(selector: str, known: Mapping[str, Any]) -> bool:
    """Evaluate a selector; one that only newer schemas support is true."""
    try:
        return bool(_value(_parsed(selector), known))
    except (SyntaxError, TypeError, NotImplementedError):
        return True


@cache
def _parsed(selector: str) -> ast.expr:
    # These expressions are also valid Python, apart from the backslashes in their texts.
    return ast.parse(selector.replace("\\", "\\\\"), mode="eval").body


def _value(node: ast.expr, known: Mapping[str, Any]) -> Any:
    """Evaluate an expression of the schema for a name."""
    match node:
        case ast.Constant(value=value):
            return value
        case ast.Name(id=name) if name in known:
            return known[name]
        case ast.List(elts=items):
            return [_value(item, known) for item in items]
        case ast.Attribute(value=ast.Name(id="entities"), attr=entity):
            return entity in known["entities"]
        case ast.Compare(left=left, ops=[ast.Eq() | ast.NotEq() as sign], comparators=[right]):
            equal = _value(left, known) == _value(right, known)
            return equal == isinstance(sign, ast.Eq)
        case ast.Call(func=ast.Name(id="match"), args=[text, pattern]):
            return re.search(_value(pattern, known), _value(text, known))
        case ast.Call(func=ast.Name(id="intersects"), args=[first, second]):
            return set(_value(first, known)).intersection(_value(second, known))
    raise NotImplementedError(ast.dump(node))
