"""``bidsplan inspect``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click
import msgspec

from bidsplan.cli import options
from bidsplan.cli.documents import check_study
from bidsplan.cli.plans import load
from bidsplan.errors import BidsplanError
from bidsplan.messages import counted, size
from bidsplan.paths import natural_key

if TYPE_CHECKING:
    from collections import Counter

    from bidsplan.compile.survey.inventory import Inventory


_MOST_WORDS = 12
"""The most words in a line."""


@click.command(
    "inspect",
    epilog=options.examples(
        "bidsplan inspect s3://openneuro.org/ds000114",
        "bidsplan inspect --json ds000114.yaml",
    ),
)
@click.argument("what", metavar="URL|MANIFEST")
@options.settings_of(*options.SOURCES)
def command(what: str, settings: options.Settings) -> None:
    """Show what a study contains: subjects, files, bytes, and each subject's files by datatype.

    For a MANIFEST, the command shows the whole study, and not only the files that the manifest
    selects. For each pipeline of derivatives, it shows the suffixes that up to three subjects have.
    If a subject has only sidecars and other metadata of a datatype in a session, these files do not
    count as the subject's files.
    """
    from bidsplan.compile.survey.inventory import take_inventory  # imports storage

    with settings.console.progress() as notify:
        if what.endswith((".yaml", ".yml")):
            loaded = load(Path(what), settings)
            manifest, site = loaded.manifest, loaded.manifest.site
            try:
                inventory = take_inventory(
                    manifest.study.url,
                    sites=(site,) if isinstance(site, str) else site or (),
                    anonymous=manifest.study.anonymous,
                    base=loaded.path.parent,
                    access=settings.access,
                    notify=notify,
                    at=("study", "url"),
                )
            except BidsplanError as error:
                raise error.located(loaded.locate) from error
        else:
            check_study(what)
            inventory = take_inventory(what, access=settings.access, notify=notify)
    data = msgspec.to_builtins(inventory, order="deterministic")
    settings.console.result("\n".join(_lines(inventory)), data)


def _lines(inventory: Inventory) -> list[str]:
    from tabulate import tabulate  # on demand

    subjects, files = counted(len(inventory.subjects), "subject"), counted(inventory.files, "file")
    lists = {
        "sites": inventory.sites,
        "sessions": _words(inventory.sessions),
        "suffixes": _words(inventory.suffixes),
        "pipelines": inventory.pipelines,
        **{
            f"suffixes of {sample.title(name)}": _words(sample.suffixes)
            for name, sample in inventory.pipeline_samples.items()
        },
        "pipelines without subject directories": inventory.flat_pipelines,
        "columns of participants.tsv": inventory.columns,
    }
    datatypes = sorted(inventory.datatypes)
    rows = [
        [unit, *(held[datatype] or "" for datatype in datatypes)]
        for unit, held in sorted(inventory.subjects.items(), key=lambda row: natural_key(row[0]))
    ]
    return [
        f"{inventory.url}: {subjects}, {files}, {size(inventory.bytes)}",
        *(f"{title}: {', '.join(words)}" for title, words in lists.items() if words),
        "",
        tabulate(rows, ["subject", *datatypes], "plain", disable_numparse=True),
    ]


def _words(counter: Counter[str]) -> list[str]:
    common = [f"{word} ({number:,})" for word, number in counter.most_common(_MOST_WORDS)]
    more = len(counter) - _MOST_WORDS
    return common + ([f"{more} more"] if more > 0 else [])
