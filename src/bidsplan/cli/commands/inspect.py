"""``bidsplan inspect``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from bidsplan.cli.console import counted, size
from bidsplan.cli.options import access_options, console_options
from bidsplan.cli.plans import load

if TYPE_CHECKING:
    from collections import Counter

    from bidsplan.cli.console import Console
    from bidsplan.compile.survey.inventory import Inventory
    from bidsplan.storage import Access


_COMMON = 12
"""Words that one line lists."""


@click.command("inspect")
@click.argument("what", metavar="URL|MANIFEST")
@access_options
@console_options
def command(what: str, access: Access, console: Console) -> None:
    """Show what a study holds: counts, bytes, and which subject has files of which datatype.

    Of a MANIFEST the whole study is shown, whatever the manifest selects of it.
    """
    from bidsplan.compile.survey.inventory import take_inventory  # imports storage

    if what.endswith((".yaml", ".yml")):
        loaded = load(Path(what), access, console)
        manifest = loaded.manifest
        sites = (manifest.site,) if isinstance(manifest.site, str) else manifest.site or ()
        inventory = take_inventory(
            manifest.study.url,
            sites=sites,
            anonymous=manifest.study.anonymous,
            base=loaded.path.parent,
            access=access,
        )
    else:
        inventory = take_inventory(what, access=access)
    console.result("\n".join(_lines(inventory)), _data(inventory))


def _lines(inventory: Inventory) -> list[str]:
    from tabulate import tabulate  # on demand

    lines = [
        f"{inventory.url}: {counted(len(inventory.subjects), 'subject')}, "
        f"{counted(inventory.files, 'file')}, {size(inventory.bytes)}"
    ]
    listed = [
        ("sites", inventory.sites),
        ("sessions", _words(inventory.sessions)),
        ("suffixes", _words(inventory.suffixes)),
        ("pipelines", inventory.pipelines),
        ("columns of participants.tsv", inventory.columns),
    ]
    lines += [f"{title}: {', '.join(words)}" for title, words in listed if words]
    datatypes = sorted(inventory.datatypes)
    rows = [
        [unit, *(held[datatype] or "" for datatype in datatypes)]
        for unit, held in sorted(inventory.subjects.items())
    ]
    return [*lines, "", tabulate(rows, ["subject", *datatypes], "plain", disable_numparse=True)]


def _words(counter: Counter[str]) -> list[str]:
    common = [f"{word} ({number:,})" for word, number in counter.most_common(_COMMON)]
    more = len(counter) - _COMMON
    return common + ([f"{more} more"] if more > 0 else [])


def _data(inventory: Inventory) -> dict[str, Any]:
    return {
        "url": inventory.url,
        "sites": inventory.sites,
        "files": inventory.files,
        "bytes": inventory.bytes,
        "subjects": {unit: dict(held) for unit, held in sorted(inventory.subjects.items())},
        "sessions": dict(inventory.sessions),
        "datatypes": dict(inventory.datatypes),
        "suffixes": dict(inventory.suffixes),
        "pipelines": inventory.pipelines,
        "columns": inventory.columns,
    }
