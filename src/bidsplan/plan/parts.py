"""Makes parts of a plan: the files of some subjects, or a share of all.

Most work on a study is done subject by subject. The part of one subject is a valid dataset: it
includes files that belong to no subject, such as ``dataset_description.json``, and inherited
sidecars.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from bidsplan.bids.names import bare_label
from bidsplan.errors import UsageError
from bidsplan.help_codes import HelpCode
from bidsplan.messages import listed, suggestion
from bidsplan.paths import printable
from bidsplan.plan.places import placed
from bidsplan.plan.plan import Plan
from bidsplan.plan.sidecars import Sidecars

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from bidsplan.plan.model import Entry, Header
    from bidsplan.plan.places import Place
    from bidsplan.plan.plan import Planned


COST_OF_FILE = 1 << 18
"""The bytes that take as long to fetch as one additional file."""

_OWN, _OTHERS = "own", "others"

_EMPTY_ROOM = "emptyroom"
"""The subject of empty-room recordings in BIDS, to which other subjects refer."""


def subjects_part(plan: Planned, subjects: Iterable[str], sessions: Iterable[str] = ()) -> Plan:
    """Return the part of a plan that some subjects need.

    The part has the subjects' own files, the files that these refer to, and files that belong to no
    subject. It leaves out files of other subjects' sites, and sidecars that apply only to other
    files.

    Parameters
    ----------
    plan : Plan
    subjects : iterable of str
        Labels, with or without ``sub-``. If the plan has sites, ``site/label`` is allowed too.
    sessions : iterable of str
        Labels, with or without ``ses-``. Files of the subjects' other sessions are left out. By
        default all sessions are included.

    Raises
    ------
    UsageError
        If the plan does not have such a subject, or the subjects do not have such a session.
    """
    units = _units(plan, subjects)
    wanted = {bare_label(session, "ses-") for session in sessions}
    chosen: list[Entry] = []
    met: set[str] = set()
    others = sites_of(plan.header.subjects) - sites_of(units)
    selected = frozenset(plan.header.subjects)
    sidecars = Sidecars(plan.entries)
    for entry, place in placed(plan):
        own = place.unit in units and entry.reason != "reference"
        shared = not own and is_shared(entry, place, selected)
        if own:
            met.add(place.session or "")
        needed = own and (not wanted or place.session is None or place.session in wanted)
        if needed or (shared and place.site not in others):
            chosen.append(entry)
        sidecars.add(None if shared else _OWN if needed else _OTHERS, entry)
    _refuse_unmet(wanted, met, units)
    names = [*sorted(units), *(f"ses-{session}" for session in sorted(wanted))]
    header = header_of_part(plan.header, f"subjects {' '.join(names)}")
    header = msgspec.structs.replace(header, subjects=tuple(sorted(units)))
    return Plan.rebuild(header, (entry for entry in chosen if sidecars.is_for(_OWN, entry)))


def _refuse_unmet(wanted: set[str], met: set[str], units: Iterable[str]) -> None:
    """Refuse sessions that no subject has."""
    for session in sorted(wanted - met):
        raise UsageError(
            f"there is no session {session!r} in the plan's files of "
            f"{listed(sorted(map(printable, units)))}; {suggestion(session, sorted(met - {''}))}",
            help_code=HelpCode.PART,
        )


def sites_of(units: Iterable[str]) -> set[str]:
    """Return the sites of a plan's subjects; empty without sites."""
    return {unit.rpartition("/")[0] for unit in units} - {""}


def header_of_part(header: Header, description: str) -> Header:
    """Return the header of a part; the plan may be a part itself."""
    return msgspec.structs.replace(header, part=", ".join(filter(None, (header.part, description))))


def _units(plan: Planned, subjects: Iterable[str]) -> set[str]:
    """Return a plan's names for subjects; a label may be at several sites."""
    by_label: dict[str, set[str]] = {}
    for unit in plan.header.subjects:
        for name in {unit, unit.rpartition("/")[2]}:
            by_label.setdefault(name, set()).add(unit)
    units: set[str] = set()
    for subject in subjects:
        site, slash, label = subject.rpartition("/")
        found = by_label.get(subject) or by_label.get(f"{site}{slash}{bare_label(label)}")
        if not found:
            raise UsageError(
                f"there is no subject {subject!r} in the plan; {suggestion(subject, by_label)}",
                help_code=HelpCode.PART,
            )
        units |= found
    return units


def is_shared(entry: Entry, place: Place, selected: frozenset[str]) -> bool:
    """Report whether an entry belongs to the parts of all subjects.

    Shared entries are files of no subject, files of subjects that are not selected themselves, and
    empty-room recordings.
    """
    return place.unit not in selected or entry.reason == "reference" or place.subject == _EMPTY_ROOM


def share(plan: Planned, number: int, of: int) -> Plan:
    """Return one of several parts with about the same bytes and files.

    Each entry is in exactly one part. Neighbouring entries are mostly in the same part.

    Parameters
    ----------
    number, of : int
        The number of the part, counted from 1, and the number of parts.

    Raises
    ------
    UsageError
        If `number` is not between 1 and `of`.
    """
    if not 1 <= number <= of:
        raise UsageError(f"there is no part {number} of {of}; expected 1 to {of}")
    header = header_of_part(plan.header, f"share {number} of {of}")
    return Plan.rebuild(header, (entry for share_, entry in shares(plan, of) if share_ == number))


def shares(plan: Planned, of: int) -> Iterator[tuple[int, Entry]]:
    """Yield each entry with the number of its share, from 1; see `share`."""
    cost = plan.header.bytes + COST_OF_FILE * plan.header.files
    before = 0
    for entry in plan.entries:
        own = entry.size + COST_OF_FILE
        # An entry is in the share that contains its middle.
        yield (2 * before + own) * of // (2 * cost) + 1, entry
        before += own


def select_part(
    plan: Planned,
    subjects: Sequence[str] = (),
    sessions: Sequence[str] = (),
    shard: tuple[int, int] | None = None,
) -> Planned:
    """Return the part of a plan that the options choose together.

    Raises UsageError in the same cases as `subjects_part` and `share`.
    """
    if sessions and not subjects:
        raise UsageError("--session needs --subject: name the subjects whose session it is")
    if subjects:
        plan = subjects_part(plan, subjects, sessions)
    return share(plan, *shard) if shard else plan
