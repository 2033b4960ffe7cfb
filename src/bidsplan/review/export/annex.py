"""Shell scripts that add a plan's files to a git-annex or DataLad repository.

References
----------
https://git-annex.branchable.com/git-annex-fromkey/ and /git-annex-registerurl/
"""

from __future__ import annotations

import re
import shlex
from operator import attrgetter
from typing import TYPE_CHECKING

from bidsplan.paths import printable
from bidsplan.review.export.base import Draft, Format
from bidsplan.review.export.losses import DIGEST, GUESSED, Loss, web_refused
from bidsplan.review.export.shell import here_document, print_text

if TYPE_CHECKING:
    from collections.abc import Iterator

    from bidsplan.plan import Entry, Planned
    from bidsplan.review.export.sources import Sources


_EXTENSIONS = re.compile(r"(?<=[^/.])(?:\.[A-Za-z0-9]{1,4}){1,2}\Z")
"""The part of a name that git-annex treats as extensions."""

_URL_KEYS = Loss(
    lambda entry, sources: not sources.digests(entry),
    "the plan has no digest of {files}: the URL becomes the key, and {tool} takes what is there by "
    "then: {names}",
    DIGEST,
)

_SCRIPT = """#!/bin/sh
# {summary}
# (cd DEST && sh -s) < THIS-FILE, where DEST is a git-annex or DataLad repository, which gets them
# unfetched: 'git annex get' or 'datalad get' fetches them.
set -eu

"""


def _key(entry: Entry, sources: Sources) -> str:
    """Return an entry's git-annex key, or its URL as git-annex's substitute."""
    digests = sources.digests(entry)
    if not digests:
        return sources.url(entry)
    algorithm, value = digests[0]
    found = _EXTENSIONS.search(entry.path)
    return f"{algorithm.upper()}E-s{entry.size}--{value}{found[0] if found else ''}"


def _lines(plan: Planned, sources: Sources) -> Iterator[bytes]:
    header = plan.header
    summary = f"{printable(header.study)}: {header.files} files, {header.bytes} bytes"
    yield _SCRIPT.format(summary=summary).encode()
    for name, second in (("fromkey --force", attrgetter("path")), ("registerurl", sources.url)):
        lines = (
            f"{_key(entry, sources)} {second(entry)}"
            for entry in plan.entries
            if entry.content is None
        )
        yield from here_document(f"git annex {name} --batch", lines)
    for entry in plan.entries:
        if entry.content is not None:
            path = f"./{entry.path}"
            directory, quoted = shlex.quote(path.rpartition("/")[0]), shlex.quote(path)
            yield f"\nmkdir -p {directory}\n{print_text(entry.content)} > {quoted}\n".encode()
            yield f"git add {quoted}\n".encode()


def _draft(plan: Planned, sources: Sources) -> Draft:
    return Draft(
        losses=(_URL_KEYS, GUESSED),
        refused=web_refused,
        content=lambda: {"": _lines(plan, sources)},
        use=lambda path: f"(cd DEST && sh -s) < {shlex.quote(path)}",
    )


FORMAT = Format(
    "git-annex", "a shell script that adds the files to a dataset without fetching", _draft
)
