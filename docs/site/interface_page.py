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

This page describes every public name of `bidsplan`. It is generated from the docstrings. [From
Python](python.md) shows how to use the names together. The [errors](errors.md), the
[events](events.md) and the [names of `bidsplan.s3bids`](s3bids-interface.md) are on other pages.

"""
_S3BIDS = """# Names of `bidsplan.s3bids`

This page describes every public name of `bidsplan.s3bids`. It is generated from the docstrings.
[Replacing pyAFQ's `s3bids`](s3bids.md) lists the differences from pyAFQ.

"""
_ERRORS = """# Errors

All exceptions of bidsplan are subclasses of `bidsplan.BidsplanError`, and many are also subclasses
of a built-in exception. The table is generated from `bidsplan.errors`. The name of an error is in
messages, in the output of `--json` and in the attribute `code`. The last column contains the exit
code of a command that fails with the error.

"""
_EVENTS = """# Events

bidsplan yields these events while it works, or passes them to `notify`. The table is generated from
`bidsplan.events`. [Step by step](python.md#step-by-step) lists the functions that yield each event.

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
