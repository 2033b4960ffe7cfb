"""The cache of datasets, and its record about each manifest."""

from __future__ import annotations

import hashlib
import os
from contextlib import closing, contextmanager, suppress
from typing import TYPE_CHECKING

import msgspec

from bidsplan.compile.plan_policy import PlanPolicy, digest_of, is_manifest, plan_beside
from bidsplan.destination import open_destination
from bidsplan.errors import (
    BidsplanError,
    DestinationError,
    FetchFailed,
    MissingFileError,
    PlanError,
    ThrottledError,
    UnreachableError,
)
from bidsplan.events import Waiting
from bidsplan.help_codes import HelpCode
from bidsplan.paths import open_regular, replacing
from bidsplan.plan.file import StoredPlan, default_plan_path, write_plan
from bidsplan.plan.model import DECODE_ERRORS
from bidsplan.provisioning.dataset import Dataset
from bidsplan.storage.access import Access

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from bidsplan.manifest.load import ManifestFile
    from bidsplan.plan import Planned
    from bidsplan.provisioning.dataset import Provided


def is_unavailable(error: BidsplanError) -> bool:
    """Report whether only the network, or data not yet fetched, is missing."""
    if isinstance(error, FetchFailed):
        return bool(error.failed) and all(is_unavailable(each.error) for each in error.failed)
    return isinstance(error, UnreachableError | ThrottledError | MissingFileError)


class DatasetCache:
    """A directory with one dataset for each plan.

    Parameters
    ----------
    root : Path
    access : Access, optional
        How storage may be reached.
    offline : bool
        Whether to send no requests, and to use only the cache.
    run : str
        A name that all processes of one run share: if one of them fails, the others do not try
        again. It is empty for a single process.
    say : callable, optional
        Called with a line about work that takes long.
    """

    def __init__(
        self,
        root: Path,
        *,
        access: Access | None = None,
        offline: bool = False,
        run: str = "",
        say: Callable[[str], None] = lambda _: None,
    ) -> None:
        self._root = root
        self._access = access or Access()
        self._offline = offline
        self._run = run
        self._say = say

    def provide(self, source: Path) -> Provided:
        """Return the dataset of a manifest or plan, complete and intact.

        Raises
        ------
        MissingFileError
            If the cache does not have the whole dataset, and `offline` is true.
        FetchFailed, StalePlanError, UsageError, SelectionError, StorageError, DestinationError
            As in `fetch` with ``locked``, except for a manifest without a plan.
        """
        slot = _Slot(self._root, source)
        dataset = self._committed(source) or self._cached(source, slot)
        if dataset is not None and dataset.is_intact():
            return dataset.provided()
        with self._locked(slot):
            slot.refuse_repeat(self._run)
            try:
                return self._restore(source, slot)
            except BidsplanError as error:
                slot.remember(error, self._run)
                raise

    def _load(self, source: Path) -> ManifestFile:
        from bidsplan.manifest.load import load_manifest  # imports pydantic

        return load_manifest(source, untrusted=self._access.untrusted)

    def _committed(self, source: Path) -> Dataset | None:
        """Return the dataset of a plan that people keep, or None."""
        if not is_manifest(source):
            return self._dataset(StoredPlan(source), source.parent)
        if not default_plan_path(source).exists():
            return None
        plan, _ = plan_beside(self._load(source), self._access, PlanPolicy.LOCKED)
        return None if plan is None else self._dataset(plan, source.parent)

    def _cached(self, source: Path, slot: _Slot) -> Dataset | None:
        """Return the dataset of the plan that was compiled here, if it is current."""
        digest = digest_of(self._load(source), self._access)
        try:
            plan = StoredPlan(slot.plan)
        except PlanError:
            return None
        return self._dataset(plan, slot.folder) if plan.header.manifest_sha256 == digest else None

    def _dataset(self, plan: Planned, base: Path) -> Dataset:
        return Dataset(self._root, plan, base, self._access)

    @contextmanager
    def _locked(self, slot: _Slot) -> Iterator[None]:
        """Hold a slot's lock, after waiting for it."""
        try:
            place = open_destination(str(slot.folder), self._access, create=True)
        except DestinationError:
            if not self._offline:
                raise
            # A cache that can't be written may still be read.
            yield
            return
        with closing(place):
            for event in place.lock(wait=True):
                if isinstance(event, Waiting):
                    self._say(f"waiting: {event.holder}")
            yield

    def _restore(self, source: Path, slot: _Slot) -> Provided:
        committed = self._committed(source)
        dataset = committed or self._cached(source, slot)
        if dataset is not None and dataset.is_intact():
            # Another process was working on this dataset.
            return dataset.provided()
        if self._offline:
            if dataset is None:
                raise MissingFileError(
                    "there is no plan, and the cache has none; compile one, or run once with a "
                    "network",
                    help_code=HelpCode.CACHE,
                )
            return dataset.checked()
        if committed is not None:
            return committed.restored(self._say)
        # A plan that is not committed is compiled again whenever requests are needed anyway.
        notes = self._compile(source, slot)
        return self._dataset(StoredPlan(slot.plan), slot.folder).restored(self._say, notes)

    def _compile(self, source: Path, slot: _Slot) -> tuple[str, ...]:
        """Compile a manifest into the cache, and return the warnings."""
        from bidsplan.compile.compiler import compile_manifest  # imports storage

        loaded = self._load(source)
        self._say(f"compiling {source}")
        try:
            compiled = compile_manifest(
                loaded.manifest,
                base=source.parent,
                plan_directory=slot.folder,
                access=self._access,
            )
        except BidsplanError as error:
            raise error.located(loaded.locate) from error
        write_plan(compiled.plan, slot.plan)
        return tuple(str(loaded.locate(problem)) for problem in compiled.warnings)


class _Failure(msgspec.Struct, frozen=True, kw_only=True):
    """Why a run could not provide a source's dataset."""

    run: str
    message: str
    unavailable: bool


class _Slot:
    """A source's record: its lock, its plan and its last failure."""

    def __init__(self, root: Path, source: Path) -> None:
        name = hashlib.sha256(os.fsencode(source.resolve())).hexdigest()[:32]
        self.folder = root / "sources" / name
        self.plan = self.folder / "study.plan.jsonl"
        self._failure = self.folder / "failure.json"

    def refuse_repeat(self, run: str) -> None:
        """Raise the failure of another process of the same run."""
        try:
            with open_regular(self._failure) as file:
                failure = msgspec.json.decode(file.read(), type=_Failure)
        except (OSError, *DECODE_ERRORS):
            return
        if run and failure.run == run:
            raise (UnreachableError if failure.unavailable else DestinationError)(failure.message)

    def remember(self, error: BidsplanError, run: str) -> None:
        """Record a failure, for other processes of this run."""
        if not run:
            return
        failure = _Failure(run=run, message=str(error), unavailable=is_unavailable(error))
        # Without the note, the other processes find the failure by themselves.
        with suppress(OSError), replacing(self._failure) as file:
            file.write(msgspec.json.encode(failure))
