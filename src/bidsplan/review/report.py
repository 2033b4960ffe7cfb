"""Writing the page about a plan: with its manifest, why; with a destination, what was proved."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from bidsplan.errors import BidsplanError, DestinationError, UsageError
from bidsplan.paths import printable, replacing
from bidsplan.review.page import render_page
from bidsplan.storage.access import Access

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from os import PathLike

    from bidsplan.events import Event
    from bidsplan.manifest.load import ManifestFile
    from bidsplan.plan import Planned
    from bidsplan.review.proofs import Proofs
    from bidsplan.review.reasons import Reasons

    Notify = Callable[[Event], None]


def write_report(
    plan: Planned,
    path: str | PathLike[str],
    *,
    manifest: ManifestFile | None = None,
    destination: str | PathLike[str] | None = None,
    read: bool = False,
    access: Access | None = None,
    base: str | PathLike[str] = ".",
    notify: Callable[[Event], None] | None = None,
) -> None:
    """Write a page that shows which subjects lack which files, and why.

    Parameters
    ----------
    plan : Plan or StoredPlan
    path : path
        The page's file, which is replaced; its name ends in ``.html``.
    manifest : ManifestFile, optional
        The plan's manifest, which shows why files are missing; the study is listed as it is now.
    destination : path or str, optional
        Where the plan was fetched to, for what was proved there.
    read : bool
        Whether to read every file there, and not only receipts.
    access : Access, optional
        How storage may be reached.
    base : path
        The directory that the plan's relative URLs are relative to: its own.
    notify : callable, optional
        Takes each event of listing, from several threads, one at a time, and of reading.

    Raises
    ------
    UsageError
        Where the page's name does not end in ``.html``, or a URL is refused.
    StorageError
        Where the study can't be listed.
    DestinationError
        Where the destination can't be opened, or the page can't be written.

    Notes
    -----
    The page has neither time nor host: the same arguments, storage and destination give the same
    bytes.
    """
    path = Path(path)
    if path.suffix not in {".html", ".htm"}:
        raise UsageError(f"{printable(str(path))}: the name of a page ends in .html")
    access = access or Access()
    reasons = _find_reasons(plan, manifest, access, notify) if manifest else None
    proofs = None
    if destination is not None:
        events = _check(plan, str(destination), access, base, read=read)
        proofs = _find_proofs(events, str(destination), notify, read=read)
    page = render_page(plan, reasons=reasons, proofs=proofs)
    try:
        with replacing(path) as file:
            file.write(page.encode())
    except OSError as error:
        why = error.strerror or error
        raise DestinationError(f"{printable(str(path))}: can't be written: {why}") from error


def _find_reasons(
    plan: Planned, manifest: ManifestFile, access: Access, notify: Notify | None
) -> Reasons:
    from bidsplan.compile.compiler import explain_manifest  # imports storage
    from bidsplan.review.reasons import Reasons

    try:
        explanation = explain_manifest(
            manifest.manifest, base=manifest.path.parent, access=access, notify=notify
        )
        return Reasons(plan, manifest, explanation, untrusted=access.untrusted)
    except BidsplanError as error:
        raise error.located(manifest.locate) from error


def _check(
    plan: Planned, destination: str, access: Access, base: str | PathLike[str], *, read: bool
) -> Iterator[Event]:
    """Compare a destination with a plan, by reading it or by its receipts."""
    from bidsplan.transfer.receipt_check import check_receipts  # imports destinations
    from bidsplan.transfer.verification import verify

    check = verify if read else check_receipts
    yield from check(plan, destination, access=access, base=base)


def _find_proofs(
    events: Iterator[Event], destination: str, notify: Notify | None, *, read: bool
) -> Proofs:
    from bidsplan.review.proofs import collect_proofs

    def followed() -> Iterator[Event]:
        for event in events:
            if notify is not None:
                notify(event)
            yield event

    return collect_proofs(followed(), destination, read=read)
