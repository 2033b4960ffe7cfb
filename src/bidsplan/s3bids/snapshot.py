"""What a study's prefix held when it was looked at; each part of it is listed once."""

from __future__ import annotations

import functools
from contextlib import closing
from typing import TYPE_CHECKING, TypeVar

import msgspec

from bidsplan.bids.dataset_files import DESCRIPTION, report_subject
from bidsplan.bids.names import subject_label
from bidsplan.compile.companions import LARGEST_SIDECAR, read_small
from bidsplan.compile.survey.datasets import Dataset
from bidsplan.compile.survey.listing import Lister
from bidsplan.errors import BidsplanError
from bidsplan.events import Warned
from bidsplan.s3bids.arguments import warn
from bidsplan.storage import Abilities, Access, Store, open_store

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from bidsplan.compile.survey.datasets import RootListing
    from bidsplan.events import Event
    from bidsplan.storage import Children, Object, Stream


Result = TypeVar("Result")


class Snapshot:
    """A study's prefix in a bucket.

    Parameters
    ----------
    prefix : str
        With or without slashes at its ends.
    anonymous : bool
        Whether requests go unsigned.
    site : str, optional
        The directory that the prefix ends in, where it is a site of a study with derivatives in
        ``derivatives/sub-<label>/<pipeline>``.

    Attributes
    ----------
    store : Store
        Gives what it listed before again, to whoever asks.

    Raises
    ------
    UrlError
        Where `bucket` or `prefix` can't be part of a URL.
    """

    def __init__(
        self, bucket: str, prefix: str, *, anonymous: bool, site: str | None = None
    ) -> None:
        path = prefix.strip("/")
        self.site = site
        self.url = f"s3://{bucket}/{path}".rstrip("/")
        self.store: Store = _Remembering(open_store(self.url, access=Access(), anonymous=anonymous))
        self._key = f"{path}/" if path else ""
        self._name = f"{bucket}/{self._key}"
        self._surveys: dict[str, RootListing] = {}
        self._below: dict[str, list[str]] = {}

    def key(self, path: str) -> str:
        """Give the whole key of a path below the prefix."""
        return self._key + path

    def name(self, path: str) -> str:
        """Give a path below the prefix as s3fs names it: after its bucket."""
        return self._name + path

    def path(self, name: str) -> str:
        """Give the path below the prefix of what s3fs names so."""
        return name.removeprefix("s3://").removeprefix(self._name)

    def pipeline(self, kind: str) -> str:
        """Give the name of the pipeline that a derivative type is of."""
        return self.path(kind).removeprefix("derivatives/")

    def survey(self, directory: str = "") -> RootListing:
        """Look at what stands directly in a directory: empty, or ending in ``/``."""
        return self.surveys([directory])[0]

    def surveys(self, directories: Iterable[str]) -> list[RootListing]:
        """Look at many directories at once.

        Parameters
        ----------
        directories : iterable of str
            Below the prefix; empty, or ending in ``/``.

        Returns
        -------
        list of RootListing
            In the same order.

        Raises
        ------
        StorageError
            Where one can't be listed.
        """
        wanted = list(directories)
        new = [name for name in dict.fromkeys(wanted) if name not in self._surveys]
        datasets = [Dataset(store=self.store, root=0, prefix=name) for name in new]
        found = self._listed(lambda lister: lister.surveys(datasets)) if new else []
        self._surveys.update(zip(new, found, strict=True))
        return [self._surveys[name] for name in wanted]

    def below(self, directories: Iterable[str]) -> list[list[str]]:
        """List many directories whole, at once.

        Parameters
        ----------
        directories : iterable of str
            Below the prefix, ending in ``/``.

        Returns
        -------
        list of list of str
            In the same order: paths below the prefix, sorted, of keys that can become files.

        Raises
        ------
        StorageError
            Where one can't be listed.
        """
        wanted = list(directories)
        new = [name for name in dict.fromkeys(wanted) if name not in self._below]
        top = Dataset(store=self.store, root=0)
        pairs = [(top, name.rstrip("/")) for name in new]
        found = self._listed(lambda lister: lister.directories(pairs)) if new else []
        self._below.update(zip(new, map(list, found), strict=True))
        return [self._below[name] for name in wanted]

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

    def subject(self, directory: str, subject_id: str) -> list[str]:
        """List a subject's files in a dataset, with its reports at the root of a derivative.

        Parameters
        ----------
        directory : str
            The dataset's, below the prefix; empty, or ending in ``/``.
        subject_id : str
            With its ``sub-``.

        Returns
        -------
        list of str
            Paths below the prefix, sorted.
        """
        survey = self.survey(directory)
        label = subject_label(subject_id)
        paths: list[str] = []
        if label in survey.subjects:
            paths = [*self.below([f"{directory}{subject_id}/"])[0]]
        if directory or self.is_derivative:
            paths += [
                f"{directory}{name}" for name in survey.files if report_subject(name) == label
            ]
        return sorted(paths)

    @functools.cached_property
    def is_derivative(self) -> bool:
        """Whether the study says of itself that it is a derivative dataset."""
        found = self.survey().files.get(DESCRIPTION)
        if found is None:
            return False
        try:
            data = read_small(self.store, found, LARGEST_SIDECAR)
            text: object = msgspec.json.decode(data.removeprefix(b"\xef\xbb\xbf"))
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError, BidsplanError):
            # Compiling, which comes with every download, tells of it.
            return False
        return isinstance(text, dict) and text.get("DatasetType") == "derivative"


class _Remembering(Store):
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
        self, key: str, *, etag: str | None = None, version: str | None = None, start: int = 0
    ) -> Stream:
        """See `Store.stream`."""
        return self._store.stream(key, etag=etag, version=version, start=start)
