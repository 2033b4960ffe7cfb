"""``bidsplan validate``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from bidsplan.cli.console import problem_data
from bidsplan.cli.options import console_options, protocol_option, strict_option, untrusted_option
from bidsplan.errors import ManifestError

if TYPE_CHECKING:
    from bidsplan.cli.console import Console


@click.command("validate")
@click.argument("manifests", nargs=-1, required=True, type=click.Path(path_type=Path))
@protocol_option
@untrusted_option
@strict_option
@console_options
def command(
    manifests: tuple[Path, ...],
    allow_protocols: tuple[str, ...],
    untrusted: bool,
    strict: bool,
    console: Console,
) -> int:
    """Check MANIFESTS without any network or credentials.

    Tells everything that is wrong with each, and exits with 2 if anything is.
    """
    protocols = frozenset(allow_protocols)
    valid = [
        _validate(path, protocols, untrusted=untrusted, strict=strict, console=console)
        for path in manifests
    ]
    return 0 if all(valid) else ManifestError.exit_code


def _validate(
    path: Path, protocols: frozenset[str], *, untrusted: bool, strict: bool, console: Console
) -> bool:
    from bidsplan.manifest.load import load_manifest  # imports pydantic and YAML

    data: dict[str, Any] = {"manifest": str(path)}
    try:
        loaded = load_manifest(path, allow_protocols=protocols, untrusted=untrusted)
    except ManifestError as error:
        console.warn(error.problems, "error")
        data |= {"valid": False, "problems": [problem_data(problem) for problem in error.problems]}
        console.result(f"{path}: not valid", data)
        return False
    console.warn(loaded.warnings, "error" if strict else "warning")
    valid = not (strict and loaded.warnings)
    data |= {"valid": valid, "warnings": [problem_data(problem) for problem in loaded.warnings]}
    console.result(f"{path}: {'valid' if valid else 'not valid'}", data)
    return valid
