"""Refuses studies and directories where a command expects a manifest or a plan."""

from __future__ import annotations

import re
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from bidsplan.command_lines import command_line
from bidsplan.errors import UsageError
from bidsplan.help_codes import HelpCode
from bidsplan.messages import listed
from bidsplan.paths import printable
from bidsplan.urls import suggested_url

if TYPE_CHECKING:
    from collections.abc import Callable

    from bidsplan.storage import Access


MANIFESTS = (".yaml", ".yml")
DOCUMENTS = (*MANIFESTS, ".jsonl", ".jsonl.gz", ".jsonl.zst")


def check_document(document: Path, access: Callable[[], Access]) -> Path:
    """Return a manifest's or plan's path; refuse a study's URL, accession or directory.

    `access` returns the options that the suggested command needs.
    """
    if document.suffix in {".jsonl", ".yaml", ".yml"} and ":" not in document.parts[0]:
        return document
    # A URL that became a Path has lost one of its slashes.
    text = re.sub(r"\A([A-Za-z][A-Za-z0-9+.-]*:/)(?!/)", r"\1/", str(document))
    url = suggested_url(text) or text
    directory = not text.endswith(DOCUMENTS) and document.is_dir()
    what = "a URL" if "://" in text else "a directory" if directory else "an accession"
    if "://" in text or directory or (url != text and not document.exists()):
        manifests = _manifests_in(document) if directory else []
        hint = f"name one of its manifests: {listed(manifests)}"
        if not manifests:
            study = document if directory else printable(url)
            name = document.resolve().name if directory else _last_part(url)
            output = Path(f"{name or 'study'}.yaml")
            hint = f"write one with '{command_line('init', access(), study, '-o', output)}'"
        raise UsageError(
            f"{printable(text)} is {what}, and a manifest is expected; {hint}",
            help_code=HelpCode.WRONG_DOCUMENT,
        )
    return document


def _last_part(url: str) -> str:
    """Return the last part of a URL's path, without a query."""
    return re.split("[?#]", url)[0].rstrip("/").rpartition("/")[2]


def _manifests_in(directory: Path) -> list[str]:
    """List the files of a directory that are manifests, by their names."""
    if (directory / "dataset_description.json").exists():
        return []
    with suppress(OSError):
        found = [path for path in directory.iterdir() if path.suffix in MANIFESTS]
        return sorted(printable(str(path)) for path in found if not path.name.startswith("."))
    return []
