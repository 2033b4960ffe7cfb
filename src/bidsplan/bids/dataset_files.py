"""Files at a dataset's root that describe it as a whole."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable


DESCRIPTION = "dataset_description.json"
"""The one file without which a folder is no BIDS dataset; nothing excludes it."""

_ANNEX = "annex-uuid"
"""git-annex's own mark in an exported dataset."""

_TEXT = ("", ".md", ".rst", ".txt")

STANDARD = frozenset(
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
        *(f"README{extension}" for extension in _TEXT),
        *(f"LICENSE{extension}" for extension in _TEXT),
    }
)
"""What ``dataset_files: standard`` brings, where it is there (BIDS 1.11.1, ``core.yaml``)."""


_WORDS: dict[str, frozenset[str]] = {
    "none": frozenset(),
    "description": frozenset({DESCRIPTION}),
    "standard": STANDARD,
}


def wanted_dataset_files(names: Iterable[str], wanted: str | tuple[str, ...]) -> list[str]:
    """Choose among the files directly at a dataset's root.

    Parameters
    ----------
    names : iterable of str
        The files at the root.
    wanted : str or tuple of str
        ``none``, ``description``, ``standard``, ``all``, or names, which come with the description.

    Returns
    -------
    list of str
        Sorted.
    """
    if wanted == "all":
        return sorted(
            name
            for name in names
            if name == ".bidsignore" or not (name.startswith(".") or name == _ANNEX)
        )
    chosen = frozenset({DESCRIPTION, *wanted}) if isinstance(wanted, tuple) else _WORDS[wanted]
    return sorted(chosen.intersection(names))


def report_subject(name: str) -> str | None:
    """Give the label of the subject that a file at a derivative's root reports on.

    Examples
    --------
    >>> report_subject("sub-01_T1w.html"), report_subject("sub-01.html"), report_subject("README")
    ('01', '01', None)
    """
    if not name.startswith("sub-"):
        return None
    return name.removeprefix("sub-").partition(".")[0].partition("_")[0] or None
