"""``bidsplan init``."""

from __future__ import annotations

import json
import os
import textwrap
from pathlib import Path
from typing import TYPE_CHECKING

import click

from bidsplan.cli import options
from bidsplan.cli.documents import check_study
from bidsplan.command_lines import command_line
from bidsplan.errors import DestinationError, SelectionError, UsageError
from bidsplan.help_codes import HelpCode
from bidsplan.messages import counted, size
from bidsplan.paths import natural_key, printable
from bidsplan.urls import OBJECT_STORES, parse_url

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from bidsplan.compile.survey.inventory import Inventory


_MOST_SUFFIXES = 24
"""The most suffixes of a derivative that are listed."""


@click.command(
    "init",
    epilog=options.examples(
        "bidsplan init s3://openneuro.org/ds000114 -o ds000114.yaml",
        "bidsplan init ../data/my-study",
    ),
)
@click.argument("url")
@options.output_option("The manifest's file, which must not exist yet. [default: standard output]")
@options.settings_of(*options.SOURCES)
def command(url: str, output: Path | None, settings: options.Settings) -> None:
    """Write a first manifest, with comments, for the study at URL."""
    from bidsplan.compile.survey.inventory import take_inventory  # imports storage
    from bidsplan.compile.survey.study import study_above

    check_study(url)
    if output and os.path.lexists(output):
        raise _exists(output)
    console = settings.console
    with console.progress() as notify:
        inventory = take_inventory(url, access=settings.access, notify=notify)
    if not inventory.subjects:
        text = f"{inventory.url}: there are no subject directories (sub-…) here or one level down"
        above = study_above(inventory.url)
        hint = f"; this is a subject's directory; write {above}" if above else ""
        raise SelectionError(text + hint, help_code=HelpCode.NO_SUBJECTS)
    location = parse_url(url)
    if location.protocol == "file" and not Path(location.path).is_absolute():
        folder = output.parent if output else Path()
        url = Path(os.path.relpath(location.path, folder)).as_posix()
    signed = location.protocol in OBJECT_STORES and settings.access.anonymous is False
    text = "\n".join(_manifest(inventory, url, signed=signed)) + "\n"
    if output is None:
        console.result(text.rstrip("\n"), {"manifest": text})
        return
    try:
        with output.open("x", encoding="utf-8") as file:
            file.write(console.redact(text))
    except FileExistsError as error:
        raise _exists(output) from error
    except OSError as error:
        raise DestinationError(f"{output}: can't be written: {error.strerror}") from error
    console.result(f"wrote {output}", {"manifest": str(output)})
    if not (console.quiet or console.json):
        # The manifest does not hold the options that reach the study.
        compiling = command_line("compile", settings.access, output)
        console.say(f"next: '{compiling}' writes its plan")


def _exists(output: Path) -> UsageError:
    return UsageError(
        f"{output}: exists, and init does not replace files; name another file with -o"
    )


def _yaml(value: str | list[str]) -> str:
    """Write a text or a list as YAML, in its JSON form."""
    return json.dumps(value, ensure_ascii=False)


def _comment(title: str, words: Iterable[str]) -> str:
    """Write words in comment lines."""
    text = f"{title}: {' '.join(map(printable, words))}"
    return textwrap.fill(
        text, 96, subsequent_indent="#   ", break_long_words=False, break_on_hyphens=False
    )


def _manifest(inventory: Inventory, url: str, *, signed: bool) -> Iterator[str]:
    study = parse_url(url).path.rstrip("/").rpartition("/")[2] or "study"
    yield (
        "# Check it with 'bidsplan validate'; 'bidsplan schema manifest' prints a schema for "
        "editors."
    )
    yield "manifest_version: 1"
    access = ", anonymous: false" if signed else ""
    yield f"study: {{id: {_yaml(study)}, url: {_yaml(url)}{access}}}"
    if inventory.sites:
        yield "\n# Each site is a dataset of its own."
        yield f"site: {_yaml(inventory.sites)}"
    subjects, files = counted(len(inventory.subjects), "subject"), counted(inventory.files, "file")
    yield f"\n# There are {subjects}, {files}, {size(inventory.bytes)}; all by default."
    yield f"# subjects: {{sample: {{count: {min(5, len(inventory.subjects))}}}}}"
    yield "# random_seed: 42"
    if inventory.columns:
        yield _comment("# Columns of participants.tsv, for subjects.where", inventory.columns)
    if inventory.sessions:
        yield f"\n# sessions: {_yaml(sorted(inventory.sessions, key=natural_key))}"
    yield ""
    yield _comment("# Suffixes", sorted(inventory.suffixes))
    datatypes = [name for name in sorted(inventory.datatypes) if name != "other"]
    if datatypes:
        yield f"files: {{datatypes: {_yaml(datatypes)}}}"
    if inventory.pipelines:
        yield f"\n# derivatives: {_yaml(inventory.pipelines)}"
    for name, sample in inventory.pipeline_samples.items():
        if sample.suffixes:
            common = sorted(dict(sample.suffixes.most_common(_MOST_SUFFIXES)))
            more = ["…"] if len(common) < len(sample.suffixes) else []
            yield _comment(f"# Suffixes of {printable(sample.title(name))}", [*common, *more])
    if inventory.flat_pipelines:
        whole = ", ".join(f"{_yaml(name)}: {{scope: whole}}" for name in inventory.flat_pipelines)
        yield "\n# These have no subject directories and are selected as a whole."
        yield f"# derivatives: {{{whole}}}"
