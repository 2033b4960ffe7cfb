"""Writes the report page of a plan, as a single HTML file."""

from __future__ import annotations

import hashlib
from base64 import b64encode
from collections import Counter, defaultdict
from importlib.resources import files
from typing import TYPE_CHECKING, Any

import msgspec

from bidsplan.messages import counted, redacted, size
from bidsplan.paths import natural_key, printable
from bidsplan.review.completeness import view_completeness
from bidsplan.review.page_data import page_data
from bidsplan.review.proofs import PROOFS, STATES
from bidsplan.review.summary import summarise_plan

if TYPE_CHECKING:
    from collections.abc import Mapping

    from bidsplan.plan import Planned
    from bidsplan.review.completeness import View
    from bidsplan.review.proofs import Proofs
    from bidsplan.review.reasons import Reasons
    from bidsplan.review.summary import Amount

_SIGNS = {
    "no-file": "–",
    "no-directory": "∅",
    "filtered": "F",
    "excluded": "X",
    "not-selected": "S",
    "stale": "!",
    "unknown": "?",
    "absent": "↓",
    "differs": "≠",
    "unproved": "?",
    "archived": "A",
}
"""The sign of each kind of reason and state, in addition to its colour."""

_MOST_FAILURES = 50
"""The most files that are named with their problem if there is no script."""


def render_page(
    plan: Planned, *, reasons: Reasons | None = None, proofs: Proofs | None = None
) -> str:
    """Write a page about a plan.

    Parameters
    ----------
    plan : Plan or StoredPlan
    reasons : Reasons, optional
        The reasons why files are missing.
    proofs : Proofs, optional
        The proofs of the files in a destination.

    Returns
    -------
    str
        HTML text, which is the same for the same arguments.
    """
    from jinja2 import Environment, PackageLoader, StrictUndefined  # slow to import
    from markupsafe import Markup

    states = _states(reasons, proofs)
    views = view_completeness(plan, reasons, states)
    css, script = _resource("report.css"), _resource("report.js")
    context = {
        **_summary(plan, views[0]),
        **_matrix(plan, views[0], reasons),
        "proofs": proofs and _proofs(proofs),
        "signs": _SIGNS,
        "policy": f"default-src 'none'; style-src {_digest(css)}; script-src {_digest(script)}; "
        "base-uri 'none'; form-action 'none'",
        # These two files are part of the package, and the policy contains their digests.
        "css": Markup(css),  # noqa: S704
        "script": Markup(script),  # noqa: S704
        "data": Markup(_json(_script_data(plan, views, states, reasons, proofs))),  # noqa: S704
    }
    environment = Environment(
        loader=PackageLoader("bidsplan.review"), autoescape=True, undefined=StrictUndefined
    )
    return environment.get_template("report.html.j2").render(context) + "\n"


def _states(reasons: Reasons | None, proofs: Proofs | None) -> dict[str, str]:
    """Return why planned files are incomplete, by path."""
    states = dict.fromkeys(sorted(reasons.archived), "archived") if reasons else {}
    if proofs is None:
        return states
    # Files that exist in the destination need not be restored at the source.
    kept = {path: state for path, state in states.items() if path not in proofs.by_path}
    return kept | proofs.states


def _resource(name: str) -> str:
    return (files("bidsplan.review") / "templates" / name).read_text(encoding="utf-8")


def _digest(text: str) -> str:
    return f"'sha256-{b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


def _json(data: Any) -> str:
    """Encode data as JSON that is safe inside an HTML element."""
    text = msgspec.json.encode(data).decode()
    for character in "<>&\u2028\u2029":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return text


def _script_data(
    plan: Planned,
    views: list[View],
    states: Mapping[str, str],
    reasons: Reasons | None,
    proofs: Proofs | None,
) -> dict[str, Any]:
    left_out = reasons.left_out() if reasons else []
    units = [*plan.header.subjects, *(unit for group in left_out for unit in group.units)]
    return {
        **page_data(plan, views, states, proofs),
        "leftOut": [[row.text, row.where, [*map(printable, row.units)]] for row in left_out],
        "unlistable": sorted({printable(unit) for unit in units if not _is_listable(unit)}),
        "hasStates": bool(states or proofs),
        "signs": _SIGNS,
        "stateKinds": [*STATES, *([""] * len(PROOFS))],
    }


def _is_listable(unit: str) -> bool:
    """Report whether a line of a list can name a subject unambiguously."""
    label = unit.rpartition("/")[2]
    return label.isprintable() and label == label.strip() and not set(label) & set("#*?")


def _summary(plan: Planned, view: View) -> dict[str, Any]:
    """Return the data about the plan as a whole."""
    found = summarise_plan(plan)
    cells = len(view.columns) * len(found.selected)
    return {
        "study": printable(found.study),
        "digest": found.entries_sha256,
        "manifest_digest": plan.header.manifest_sha256,
        "subjects": counted(len(found.selected), "subject"),
        "facts": [
            (f"{view.missing:,}", f"of {counted(cells, 'cell')} without a file"),
            (f"{len(found.selected):,}", "subjects" if len(found.selected) != 1 else "subject"),
            (f"{found.files:,}", "files" if found.files != 1 else "file"),
            (size(found.bytes), "in all"),
        ],
        "datatypes": _amounts(found.datatypes),
        "pipelines": _amounts(found.pipelines),
        "suffixes": _amounts(found.suffixes),
        "reasons": _amounts(found.reasons),
        "largest": [{"path": printable(row.path), "size": size(row.size)} for row in found.largest],
    }


def _amounts(amounts: Mapping[str, Amount]) -> list[dict[str, Any]]:
    most = max((amount.bytes for amount in amounts.values()), default=0) or 1
    ordered = sorted(amounts.items(), key=lambda pair: (-pair[1].bytes, pair[0]))
    return [
        {
            "name": printable(name),
            "files": f"{amount.files:,}",
            "size": size(amount.bytes),
            "share": f"{100 * amount.bytes / most:.1f}",
        }
        for name, amount in ordered
    ]


def _matrix(plan: Planned, view: View, reasons: Reasons | None) -> dict[str, Any]:
    """Return the data about missing files that the page shows without a script."""
    left_out = reasons.left_out() if reasons else []
    number = sum(len(row.units) for row in left_out)
    return {
        "view": view,
        "missing": f"{view.missing:,} cell{' has' if view.missing == 1 else 's have'} no file",
        "reasons_known": reasons is not None,
        "by_reason": [
            {**reason._asdict(), "count": f"{count:,}"} for reason, count in view.by_reason()
        ],
        "by_state": _by_state(view),
        "by_column": _by_column(plan, view),
        "left_out": [
            {**row._asdict(), "count": f"{len(row.units):,}", "units": [*map(printable, row.units)]}
            for row in left_out
        ],
        "left_out_count": counted(number, "subject"),
        "notices": _notices(reasons),
    }


def _by_state(view: View) -> list[dict[str, str]]:
    """Count the files of cells by state."""
    counts: Counter[str] = Counter()
    for found in view.marks.values():
        counts.update(found)
    return [
        {
            "kind": state,
            "text": f"file{'s' * (counts[state] != 1)} {text}",
            "count": f"{counts[state]:,}",
        }
        for state, text in STATES.items()
        if counts[state]
    ]


def _by_column(plan: Planned, view: View) -> list[dict[str, Any]]:
    units = sorted(plan.header.subjects, key=natural_key)
    rows = []
    for number, column in enumerate(view.columns):
        found: dict[int, list[str]] = defaultdict(list)
        for unit, cells in zip(units, view.cells, strict=True):
            if cells[number] < 0:
                found[-1 - cells[number]].append(printable(unit))
        ordered = sorted(found.items(), key=lambda pair: (-len(pair[1]), view.reasons[pair[0]]))
        reasons = [
            {**view.reasons[index]._asdict(), "count": f"{len(names):,}", "units": names}
            for index, names in ordered
        ]
        have, lack = f"{column.have:,}", f"{column.lack:,}"
        rows.append({"label": column.label, "have": have, "lack": lack, "reasons": reasons})
    return rows


def _notices(reasons: Reasons | None) -> list[dict[str, Any]]:
    """Return the notes at the top of the page, such as an outdated plan."""
    if reasons is None:
        text = (
            "This page knows the plan alone. With its manifest it also says why files are "
            "missing, and which subjects are not selected."
        )
        return [{"warn": False, "text": text, "items": []}]
    fresh = reasons.freshness
    notices = []
    if fresh.problems:
        text = "The manifest does not compile any more, so reasons are unknown:"
        notices.append({"warn": True, "text": text, "items": [*map(printable, fresh.problems)]})
    elif not fresh.current:
        text = "The plan is stale; 'bidsplan compile' writes it anew:"
        notices.append({"warn": True, "text": text, "items": _differences(reasons)})
    return notices


def _differences(reasons: Reasons) -> list[str]:
    fresh = reasons.freshness
    items = ["the manifest has changed since"] if fresh.manifest_changed else []
    for number, what in (
        (fresh.added, "would be added"),
        (fresh.removed, "would be removed"),
        (fresh.changed, "would change in size, entity tag or reason"),
    ):
        items += [f"{counted(number, 'file')} {what}"] if number else []
    return items


def _proofs(proofs: Proofs) -> dict[str, Any]:
    how = (
        "Every file was read, and compared with the plan."
        if proofs.read
        else "No file was read. A file counts as checked by what its receipt says that it was "
        "checked by when it was fetched, if its size and time are still those of the receipt. To "
        "read every file, use '--verify'."
    )
    rows = [
        {"kind": kind, "text": text, "count": f"{number:,}"}
        for kind, text in STATES.items()
        if (number := sum(state == kind for state in proofs.states.values()))
    ]
    rows += [
        {"kind": "", "text": f"checked by {text}", "count": f"{number:,}"}
        for proof, text in PROOFS.items()
        if (number := proofs.proofs[proof])
    ]
    failures = sorted(proofs.messages.values())
    more = len(failures) - _MOST_FAILURES
    return {
        "destination": printable(redacted(proofs.destination)),
        "how": how,
        "rows": rows,
        "failed": counted(len(failures), "file"),
        "failures": [*map(printable, failures[:_MOST_FAILURES])],
        "more": f"{more:,}" if more > 0 else "",
    }
