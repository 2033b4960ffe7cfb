"""From a manifest's file to a plan, with all that is odd told on the way."""

from __future__ import annotations

import sys
from dataclasses import replace
from typing import TYPE_CHECKING

from bidsplan.cli.console import counted, size
from bidsplan.errors import BidsplanError, ManifestError, SelectionError

if TYPE_CHECKING:
    from pathlib import Path

    from bidsplan.cli.console import Console
    from bidsplan.compile import Compiled
    from bidsplan.files.manifests import ManifestFile
    from bidsplan.plan import Plan, Planned
    from bidsplan.storage import Access

__all__ = ["compile_file", "load", "summary"]


def load(path: Path, access: Access, console: Console, *, strict: bool = False) -> ManifestFile:
    """Load a manifest and tell its warnings."""
    from bidsplan.files.manifests import load_manifest  # noqa: PLC0415 - imports pydantic and YAML

    loaded = load_manifest(path, allow_protocols=access.allow_protocols, untrusted=access.untrusted)
    if strict and loaded.warnings:
        raise ManifestError(problems=loaded.warnings)
    console.warn(loaded.warnings)
    return loaded


def compile_file(
    loaded: ManifestFile,
    plan_path: Path,
    access: Access,
    console: Console,
    *,
    strict: bool = False,
    max_bytes: int | None = None,
    previous: Planned | None = None,
    previous_directory: Path | None = None,
    digest: bool = False,
) -> Compiled:
    """Compile a loaded manifest over the plan that it had, and tell what is odd with its line."""
    from bidsplan.compile import compile_manifest  # noqa: PLC0415 - imports storage
    from bidsplan.progress import drawn_digests  # noqa: PLC0415 - as above

    bar = digest and sys.stderr.isatty() and not console.json
    try:
        with drawn_digests(enabled=bar) as notify:
            compiled = compile_manifest(
                loaded.manifest,
                base=loaded.path.parent,
                plan_directory=plan_path.parent,
                access=access,
                notify=notify,
                previous=previous,
                previous_directory=previous_directory,
                digest=digest,
                max_bytes=max_bytes,
            )
    except BidsplanError as error:
        raise error.located(loaded.locate) from error
    warnings = [loaded.locate(problem) for problem in compiled.warnings]
    if strict and warnings:
        raise SelectionError(problems=warnings)
    console.warn(warnings)
    return replace(compiled, warnings=tuple(warnings))


def summary(plan: Plan, endpoints: tuple[str, ...] = ()) -> str:
    """Say in a few words what a plan holds, and where it comes from."""
    header = plan.header
    subjects = counted(len(header.subjects), "subject")
    files = counted(header.files, "file")
    source = f", from {', '.join(endpoints)}" if endpoints else ""
    return f"{subjects}, {files}, {size(header.bytes)}{source}"
