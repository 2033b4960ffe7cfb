"""``bidsplan init``."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import click
import msgspec

from bidsplan.cli.console import counted, size
from bidsplan.cli.options import access_options, console_options
from bidsplan.errors import DestinationError, SelectionError
from bidsplan.paths import printable
from bidsplan.urls import parse_url

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from bidsplan.cli.console import Console
    from bidsplan.compile.survey.inventory import Inventory
    from bidsplan.storage import Access


_SCHEMA = (
    "# Check it by 'bidsplan validate'; 'bidsplan schema manifest' prints a schema for editors."
)
_WIDTH = 96


@click.command("init")
@click.argument("url")
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path),
    help="The manifest's file, which must not be there yet. [default: standard output]",
)
@access_options
@console_options
def command(url: str, output: Path | None, access: Access, console: Console) -> None:
    """Write a commented manifest from what the study at URL holds."""
    from bidsplan.compile.survey.inventory import take_inventory  # imports storage

    inventory = take_inventory(url, access=access)
    if not inventory.subjects:
        raise SelectionError(
            f"{inventory.url}: there are no subject directories (sub-…) here or one level down"
        )
    folder = output.parent if output else Path()
    text = "\n".join(_manifest(inventory, _relative(url, folder))) + "\n"
    if output is None:
        console.result(text.rstrip("\n"), {"manifest": text})
        return
    try:
        with output.open("x", encoding="utf-8") as file:
            file.write(console.redact(text))
    except OSError as error:
        raise DestinationError(f"{output}: can't be written: {error.strerror}") from error
    console.result(f"wrote {output}", {"manifest": str(output)})


def _relative(url: str, folder: Path) -> str:
    """Write a local path as seen from the manifest's folder."""
    location = parse_url(url)
    if location.protocol != "file" or Path(location.path).is_absolute():
        return url
    return Path(os.path.relpath(location.path, folder)).as_posix()


def _quoted(text: str) -> str:
    """Write text as a YAML scalar that means just that; every JSON string is one."""
    return msgspec.json.encode(text).decode()


def _comment(title: str, words: Iterable[str]) -> Iterator[str]:
    """Write words in comments of a bearable width."""
    line = f"# {title}:"
    for word in map(printable, words):
        if len(line) + len(word) > _WIDTH:
            yield line
            line = "#  "
        line += f" {word}"
    yield line


def _list(words: Iterable[str]) -> str:
    return "[" + ", ".join(_quoted(word) for word in words) + "]"


def _manifest(inventory: Inventory, url: str) -> Iterator[str]:
    study = parse_url(url).path.rstrip("/").rpartition("/")[2] or "study"
    yield _SCHEMA
    yield "manifest_version: 1"
    yield f"study: {{id: {_quoted(study)}, url: {_quoted(url)}}}"
    if inventory.sites:
        yield ""
        yield "# Each site is a dataset of its own."
        yield f"site: {_list(inventory.sites)}"
    yield ""
    subjects, files = counted(len(inventory.subjects), "subject"), counted(inventory.files, "file")
    yield f"# There are {subjects}, {files}, {size(inventory.bytes)}; all come if nothing is said."
    yield f"# subjects: {{sample: {{count: {min(5, len(inventory.subjects))}}}}}"
    yield "# random_seed: 42"
    if inventory.columns:
        yield from _comment("Columns of participants.tsv, for subjects.where", inventory.columns)
    if inventory.sessions:
        yield ""
        yield f"# sessions: {_list(sorted(inventory.sessions))}"
    yield ""
    yield from _comment("Suffixes", sorted(inventory.suffixes))
    datatypes = [name for name in sorted(inventory.datatypes) if name != "other"]
    if datatypes:
        yield f"files: {{datatypes: {_list(datatypes)}}}"
    if inventory.pipelines:
        yield ""
        yield f"# derivatives: {_list(inventory.pipelines)}"
