"""The listing of a study's prefix, each part of which is requested once."""

from __future__ import annotations

import functools
from contextlib import closing
from typing import TYPE_CHECKING, TypedDict, TypeVar

from bidsplan.bids.dataset_files import DESCRIPTION, is_derivative, report_subject
from bidsplan.bids.names import subject_label
from bidsplan.compile.survey.datasets import Dataset
from bidsplan.compile.survey.listing import Lister
from bidsplan.compile.survey.small_files import LARGEST_SIDECAR, parse_json, read_small
from bidsplan.errors import BidsplanError
from bidsplan.events import Warned
from bidsplan.messages import warn
from bidsplan.storage import Abilities, Access, Store, open_store

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from bidsplan.compile.survey.datasets import RootListing
    from bidsplan.events import Event
    from bidsplan.storage import Children, Object, Stream


Result = TypeVar("Result")


class Keys(TypedDict):
    """The keys of a subject's own files, and of each derivative type."""

    raw: list[str]
    derivatives: dict[str, list[str]]


class Snapshot:
    """The listing of a study's prefix in a bucket.

    Paths are relative to the prefix. Those of directories are empty, or end in ``/``.

    Parameters
    ----------
    prefix : str
        With or without slashes at its ends.
    anonymous : bool
        Whether requests are unsigned.
    site : str, optional
        The last directory of the prefix, where it is a site of a study whose derivatives are in
        ``derivatives/sub-<label>/<pipeline>``.

    Attributes
    ----------
    store : Store
        Lists nothing twice.
    """

    def __init__(
        self, bucket: str, prefix: str, *, anonymous: bool, site: str | None = None
    ) -> None:
        path = prefix.strip("/")
        self.site = site
        self.url = f"s3://{bucket}/{path}".rstrip("/")
        store = open_store(self.url, access=Access(), anonymous=anonymous)
        self.store: Store = _CachingStore(store)
        self._key = f"{path}/" if path else ""
        self._name = f"{bucket}/{self._key}"
        self._listings: dict[str, RootListing] = {}
        self._files: dict[str, list[str]] = {}

    def key(self, path: str) -> str:
        """Return the whole key of a path."""
        return self._key + path

    def name(self, path: str) -> str:
        """Return s3fs's name of a path, which starts with the bucket."""
        return self._name + path

    def path(self, name: str) -> str:
        """Return the path of s3fs's name."""
        return name.removeprefix("s3://").removeprefix(self._name)

    def pipeline(self, kind: str) -> str:
        """Return the name of a derivative type's pipeline."""
        return self.path(kind).removeprefix("derivatives/")

    def listing(self, directory: str = "") -> RootListing:
        """List the direct contents of a directory."""
        return self.listings([directory])[0]

    def listings(self, directories: Iterable[str]) -> list[RootListing]:
        """List the direct contents of many directories at the same time."""
        wanted = list(directories)
        new = [name for name in dict.fromkeys(wanted) if name not in self._listings]
        datasets = [
            Dataset(store=self.store, root=0, prefix=name, derivative=bool(name)) for name in new
        ]
        found = self._listed(lambda lister: lister.list_roots(datasets)) if new else []
        self._listings.update(zip(new, found, strict=True))
        return [self._listings[name] for name in wanted]

    def files(self, directories: Iterable[str]) -> list[list[str]]:
        """List all files below many directories at the same time, sorted."""
        wanted = list(directories)
        new = [name for name in dict.fromkeys(wanted) if name not in self._files]
        top = Dataset(store=self.store, root=0)
        pairs = [(top, name.rstrip("/")) for name in new]
        found = self._listed(lambda lister: lister.directories(pairs)) if new else []
        self._files.update(zip(new, map(list, found), strict=True))
        return [self._files[name] for name in wanted]

    def _listed(self, work: Callable[[Lister], Result]) -> Result:
        problems: set[str] = set()

        def add_event(event: Event) -> None:
            if isinstance(event, Warned):
                problems.add(str(event.problem))

        with closing(Lister(Access().jobs, add_event)) as lister:
            result = work(lister)
        for problem in sorted(problems):
            warn(problem)
        return result

    def subject_files(self, directory: str, subject_id: str) -> list[str]:
        """List a subject's files in a dataset, sorted by path.

        In a derivative, the subject's reports at its root are among them.
        """
        listing = self.listing(directory)
        label = subject_label(subject_id)
        homes = [f"{directory}{name}/" for name in listing.subjects.get(label or "", ())]
        paths = [path for files in self.files(homes) for path in files]
        if directory or self.is_derivative:
            reports = (name for name in listing.files if report_subject(name) == label)
            paths += [f"{directory}{name}" for name in reports]
        return sorted(paths)

    @functools.cached_property
    def is_derivative(self) -> bool:
        """Whether the study's description says that it is a derivative dataset."""
        found = self.listing().files.get(DESCRIPTION)
        if found is None:
            return False
        try:
            data = read_small(self.store, found, LARGEST_SIDECAR)
            return is_derivative(parse_json(data, self.url, lambda _: None))
        except (ValueError, BidsplanError):
            # Compiling, which is part of every download, reports the problem.
            return False


class _CachingStore(Store):
    """A store that lists each prefix once."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self.url, self.endpoint = store.url, store.endpoint
        self.abilities = Abilities(versions=store.abilities.versions)
        self._children: dict[str, Children] = {}
        self._below: dict[str, list[Object]] = {}

    def children(self, prefix: str = "") -> Children:
        """See `Store.children`."""
        if prefix not in self._children:
            self._children[prefix] = self._store.children(prefix)
        return self._children[prefix]

    def list(self, prefix: str = "") -> Iterator[Object]:
        """See `Store.list`."""
        known = prefix
        while known and known not in self._below:
            known = known[: known.rstrip("/").rfind("/") + 1]
        if known not in self._below:
            known = prefix
            self._below[prefix] = [*self._store.list(prefix)]
        return (item for item in self._below[known] if item.key.startswith(prefix))

    def stream(
        self,
        key: str,
        *,
        etag: str | None = None,
        version: str | None = None,
        start: int = 0,
        stop: int | None = None,
    ) -> Stream:
        """See `Store.stream`."""
        return self._store.stream(key, etag=etag, version=version, start=start, stop=stop)
