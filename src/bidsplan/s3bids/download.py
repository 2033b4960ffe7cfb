"""Compiles and runs the downloads of a study."""

from __future__ import annotations

import os
from contextlib import closing, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from bidsplan.errors import ExistingFileError, StorageError
from bidsplan.events import Failed, Finished, Skipped, Warned
from bidsplan.fetching import failure_message
from bidsplan.help_codes import HelpCode
from bidsplan.messages import listed, warn
from bidsplan.paths import printable
from bidsplan.plan import Entry, Plan, Root
from bidsplan.progress import Counts, Progress
from bidsplan.s3bids.arguments import DownloadOptions
from bidsplan.s3bids.manifests import document_of, manifest_of
from bidsplan.transfer.decide import Existing
from bidsplan.transfer.materialisation import materialise

if TYPE_CHECKING:
    from collections.abc import Mapping

    from bidsplan.errors import BidsplanError
    from bidsplan.s3bids.listed_study import ListedStudy
    from bidsplan.s3bids.snapshot import Keys
    from bidsplan.storage import Object


class Delivery(NamedTuple):
    """The outcome of a download."""

    files: dict[str, str]
    """The absolute path of each file that exists after the download, by its key."""

    failure: BidsplanError | None
    """The error about the other files, of the first failure's class; None if there are none."""

    def check(self) -> None:
        """Raise the failure, if there is one."""
        if self.failure is not None:
            raise self.failure


def fetch(
    study: ListedStudy,
    subjects: Mapping[str, Keys],
    options: DownloadOptions,
    directory: str,
    *,
    position: int | None = None,
) -> Delivery:
    """Fetch the files of subjects, whose keys are given."""
    from bidsplan.compile.compiler import compile_manifest  # imports for a tenth of a second

    manifest = manifest_of(document_of(study, subjects, options, named=True))
    compiled = compile_manifest(manifest, opener=lambda *_, **__: study.snapshot.store)
    # The caller chose the files by name, and has no manifest that could exclude any.
    chosen = {each.problem for each in compiled.omissions if each.kind == "no-data"}
    for problem in compiled.warnings:
        if problem not in chosen:
            warn(str(problem))
    delivery = _deliver(compiled.plan, directory, options, position=position)
    files = {study.snapshot.key(key): path for key, path in delivery.files.items()}
    return delivery._replace(files=files)


def fetch_objects(
    objects: Mapping[str, Object], url: str, directory: str, *, anonymous: bool, overwrite: bool
) -> None:
    """Fetch single objects, given by their paths below the directory."""
    entries = [
        Entry(path=path, key=item.key, size=item.size, etag=item.etag, reason="dataset")
        for path, item in objects.items()
    ]
    roots = [Root(url=url, anonymous=anonymous)]
    plan = Plan.build(entries, manifest_sha256="0" * 64, study=url, roots=roots, subjects=[])
    _deliver(plan, directory, DownloadOptions(overwrite=overwrite)).check()


def _deliver(
    plan: Plan, directory: str, options: DownloadOptions, *, position: int | None = None
) -> Delivery:
    """Fetch a plan's files, and warn of existing files that differ and are kept."""
    plan = _without_generated(plan, directory)
    existing = Existing.REPLACE if options.overwrite else Existing.KEEP
    present: list[Entry] = []
    differing: list[Entry] = []
    failed: list[BidsplanError] = []
    skipped = 0
    events = materialise(plan, directory, existing=existing)
    counts = Counts()
    bar = Progress(counts, plan, position=position) if options.pbar else nullcontext()
    with closing(events), bar:
        for event in events:
            counts.add(event)
            match event:
                case Finished(entry=entry):
                    present.append(entry)
                case Failed(entry=entry, error=ExistingFileError()) if not options.overwrite:
                    differing.append(entry)
                case Failed(error=error):
                    failed.append(error)
                case Skipped():
                    skipped += 1
                case Warned(problem=problem):
                    warn(str(problem))
                case _:
                    pass
    if differing:
        named = listed((printable(entry.path) for entry in differing), separator="; ")
        warn(
            f"{len(differing)} files differ from what is in storage and were left as they are; "
            f"overwrite=True replaces them: {named}"
        )
    top = os.path.abspath(directory)  # noqa: PTH100 - no link is followed
    files = {entry.key: str(Path(top, entry.path)) for entry in (*present, *differing)}
    failure = _failure(failed, skipped, plan.header.files) if failed or skipped else None
    return Delivery(files, failure)


def _without_generated(plan: Plan, directory: str) -> Plan:
    """Leave out generated files that would replace existing ones."""
    kept = [
        entry
        for entry in plan.entries
        if entry.content is None or not os.path.lexists(Path(directory, entry.path))
    ]
    return Plan.rebuild(plan.header, kept)


def _failure(failed: list[BidsplanError], skipped: int, files: int) -> BidsplanError:
    message = failure_message(failed, skipped, files)
    if not failed:
        return StorageError(message, help_code=HelpCode.FETCH_FAILED)
    return type(failed[0])(message, help_code=failed[0].help_code)
