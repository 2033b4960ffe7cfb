"""The list of export formats, and the function that exports a plan."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bidsplan.errors import UsageError
from bidsplan.messages import suggestion
from bidsplan.review.export import (
    annex,
    aria2,
    bagit,
    checksums,
    pooch,
    rclone,
    s5cmd,
    samplesheet,
    spreadsheet,
)
from bidsplan.review.export.base import Export
from bidsplan.review.export.losses import Survey
from bidsplan.review.export.sources import Sources
from bidsplan.storage.access import Access

if TYPE_CHECKING:
    import os
    from collections.abc import Mapping

    from bidsplan.plan import Planned


FORMATS = {
    "s5cmd": s5cmd.FORMAT,
    "rclone": rclone.FORMAT,
    "aria2": aria2.FORMAT,
    "checksums": checksums.FORMAT,
    "pooch": pooch.FORMAT,
    "bagit": bagit.FORMAT,
    "csv": spreadsheet.FORMAT,
    "samplesheet": samplesheet.FORMAT,
    "datalad": annex.FORMAT,
}
"""The formats by name; add a module and a row for a new format."""


def export_plan(
    plan: Planned,
    to: str,
    *,
    access: Access | None = None,
    base: str | os.PathLike[str] = ".",
    columns: Mapping[str, str] | None = None,
    dest: str = "",
) -> Export:
    """Prepare the export of a plan for another tool.

    Nothing is written until you call `Export.write`.

    Parameters
    ----------
    plan : Plan
    to : str
        The format: ``s5cmd``, ``rclone``, ``aria2``, ``checksums``, ``pooch``, ``bagit``, ``csv``,
        ``samplesheet`` or ``datalad``.
    access : Access, optional
        How storage is reached: the S3 endpoint and region, and whether requests are signed.
    base : path
        The directory that relative local paths in the plan are relative to. Use the directory of
        the plan's file.
    columns : mapping of str to str, optional
        The columns of a sample sheet. Each has a glob that selects the column's files by their
        paths relative to the dataset's root, as in a manifest. By default there is a column for
        each suffix of the raw files.
    dest : str
        The directory or URL that a sample sheet's files are fetched to.

    Returns
    -------
    Export
        Its `warnings` name the information that the format can't express.

    Raises
    ------
    UsageError
        If there is no such format, if the format can't contain one of the files, or if two files
        would be in the same cell of a sample sheet. No file is left out silently.

    Examples
    --------
    >>> import bidsplan
    >>> plan = bidsplan.read_plan("study.plan.jsonl")  # doctest: +SKIP
    >>> bidsplan.export_plan(plan, "aria2").write("study.aria2")  # doctest: +SKIP
    """
    if to not in FORMATS:
        raise UsageError(f"there is no format {to!r}; {suggestion(to, FORMATS)}")
    if (columns or dest) and to != "samplesheet":
        raise UsageError(f"columns and a destination are for a samplesheet, not for {to}")
    form = samplesheet.samplesheet(columns or {}, dest) if columns or dest else FORMATS[to]
    sources = Sources(plan.header.roots, access or Access(), base)
    draft = form.draft(plan, sources)
    survey = Survey(draft.losses)
    survey.look(plan.entries, sources, draft.refused)
    return Export(
        to=to,
        is_directory=form.is_directory,
        warnings=(*survey.warnings(form.tool), *draft.warnings),
        draft=draft,
    )
