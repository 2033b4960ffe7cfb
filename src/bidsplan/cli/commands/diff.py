"""``bidsplan diff``."""

from __future__ import annotations

from contextlib import nullcontext
from typing import TYPE_CHECKING

import click

from bidsplan.cli import options
from bidsplan.cli.plan_changes import MOST_NAMED, changed_lines
from bidsplan.cli.plans import compile_file, load, plan_of_file, warn_if_stale
from bidsplan.command_lines import command_line
from bidsplan.compile.plan_policy import is_manifest, stored_plan
from bidsplan.errors import UsageError
from bidsplan.plan.file import default_plan_path
from bidsplan.review.changes import compare_plans

if TYPE_CHECKING:
    from pathlib import Path

    from bidsplan.compile.survey.shared import SharedListings
    from bidsplan.plan import Planned


@click.command(
    "diff",
    epilog=options.examples(
        "bidsplan diff old.plan.jsonl new.plan.jsonl",
        "bidsplan diff --rev HEAD~1 ds000114.plan.jsonl",
        "bidsplan diff --markdown ds000114.yaml > comment.md",
    ),
)
@options.document_argument("first", "A")
@options.document_argument("second", "[B]", required=False)
@click.option("--rev", "revision", metavar="REV", help="Compare A with the plan at a git revision.")
@click.option("--all", "show_all", is_flag=True, help="Show all changed subjects and files.")
@click.option(
    "--markdown",
    is_flag=True,
    help="Write at most 65,536 bytes of Markdown, for a comment on a pull request.",
)
@options.settings_of(*options.STRICT, *options.SOURCES)
def command(
    first: Path,
    second: Path | None,
    revision: str | None,
    show_all: bool,
    markdown: bool,
    settings: options.Settings,
) -> int:
    """Show what changed from plan A to plan B, and exit with 1 if anything changed.

    A or B may be a manifest, which is compiled without writing a plan. If you name only a manifest,
    it is compared with the plan next to it. With --rev, it is compared with this plan at a git
    revision. The output begins with a summary, followed by the subjects and files that changed.

    Use 'bidsplan diff MANIFEST' to read what has changed in one plan. To only find out whether
    plans are current, in a script or CI job, use 'bidsplan compile --check'.
    """
    if markdown and settings.console.json:
        raise UsageError("--markdown and --json cannot be used together")
    changes = compare_plans(*_plans(first, second, revision, settings))
    if markdown:
        from bidsplan.cli.changes_markdown import changes_markdown  # on demand

        settings.console.write(changes_markdown(changes, settings.console.redact))
    else:
        lines = changed_lines(
            changes,
            None if show_all else MOST_NAMED,
            command=_naming_all(first, second, revision, settings),
        )
        data = {"equal": not changes, "summary": lines[0], **changes.to_dict()}
        settings.console.result("\n".join(lines), data)
    return 1 if changes else 0


def _naming_all(
    first: Path, second: Path | None, revision: str | None, settings: options.Settings
) -> str:
    """Write this command again, with the option that names all."""
    words = ["--all", *(["--rev", revision] if revision else [])]
    paths = [path for path in (first, second) if path is not None]
    return command_line("diff", settings.access, *words, *paths)


def _plans(
    first: Path, second: Path | None, revision: str | None, settings: options.Settings
) -> tuple[Planned, Planned]:
    """Return the old and the new plan that the arguments name."""
    if revision is not None:
        if second is not None:
            raise UsageError("--rev compares one plan with an earlier version; name one plan alone")
        return _since(first, revision, settings)
    if second is None:
        if not is_manifest(first):
            raise UsageError(
                f"{first} is one plan; name a second, or an earlier version of it with --rev, or a "
                "manifest, which is compared with its plan"
            )
        plan = stored_plan(first, settings.access)
        return plan, _compiled(first, (default_plan_path(first), plan), settings)
    stored: dict[Path, Planned] = {
        path: plan_of_file(path) for path in (first, second) if not is_manifest(path)
    }
    known_plan = next(iter(stored.items()), None)
    from bidsplan.compile.survey.shared import SharedListings  # imports storage

    with nullcontext() if stored else SharedListings() as listings:
        old, new = (
            stored[path] if path in stored else _compiled(path, known_plan, settings, listings)
            for path in (first, second)
        )
    return old, new


def _since(first: Path, revision: str, settings: options.Settings) -> tuple[Planned, Planned]:
    """Return the plan at a git revision, and the current plan."""
    from bidsplan.review.revisions import plan_at_revision  # on demand

    if not is_manifest(first):
        current = plan_of_file(first)
        old = plan_at_revision(first, revision)
        warn_if_stale(first, current, settings)
        return old, current
    path = default_plan_path(first)
    old = plan_at_revision(path, revision)
    known = stored_plan(first, settings.access) if path.exists() else old
    return old, _compiled(first, (path, known), settings)


def _compiled(
    manifest: Path,
    known: tuple[Path, Planned] | None,
    settings: options.Settings,
    listings: SharedListings | None = None,
) -> Planned:
    """Compile a manifest, reusing the digests of a known plan if there is one."""
    path = known[0] if known else default_plan_path(manifest)
    loaded = load(manifest, settings, show=False)
    return compile_file(loaded, path, settings, known=known, listings=listings).plan
