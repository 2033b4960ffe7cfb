"""Writes a plan's report page, and collects the data for it."""

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
    """Write an HTML page that shows which subjects lack which files, and why.

    Parameters
    ----------
    plan : Plan or StoredPlan
    path : path
        The page's file. Its name ends in ``.html``. An existing file is replaced.
    reasons : Reasons, optional
        The result of `find_reasons`. Without it, the page does not say why files are missing.
    proofs : Proofs, optional
        The result of `find_proofs`. Without it, the page shows nothing about a destination.

    Raises
    ------
    UsageError
        If the page's name does not end in ``.html``.
    PlanError
        If the plan can't be read.
    DestinationError
        If the page can't be written.

    Notes
    -----
    The page contains no time and no host name, so the same arguments give the same bytes.
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
    """Refuse a file name without ``.html``, since the file would be replaced."""
    if path.suffix not in {".html", ".htm"}:
        raise UsageError(f"{printable(str(path))}: the name of a page ends in .html")


def find_reasons(
    plan: Planned,
    manifest: ManifestFile,
    *,
    access: Access | None = None,
    notify: Callable[[Event], None] | None = None,
) -> Reasons:
    """List the study again, and find why subjects lack files.

    Parameters
    ----------
    plan : Plan or StoredPlan
    manifest : ManifestFile
        The plan's manifest, from `load_manifest`.
    access : Access, optional
        How storage may be reached.
    notify : callable, optional
        Called with each event of listing. The calls come from several threads, but one at a time.

    Returns
    -------
    Reasons
        The function returns a result even if the plan is stale, or the manifest can no longer be
        compiled.

    Raises
    ------
    StorageError
        If the study can't be listed or read.
    UsageError
        If a URL is refused.
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
    """Find which files in a destination are proved to be the planned ones.

    Parameters
    ----------
    plan : Plan or StoredPlan
    destination : path or str
        A local directory, or the URL that the plan was fetched to.
    read : bool
        Whether to read every file, as `verify` does. Otherwise bidsplan reads only receipts: a file
        counts as proved if its receipt names a proof, and the file still has the size and time in
        the receipt.
    access : Access, optional
        How the destination's URL may be reached.
    base : path
        The directory that the plan's relative URLs are relative to. Use the directory of the plan's
        file.
    notify : callable, optional
        Called with an event for each file.

    Returns
    -------
    Proofs
        For each file, how it was proved to be the planned one, or why it was not.

    Raises
    ------
    DestinationError
        If the destination can't be opened.
    UsageError, StorageError
        If a URL is refused, or the receipts at a URL can't be listed.
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
