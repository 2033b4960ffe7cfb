"""Files at a dataset's root that describe it as a whole."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable


DESCRIPTION = "dataset_description.json"
"""The one file without which a folder is no BIDS dataset; nothing excludes it."""

_ANNEX = "annex-uuid"  # git-annex's own mark in an exported dataset

# BIDS 1.11.1, core.yaml.
_STANDARD = frozenset(
    {
        DESCRIPTION,
        "CHANGES",
        "CITATION.cff",
        "participants.tsv",
        "participants.json",
        "samples.tsv",
        "samples.json",
        "genetic_info.json",
        ".bidsignore",
        *(f"{name}{end}" for name in ("README", "LICENSE") for end in ("", ".md", ".rst", ".txt")),
    }
)
_BY_RULE: dict[str, frozenset[str]] = {
    "none": frozenset(),
    "description": frozenset({DESCRIPTION}),
    "standard": _STANDARD,
}


def select_dataset_files(names: Iterable[str], rule: str | tuple[str, ...]) -> list[str]:
    """Select files directly at a dataset's root, sorted.

    The rule is ``none``, ``description``, ``standard``, ``all``, or names, with the description.
    """
    if rule == "all":
        return sorted(
            name
            for name in names
            if name == ".bidsignore" or not (name.startswith(".") or name == _ANNEX)
        )
    selected = frozenset({DESCRIPTION, *rule}) if isinstance(rule, tuple) else _BY_RULE[rule]
    return sorted(selected.intersection(names))


def report_subject(name: str) -> str | None:
    """Return the subject label of a report at a derivative's root, ``sub-01.html`` or similar."""
    if not name.startswith("sub-"):
        return None
    return name.removeprefix("sub-").partition(".")[0].partition("_")[0] or None
