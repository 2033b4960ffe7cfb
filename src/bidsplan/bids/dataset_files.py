"""The files at a dataset's root that describe the whole dataset."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable


DESCRIPTION = "dataset_description.json"
"""The only file that makes a directory a BIDS dataset; no rule excludes it."""

_ANNEX = "annex-uuid"  # git-annex's own mark in an exported dataset

# See core.yaml of BIDS 1.11.1.
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


def is_derivative(description: object) -> bool:
    """Report whether a dataset's description says that it is a derivative.

    ``DatasetType`` decides. Descriptions older than BIDS 1.4 have ``PipelineDescription`` instead.
    ``GeneratedBy`` is ignored, since converters of raw data write it too.
    """
    if not isinstance(description, dict):
        return False
    if "DatasetType" in description:
        return bool(description["DatasetType"] == "derivative")
    return "PipelineDescription" in description


def select_dataset_files(
    names: Iterable[str], rule: str | tuple[str, ...], subjects: Collection[str] | None = None
) -> list[str]:
    """Select files directly at a dataset's root, sorted.

    The rule is ``none``, ``description``, ``standard``, ``all``, or names; names always include the
    description. With ``all``, a file of a subject is only selected if the subject is in `subjects`,
    or `subjects` is not given.
    """
    if rule == "all":
        return sorted(
            name
            for name in names
            if name == ".bidsignore" or not (name.startswith(".") or name == _ANNEX)
            if subjects is None or (subject := report_subject(name)) is None or subject in subjects
        )
    selected = frozenset({DESCRIPTION, *rule}) if isinstance(rule, tuple) else _BY_RULE[rule]
    return sorted(selected.intersection(names))


def report_subject(name: str) -> str | None:
    """Return the subject of a report at a derivative's root, such as ``sub-01.html``."""
    if not name.startswith("sub-"):
        return None
    return name.removeprefix("sub-").partition(".")[0].partition("_")[0] or None
