"""What the documents show is true: examples load, and tables agree with the code."""

from __future__ import annotations

import re
import tarfile
import tomllib
from pathlib import Path

import msgspec
import pytest

import bidsplan
import corpora
from bidsplan import errors, events
from bidsplan.manifest.load import load_manifest
from bidsplan.plan import Entry, Header
from bidsplan.plan.integrity import CheckMethod

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))


def page_of(name):
    """Find the page of a name in whichever folder it is."""
    (found,) = DOCS.glob(f"*/{name}")
    return found


def text(name):
    return page_of(name).read_text(encoding="utf-8")


def section(name, heading):
    """Give what stands below a heading, up to the next one."""
    return re.split(r"^#", text(name).partition(f"# {heading}\n")[2], maxsplit=1, flags=re.M)[0]


def first_column(markdown):
    """Give the names in the first column of a page's tables, a list for each row."""
    return [re.findall(r"`([^`]+)`", cell) for cell in re.findall(r"^\| (`.*?) \|", markdown, re.M)]


def names(markdown):
    return [name for row in first_column(markdown) for name in row]


def examples():
    """Find the whole manifests that the documents show."""
    for page in sorted([*DOCS.rglob("*.md"), ROOT / "README.md"]):
        blocks = re.findall(r"^```yaml\n(.*?)^```", page.read_text(encoding="utf-8"), re.M | re.S)
        for number, block in enumerate(blocks):
            if "manifest_version" in block:
                yield pytest.param(block, id=f"{page.stem}-{number}")


@pytest.mark.parametrize("example", list(examples()))
def test_an_example_loads_without_a_warning(example, tmp_path):
    path = tmp_path / "manifest.yaml"
    path.write_text(example, encoding="utf-8")
    assert load_manifest(path).warnings == ()


def columns_of(study):
    """Read the names of the columns of a study's participants.tsv, where that is at hand."""
    path = corpora.FOLDER / f"{study}.files.tar.xz"
    if not path.exists():
        return None
    with tarfile.open(path) as archive:
        tables = [name for name in archive.getnames() if name.count("/") == 1]
        found = [name for name in tables if name.endswith("/participants.tsv")]
        return archive.extractfile(found[0]).readline().decode().split() if found else None


@corpora.needs_corpora
def test_examples_select_by_columns_that_their_studies_have(tmp_path):
    path, seen = tmp_path / "manifest.yaml", set()
    for example in examples():
        path.write_text(example.values[0], encoding="utf-8")
        manifest = load_manifest(path).manifest
        subjects = manifest.subjects
        columns = columns_of(manifest.study.id)
        own = subjects is not None and subjects.table == "participants.tsv"
        if not own or columns is None:
            continue
        sample = subjects.sample
        named = {*subjects.where, *((*sample.per, *sample.stratify_by) if sample else ())}
        assert named <= {"site", *columns}, example.id
        if named:
            seen.add(example.id)
    assert "README-0" in seen


def test_the_manual_has_examples():
    assert len([example for example in examples() if example.id.startswith("manifest-")]) >= 4


def test_the_python_page_names_every_event_and_only_public_names():
    listed = names(section("python.md", "Step by step"))
    kinds = [kind for kind in vars(events).values() if isinstance(kind, type)]
    told = {kind.__name__ for kind in kinds if issubclass(kind, msgspec.Struct)}
    assert set(listed) == told - {"Event", "Entry", "Plan"}
    assert set(listed) <= set(bidsplan.__all__)


def requirement_names(requirements):
    return [re.match(r"[A-Za-z0-9._-]+", requirement)[0] for requirement in requirements]


def test_every_dependency_has_its_line():
    assert names(section("dependencies.md", "At run time")) == requirement_names(
        PROJECT["project"]["dependencies"]
    )


@pytest.mark.parametrize("extra", PROJECT["project"]["optional-dependencies"])
def test_every_dependency_of_an_extra_has_its_line(extra):
    assert names(section("dependencies.md", f"Extra `{extra}`")) == requirement_names(
        PROJECT["project"]["optional-dependencies"][extra]
    )


def test_the_layers_are_those_that_are_checked():
    contract = PROJECT["tool"]["importlinter"]["contracts"][0]
    assert contract["type"] == "layers"
    assert first_column(section("architecture.md", "Layers")) == [
        layer.split(" | ") for layer in contract["layers"]
    ]


def test_the_architecture_page_names_files_that_exist():
    found = re.findall(
        r"`((?:[a-z0-9_]+/)+[a-z0-9_]+\.(?:py|md)|[a-z_]+\.py)`", text("architecture.md")
    )
    assert len(found) > 20
    folders = (ROOT, ROOT / "src" / "bidsplan")
    assert [name for name in found if not any((top / name).is_file() for top in folders)] == []
    rooms = [path.parent.name for path in (ROOT / "src" / "bidsplan").glob("*/__init__.py")]
    assert sorted(names(section("architecture.md", "Rooms"))) == sorted(rooms)


def test_the_plan_page_names_every_field():
    fields = {field.name for model in (Header, Entry) for field in msgspec.structs.fields(model)}
    assert set(names(section("plan.md", "Format"))) == fields


def test_the_proofs_are_listed_strongest_first():
    assert names(section("fetching.md", "How a file is proved")) == list(CheckMethod)


def test_the_exit_codes_page_names_real_failures():
    kinds = [kind for kind in vars(errors).values() if isinstance(kind, type)]
    codes = {kind.code for kind in kinds if issubclass(kind, errors.BidsplanError)}
    listed = names(section("exit-codes.md", "Names of failures"))
    assert listed
    assert set(listed) <= codes


@pytest.mark.parametrize("page", ["faults.md", "security.md"])
def test_every_fault_and_every_promise_has_a_test(page):
    folder = ROOT / "tests"
    shown = re.findall(r"`(test_\w+)`", text(page))
    tests = "".join(path.read_text(encoding="utf-8") for path in folder.rglob("*.py"))
    assert len(shown) > 20
    assert [name for name in shown if f"def {name}(" not in tests] == []
    files = re.findall(r"`(test_\w+\.py)`", text(page))
    assert [name for name in files if not list(folder.rglob(name))] == []
    rows = [line for line in text(page).splitlines() if line.startswith("| **")]
    assert [row for row in rows if "`test_" not in row] == []
