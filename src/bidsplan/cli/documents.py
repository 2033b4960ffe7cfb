"""Refuses studies, directories and URLs where a command expects a manifest or a plan."""

from __future__ import annotations

import re
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from bidsplan.command_lines import command_line
from bidsplan.errors import UrlError, UsageError
from bidsplan.help_codes import HelpCode
from bidsplan.messages import listed
from bidsplan.paths import printable
from bidsplan.urls import suggested_bucket, suggested_url

if TYPE_CHECKING:
    from collections.abc import Callable

    from bidsplan.storage.access import Access


MANIFESTS = (".yaml", ".yml")
DOCUMENTS = (*MANIFESTS, ".jsonl", ".jsonl.gz", ".jsonl.zst")
"""How the names of manifests and plans end."""


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
    is_url = "://" in text and not document.exists()
    if is_url and text.endswith(DOCUMENTS):
        raise UsageError(
            f"{printable(text)} is a URL, and manifests and plans are read from this machine; copy "
            "it here, and name the copy",
            help_code=HelpCode.WRONG_DOCUMENT,
        )
    if is_url or directory or (url != text and not document.exists()):
        what = "a URL" if is_url else "a directory" if directory else "an accession"
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


def check_study(text: str) -> None:
    """Refuse a manifest, a plan or a mistyped URL instead of a study's URL."""
    if text.endswith(DOCUMENTS):
        plan = not text.endswith(MANIFESTS)
        raise UsageError(
            f"{printable(text)} is a {'plan' if plan else 'manifest'}, by its name, and the URL of "
            "a study is expected, such as s3://openneuro.org/ds000114",
            help_code=HelpCode.WRONG_DOCUMENT,
        )
    if suggested := suggested_bucket(text, Path()):
        raise UrlError(f"{printable(text)} looks like a bucket; write {printable(suggested)}")
