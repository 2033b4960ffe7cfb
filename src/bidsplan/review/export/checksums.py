"""Lists for ``sha256sum --check`` and ``md5sum --check``.

coreutils escape backslashes and line breaks in names, but no planned path contains these.
"""

from __future__ import annotations

import shlex
from collections import Counter
from typing import TYPE_CHECKING

from bidsplan.review.export.base import Draft, Format
from bidsplan.review.export.losses import GUESSED_MD5, PIN, Loss

if TYPE_CHECKING:
    from collections.abc import Iterator

    from bidsplan.plan import Entry, Planned
    from bidsplan.review.export.sources import Sources


_NAMES = {"sha256": "SHA-256", "md5": "MD5"}


def most_known(plan: Planned, sources: Sources) -> str:
    """Return the algorithm whose digest is known of most files."""
    known = Counter(digest.algorithm for entry in plan.entries for digest in sources.digests(entry))
    return "md5" if known["md5"] > known["sha256"] else "sha256"


def checksum_lines(
    plan: Planned, sources: Sources, algorithm: str, prefix: str = ""
) -> Iterator[bytes]:
    """Yield the digest and path of each entry with a known digest."""
    for entry in plan.entries:
        if digest := dict(sources.digests(entry)).get(algorithm):
            # A hyphen alone would mean standard input.
            path = "./-" if entry.path == "-" and not prefix else f"{prefix}{entry.path}"
            yield f"{digest}  {path}\n".encode()


def undigested(algorithm: str) -> Loss:
    """Return the loss of entries without a digest by an algorithm."""

    def concerns(entry: Entry, sources: Sources) -> bool:
        return algorithm not in dict(sources.digests(entry))

    name = _NAMES[algorithm]
    return Loss(
        concerns,
        f"{{files}} left out, of which the plan has no {name}: {{names}}",
        PIN,
    )


def _draft(plan: Planned, sources: Sources) -> Draft:
    algorithm = most_known(plan, sources)
    return Draft(
        losses=(undigested(algorithm), *((GUESSED_MD5,) if algorithm == "md5" else ())),
        refused=lambda _entry, _sources: None,
        content=lambda: {"": checksum_lines(plan, sources, algorithm)},
        use=lambda path: f"(cd DEST && {algorithm}sum --check) < {shlex.quote(path)}",
    )


FORMAT = Format(
    "checksums", "a list of digests for 'sha256sum --check' or 'md5sum --check'", _draft
)
