"""What it costs to plan and fetch large collections: requests, dollars, hours and disk.

Requests are counted: studies whose listings are in a folder are compiled from a small S3 on the
loopback, and files of two sizes are fetched from it. Rates are those of the other benchmarks, on
two cores. What can't be measured here is an assumption, and an option::

    python benchmarks/costs.py path/to/corpora

The folder has ``<study>.tsv.gz`` with the columns key and size, and ``<study>.files.tar.xz`` with
the small files that compiling reads.
"""

from __future__ import annotations

import argparse
import csv
import gzip
import hashlib
import os
import sys
import tarfile
import tempfile
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from counting_s3 import serving

import bidsplan
from bidsplan.plan import Entry, Plan, Root
from bidsplan.plan.file import write_plan
from bidsplan.transfer.ranged_download import LEAST

if TYPE_CHECKING:
    from collections import Counter
    from collections.abc import Iterator

GB, TB = 10**9, 10**12

# Rates of one process on two cores: docs/developer/benchmarks.md, 2026-11-25 and 2026-11-26.
LISTED = 200_001 / 2.06
"""Keys a second, l1 at 30 ms."""
COMPILED = 67_600 / 2.5
"""Keys a second, from a listing in memory."""
STARTED = 0.55
"""Seconds that a small dataset takes in all: w1k."""
SMALL_FILES = 20_001 / 3.98
"""Files a second, w1 at 30 ms."""
CHECKED = (2 << 30) / 5.43
"""Bytes a second of one large object with the MD5 of each byte, at 10 Gbit/s."""

ALLOWED = 5500
"""GET requests a second of a partition of a bucket, at least: Amazon's documentation."""

# Prices of Amazon S3 Standard in us-east-1, in dollars, taken to be those of 2026.
LIST_PRICE, GET_PRICE, PUT_PRICE = 0.005 / 1000, 0.0004 / 1000, 0.005 / 1000
INTERNET = ((10 * TB, 0.09), (40 * TB, 0.085), (100 * TB, 0.07), (float("inf"), 0.05))
"""For a GB that leaves for the internet: how many bytes a month at which price."""


@dataclass(frozen=True)
class Measured:
    """What was counted while all of a study was compiled."""

    name: str
    subjects: int
    keys: int
    lists: int
    reads: int
    plan: Plan
    plan_bytes: int


class Study(NamedTuple):
    """A collection: how much there is, and how many requests compiling it makes."""

    name: str
    datasets: int
    subjects: int
    files: int
    bytes: int
    lists: int
    reads: int
    downloads: int


class Fetching(NamedTuple):
    """What fetching takes, as counted."""

    bytes_a_request: float
    receipt_bytes: float


def objects_of(folder: Path, name: str) -> tuple[dict[str, int], dict[str, bytes]]:
    """Read a study's listing and its small files."""
    with gzip.open(folder / f"{name}.tsv.gz", "rt", encoding="utf-8", newline="") as file:
        rows = csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE)
        sizes = {f"{name}/{row['key']}": max(int(row["size"]), 0) for row in rows}
    contents: dict[str, bytes] = {}
    with tarfile.open(folder / f"{name}.files.tar.xz") as archive:
        for member in archive:
            file_ = archive.extractfile(member) if member.isfile() else None
            if file_ is not None:
                contents[f"{name}/{member.name.partition('/')[2]}"] = file_.read()
    return sizes | {key: len(data) for key, data in contents.items()}, contents


@contextmanager
def endpoint(
    sizes: dict[str, int], contents: dict[str, bytes], etag: str
) -> Iterator[tuple[Path, Counter[str]]]:
    """Serve objects as the S3 that the environment names; yield a scratch folder and the counts."""
    with tempfile.TemporaryDirectory() as name:
        scratch = Path(name)
        with serving(sizes, contents, etag, scratch) as (url, requests):
            os.environ["AWS_ENDPOINT_URL_S3"] = url
            yield scratch, requests


def measure(folder: Path, name: str) -> Measured:
    """Compile all of a study, and count."""
    sizes, contents = objects_of(folder, name)
    study = {"id": name, "url": f"s3://bucket/{name}", "anonymous": True}
    model = bidsplan.Manifest.model_validate({"manifest_version": 1, "study": study})
    with endpoint(sizes, contents, "0" * 32) as (scratch, requests):
        plan = bidsplan.compile_manifest(model).plan
        write_plan(plan, scratch / "plan.jsonl")
        size = (scratch / "plan.jsonl").stat().st_size
    counts = requests["LIST"], requests["GET"] + requests["HEAD"]
    return Measured(name, len(plan.header.subjects), len(sizes), *counts, plan, size)


def fetch(number: int, size: int) -> tuple[int, int]:
    """Fetch so many objects; return the number of requests, and the bytes of receipts."""
    etag = hashlib.md5(bytes(size), usedforsecurity=False).hexdigest()
    names = list(map(str, range(number)))
    entries = [
        Entry(path=name, key=name, size=size, reason="selected", etag=etag) for name in names
    ]
    roots = [Root(url="s3://bucket/x", anonymous=True)]
    plan = Plan.build(entries, manifest_sha256="0" * 64, study="x", roots=roots, subjects=[])
    with endpoint({f"x/{name}": size for name in names}, {}, etag) as (scratch, requests):
        for event in bidsplan.materialise(plan, scratch / "data"):
            if error := getattr(event, "error", None):
                raise error
        state = (scratch / "data" / ".bidsplan").rglob("*")
        receipts = sum(path.stat().st_size for path in state if path.is_file())
    return requests.total(), receipts


def measure_fetching() -> Fetching:
    """Fetch a large object, and many small ones."""
    large, small = 512 << 20, 2000
    requests, _ = fetch(1, large)
    one_each, receipts = fetch(small, 100)
    if one_each != small:
        sys.exit(f"expected a request for each of {small} small files; counted {one_each}")
    return Fetching(large / requests, receipts / small)


def downloads(plan: Plan, fetching: Fetching) -> int:
    """Return the requests for a plan's files: one, or as many ranges as a large one takes."""
    ranges = (
        entry.size / fetching.bytes_a_request for entry in plan.entries if entry.size >= LEAST
    )
    small = sum(entry.size < LEAST for entry in plan.entries)
    return small + round(sum(ranges))


def scaled(name: str, datasets: int, subjects: int, like: Study) -> Study:
    """Return a collection with other numbers of subjects and datasets, each like those measured."""
    factor = subjects / like.subjects
    return Study(
        name,
        datasets,
        subjects,
        files=round(like.files * factor),
        bytes=round(like.bytes * factor),
        lists=round(like.lists * factor),
        reads=round(like.reads * factor),
        downloads=round(like.downloads * factor),
    )


def hours(study: Study, gigabits: float, machines: int) -> tuple[float, str]:
    """Return the time of fetching, and what limits it."""
    seconds = {
        "link": study.bytes * 8 / (gigabits * 1e9),
        "requests": study.downloads / min(machines * SMALL_FILES, ALLOWED),
        "digests": study.bytes / (machines * CHECKED),
    }
    limit = max(seconds, key=lambda name: seconds[name])
    return seconds[limit] / 3600, limit


def internet(size: float) -> float:
    """Return what it costs to send bytes to the internet, all in one month."""
    dollars = 0.0
    for most, price in INTERNET:
        some = min(size, most)
        dollars, size = dollars + some / GB * price, size - some
    return dollars


def print_measured(studies: list[Measured], fetching: Fetching) -> None:
    """Print what was counted."""
    print("| study | subjects | keys | LIST | GET while compiling | planned files | GET to fetch |")
    print("|---|---:|---:|---:|---:|---:|---:|")
    for one in studies:
        files, gets = one.plan.header.files, downloads(one.plan, fetching)
        counts = (one.subjects, one.keys, one.lists, one.reads, files, gets)
        print(f"| {one.name} | {' | '.join(f'{count:,}' for count in counts)} |")
    planned = sum(one.plan.header.files for one in studies)
    print(
        f"\nA request of a large object brings {fetching.bytes_a_request / 1e6:.1f} MB; a file has "
        f"{sum(one.plan_bytes for one in studies) / planned:.0f} bytes in a plan and "
        f"{fetching.receipt_bytes:.0f} in receipts.\n"
    )


def costs(study: Study) -> dict[str, str]:
    """Return the rows of a collection's column."""
    planning = (study.datasets * STARTED + study.files * (1 / LISTED + 1 / COMPILED)) / 60
    requests = study.lists * LIST_PRICE + (study.reads + study.downloads) * GET_PRICE
    times = {
        f"hours to fetch: {gigabits} Gbit/s, {machines} machine{'s' * (machines > 1)}": hours(
            study, gigabits, machines
        )
        for gigabits, machines in ((1, 1), (10, 1), (10, 4))
    }
    return {
        "datasets, subjects": f"{study.datasets:,}, {study.subjects:,}",
        "files, TB": f"{study.files:,}, {study.bytes / TB:.1f}",
        "LIST, GET to plan": f"{study.lists:,}, {study.reads:,}",
        "GET to fetch": f"{study.downloads:,}",
        "minutes to plan": f"{planning:.1f}",
        **{title: f"{time:.1f}, by {limit}" for title, (time, limit) in times.items()},
        "dollars for open data": "0",
        "dollars for requests, if charged": f"{requests:,.2f}",
        "dollars for transfer to the internet, if charged": f"{internet(study.bytes):,.0f}",
        "dollars for PUT, if the destination is a bucket": f"{study.files * PUT_PRICE:,.2f}",
    }


def print_costs(studies: list[Study]) -> None:
    """Print requests, dollars and hours of collections."""
    columns = [costs(study) for study in studies]
    print(f"| | {' | '.join(study.name for study in studies)} |")
    print("|---|" + "---:|" * len(studies))
    for title in columns[0]:
        print(f"| {title} | {' | '.join(column[title] for column in columns)} |")


def main() -> None:
    """Measure, scale and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("corpora", type=Path)
    parser.add_argument("--hbn-subjects", type=int, default=2600)
    parser.add_argument("--hbn-gigabytes", type=float, default=1.7, help="of one subject")
    parser.add_argument("--openneuro-datasets", type=int, default=1500)
    parser.add_argument("--openneuro-subjects", type=int, default=60_000)
    given = parser.parse_args()
    names = sorted(path.name.removesuffix(".tsv.gz") for path in given.corpora.glob("*.tsv.gz"))
    # Not derivatives that stand alone.
    studies = [measure(given.corpora, name) for name in names if "-" not in name]
    fetching = measure_fetching()
    print_measured(studies, fetching)
    like = Study(
        "measured",
        len(studies),
        sum(one.subjects for one in studies),
        sum(one.plan.header.files for one in studies),
        sum(one.plan.header.bytes for one in studies),
        sum(one.lists for one in studies),
        sum(one.reads for one in studies),
        sum(downloads(one.plan, fetching) for one in studies),
    )
    hbn = scaled("HBN", 4, given.hbn_subjects, like)
    bytes_ = round(given.hbn_subjects * given.hbn_gigabytes * GB)
    ranges = round(bytes_ / fetching.bytes_a_request)
    hbn = hbn._replace(bytes=bytes_, downloads=max(hbn.files, ranges))
    all_ = scaled("all of OpenNeuro", given.openneuro_datasets, given.openneuro_subjects, like)
    print_costs([like, hbn, all_])


if __name__ == "__main__":
    main()
