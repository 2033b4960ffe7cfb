"""``bidsplan cache-key``."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from bidsplan.cli import options
from bidsplan.cli.plans import plan_for

if TYPE_CHECKING:
    from pathlib import Path


@click.command(
    "cache-key",
    epilog=options.examples(
        "bidsplan cache-key ds000114.plan.jsonl",
        "bidsplan cache-key --json ds000114.yaml",
    ),
)
@options.document_argument("source", "PLAN|MANIFEST")
@options.settings_of(*options.ALLOWED)
def command(source: Path, settings: options.Settings) -> None:
    """Print a key for the cache of a CI system, which changes if a file of PLAN changes.

    The key is the plan's entries_sha256. If the plan is truncated or was edited, the command fails.
    For a MANIFEST, it also fails if the plan was not compiled from that manifest.
    """
    _, plan = plan_for(source, settings)
    header = plan.header
    data = {"cache_key": header.entries_sha256, "files": header.files, "bytes": header.bytes}
    settings.console.result(header.entries_sha256, data)
