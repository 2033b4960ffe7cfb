"""Promises of the project: schemas are current, imports are inert, names are public."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
from pathlib import Path

import jsonschema
import pytest
import yaml

import bidsplan
from bidsplan.cli.json_schemas import SCHEMAS, schema_text
from bidsplan.cli.main import run

ROOT = Path(__file__).resolve().parents[2]
MANIFESTS = sorted((ROOT / "manifests").glob("*.yaml"))


@pytest.mark.parametrize("what", SCHEMAS)
def test_schemas_are_those_of_the_models(what, capsys):
    text = (ROOT / "schemas" / f"{what}.schema.json").read_text(encoding="utf-8")
    assert text == schema_text(what)
    assert run(["schema", what]) == 0
    assert capsys.readouterr().out == text
    jsonschema.Draft202012Validator.check_schema(json.loads(text))


def check(document):
    schema = json.loads(schema_text("manifest"))
    return [
        error.message for error in jsonschema.Draft202012Validator(schema).iter_errors(document)
    ]


def documents():
    for path in MANIFESTS:
        yield pytest.param(path.read_text(encoding="utf-8"), id=path.stem)
    text = (ROOT / "docs" / "reference" / "manifest.md").read_text(encoding="utf-8")
    for number, block in enumerate(text.split("```yaml\n")[1:]):
        if "manifest_version" in block.partition("```")[0]:
            yield pytest.param(block.partition("```")[0], id=f"manual-{number}")


@pytest.mark.parametrize("text", list(documents()))
def test_manifests_fit_their_schema_as_editors_read_them(text):
    assert check(yaml.safe_load(text)) == []


@pytest.mark.parametrize(
    "change",
    [
        {"fils": {}},
        {"files": {"sufixes": ["T1w"]}},
        {"subjects": {"sample": {"cuont": 1}}},
        {"companions": "some"},
        {"manifest_version": "one"},
        {"derivatives": {"afq": {"scop": "whole"}}},
    ],
)
def test_the_schema_refuses_what_the_models_refuse(change):
    document = {"manifest_version": 1, "study": {"id": "x", "url": "s3://b/x"}}
    assert check(document) == []
    assert check({**document, **change})


def test_importing_loads_nothing_heavy():
    heavy = "fsspec s3fs obstore botocore urllib3 pydantic yaml numpy nibabel tqdm asyncio click"
    code = (
        f"import bidsplan, sys, threading; loaded = [m for m in {heavy.split()} "
        "if m in sys.modules]; print(loaded, threading.active_count())"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.split("]") == ["[", " 1\n"]


def test_a_finished_fetch_loads_nothing_heavy(tmp_path):
    (tmp_path / "s" / "sub-1").mkdir(parents=True)
    (tmp_path / "s" / "sub-1" / "x.txt").write_text("x")
    (tmp_path / "m.yaml").write_text("manifest_version: 1\nstudy: {id: x, url: s}\n")
    fetch = ["fetch", str(tmp_path / "m.plan.jsonl"), str(tmp_path / "d")]
    assert run(["compile", str(tmp_path / "m.yaml")]) == 0
    assert run(fetch) == 0
    code = (
        "import sys; from bidsplan.cli.main import run; code = run(sys.argv[1:]); "
        "print([m for m in ('fsspec', 'botocore', 'obstore', 'pydantic') if m in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, *fetch], capture_output=True, text=True, check=True
    )
    assert done.stdout.splitlines()[-1] == "[]"


@pytest.mark.parametrize("name", bidsplan.__all__)
def test_public_names_are_there_and_documented(name):
    found = getattr(bidsplan, name)
    assert found.__doc__


def test_validating_needs_no_network(monkeypatch):
    def refuse(*_args, **_kwargs):
        raise AssertionError("validate asked for a network")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    assert run(["validate", *map(str, MANIFESTS)]) == 0


def test_a_report_is_as_its_schema_says(tmp_path, capsys):
    """Check the rows of each outcome; other tests that break runs check theirs too."""
    (tmp_path / "s" / "sub-1").mkdir(parents=True)
    (tmp_path / "s" / "sub-1" / "x.txt").write_text("x")
    (tmp_path / "m.yaml").write_text("manifest_version: 1\nstudy: {id: x, url: s}\n")
    (tmp_path / "bad.yaml").write_text("manifest_version: 1\nstudy: {id: x, ulr: s}\n")
    folder, plan = str(tmp_path / "d"), str(tmp_path / "m.plan.jsonl")
    assert run(["compile", str(tmp_path / "m.yaml")]) == 0
    capsys.readouterr()
    commands = {
        ("fetch", "-n", plan, folder): {"fetch"},
        ("fetch", plan, folder): {"fetch"},
        ("verify", plan, folder): {"keep"},
        ("verify", plan, str(tmp_path / "empty")): {"missing"},
        ("fetch", str(tmp_path / "bad.yaml"), folder): {"manifest"},
    }
    (tmp_path / "empty").mkdir()
    validator = jsonschema.Draft202012Validator(json.loads(schema_text("report")))
    for command, words in commands.items():
        run([*command, "--json"])
        rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
        assert [error.message for row in rows for error in validator.iter_errors(row)] == []
        assert {row.get("action", row.get("error")) for row in rows} - {None} == words
    assert not validator.is_valid({"path": "x", "action": "done"})
    assert not validator.is_valid({"path": "x", "action": "fetch", "proof": "luck"})
    assert not validator.is_valid(
        {"path": "x", "error": "bad luck", "help_code": "BP501", "message": "", "problems": []}
    )
