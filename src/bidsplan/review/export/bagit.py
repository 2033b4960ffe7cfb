"""Bags (BagIt) whose files are fetched later: manifests and ``fetch.txt``.

References
----------
RFC 8493, The BagIt File Packaging Format
"""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING

from bidsplan.paths import printable
from bidsplan.review.export.base import Draft, Format
from bidsplan.review.export.checksums import checksum_lines, most_known
from bidsplan.review.export.losses import GUESSED_MD5, PIN, padded, web_refused

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from bidsplan.plan import Entry, Planned
    from bidsplan.review.export.base import Files
    from bidsplan.review.export.losses import Refused
    from bidsplan.review.export.sources import Sources


_DECLARATION = b"BagIt-Version: 1.0\nTag-File-Character-Encoding: UTF-8\n"


def _refusing(algorithm: str) -> Refused:
    def refused(entry: Entry, sources: Sources) -> str | None:
        why = web_refused(entry, sources) or padded(entry)
        if why is None and "%" in entry.path:
            why = "what reads bags decodes '%' in paths in different ways"
        if why is None and algorithm not in dict(sources.digests(entry)):
            why = f"a bag needs digests of one kind of all files; {PIN}"
        return why

    return refused


def _files(plan: Planned, sources: Sources, algorithm: str) -> Files:
    header = plan.header
    info = (
        f"External-Identifier: {printable(header.study)}\n"
        f"Payload-Oxum: {header.bytes}.{header.files}\n"
    )
    generated = {
        f"data/{entry.path}": iter([entry.content.encode()])
        for entry in plan.entries
        if entry.content is not None
    }
    return {
        "bagit.txt": iter([_DECLARATION]),
        "bag-info.txt": iter([info.encode()]),
        f"manifest-{algorithm}.txt": checksum_lines(plan, sources, algorithm, "data/"),
        "fetch.txt": _fetched(plan.entries, sources),
        # A bag has this directory even if it is empty.
        "data/": iter(()),
        **generated,
    }


def _fetched(entries: Iterable[Entry], sources: Sources) -> Iterator[bytes]:
    for entry in entries:
        if entry.content is None:
            yield f"{sources.url(entry)} {entry.size} data/{entry.path}\n".encode()


def _draft(plan: Planned, sources: Sources) -> Draft:
    algorithm = most_known(plan, sources)
    return Draft(
        losses=(GUESSED_MD5,) if algorithm == "md5" else (),
        refused=_refusing(algorithm),
        content=lambda: _files(plan, sources, algorithm),
        use=lambda path: (
            f"bdbag --resolve-fetch all {shlex.quote(path)} && "
            f"bdbag --validate full {shlex.quote(path)}"
        ),
    )


FORMAT = Format("BagIt", "a bag whose files bdbag fetches (-o DIR)", _draft, is_directory=True)
