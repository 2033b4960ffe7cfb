"""``bidsplan explain``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from bidsplan.cli.options import access_options, console_options
from bidsplan.cli.plans import load
from bidsplan.errors import BidsplanError, SelectionError

if TYPE_CHECKING:
    from bidsplan.cli.console import Console
    from bidsplan.compile import Answer, Explanation
    from bidsplan.storage import Access


@click.command("explain")
@click.argument("manifest", type=click.Path(path_type=Path))
@click.argument("what", metavar="[SUBJECT|PATH]", required=False)
@access_options
@console_options
def command(manifest: Path, what: str | None, access: Access, console: Console) -> int:
    """Say why subjects of the study, or a file, are in the plan of MANIFEST or not.

    Tells of every subject where none is named. A PATH is one of the plan, or a key of the study.
    """
    from bidsplan.compile import explain_manifest  # imports storage

    loaded = load(manifest, access, console)
    try:
        found = explain_manifest(loaded.manifest, base=manifest.parent, access=access)
    except BidsplanError as error:
        raise error.located(loaded.locate) from error
    console.warn((loaded.locate(problem) for problem in found.problems), "error")
    for answer in _answers(found, what):
        state = "in " if answer.taken else "out"
        data = {"name": answer.name, "in": answer.taken, "why": answer.why}
        console.result(f"{state}  {answer.name}  {answer.why}", data)
    return 1 if found.problems else 0


def _answers(found: Explanation, what: str | None) -> list[Answer]:
    if what is None:
        return found.subjects()
    subjects = found.subject(what)
    path = None if subjects else found.path(what)
    answers = [*subjects, *([path] if path else [])]
    if not answers:
        raise SelectionError(f"the study has neither a subject nor a file {what!r}")
    return answers
