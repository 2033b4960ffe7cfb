"""The files selected in each dataset, and the plan's entries made from them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import msgspec

from bidsplan.bids.dataset_files import DESCRIPTION
from bidsplan.errors import Problem, SourceMissingError
from bidsplan.help_codes import HelpCode
from bidsplan.messages import listed
from bidsplan.paths import printable
from bidsplan.plan import Entry
from bidsplan.storage.objects import ArchivedObject

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from bidsplan.compile.survey.datasets import Dataset
    from bidsplan.errors import Place
    from bidsplan.plan import Reason
    from bidsplan.storage import Object


def description(name: str, *, derivative: bool) -> str:
    """Write a dataset_description.json for a study or pipeline that has none."""
    text: dict[str, object] = {
        "Name": name,
        "BIDSVersion": "1.10.0",
        "DatasetType": "derivative" if derivative else "raw",
        "GeneratedBy": [
            {
                "Name": "bidsplan",
                "Description": "The source has no dataset_description.json; "
                "this one only makes the folder a BIDS dataset.",
            }
        ],
    }
    return msgspec.json.format(msgspec.json.encode(text), indent=2).decode() + "\n"


@dataclass(frozen=True, kw_only=True, slots=True)
class DatasetEntries:
    """The files selected in one dataset.

    Parameters
    ----------
    files : mapping of str to Object
        All that was listed, by path below the dataset's root.
    reasons : mapping of str to str
        Why each path is selected.
    generated : str or None
        The text of a dataset_description.json, where the source has none and one is wanted.
    """

    dataset: Dataset
    files: Mapping[str, Object]
    reasons: Mapping[str, Reason]
    generated: str | None = None

    def entries(self) -> Iterator[Entry]:
        """Yield the plan's entries."""
        dataset = self.dataset
        for path, reason in self.reasons.items():
            item = self.files[path]
            yield Entry(
                path=dataset.target_path(path),
                key=item.key,
                size=item.size,
                reason=reason,
                root=dataset.root,
                etag=item.etag,
                version=item.version,
            )
        if self.generated is not None:
            yield Entry(
                path=dataset.target_path(DESCRIPTION),
                size=len(self.generated.encode()),
                reason="dataset",
                content=self.generated,
            )


def archived_files(selected: Iterable[DatasetEntries]) -> dict[str, int]:
    """Return the planned paths, with sizes, that must be restored before they can be fetched."""
    return {
        each.dataset.target_path(path): each.files[path].size
        for each in selected
        for path in each.reasons
        if isinstance(each.files[path], ArchivedObject)
    }


def archive_warnings(selected: Iterable[DatasetEntries]) -> Iterator[Problem]:
    """Yield a warning where selected files must be restored before they can be fetched."""
    found = archived_files(selected)
    if not found:
        return
    files = "planned file is" if len(found) == 1 else "planned files are"
    size = sum(found.values())
    yield Problem(
        message=f"{len(found):,} {files} archived (storage class GLACIER or DEEP_ARCHIVE), with "
        f"{size:,} byte{'s' * (size != 1)}: {listed(map(printable, sorted(found)))}",
        hint="restore them before they are fetched, or exclude them",
    )


def check_content(selected: Iterable[DatasetEntries], unread: Iterable[str]) -> None:
    """Raise SourceMissingError for all files, planned or to be read, that have no content here."""
    absent = set(unread)
    for some in selected:
        store = some.dataset.store
        keys = store.absent(some.files[path].key for path in some.reasons)
        absent.update(printable(f"{store.url.rstrip('/')}/{key}") for key in keys)
    if absent:
        raise SourceMissingError(
            f"{len(absent):,} planned file{'s' * (len(absent) > 1)} without content here (links "
            f"that lead nowhere, or git-annex pointers): {listed(sorted(absent))}; get it first, "
            "as by 'datalad get'",
            help_code=HelpCode.CONTENT_MISSING,
        )


def drop_repeats(
    groups: Iterable[tuple[Place, Iterable[DatasetEntries]]],
) -> tuple[list[DatasetEntries], list[Problem]]:
    """Keep what is selected twice only once, for its first reason.

    Whole directories and pipelines may hold what was selected in its own right. The problems are
    different objects for one path, the first of each dataset, at their group's place.
    """
    kept: list[DatasetEntries] = []
    problems: list[Problem] = []
    for at, group in groups:
        for selected in group:
            repeated = _repeated(selected, kept)
            if not repeated:
                kept.append(selected)
                continue
            problem = next(_conflicts(selected, repeated, at), None)
            problems += [problem] if problem else []
            reasons = {path: why for path, why in selected.reasons.items() if path not in repeated}
            kept.append(replace(selected, reasons=reasons))
    return kept, problems


def _repeated(
    selected: DatasetEntries, before: Iterable[DatasetEntries]
) -> dict[str, DatasetEntries]:
    """Map a dataset's paths to the earlier dataset that is written to the same path."""
    here = selected.dataset.destination
    repeated: dict[str, DatasetEntries] = {}
    for other in before:
        there = other.dataset.destination
        if here.startswith(there):
            below = here[len(there) :]
            repeated.update({p: other for p in selected.reasons if below + p in other.reasons})
        elif there.startswith(here):
            below = there[len(here) :]
            repeated.update(
                {below + p: other for p in other.reasons if below + p in selected.reasons}
            )
    return repeated


def _conflicts(
    selected: DatasetEntries, repeated: Mapping[str, DatasetEntries], at: Place
) -> Iterator[Problem]:
    """Report the repeated paths at which the datasets have different objects."""
    dataset = selected.dataset
    for path, other in repeated.items():
        target = dataset.destination + path
        mine = selected.files[path]
        theirs = other.files[target.removeprefix(other.dataset.destination)]
        if (dataset.root, mine.key) != (other.dataset.root, theirs.key):
            yield Problem(
                message=f"{printable(target)!r} would come both from {other.dataset.where} and "
                f"from {dataset.where}",
                at=at,
            )
