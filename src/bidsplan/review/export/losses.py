"""Finds information, and entries, that an export format can't express."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

from bidsplan.errors import Problem, UnsupportedError
from bidsplan.messages import counted, listed
from bidsplan.paths import printable

if TYPE_CHECKING:
    from collections.abc import Iterable

    from bidsplan.plan import Entry
    from bidsplan.review.export.sources import Sources


Refused = Callable[["Entry", "Sources"], str | None]
"""Returns why a format can't have an entry, or None."""

_NAMED = 3
"""The most files of a kind that a message names."""

DIGEST = "'bidsplan compile --digest' adds it, or after a fetch 'bidsplan pin'"
PIN = "'bidsplan pin' adds the SHA-256 of all files to a plan that was fetched"

_VERIFY = "check what came with 'bidsplan verify'"


class Loss(NamedTuple):
    """Information about entries that a format can't express.

    Parameters
    ----------
    concerns : callable
        Reports whether an entry loses this information.
    text : str
        The warning. ``{tool}`` is the tool's name, ``{files}`` the number of files, and ``{names}``
        the first names.
    hint : str, optional
    """

    concerns: Callable[[Entry, Sources], bool]
    text: str
    hint: str | None = None


TAGS = Loss(
    lambda entry, _: entry.etag is not None and entry.version is None,
    "{tool} can't request {files} by their entity tags: an object that was replaced is fetched too",
    _VERIFY,
)
VERSIONS = Loss(
    lambda entry, _: entry.version is not None,
    "{tool} can't ask for the planned versions of {files}: it gets the current ones",
    _VERIFY,
)
DIGESTS = Loss(
    lambda entry, sources: entry.content is None and bool(sources.digests(entry)),
    "{tool} compares no digests: those of {files} are left out",
    _VERIFY,
)
UNDIGESTED = Loss(
    lambda entry, sources: not sources.digests(entry),
    "the plan has no digest that {tool} could compare of {files}: {names}",
    DIGEST,
)
CONTENT = Loss(
    lambda entry, _: entry.content is not None,
    "the text of {files} that the plan generates is left out: {names}",
    "'bidsplan fetch' writes them",
)
GUESSED_MD5 = Loss(
    lambda entry, sources: sources.has_md5_tag(entry) and not sources.is_amazon,
    "the MD5 of {files} is the entity tag of their objects, which is right for most services, but "
    "not for every service other than Amazon's",
    "if correct files are refused, use a plan with digests of its own ('bidsplan pin')",
)
"""The hint if a tool needs an MD5."""

GUESSED = GUESSED_MD5._replace(
    concerns=lambda entry, sources: entry.sha256 is None and GUESSED_MD5.concerns(entry, sources)
)
"""The hint if a tool accepts an MD5 instead of a SHA-256."""


class _Tally:
    """Counts entries, and names some of them."""

    def __init__(self) -> None:
        self.number = 0
        self._first: list[str] = []

    def add(self, entry: Entry) -> None:
        self.number += 1
        if len(self._first) < _NAMED:
            self._first.append(printable(entry.path))

    @property
    def files(self) -> str:
        return counted(self.number, "file")

    @property
    def names(self) -> str:
        return listed(self._first, self.number)


class Survey:
    """The losses and refused entries of an export.

    Parameters
    ----------
    losses : iterable of Loss
        The losses of the format.
    """

    def __init__(self, losses: Iterable[Loss]) -> None:
        self._lost = {loss: _Tally() for loss in losses}
        self._refused: dict[str, _Tally] = {}

    def look(self, entries: Iterable[Entry], sources: Sources, refused: Refused) -> None:
        """Count the entries that lose information, and those that are refused."""
        for entry in entries:
            reason = refused(entry, sources)
            if reason is not None:
                self._refused.setdefault(reason, _Tally()).add(entry)
                continue
            for loss, tally in self._lost.items():
                if loss.concerns(entry, sources):
                    tally.add(entry)

    def warnings(self, tool: str) -> tuple[Problem, ...]:
        """Return a warning for each loss; raises UnsupportedError for refused entries."""
        if self._refused:
            raise UnsupportedError(
                problems=[
                    Problem(
                        message=f"{tally.files} can't be written for {tool}: {tally.names}",
                        hint=reason,
                    )
                    for reason, tally in self._refused.items()
                ]
            )
        return tuple(
            Problem(
                message=loss.text.format(tool=tool, files=tally.files, names=tally.names),
                hint=loss.hint,
            )
            for loss, tally in self._lost.items()
            if tally.number
        )


def web_refused(entry: Entry, sources: Sources) -> str | None:
    """Refuse entries that web clients can't read."""
    if entry.content is not None:
        return None
    source = sources.of(entry)
    if entry.version and source.location.protocol != "s3":
        return "only URLs of S3 can name a version"
    if source.signed and source.why_not is None:
        return "web clients can't sign requests; if the storage is public, add --anonymous"
    return source.why_not


def padded(entry: Entry) -> str | None:
    """Refuse paths that start or end with a space, which some tools strip."""
    if entry.path == entry.path.strip():
        return None
    return "spaces at the start and the end of a path would be lost"
