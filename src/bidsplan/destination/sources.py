"""Identifies the sources of entries, to find out whether they have changed."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
import xxhash

from bidsplan.errors import UsageError
from bidsplan.storage.file_state import local_state
from bidsplan.storage.places import Place, place_of
from bidsplan.urls import parse_url

if TYPE_CHECKING:
    from collections.abc import Sequence
    from os import PathLike

    from bidsplan.plan import Entry, Root
    from bidsplan.storage.access import Access
    from bidsplan.storage.file_state import SourceState


_Located = tuple[str, str | None]
"""A root's place, with which its objects' places start, and its directory if it is local."""

_encode = msgspec.json.Encoder().encode


class Sources:
    """The sources of a plan's entries, without opening them.

    Relative URLs of the plan's roots are relative to `base`. Use the plan's directory.
    """

    def __init__(
        self, roots: Sequence[Root], access: Access, base: str | PathLike[str] = "."
    ) -> None:
        self._roots = roots
        self._access = access
        self._base = base
        self._located: dict[int, _Located] = {}
        self.any_local = any(parse_url(root.url).protocol == "file" for root in roots)

    def _locate(self, number: int) -> _Located:
        place = self._place(self._roots[number].url)
        directory = place.path.rstrip("/") if place.service == ("file",) else None
        found = self._located[number] = (place.prefix, directory)
        return found

    def _place(self, url: str) -> Place:
        try:
            return place_of(url, self._access, self._base)
        except UsageError:
            if self._access.profile is not None:
                raise
            # Files that need no request must not need the AWS configuration either. Without a
            # place, no receipt is found, and they are read.
            return Place(("unknown", url), "")

    def place(self, entry: Entry) -> str:
        """Return the root and key of an entry's object as one text.

        The text is the same if another root contains the same object. It is empty for a generated
        file.
        """
        if entry.content is not None:
            return ""
        root = self._located.get(entry.root) or self._locate(entry.root)
        return root[0] + entry.key

    def fingerprint(self, entry: Entry) -> str:
        """Return a short hash of an entry's place and planned bytes."""
        # This runs for each of a million entries, so it makes as few calls as possible.
        place = ""
        if entry.content is None:
            place = (self._located.get(entry.root) or self._locate(entry.root))[0] + entry.key
        parts = (
            entry.size,
            place,
            entry.etag,
            entry.version,
            entry.md5,
            entry.sha256,
            entry.content,
        )
        return xxhash.xxh3_64_hexdigest(_encode(parts))

    def state(self, entry: Entry) -> SourceState | None:
        """Return the state of an entry's local source; None for other sources."""
        if entry.content is not None:
            return None
        if not self.any_local:
            return None
        root = self._located.get(entry.root) or self._locate(entry.root)
        return None if root[1] is None else local_state(f"{root[1]}/{entry.key}")

    def unchanged(self, entry: Entry, before: SourceState | None) -> SourceState | None:
        """Return a local source's earlier state, if it still has it."""
        return before if before == self.state(entry) else None
