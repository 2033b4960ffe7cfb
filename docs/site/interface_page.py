"""The pages of the Python interface: what its docstrings say, and tables of errors and events."""

from __future__ import annotations

import builtins
from typing import TYPE_CHECKING

import msgspec

import bidsplan
from bidsplan import errors, events, s3bids
from markup import code, summary, table

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

_HEAD = """# Python interface

Every name of `bidsplan`, from its docstring. [From Python](python.md) shows how they are used
together; [errors](errors.md) and [events](events.md) have tables of their own, and pyAFQ's names
are in [`bidsplan.s3bids`](s3bids-interface.md).

"""
_S3BIDS = """# Names of `bidsplan.s3bids`

Every name of `bidsplan.s3bids`, from its docstring. [From pyAFQ's `s3bids`](s3bids.md) says how it
differs from what it succeeds.

"""
_ERRORS = """# Errors

Every error that bidsplan raises on purpose is a subclass of `bidsplan.BidsplanError`, and of the
builtin error that callers would catch. The table is made from `bidsplan.errors`. The name is the
same in messages, in `--json` and as the attribute `code`; the last column is the exit code of a
command that ends in it.

"""
_EVENTS = """# Events

What the library yields while it works, or passes to `notify`. The table is made from
`bidsplan.events`; [step by step](python.md#step-by-step) says which function yields which.

"""
_HEADINGS = {
    "fetching": "Fetching in one call",
    "manifest": "Manifests",
    "compile": "From a manifest to a plan",
    "plan": "Plans",
    "plan_filesystem": "Plans",
    "destination": "Fetching, verifying, pinning and pruning",
    "transfer": "Fetching, verifying, pinning and pruning",
    "review": "Reviewing and exporting plans",
    "storage": "Storage",
    "errors": "Errors",
    "events": "Events",
}
"""What the names of a room are for."""


def interface_page() -> str:
    """Write the page of every name of `bidsplan`."""
    sections: dict[str, list[str]] = {heading: [] for heading in _HEADINGS.values()}
    for name in bidsplan.__all__:
        room = getattr(bidsplan, name).__module__.split(".")[1]
        sections[_HEADINGS[room]].append(name)
    return _HEAD + "\n".join(_documented("bidsplan", sections))


def s3bids_page() -> str:
    """Write the page of every name of `bidsplan.s3bids`."""
    return _S3BIDS + "\n".join(_documented("bidsplan.s3bids", {"": list(s3bids.__all__)}))


def _documented(module: str, sections: dict[str, list[str]]) -> Iterator[str]:
    """Yield the directives that mkdocstrings replaces by docstrings."""
    for heading, names in sections.items():
        if heading:
            yield f"## {heading}\n"
        for name in names:
            options = f"    options:\n      heading: {name}\n      toc_label: {name}\n"
            yield f"::: {module}.{name}\n{options}"


def errors_page() -> str:
    """Write the page of all errors, each below the one that it is a kind of."""
    rows = [
        [
            f"{'&emsp;' * depth}{code(kind.__name__)}",
            ", ".join(code(base.__name__) for base in kind.__bases__ if _is_builtin(base)),
            code(kind.code),
            summary(kind),
            str(kind.exit_code),
        ]
        for kind, depth in _tree(errors.BidsplanError, 0)
    ]
    return _ERRORS + table(["error", "also", "name", "meaning", "exits with"], rows)


def _tree(
    kind: type[errors.BidsplanError], depth: int
) -> Iterator[tuple[type[errors.BidsplanError], int]]:
    yield kind, depth
    for below in kind.__subclasses__():
        if below.__module__ == errors.__name__:
            yield from _tree(below, depth + 1)


def _is_builtin(kind: type) -> bool:
    return kind.__module__ == builtins.__name__ and kind is not Exception


def events_page() -> str:
    """Write the page of all events and their fields."""
    kinds = [
        kind
        for kind in vars(events).values()
        if isinstance(kind, type)
        and issubclass(kind, msgspec.Struct)
        and kind.__module__ == events.__name__
        and kind is not events.Event
    ]
    return _EVENTS + table(["event", "fields", "meaning"], map(_event, kinds))


def _event(kind: type[msgspec.Struct]) -> Sequence[str]:
    fields = ", ".join(code(field) for field in kind.__struct_fields__)
    return [code(kind.__name__), fields, summary(kind)]
