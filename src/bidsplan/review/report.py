"""Writing the page about a plan: with its manifest, why; with a destination, what was proved."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from bidsplan.errors import BidsplanError, DestinationError, UsageError
from bidsplan.paths import printable, replacing
from bidsplan.storage.access import Access

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from os import PathLike

    from bidsplan.events import Event
    from bidsplan.manifest.load import ManifestFile
    from bidsplan.plan import Planned
    from bidsplan.review.proofs import Proofs
    from bidsplan.review.reasons import Reasons


def write_report(
    plan: Planned,
    path: str | PathLike[str],
    *,
    reasons: Reasons | None = None,
    proofs: Proofs | None = None,
) -> None:
    """Write a page that shows which subjects lack which files, and why.

    Parameters
    ----------
    plan : Plan or StoredPlan
    path : path
        The page's file, which is replaced; its name ends in ``.html``.
    reasons : Reasons, optional
        What `find_reasons` returned.
    proofs : Proofs, optional
        What `find_proofs` returned.

    Raises
    ------
    UsageError
        Where the page's name does not end in ``.html``.
    PlanError
        Where the plan can't be read.
    DestinationError
        Where the page can't be written.

    Notes
    -----
    The page contains neither time nor host: the same arguments give the same bytes.
    """
    from bidsplan.review.page import render_page  # counts and templates

    path = Path(path)
    check_page_name(path)
    page = render_page(plan, reasons=reasons, proofs=proofs)
    try:
        with replacing(path) as file:
            file.write(page.encode())
    except OSError as error:
        why = error.strerror or error
        raise DestinationError(f"{printable(str(path))}: can't be written: {why}") from error


def check_page_name(path: Path) -> None:
    """Refuse the name of a file that is not a page, which would be replaced."""
    if path.suffix not in {".html", ".htm"}:
        raise UsageError(f"{printable(str(path))}: the name of a page ends in .html")


def find_reasons(
    plan: Planned,
    manifest: ManifestFile,
    *,
    access: Access | None = None,
    notify: Callable[[Event], None] | None = None,
) -> Reasons:
    """Find why subjects lack files, by the manifest of a plan and the study as it is now.

    Parameters
    ----------
    plan : Plan or StoredPlan
    manifest : ManifestFile
        What `load_manifest` returned.
    access : Access, optional
        How storage may be reached.
    notify : callable, optional
        Takes each event of listing; called from several threads, one at a time.

    Returns
    -------
    Reasons
        Also where the plan is stale, or the manifest does not compile any more.

    Raises
    ------
    StorageError
        Where the study can't be listed or read.
    UsageError
        Where a URL is refused.
    """
    from bidsplan.compile.compiler import explain_manifest  # imports storage
    from bidsplan.review.reasons import Reasons

    access = access or Access()
    base = manifest.path.parent
    try:
        explanation = explain_manifest(manifest.manifest, base=base, access=access, notify=notify)
        return Reasons(plan, manifest, explanation, untrusted=access.untrusted)
    except BidsplanError as error:
        raise error.located(manifest.locate) from error


def find_proofs(
    plan: Planned,
    destination: str | PathLike[str],
    *,
    read: bool = False,
    access: Access | None = None,
    base: str | PathLike[str] = ".",
    notify: Callable[[Event], None] | None = None,
) -> Proofs:
    """Find what was proved about the files of a plan at a destination.

    Parameters
    ----------
    plan : Plan or StoredPlan
    destination : path or str
        A local directory, or the URL that the plan was fetched to.
    read : bool
        Whether to read every file, as `verify` does. Otherwise a file counts as proved if its
        receipt says by what, and its size and time are still the receipt's.
    access : Access, optional
        How a URL may be reached.
    base : path
        The directory that the plan's relative URLs are relative to: its own.
    notify : callable, optional
        Takes an event for each file.

    Returns
    -------
    Proofs
        Of each file, by what it was proved, or what is wrong with it.

    Raises
    ------
    DestinationError
        Where the destination can't be opened.
    UsageError, StorageError
        Where a URL is refused, or its receipts can't be listed.
    """
    from bidsplan.review.proofs import collect_proofs
    from bidsplan.transfer.receipt_check import check_receipts  # imports destinations
    from bidsplan.transfer.verification import verify

    check = verify if read else check_receipts

    def events() -> Iterator[Event]:
        for event in check(plan, destination, access=access, base=base):
            if notify is not None:
                notify(event)
            yield event

    return collect_proofs(events(), str(destination), read=read)
