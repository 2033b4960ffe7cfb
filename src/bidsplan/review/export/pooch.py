"""Registries for pooch: name, digest and URL of each file.

References
----------
https://www.fatiando.org/pooch/latest/registry-files.html
"""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING

from bidsplan.review.export.base import Draft, Format
from bidsplan.review.export.losses import CONTENT, DIGEST, GUESSED, web_refused

if TYPE_CHECKING:
    from collections.abc import Iterator

    from bidsplan.plan import Entry, Planned
    from bidsplan.review.export.sources import Sources


def _refused(entry: Entry, sources: Sources) -> str | None:
    if why := web_refused(entry, sources):
        return why
    if not sources.digests(entry):
        return f"it needs a digest of each file; {DIGEST}"
    return None


def _lines(plan: Planned, sources: Sources) -> Iterator[bytes]:
    for entry in plan.entries:
        if entry.content is None:
            digest = sources.digests(entry)[0]
            # pooch splits lines as a shell does.
            words = [entry.path, f"{digest.algorithm}:{digest.value}", sources.url(entry)]
            yield f"{shlex.join(words)}\n".encode()


def _draft(plan: Planned, sources: Sources) -> Draft:
    return Draft(
        losses=(GUESSED, CONTENT),
        refused=_refused,
        content=lambda: {"": _lines(plan, sources)},
        use=lambda path: (
            f'study = pooch.create(path="DEST", base_url=""); study.load_registry({path!r})'
        ),
    )


FORMAT = Format("pooch", "a registry for pooch's load_registry, with digests and URLs", _draft)
