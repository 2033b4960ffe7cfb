"""Tells the documents that commands read from the studies that the documents are about."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

from bidsplan.command_lines import command_line
from bidsplan.errors import UrlError, UsageError
from bidsplan.help_codes import HelpCode
from bidsplan.paths import printable
from bidsplan.urls import suggested_bucket, suggested_url

if TYPE_CHECKING:
    from bidsplan.storage.access import Access

_MANIFESTS = (".yaml", ".yml")
DOCUMENTS = (*_MANIFESTS, ".jsonl", ".jsonl.gz", ".jsonl.zst")
"""How the names of manifests and plans end."""


def refuse_study(document: Path, access: Access) -> None:
    """Refuse a study's URL, accession or directory instead of its manifest.

    `access` is how the command that the message names reaches the study.
    """
    if document.suffix in {".jsonl", ".yaml", ".yml"} and ":" not in document.parts[0]:
        return
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
    what = "a URL" if is_url else "a directory" if directory else "an accession"
    if is_url or directory or (url != text and not document.exists()):
        name = url.rstrip("/").rpartition("/")[2] or "study"
        init = command_line("init", access, printable(url), "-o", f"{printable(name)}.yaml")
        raise UsageError(
            f"{printable(text)} is {what}, and a manifest is expected; write one with '{init}'",
            help_code=HelpCode.WRONG_DOCUMENT,
        )


def check_study(text: str) -> None:
    """Refuse a manifest, a plan or a mistyped URL instead of a study's URL."""
    if text.endswith(DOCUMENTS):
        plan = not text.endswith(_MANIFESTS)
        raise UsageError(
            f"{printable(text)} is a {'plan' if plan else 'manifest'}, by its name, and the URL of "
            "a study is expected, such as s3://openneuro.org/ds000114",
            help_code=HelpCode.WRONG_DOCUMENT,
        )
    if suggested := suggested_bucket(text, Path()):
        raise UrlError(f"{printable(text)} looks like a bucket; write {printable(suggested)}")
