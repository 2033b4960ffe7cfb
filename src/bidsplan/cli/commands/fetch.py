"""``bidsplan fetch``."""

from __future__ import annotations

from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from bidsplan.cli import options, signals
from bidsplan.cli.plans import plan_for
from bidsplan.cli.report import Outcome
from bidsplan.command_lines import command_line
from bidsplan.compile.plan_policy import PlanPolicy, is_manifest, own_manifest, refuse_locked_plan
from bidsplan.errors import LibraryError, UsageError
from bidsplan.help_codes import HelpCode
from bidsplan.paths import printable
from bidsplan.plan.integrity import VerifyMode
from bidsplan.transfer.decide import Existing
from bidsplan.transfer.materialisation import materialise

if TYPE_CHECKING:
    from collections.abc import Iterator

    from bidsplan.plan import Planned


@click.command(
    "fetch",
    epilog=options.examples(
        "bidsplan fetch ds000114.yaml data",
        "bidsplan fetch -n --subject 01 ds000114.yaml data",
        "bidsplan fetch --locked ds000114.yaml s3://my-bucket/ds000114",
    ),
)
@click.argument("source", metavar="MANIFEST|PLAN", type=click.Path(path_type=Path))
@options.destination_argument
@click.option("--locked", is_flag=True, help="Fail if the plan is missing or stale.")
@click.option("--frozen", is_flag=True, help="Use the plan even if it is stale.")
@click.option("-n", "--dry-run", is_flag=True, help="Show what would be done, and write nothing.")
@click.option(
    "--existing",
    type=click.Choice([policy.value for policy in Existing]),
    default=Existing.KEEP.value,
    show_default=True,
    help="What to do with files that already exist at planned paths. Planned files are kept. With "
    "keep, other files are errors; with replace, they are replaced. With update, only files that "
    "bidsplan fetched and that have not changed since are replaced. With refuse, all files that "
    "bidsplan did not fetch are errors.",
)
@click.option(
    "--verify",
    "checking",
    type=click.Choice([mode.value for mode in VerifyMode]),
    default=VerifyMode.FULL.value,
    show_default=True,
    help="Check files by the strongest known digest, or only by size and entity tag. With size, "
    "large files on fast connections can take up to 45 % less time.",
)
@options.wait_option
@click.option(
    "--no-space-check",
    "check_space",
    is_flag=True,
    default=True,
    flag_value=False,
    help="Start even if DEST has less free space than the missing files need.",
)
@click.option(
    "--dask",
    "scheduler",
    metavar="ADDRESS",
    help="Fetch with the workers of the dask cluster at this address, e.g. tcp://host:8786.",
)
@options.settings_of(
    *options.PART,
    *options.STRICT,
    *options.CACHE,
    *options.SOURCES,
    *options.DESTINATION,
    *options.RATE,
)
def command(
    source: Path,
    destination: str,
    locked: bool,
    frozen: bool,
    dry_run: bool,
    existing: str,
    checking: str,
    wait: bool,
    check_space: bool,
    scheduler: str | None,
    settings: options.Settings,
) -> int:
    """Fetch the files of a MANIFEST or PLAN to DEST, and verify them.

    An interrupted fetch resumes when you run it again. DEST is a directory, or a URL that fsspec
    can write to, such as s3://bucket/prefix.
    """
    path, whole = _find_plan(source, settings, locked=locked, frozen=frozen, write=not dry_run)
    plan = settings.part.of(whole)
    outcome = _outcome(source, destination, plan, settings, dry_run=dry_run)
    with (
        signals.first_signal(interrupt=False) as received,
        _cluster(None if dry_run else scheduler) as client,
    ):
        events = materialise(
            plan,
            destination,
            access=settings.access,
            base=path.parent,
            existing=Existing(existing),
            checking=VerifyMode(checking),
            dry_run=dry_run,
            wait=wait,
            check_space=check_space,
            find_unplanned=True,
            stopping=lambda: bool(received),
            client=client,
            cache=settings.cache,
            whole=whole,
        )
        code = outcome.follow(events)
    if outcome.changed:
        _say_next(source, destination, plan, settings)
    return code


def _find_plan(
    source: Path, settings: options.Settings, *, locked: bool, frozen: bool, write: bool
) -> tuple[Path, Planned]:
    """Return the plan and its path, which its URLs are relative to."""
    policy = PlanPolicy.of(locked=locked, frozen=frozen)
    if not is_manifest(source):
        refuse_locked_plan(source, policy)
    return plan_for(source, settings, policy, write=write)


def _outcome(
    source: Path, destination: str, plan: Planned, settings: options.Settings, *, dry_run: bool
) -> Outcome:
    prune = command_line("prune", settings.access, source, destination)
    return Outcome(plan, settings.console, dry_run=dry_run, place=destination, prune=prune)


def _say_next(source: Path, destination: str, plan: Planned, settings: options.Settings) -> None:
    """Suggest commands that look at the fetched files."""
    if settings.console.quiet or settings.console.json:
        return
    access, part = settings.access, settings.part.arguments()
    verify = command_line("verify", access, *part, source, destination)
    text = f"next: '{verify}' checks the files again"
    # A plan without its manifest does not show why files are missing.
    manifest = source if is_manifest(source) else own_manifest(source, plan, access)
    if manifest:
        text += f", '{command_line('report', access, manifest)}' shows what the study lacks"
    settings.console.say(text)


@contextmanager
def _cluster(address: str | None) -> Iterator[Any]:
    """Connect to a dask cluster, if one is named."""
    if address is None:
        yield None
        return
    try:
        import distributed  # of the extra 'dask'
    except ImportError as error:
        raise LibraryError(
            "dask is missing; install it with 'pip install bidsplan[dask]'"
        ) from error
    try:
        client = distributed.Client(address, set_as_default=False, timeout=10)
    except (OSError, ValueError) as error:
        raise UsageError(
            f"no dask scheduler answers at {printable(address)}; start one by 'dask scheduler', "
            "and give the address that it prints",
            help_code=HelpCode.DASK,
        ) from error
    with client:
        yield client
