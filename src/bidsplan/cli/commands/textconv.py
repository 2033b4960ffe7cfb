"""``bidsplan textconv``."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING

import click

from bidsplan.cli import options
from bidsplan.errors import PlanError
from bidsplan.paths import open_regular, printable

if TYPE_CHECKING:
    from collections.abc import Iterator

    from bidsplan.plan import Entry, Planned, Root


@click.command(
    "textconv",
    epilog=options.examples(
        "bidsplan textconv ds000114.plan.jsonl.gz",
        "bidsplan textconv ds000114.plan.jsonl > ds000114.txt",
    ),
)
@click.argument("source", metavar="PLAN", type=click.Path(path_type=Path))
@options.settings_of()
def command(source: Path, settings: options.Settings) -> None:
    """Print PLAN as text that 'git diff' can compare, with one line for each subject and file.

    To let git use this command for all plans, including compressed ones, add the line
    '*.plan.jsonl* -text diff=bidsplan' to .gitattributes, and run 'git config
    diff.bidsplan.textconv "bidsplan textconv"'. If a file is not a valid plan, the command prints
    the reason and a digest, and exits with 0 so that git can continue.
    """
    from bidsplan.plan.file import StoredPlan  # on demand

    try:
        # A line break in a name must not look like the start of another line.
        lines = [printable(line) for line in _lines(StoredPlan(source))]
    except PlanError as error:
        if not source.is_file():
            raise
        with open_regular(source) as file:
            digest = hashlib.sha256(file.read()).hexdigest()
        reason = str(error).removeprefix(f"{source}: ")
        lines = [f"no valid plan: {reason}", f"sha256: {digest}"]
    settings.console.result("\n".join(lines), {"plan": str(source), "lines": lines})


def _lines(plan: Planned) -> Iterator[str]:
    header = plan.header
    yield f"study: {header.study}"
    yield f"manifest_sha256: {header.manifest_sha256}"
    for root in header.roots:
        yield f"root: {_access(root)}"
    if header.random_seed is not None:
        yield f"random_seed: {header.random_seed} ({header.sampling})"
    if header.part is not None:
        yield f"part: {header.part}"
    yield from (f"subject: {subject}" for subject in header.subjects)
    yield f"files: {header.files:,}"
    yield f"bytes: {header.bytes:,}"
    for entry in plan.entries:
        yield f"{entry.path}: {', '.join(_fields(entry, header.roots))}"


def _access(root: Root) -> str:
    words = {True: " (anonymous)", False: " (signed)", None: ""}
    return f"{root.url}{words[root.anonymous]}"


def _fields(entry: Entry, roots: tuple[Root, ...]) -> Iterator[str]:
    yield f"{entry.size:,} bytes"
    yield entry.reason
    for name in ("etag", "version", "md5", "sha256"):
        if value := getattr(entry, name):
            yield f"{name} {value}"
    if entry.content is not None:
        yield f"content {entry.content!r}"
    elif entry.key != entry.path or entry.root:
        yield f"from {roots[entry.root].url} {entry.key}"
