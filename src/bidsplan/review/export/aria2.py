"""Input files for aria2.

References
----------
https://aria2.github.io/manual/en/html/aria2c.html#input-file
"""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING

from bidsplan.review.export.base import Draft, Format
from bidsplan.review.export.losses import CONTENT, GUESSED, UNDIGESTED, padded, web_refused

if TYPE_CHECKING:
    from collections.abc import Iterator

    from bidsplan.plan import Entry, Planned
    from bidsplan.review.export.sources import Sources


_ALGORITHMS = {"sha256": "sha-256", "md5": "md5"}


def _refused(entry: Entry, sources: Sources) -> str | None:
    return web_refused(entry, sources) or padded(entry)


def _lines(plan: Planned, sources: Sources) -> Iterator[bytes]:
    for entry in plan.entries:
        if entry.content is None:
            lines = [sources.url(entry), f"  out={entry.path}"]
            for algorithm, value in sources.digests(entry)[:1]:
                lines.append(f"  checksum={_ALGORITHMS[algorithm]}={value}")
            if entry.etag and not entry.version:
                lines.append(f'  header=If-Match: "{entry.etag}"')
            yield "".join(f"{line}\n" for line in lines).encode()


def _command(path: str) -> str:
    options = ["--continue", "--auto-file-renaming=false", "--dir=DEST", f"--input-file={path}"]
    return shlex.join(["aria2c", *options])


def _draft(plan: Planned, sources: Sources) -> Draft:
    return Draft(
        losses=(UNDIGESTED, GUESSED, CONTENT),
        refused=_refused,
        content=lambda: {"": _lines(plan, sources)},
        use=_command,
    )


FORMAT = Format("aria2", "an input file for 'aria2c -i', with digests and entity tags", _draft)
