"""Finds the subject, session, datatype and pipeline of a plan's files."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, NamedTuple

from bidsplan.bids.names import owner_label, parse_name, recording_of

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

    from bidsplan.plan import Entry, Header, Planned


_REMEMBERED = 8192
"""How many parsed directories and names without their subject are kept for reuse."""

_DERIVATIVES = "derivatives"
_BELOW_DERIVATIVES = "derivatives/"


class Place(NamedTuple):
    """The subject, session and other properties in a file's path.

    Parameters
    ----------
    site : str or None
        One of the sites that the manifest lists.
    pipeline : str or None
        The derivative pipeline, whose name may contain slashes. None for a raw file.
    subject, session : str or None
        Labels, without ``sub-`` and ``ses-``.
    datatype : str or None
        The directory below the subject or session, even if BIDS does not know it.
    suffix, extension : str
        As in `bidsplan.bids.names`. For a file inside a directory recording, those of the
        recording.
    """

    site: str | None
    pipeline: str | None
    subject: str | None
    session: str | None
    datatype: str | None
    suffix: str
    extension: str

    @property
    def unit(self) -> str | None:
        """The subject in the plan's header; with sites, ``site/label``."""
        if self.subject is None or self.site is None:
            return self.subject
        return f"{self.site}/{self.subject}"

    def columns(self, reason: str) -> dict[str, str | None]:
        """Return the columns for tables of files, for a file's reason."""
        return {
            "subject": self.unit,
            "session": self.session,
            "datatype": self.datatype,
            # The last word of a name such as dataset_description.json says nothing about data.
            "suffix": None if reason == "dataset" else self.suffix or None,
            "extension": self.extension or None,
            "pipeline": self.pipeline,
        }


class _Directory(NamedTuple):
    """The properties that all files of a directory share."""

    site: str | None
    pipeline: str | None
    subject: str | None
    session: str | None
    datatype: str | None
    recording: tuple[str, str] | None
    """The suffix and extension of the recording that contains the directory."""


class Places:
    """Finds the place of each path of a plan.

    Parameters
    ----------
    header : Header
        The plan's header, which names the sites.
    pipelines : collection of str
        Known names of pipelines. Names with a slash matter for files that belong to no subject:
        without them, ``derivatives/lab/afq/README`` belongs to ``lab``.
    """

    def __init__(self, header: Header, pipelines: Collection[str | None] = ()) -> None:
        self._units = frozenset(header.subjects)
        # Of equal labels the last one is used, as in the compiler.
        self._unit_of = {unit.rpartition("/")[2]: unit for unit in header.subjects}
        self._sites = {site for unit in header.subjects if (site := unit.rpartition("/")[0])}
        self._directory = lru_cache(_REMEMBERED)(self._parse_directory)
        self._pipelines = pipelines

    def __call__(self, path: str) -> Place:
        """Return the place of a path below the destination."""
        directory, _, base = path.rpartition("/")
        site, pipeline, subject, session, datatype, recording = self._directory(directory)
        if recording is not None:
            return Place(site, pipeline, subject, session, datatype, *recording)
        # The rest of a name is the same for many subjects, so it is parsed once.
        first, _, rest = base.partition("_")
        named = rest and first.startswith("sub-")
        suffix, extension, session_in_name = _parse_base(rest if named else base)
        if subject is None and first.startswith("sub-"):
            subject = self._report_of(site, first)
        return Place(
            site, pipeline, subject, session or session_in_name, datatype, suffix, extension
        )

    def _report_of(self, site: str | None, first: str) -> str | None:
        """Return the subject of a report at the root, such as ``sub-01.html``."""
        label = first.removeprefix("sub-").partition(".")[0]
        return label if (f"{site}/{label}" if site else label) in self._units else None

    def _parse_directory(self, directory: str) -> _Directory:
        site, segments = self._split_site(directory.split("/"))
        pipeline = None
        if segments[0] == _DERIVATIVES:
            pipeline, segments = self._split_pipeline(segments[1:])
        path = "/".join(segments)
        found = parse_name(f"{path}/file")
        session, recording = found.session, None
        if recorded := recording_of(f"{path}/file"):
            name = parse_name(recorded, recording=True)
            session, recording = session or name.session, (name.suffix, name.extension)
        if site is None and self._sites and found.subject is not None:
            # A pipeline with its own URL may contain the subjects of every site.
            site = self._unit_of.get(found.subject, "").rpartition("/")[0] or None
        return _Directory(site, pipeline, found.subject, session, found.datatype, recording)

    def _split_site(self, segments: list[str]) -> tuple[str | None, list[str]]:
        """Split the site from a path's directories."""
        if not self._sites or segments[0] == _DERIVATIVES or not segments[0]:
            return None, segments
        for depth in range(len(segments), 0, -1):
            if (site := "/".join(segments[:depth])) in self._sites:
                return site, segments[depth:] or [""]
        if owner_label(segments[0]) is None:
            # No subject of this site is selected, so the header does not name it.
            return segments[0], segments[1:] or [""]
        return None, segments

    def _split_pipeline(self, segments: list[str]) -> tuple[str | None, list[str]]:
        """Split the pipeline from the directories below ``derivatives``."""
        owned = (index for index, name in enumerate(segments) if owner_label(name) is not None)
        index = next(owned, None)
        if index == 0:
            return (segments[1] if segments[1:] else None), [segments[0], *segments[2:]]
        if index is not None:
            return "/".join(segments[:index]), segments[index:]
        for depth in range(len(segments), 1, -1):
            if (pipeline := "/".join(segments[:depth])) in self._pipelines:
                return pipeline, [""]
        return (segments[0] if segments else None), [""]


@lru_cache(_REMEMBERED)
def _parse_base(base: str) -> tuple[str, str, str | None]:
    """Parse a file name's suffix, extension and session."""
    name = parse_name(base)
    return name.suffix, name.extension, name.session


def pipelines_in(header: Header, directories: Collection[str]) -> set[str]:
    """Return the names of the pipelines that a plan's directories belong to."""
    places = Places(header)
    found = {path: places(f"{path}/file") for path in directories}
    owned = {place.pipeline for place in found.values() if place.subject is not None}
    places = Places(header, owned)
    others = {
        places(f"{path}/file").pipeline for path, place in found.items() if place.subject is None
    }
    return {pipeline for pipeline in owned | others if pipeline is not None}


def pipelines_of(plan: Planned) -> set[str]:
    """Return the names of a plan's pipelines."""
    paths = (entry.path for entry in plan.entries)
    return pipelines_in(plan.header, set(filter(None, map(derivative_directory, paths))))


def derivative_directory(path: str) -> str | None:
    """Return the directory of a file that may be a derivative's, quickly."""
    return path.rpartition("/")[0] if _BELOW_DERIVATIVES in path else None


def placed(plan: Planned) -> Iterator[tuple[Entry, Place]]:
    """Yield each entry of a plan with its place.

    The entries are in the plan's order, except files in pipelines that belong to no subject. These
    come last, because only the other files show which pipelines have a slash in their names.
    """
    places = Places(plan.header)
    pipelines: set[str | None] = set()
    later: list[Entry] = []
    for entry in plan.entries:
        place = places(entry.path)
        if place.pipeline is not None and place.subject is None:
            later.append(entry)
        else:
            pipelines.add(place.pipeline)
            yield entry, place
    places = Places(plan.header, pipelines)
    for entry in later:
        yield entry, places(entry.path)
