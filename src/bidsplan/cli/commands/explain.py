"""``bidsplan explain``."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from bidsplan.cli import options
from bidsplan.cli.plans import drawn_data, drawn_lines, load, omission_data, warn_besides
from bidsplan.errors import BidsplanError, SelectionError
from bidsplan.help_codes import HelpCode
from bidsplan.paths import printable

if TYPE_CHECKING:
    from pathlib import Path

    from bidsplan.compile.explain import Answer, Explanation


@click.command(
    "explain",
    epilog=options.examples(
        "bidsplan explain ds000114.yaml",
        "bidsplan explain ds000114.yaml sub-01",
        "bidsplan explain ds000114.yaml sub-01/anat/sub-01_T1w.nii.gz",
    ),
)
@options.manifest_argument("manifest")
@click.argument("what", metavar="[SUBJECT|PATH]", required=False)
@options.settings_of(*options.SOURCES)
def command(manifest: Path, what: str | None, settings: options.Settings) -> int:
    """Show why a subject or a file of the study is in the plan of MANIFEST, or is not.

    Without SUBJECT or PATH, the command explains all subjects. PATH is a path in the plan, or the
    key of a file in the study's storage.
    """
    from bidsplan.compile.compiler import explain_manifest  # imports storage

    loaded = load(manifest, settings, show=False)
    try:
        with settings.console.progress() as notify:
            found = explain_manifest(
                loaded.manifest, base=manifest.parent, access=settings.access, notify=notify
            )
    except BidsplanError as error:
        raise error.located(loaded.locate) from error
    problems = [*map(loaded.locate, found.problems)]
    warn_besides(loaded, problems, settings)
    settings.console.warn(problems, "error")
    settings.console.warn(loaded.locate(omission.problem) for omission in found.omissions)
    for answer in _answers(found, what):
        state = "in " if answer.taken else "out"
        data = {"name": answer.name, "in": answer.taken, "why": answer.why}
        settings.console.result(f"{state}  {answer.name}  {answer.why}", data)
    if what is None:
        if lines := drawn_lines(found.record.drawn):
            settings.console.result("\n".join(lines), {"drawn": drawn_data(found.record.drawn)})
        for omission in found.omissions:
            settings.console.record(omission_data(omission))
    settings.console.refer(problem.help_code or HelpCode.SELECTION for problem in found.problems)
    return 1 if found.problems else 0


def _answers(found: Explanation, what: str | None) -> list[Answer]:
    if what is None:
        return found.subjects()
    if subjects := found.subject(what):
        return subjects
    path = found.path(what)
    if path is None:
        text = f"the study has neither a subject nor a file {what!r}"
        if not found.record.decided:
            text = f"there is no subject {what!r}, and files are not chosen while there are errors"
        if near := found.similar(what):
            text += f"; did you mean {printable(near)!r}?"
        raise SelectionError(text, help_code=HelpCode.SUBJECT_MISSING)
    return [path]
