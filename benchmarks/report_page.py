"""Time the page of a large plan in Chromium.

The plan has 3,000 subjects and, by datatype, 20 columns, of which 7 % of the cells are empty. Times
are medians: of opening the page until its tables are drawn, and from a key in a search field until
the next frame is drawn::

    python benchmarks/report_page.py
"""

from __future__ import annotations

import argparse
import random
import shutil
import statistics
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import bidsplan
from bidsplan.plan import Entry, Plan, Root

if TYPE_CHECKING:
    from collections.abc import Iterator

RAW = ("anat/T1w", "dwi/dwi", "func/bold", "fmap/epi", "perf/asl", "eeg/eeg")
PIPELINES = {
    "fmriprep": ("anat/dseg", "func/boldref"),
    "qsiprep": ("anat/dseg", "dwi/dwi"),
    "freesurfer": ("mri/aseg", "surf/pial", "stats/aseg", "label/aparc"),
    "mriqc": ("anat/T1w", "func/bold"),
    "aslprep": ("perf/cbf", "anat/T1w"),
    "afq": ("dwi/profiles", "tracts/csd"),
}
EMPTY = 0.07
SIZES = {".nii.gz": 20_000_000, ".json": 900}
FLAGS = ("--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync")

FRAME = """async ([field, text]) => {
  const element = document.getElementById(field);
  const start = performance.now();
  element.value = text;
  element.dispatchEvent(new Event("input"));
  await new Promise((done) => requestAnimationFrame(() => setTimeout(done)));
  return performance.now() - start;
}"""


def large_plan(subjects: int = 3000) -> Plan:
    """Make the plan; the same each time."""
    numbers = random.Random(1)
    labels = [f"NDAR{number:05}" for number in range(subjects)]
    entries = []
    for label in labels:
        for folder, kinds in {"": RAW, **PIPELINES}.items():
            top = f"derivatives/{folder}/" if folder else ""
            for datatype, suffix in (kind.split("/") for kind in kinds):
                if numbers.random() < EMPTY:
                    continue
                for extension, least in SIZES.items():
                    path = f"{top}sub-{label}/{datatype}/sub-{label}_{suffix}{extension}"
                    size = least + numbers.randrange(least)
                    entries.append(Entry(path=path, key=path, size=size, reason="selected"))
    return Plan.build(
        entries,
        manifest_sha256="0" * 64,
        study="large",
        roots=[Root(url="s3://bucket/large", anonymous=True)],
        subjects=labels,
    )


@contextmanager
def chromium() -> Iterator[Any]:
    """Start the Chromium of this machine."""
    from playwright.sync_api import sync_playwright

    path = shutil.which("chromium") or shutil.which("chromium-browser")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=FLAGS)
        try:
            yield browser
        finally:
            browser.close()


def open_page(browser: Any, path: Path, **options: Any) -> tuple[Any, float]:
    """Open a page of its own; returns it, and the seconds until its tables are drawn."""
    page = browser.new_page(**options)
    start = time.perf_counter()
    page.goto(path.as_uri())
    page.wait_for_selector("html[data-ready]")
    return page, time.perf_counter() - start


def measure(folder: Path, rounds: int) -> None:
    """Write the page of the large plan, and time it."""
    plan, path = large_plan(), folder / "large.html"
    start = time.perf_counter()
    bidsplan.write_report(plan, path)
    written = time.perf_counter() - start
    opened: list[float] = []
    filtered: dict[str, list[float]] = {"find": [], "find-file": []}
    with chromium() as browser:
        for _ in range(rounds):
            page, seconds = open_page(browser, path)
            opened.append(seconds)
            for field, times in filtered.items():
                for text in ("n", "ndar", "ndar001", "zzz", "7", ""):
                    times.append(page.evaluate(FRAME, [field, text]))
            page.close()
    megabytes = path.stat().st_size / 1e6
    print(f"{plan.header.files:,} files; page of {megabytes:.1f} MB written in {written:.1f} s")
    print(f"opened in {statistics.median(opened):.2f} s (slowest {max(opened):.2f})")
    for field, times in filtered.items():
        what = "subjects" if field == "find" else "files"
        print(f"{what} filtered in {statistics.median(times):.0f} ms (slowest {max(times):.0f})")


def main() -> None:
    """Run what the command line asks for."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        measure(Path(name), options.rounds)


if __name__ == "__main__":
    main()
