"""Are subsets still valid BIDS datasets? Counts them over the bids-examples datasets.

One subject of each dataset is drawn, with all its companions and what field maps are meant for,
and fetched; then every one of the first four suffixes of data files, alone, of the same subject,
and its first run. A subset passes where bids-validator reports no error code that the whole dataset
does not have.

Needs a folder of bids-examples datasets and ``bids-validator-deno`` on the path::

    python benchmarks/subset_validity.py path/to/bids-examples
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import bidsplan
from bidsplan.bids.names import parse_name, recording_of, subject_label

_METADATA = frozenset({".json", ".tsv", ".tsv.gz", ".bval", ".bvec"})
_SUFFIXES = 4


@dataclass(frozen=True)
class Result:
    """What became of one subset: the error codes that only it has, or why there is none."""

    dataset: str
    what: str
    new: tuple[str, ...]
    failed: str | None = None

    @property
    def passed(self) -> bool:
        """Whether the subset is as valid as the whole."""
        return not self.new and self.failed is None


def error_codes(folder: Path) -> set[str]:
    """Validate a dataset."""
    command = ["bids-validator-deno", "--json", "--ignoreWarnings", str(folder)]
    out = subprocess.run(command, capture_output=True, text=True, check=False).stdout
    issues = json.loads(out)["issues"]["issues"]
    return {issue["code"] for issue in issues if issue.get("severity") == "error"}


def manifest_for(dataset: Path, **more: object) -> bidsplan.Manifest:
    """Draw one subject of a dataset."""
    return bidsplan.Manifest.model_validate(
        {
            "manifest_version": 1,
            "study": {"id": dataset.name, "url": str(dataset)},
            "subjects": {"sample": {"count": 1}},
            "random_seed": 1,
            "companions": {"targets": True},
            **more,
        }
    )


def suffixes_of(plan: bidsplan.Plan) -> list[str]:
    """List the suffixes of the data files that a plan selects, in alphabetical order."""
    found = set()
    for entry in plan.entries:
        path = recording_of(entry.path) or entry.path
        name = parse_name(path, recording=path != entry.path)
        if entry.reason == "selected" and name.datatype and name.extension not in _METADATA:
            found.add(name.suffix)
    return sorted(found)[:_SUFFIXES]


def runs_of(plan: bidsplan.Plan) -> list[str]:
    """List the first run of the data files that a plan selects, where they have runs."""
    names = (parse_name(entry.path) for entry in plan.entries if entry.reason == "selected")
    return sorted({name.entities["run"] for name in names if "run" in name.entities})[:1]


def check(dataset: Path, what: str, manifest: bidsplan.Manifest, whole: set[str]) -> Result:
    """Compile, fetch and validate one subset."""
    folder = Path(tempfile.mkdtemp(prefix="subset-"))
    try:
        plan = bidsplan.compile_manifest(manifest).plan
        for event in bidsplan.materialise(plan, str(folder)):
            error = getattr(event, "error", None)
            if error is not None:
                return Result(dataset.name, what, (), str(error))
        return Result(dataset.name, what, tuple(sorted(error_codes(folder) - whole)))
    except bidsplan.BidsplanError as error:
        return Result(dataset.name, what, (), str(error))
    finally:
        shutil.rmtree(folder)


def check_dataset(dataset: Path) -> list[Result]:
    """Check a dataset's subset of one subject, and of each suffix."""
    whole = error_codes(dataset)
    manifest = manifest_for(dataset)
    results = [check(dataset, "one subject", manifest, whole)]
    if results[0].failed is None:
        plan = bidsplan.compile_manifest(manifest).plan
        for suffix in suffixes_of(plan):
            one = manifest_for(dataset, files={"suffixes": [suffix]})
            results.append(check(dataset, suffix, one, whole))
        for run in runs_of(plan):
            one = manifest_for(dataset, files={"entities": {"run": run}})
            results.append(check(dataset, f"run {run}", one, whole))
    return results


def main() -> int:
    """Print the counts, and each subset that fails with the codes that only it has."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("examples", type=Path)
    parser.add_argument("--only", nargs="*", help="names of datasets")
    arguments = parser.parse_args()
    datasets = sorted(
        folder
        for folder in arguments.examples.iterdir()
        if folder.is_dir() and any(subject_label(child.name) for child in folder.iterdir())
        if not arguments.only or folder.name in arguments.only
    )
    with ThreadPoolExecutor(max_workers=2) as pool:
        results = [result for some in pool.map(check_dataset, datasets) for result in some]
    for title, chosen in (
        ("one subject", [r for r in results if r.what == "one subject"]),
        ("one run", [r for r in results if r.what.startswith("run ")]),
        ("one suffix", [r for r in results if not r.what.startswith(("one ", "run "))]),
    ):
        print(f"{title}: {sum(r.passed for r in chosen)} of {len(chosen)} valid")
        for result in chosen:
            if not result.passed:
                why = result.failed or ", ".join(result.new)
                print(f"  {result.dataset} {result.what}: {why}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
