"""Commands for ``s5cmd run``.

References
----------
https://github.com/peak/s5cmd#run-multiple-commands-in-parallel
"""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING

from bidsplan.review.export.base import Draft, Format
from bidsplan.review.export.losses import CONTENT, DIGESTS, TAGS, Loss

if TYPE_CHECKING:
    from collections.abc import Iterator

    from bidsplan.plan import Entry, Planned
    from bidsplan.review.export.sources import Sources


def _signs(sources: Sources) -> bool:
    return any(source.signed for source in sources.all)


_SIGNED_TOO = Loss(
    lambda entry, sources: (
        entry.content is None and not sources.of(entry).signed and _signs(sources)
    ),
    "{tool} signs all requests or none: it signs those for {files} of anonymous roots, too",
)


def _refused(entry: Entry, sources: Sources) -> str | None:
    if entry.content is None and sources.of(entry).location.protocol != "s3":
        return "it reads only S3"
    return None


def _lines(plan: Planned, sources: Sources) -> Iterator[bytes]:
    yield f"# {_command(sources, 'THIS-FILE')}\n".encode()
    for entry in plan.entries:
        if entry.content is None:
            location = sources.of(entry).location
            # Without --raw the characters * and ? of a key would be wildcards.
            words = ["cp", "--raw"]
            if entry.version:
                words.append(f"--version-id={entry.version}")
            prefix = f"{location.path}/" if location.path else ""
            words.append(f"s3://{location.host}/{prefix}{entry.key}")
            words.append(f"./{entry.path}" if entry.path.startswith("-") else entry.path)
            yield f"{shlex.join(words)}\n".encode()


def _command(sources: Sources, path: str) -> str:
    access = sources.access
    options = []
    if not _signs(sources):
        options.append("--no-sign-request")
    elif access.profile:
        options += ["--profile", access.profile]
    if access.requester_pays:
        options += ["--request-payer", "requester"]
    if sources.endpoint:
        options += ["--endpoint-url", sources.endpoint]
    return f"(cd DEST && {shlex.join(['s5cmd', *options, 'run'])}) < {shlex.quote(path)}"


def _draft(plan: Planned, sources: Sources) -> Draft:
    return Draft(
        losses=(TAGS, DIGESTS, CONTENT, _SIGNED_TOO),
        refused=_refused,
        content=lambda: {"": _lines(plan, sources)},
        use=lambda path: _command(sources, path),
    )


FORMAT = Format("s5cmd", "commands for 's5cmd run'", _draft)
