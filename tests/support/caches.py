"""Plans whose digests are known, and what a content cache holds."""

from __future__ import annotations

import hashlib

from bidsplan.plan import Entry
from plans import plan_of, write_files

DIGESTS = {"sha256": hashlib.sha256, "md5": hashlib.md5}


def proved_plan(folder, files, **fields):
    """Give a plan over local files, with the SHA-256 of each."""
    write_files(folder, files)
    entries = [
        Entry(
            path=key,
            key=key,
            size=len(data),
            reason="selected",
            sha256=hashlib.sha256(data).hexdigest(),
            **fields,
        )
        for key, data in files.items()
    ]
    return plan_of(entries, str(folder))


def contents(cache):
    """Give the files of a cache by name."""
    return {path.name: path for path in (cache / "content").glob("??/*")}


def damaged(cache):
    """Name the files of a cache that are not what their names say."""
    return [
        name for name, path in contents(cache).items() if not is_as_named(name, path.read_bytes())
    ]


def is_as_named(name, data):
    kind, _, rest = name.partition("-")
    digest, _, size = rest.rpartition("-")
    if kind == "parts":
        tags = {tag_of_parts(data, number << 20) for number in (5, 8, 11, 16)}
        return digest in tags and len(data) == int(size)
    return DIGESTS[kind](data).hexdigest() == digest and len(data) == int(size)


def tag_of_parts(data, part):
    digests = [hashlib.md5(data[at : at + part]).digest() for at in range(0, len(data), part)]
    return f"{hashlib.md5(b''.join(digests)).hexdigest()}-{len(digests)}"


def unfinished(cache):
    """Name what is being written in a cache, or was."""
    return [
        path.name
        for path in (cache / ".bidsplan" / "partial").glob("*/*")
        if (cache / ".bidsplan" / "partial").is_dir()
    ]
