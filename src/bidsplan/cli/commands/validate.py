"""``bidsplan validate``."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from bidsplan.cli import options
from bidsplan.cli.console import problem_data
from bidsplan.errors import ManifestError

if TYPE_CHECKING:
    from pathlib import Path


@click.command(
    "validate",
    epilog=options.examples(
        "bidsplan validate ds000114.yaml",
        "bidsplan validate --strict studies/hbn.yaml studies/adhd200.yaml",
    ),
)
@options.manifest_argument("manifests", several=True)
@options.settings_of(*options.ALLOWED, *options.STRICT)
def command(manifests: tuple[Path, ...], settings: options.Settings) -> int:
    """Check MANIFESTS without network and credentials.

    Shows all problems of each manifest, and exits with 2 if there are any.
    """
    valid = [_is_valid(path, settings) for path in manifests]
    return 0 if all(valid) else ManifestError.exit_code


def _is_valid(path: Path, settings: options.Settings) -> bool:
    """Check a manifest, and show the outcome."""
    from bidsplan.manifest.load import load_manifest  # imports pydantic and YAML

    access, console = settings.access, settings.console
    try:
        problems = load_manifest(
            path, allow_protocols=access.allow_protocols, untrusted=access.untrusted
        ).warnings
        key, valid = "warnings", not (settings.strict and problems)
    except ManifestError as error:
        key, valid, problems = "problems", False, error.problems
    console.warn(problems, "warning" if valid else "error")
    console.result(
        f"{path}: {'valid' if valid else 'not valid'}",
        {"manifest": str(path), "valid": valid, key: [*map(problem_data, problems)]},
    )
    return valid
