"""Plans over small studies, and what became of them."""

from __future__ import annotations

import hashlib
import random

from bidsplan.events import Failed, Finished, Progressed
from bidsplan.plan import Entry, Plan, Root
from bidsplan.transfer.materialisation import materialise

BIG = random.Random(0).randbytes(3 << 20)
FILES = {"a.txt": b"hello", "sub-1/anat/image.nii.gz": BIG, "sub-1/empty": b""}


def md5(data):
    return hashlib.md5(data).hexdigest()


def plan_of(entries, url):
    roots = [Root(url=url)]
    return Plan.build(entries, manifest_sha256="0" * 64, study="x", roots=roots, subjects=[])


def plan_over(url, files, *, tags=True, **fields):
    entries = [
        Entry(
            path=key,
            key=key,
            size=len(data),
            reason="selected",
            etag=md5(data) if tags else None,
            **fields,
        )
        for key, data in files.items()
    ]
    return plan_of(entries, url)


def write_files(folder, files):
    for key, data in files.items():
        (folder / key).parent.mkdir(parents=True, exist_ok=True)
        (folder / key).write_bytes(data)


def local_plan(tmp_path, files=FILES):
    write_files(tmp_path / "source", files)
    return plan_over(str(tmp_path / "source"), files, tags=False)


def fetch(plan, folder, **options):
    return list(materialise(plan, folder, **options))


def failures(events):
    return {event.entry.path: event.error for event in events if isinstance(event, Failed)}


def finished(events):
    return {
        event.entry.path: (event.action, event.proof)
        for event in events
        if isinstance(event, Finished)
    }


def moved(events, path):
    told = (e for e in events if isinstance(e, Progressed | Finished) and e.entry.path == path)
    return sum(event.bytes for event in told)


def tree(folder):
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and ".bidsplan" not in path.parts
    }


def leftovers(folder):
    return [path for path in (folder / ".bidsplan" / "partial").rglob("*") if path.is_file()]
