"""Makes the pictures of the pages: ``python docs/site/draw_pictures.py``.

``session.svg`` shows what commands print on the demo study, ``report.png`` the page of a small
study in Chromium. A test compares the first one with what the commands print now.
"""

from __future__ import annotations

import io
import random
import subprocess
import sys
import tempfile
from pathlib import Path

import bidsplan
from bidsplan.cli.demo_study import write_demo

ROOT = Path(__file__).resolve().parents[2]
PICTURES = ROOT / "docs" / "pictures"
SESSION = (
    "bidsplan validate cohort.yaml",
    "bidsplan compile cohort.yaml",
    "sed -i 's/sample: 2/sample: 3/' cohort.yaml",
    "bidsplan diff cohort.yaml",
    "bidsplan fetch cohort.yaml data",
    "bidsplan verify cohort.yaml data",
)
_COHORT = """\
manifest_version: 1
study: {id: demo, url: study}
subjects: {sample: 2}
random_seed: 42
sessions: [baseline]
files: [T1w, {datatypes: [dwi]}]
"""
_PROMPT = "$ "
_COLUMNS = 122
_COLOURS = {_PROMPT: "bold cyan", "+ ": "green", "- ": "red"}
"""How lines that begin so are shown."""

_SVG = """\
<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 16 {width} {height}" role="img">
<title>Validate a manifest, compile it, change it, see what the change does, and fetch</title>
<style>
.{unique_id}-matrix {{
  font-family: ui-monospace, Menlo, Consolas, "DejaVu Sans Mono", monospace;
  font-size: {char_height}px;
  line-height: {line_height}px;
}}
{styles}
</style>
<defs>{lines}</defs>
<rect y="16" width="{width}" height="{height}" rx="8" fill="#292929"/>
<g transform="translate({terminal_x}, {terminal_y})">
{backgrounds}
<g class="{unique_id}-matrix">
{matrix}
</g>
</g>
</svg>
"""
"""As rich's own, but without fonts of another host and the frame of a window."""

MANIFEST = """\
manifest_version: 1
study: {id: sleep-and-memory, url: study}
subjects:
  where: {age: {min: 18}}
  exclude: ["05"]
  sample: {count: 24}
random_seed: 42
files:
  - {suffixes: [T1w], extensions: [.nii.gz]}
  - {suffixes: [dwi, bold], exclude: ["**/*_acq-bad_*"]}
derivatives:
  fmriprep: {suffixes: [boldref]}
"""


def run_session() -> list[str]:
    """Run the commands of the session beside the demo study; return what a terminal shows."""
    lines = []
    with tempfile.TemporaryDirectory() as folder:
        write_demo(Path(folder))
        (Path(folder) / "cohort.yaml").write_text(_COHORT, encoding="utf-8")
        for command in SESSION:
            program = command.replace("bidsplan", f"'{sys.executable}' -m bidsplan", 1)
            done = subprocess.run(
                ["bash", "-c", program if command.startswith("bidsplan") else command],
                cwd=folder,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                check=False,
            )
            lines += [_PROMPT + command, *done.stdout.splitlines()]
    return lines


def draw_session(picture: Path) -> None:
    """Draw the session as a terminal shows it."""
    from rich.console import Console
    from rich.text import Text

    console = Console(record=True, width=_COLUMNS, file=io.StringIO(), color_system="truecolor")
    for line in run_session():
        style = next((style for start, style in _COLOURS.items() if line.startswith(start)), "")
        console.print(Text(line, style=style), overflow="ignore", no_wrap=True, crop=False)
    picture.write_text(console.export_svg(code_format=_SVG, unique_id="session"), encoding="utf-8")


def make_study(folder: Path) -> None:
    """Make a study of forty subjects, of which each may lack something."""
    numbers = random.Random(8)
    (folder / "study").mkdir()
    rows = ["participant_id\tage"]
    for label in (f"{number:02}" for number in range(1, 41)):
        rows += [f"{label}\t{numbers.randrange(12, 40)}"] if label != "17" else []
        for session in ("01", "02"):
            name = f"sub-{label}_ses-{session}"
            bold = "task-rest" if numbers.random() < 0.93 else "task-rest_acq-bad"
            found = [
                f"anat/{name}_{'T1w' if numbers.random() < 0.9 else 'T2w'}",
                *([f"dwi/{name}_dwi"] if numbers.random() < 0.85 else []),
                *([f"func/{name}_{bold}_bold"] if numbers.random() < 0.95 else []),
            ]
            for stem in found:
                size = numbers.randrange(100, 4000)
                _write(folder / f"study/sub-{label}/ses-{session}/{stem}.nii.gz", size)
        if numbers.random() < 0.85:
            stem = f"sub-{label}/func/sub-{label}_task-rest_boldref.nii.gz"
            _write(folder / f"study/derivatives/fmriprep/{stem}", 500)
    (folder / "study/participants.tsv").write_text("\n".join(rows) + "\n")
    (folder / "study.yaml").write_text(MANIFEST)


def _write(path: Path, size: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"x" * size)


def draw_report(folder: Path, picture: Path) -> None:
    """Draw the page of a small study whose manifest is known."""
    make_study(folder)
    loaded = bidsplan.load_manifest(folder / "study.yaml")
    plan = bidsplan.compile_manifest(loaded.manifest, base=folder).plan
    reasons = bidsplan.find_reasons(plan, loaded)
    bidsplan.write_report(plan, folder / "study.html", reasons=reasons)
    sys.path.insert(0, str(ROOT / "benchmarks"))
    from report_page import chromium, open_page

    with chromium() as browser:
        size = {"width": 1180, "height": 900}
        page, _ = open_page(browser, folder / "study.html", viewport=size)
        page.screenshot(path=picture)


def main() -> None:
    """Make all pictures."""
    PICTURES.mkdir(exist_ok=True)
    draw_session(PICTURES / "session.svg")
    with tempfile.TemporaryDirectory() as folder:
        draw_report(Path(folder), PICTURES / "report.png")


if __name__ == "__main__":
    main()
