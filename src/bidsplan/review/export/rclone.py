"""Shell scripts that copy files with rclone, and count them.

References
----------
https://rclone.org/filtering/#files-from-raw-read-list-of-source-file-names-without-any-processing
"""

from __future__ import annotations

import os
import shlex
from itertools import takewhile
from typing import TYPE_CHECKING, NamedTuple

from bidsplan.paths import printable
from bidsplan.review.export.base import Draft, Format
from bidsplan.review.export.losses import DIGESTS, TAGS, VERSIONS
from bidsplan.review.export.shell import here_document, print_text

if TYPE_CHECKING:
    from collections.abc import Iterator

    from bidsplan.plan import Entry, Planned
    from bidsplan.review.export.sources import Source, Sources


_PROTOCOLS = frozenset({"s3", "gs", "az", "http", "https", "file"})

_SCRIPT = r"""#!/bin/sh
# {summary}
# sh THIS-FILE DEST, where DEST is a directory or whatever rclone writes to, such as remote:path.
set -u
dest=${{1:?'name a destination: sh THIS-FILE DEST'}}
failed=0
list=$(mktemp) || exit 1
trap 'rm -f "$list"' EXIT

# copy FILES BYTES DIRECTORY SOURCE OPTION...: copies the files that standard input lists. They are
# counted, since rclone says nothing of listed files that are missing.
copy() {{
    expected="{{\"count\":$1,\"bytes\":$2,"
    to=$dest$3
    from=$4
    shift 4
    cat > "$list"
    rclone copy --files-from-raw "$list" --no-traverse "$@" "$from" "$to" || failed=1
    found=$(rclone size --json --files-from-raw "$list" --no-traverse "$to")
    case $found in
    "$expected"*) ;;
    *)
        printf '%s: expected %s ...}}, got %s\n' "$to" "$expected" "$found" >&2
        failed=1
        ;;
    esac
}}
"""


class _Copy(NamedTuple):
    """Files that a single call of rclone copies."""

    root: int
    source: str
    destination: str


def _parts(entry: Entry) -> tuple[_Copy, str]:
    """Split off the end that a key and a path have in common."""
    key, path = entry.key.split("/"), entry.path.split("/")
    ends = zip(reversed(key), reversed(path), strict=False)
    same = len(list(takewhile(lambda pair: pair[0] == pair[1], ends)))
    source, destination = key[: len(key) - same], path[: len(path) - same]
    copy = _Copy(entry.root, "/".join(source), "".join(f"/{name}" for name in destination))
    return copy, "/".join(key[len(key) - same :])


def _refused(entry: Entry, sources: Sources) -> str | None:
    if entry.content is not None:
        return None
    source = sources.of(entry)
    protocol = source.location.protocol
    if protocol not in _PROTOCOLS:
        return f"what rclone calls the protocol {protocol!r} is not known"
    if protocol in {"gs", "az"} and source.why_not is not None:
        return source.why_not
    if not _parts(entry)[1]:
        return "a list gives files no other names than they have in storage"
    return None


def _lines(plan: Planned, sources: Sources) -> Iterator[bytes]:
    header = plan.header
    study = printable(header.study)
    summary = f"{study}: {header.files} files, {header.bytes} bytes"
    yield _SCRIPT.format(summary=summary).encode()
    copies: dict[_Copy, list[Entry]] = {}
    for entry in plan.entries:
        if entry.content is None:
            copies.setdefault(_parts(entry)[0], []).append(entry)
        else:
            target = shlex.quote(f"/{entry.path}")
            yield f'\n{print_text(entry.content)} | rclone rcat "$dest"{target}'.encode()
            yield b" || failed=1\n"
    for copy, entries in copies.items():
        yield b"\n"
        yield from here_document(
            _call(copy, entries, sources), (_parts(entry)[1] for entry in entries)
        )
    yield b"\nexit $failed\n"


def _call(copy: _Copy, entries: list[Entry], sources: Sources) -> str:
    source = sources.of(entries[0])
    place, options = _place(source, sources)
    # After a colon, a slash would lead to the top of a web server.
    slash = "/" if copy.source and not place.endswith(":") else ""
    path = f"{place}{slash}{copy.source}"
    size = sum(entry.size for entry in entries)
    words = ["copy", str(len(entries)), str(size), copy.destination, path, *options]
    return shlex.join(words)


def _place(source: Source, sources: Sources) -> tuple[str, list[str]]:
    """Return rclone's name and options for a root."""
    protocol, host, path = source.location
    access = sources.access
    if protocol == "file":
        return path, ["--copy-links"]
    if protocol in {"http", "https"}:
        return ":http:", ["--http-url", source.web]
    place = f"{host}/{path}".rstrip("/")
    if protocol == "gs":
        return f":gcs:{place}", ["--gcs-env-auth" if source.signed else "--gcs-anonymous"]
    if protocol == "az":
        return f":azureblob:{place}", _azure(source)
    options = ["--s3-provider", "AWS" if sources.is_amazon else "Other"]
    if sources.endpoint:
        options += ["--s3-endpoint", sources.endpoint]
    if access.region:
        options += ["--s3-region", access.region]
    if source.signed:
        options.append("--s3-env-auth")
        if access.profile:
            options += ["--s3-profile", access.profile]
    if access.requester_pays:
        options.append("--s3-requester-pays")
    return f":s3:{place}", options


def _azure(source: Source) -> list[str]:
    account = os.environ.get("AZURE_STORAGE_ACCOUNT_NAME", "")
    return ["--azureblob-account", account, *(["--azureblob-env-auth"] if source.signed else [])]


def _draft(plan: Planned, sources: Sources) -> Draft:
    return Draft(
        losses=(TAGS, VERSIONS, DIGESTS),
        refused=_refused,
        content=lambda: {"": _lines(plan, sources)},
        use=lambda path: shlex.join(["sh", path, "DEST"]),
    )


FORMAT = Format("rclone", "a shell script that copies with rclone and counts the files", _draft)
