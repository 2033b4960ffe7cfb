"""Messages quote little of a file's content, and nothing of a file that is no table."""

from __future__ import annotations

import itertools
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from bidsplan.cli.main import run
from bidsplan.messages import is_quotable, is_quotable_label, suggestion

CANARY = "cAnArY7h1ef"
TOKEN = f"gho_16C7e42F292c6912E7710c{CANARY}"

# The first line of a file, and what is below it; an attacker may know the first.
SECRETS = {
    "credentials": (
        "[default]",
        f"aws_access_key_id = AKIAIOSFODNN7EXAMPLE\naws_secret_access_key = wJalr{CANARY}\n",
    ),
    "environment": ("HOME=/root", f"TOKEN={TOKEN}\nPATH=/bin\n"),
    "environment with NUL": (f"HOME=/root\0TOKEN={TOKEN}\0", ""),
    "netrc": ("machine api.example.org", f"login me\npassword {CANARY}\n"),
    "passwords": ("hunter2", f"{CANARY}\nhunter3\n"),
    "one line": (CANARY, ""),
    "key": ("-----BEGIN OPENSSH PRIVATE KEY-----", f"b3BlbnNzaC1r{CANARY}\n"),
    "json": ("{", f'"token": "{CANARY}"}}\n'),
    "table of secrets": (
        "participant_id\tsex\tPassword\tname",
        f"sub-01\tF\t{CANARY}\t{TOKEN}\nsub-09\tF\t{CANARY}2\t{TOKEN}\n",
    ),
}
SELECTIONS = [
    "{{from: participants, table: {table}}}",
    "{{from: both, table: {table}, include: [cAnArY7h1e]}}",
    "{{from: both, missing: skip, table: {table}, exclude: [cAnArY7h1e]}}",
    "{{table: {table}, where: {{cAnArY7h1e: x}}}}",
    "{{table: {table}, where: {{Password: cAnArY7h1e}}}}",
    "{{table: {table}, where: {{name: {{not: cAnArY7h1e}}, Password: [x, y]}}}}",
    "{{table: {table}, sample: {{count: 1, stratify_by: [cAnArY7h1e]}}}}",
    "{{table: {table}, sample: {{count: 9, stratify_by: [Password]}}}}",
    "{{table: {table}, sample: {{count: 1, per: [Password, name]}}}}",
    "{{table: {table}, sample: {{count: 9, per: Password}}}}",
]
# With the column of ids that it has, a file is read as a table.
COLUMNS = [None, "participant_id", "{first}", "cAnArY7h1e"]


@pytest.fixture
def study(tmp_path, monkeypatch):
    """Give a study of two subjects, with the working directory above it."""
    for label in ("01", "02"):
        folder = tmp_path / f"study/sub-{label}/func"
        folder.mkdir(parents=True)
        (folder / f"sub-{label}_task-rest_bold.nii").write_bytes(b"x")
    monkeypatch.chdir(tmp_path)
    return tmp_path / "study"


def manifest_of(subjects):
    Path("study.yaml").write_text(
        "manifest_version: 1\nstudy: {id: study, url: study}\nrandom_seed: 1\n"
        f"subjects: {subjects}\n"
    )


CHOOSING = [
    ["compile", "study.yaml", "-o", "out.jsonl"],
    ["explain", "study.yaml", "--json"],
    ["explain", "study.yaml", "sub-09"],
    ["fetch", "study.yaml", "got", "--dry-run", "--json"],
]
COMMANDS = [
    *CHOOSING,
    ["validate", "study.yaml"],
    ["inspect", "study.yaml"],
    ["inspect", "study.yaml", "--json"],
    ["init", "study"],
]


def everything_said(capsys, commands=COMMANDS):
    """Run commands over the manifest, and give all that any of them prints or writes."""
    for command in commands:
        run(command)
    captured = capsys.readouterr()
    said = captured.out + captured.err
    assert "Traceback" not in said
    assert "defect" not in said
    return said + "".join(file.read_text() for file in Path().glob("*.jsonl"))


def leaked(said):
    # What the manifest itself asks for lacks the canary's end.
    return CANARY in said or TOKEN[:12] in said or "AKIA" in said


@pytest.mark.parametrize("name", SECRETS)
def test_a_cohort_file_that_holds_secrets_is_not_quoted(name, study, capsys):
    first, rest = SECRETS[name]
    Path("cohort.tsv").write_text(f"{first}\n{rest}")
    # Each selection with one of the columns, and each column with one of the selections.
    pairs = list(zip(SELECTIONS, itertools.cycle(COLUMNS), strict=False))
    for selection, column in [*pairs, *((SELECTIONS[0], column) for column in COLUMNS[1:])]:
        table = {"file": "cohort.tsv"}
        if column:
            table["id_column"] = column.format(first=first.split("\t")[0].rstrip("\0"))
        if table.get("id_column") == CANARY:
            continue
        manifest_of(selection.format(table=json.dumps(table)))
        said = everything_said(capsys, CHOOSING)
        assert not leaked(said), said


@pytest.mark.parametrize("name", SECRETS)
def test_a_studys_table_that_leads_to_secrets_is_not_quoted(name, study, tmp_path, capsys):
    (tmp_path / "secret").write_text("".join(f"{part}\n" for part in SECRETS[name]))
    (study / "participants.tsv").symlink_to("../secret")
    for selection in SELECTIONS[::2]:
        manifest_of(selection.format(table="participants.tsv"))
        assert not leaked(everything_said(capsys))


def test_sidecars_and_events_that_lead_to_secrets_are_not_quoted(study, tmp_path, capsys):
    (study / "stimuli").mkdir()
    (tmp_path / "json").write_text(
        json.dumps(
            {
                "IntendedFor": [CANARY, f"bids::{CANARY}"],
                "AssociatedEmptyRoom": [f"sub-{CANARY}/x", f"sub-{CANARY}\0/x", f"{CANARY}/../y"],
                "B0FieldIdentifier": CANARY,
            }
        )
    )
    (tmp_path / "broken").write_text(f'{{"x": {CANARY}')
    (tmp_path / "events").write_text(f"onset\tstim_file\n1\t{CANARY}\n2\t../{CANARY}\n")
    for label, content in (("01", "json"), ("02", "broken")):
        for folder, suffix in (("fmap", "epi"), ("meg", "meg"), ("func", "task-rest_bold")):
            stem = study / f"sub-{label}/{folder}/sub-{label}_{suffix}"
            stem.parent.mkdir(exist_ok=True)
            Path(f"{stem}.{'fif' if suffix == 'meg' else 'nii'}").write_bytes(b"x")
            Path(f"{stem}.json").symlink_to(tmp_path / content)
        events = study / f"sub-{label}/func/sub-{label}_task-rest_events.tsv"
        events.symlink_to(tmp_path / "events")
    manifest_of("{}")
    said = everything_said(capsys)
    assert "is not valid JSON" in said
    assert not leaked(said)


@pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="a kernel without /proc")
def test_links_to_the_environment_and_to_credentials_are_not_quoted(study, tmp_path):
    home = tmp_path / "home"
    (home / ".aws").mkdir(parents=True)
    (home / ".aws/credentials").write_text("\n".join(SECRETS["credentials"]))
    (study / "participants.tsv").symlink_to("/proc/self/environ")
    tables = {"environ.tsv": "/proc/self/environ", "aws.tsv": "../home/.aws/credentials"}
    commands = [["inspect", "study.yaml"], ["init", "study"]]
    manifest_of("{where: {x: y}}")
    manifests = tmp_path / "manifests"
    manifests.mkdir()
    for number, (name, target) in enumerate(tables.items()):
        (manifests / name).symlink_to(target)
        table = f"{{file: {name}, id_column: '[default]'}}"
        text = Path("study.yaml").read_text().replace("{where:", f"{{table: {table}, where:")
        (manifests / f"{number}.yaml").write_text(text.replace("url: study", "url: ../study"))
        commands += [["fetch", f"manifests/{number}.yaml", "d", "--debug"]]
        commands += [["compile", f"manifests/{number}.yaml", "--debug"]]
    environment = {**os.environ, "TOKEN": TOKEN, "HOME": str(home), "NO_COLOR": "1"}
    commands += [[*command, "--untrusted"] for command in commands]
    script = (
        "import sys, json\nfrom bidsplan.cli.main import run\n"
        "for command in json.loads(sys.argv[1]): print(command, run(command), flush=True)"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, json.dumps(commands)],
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    said = done.stdout + done.stderr
    assert "subjects.table.file" in said
    assert "defect" not in said
    assert not leaked(said), said


@pytest.mark.parametrize(
    ("word", "expected"),
    [
        ("participant_id", True),
        ("A, first", True),
        ("Geschlecht (männlich)", True),
        ("highest_parental_education_in_years", True),
        ("n/a", True),
        ("", False),
        ("TOKEN=abc", False),
        ("https://host/x", False),
        ("/root/.ssh", False),
        ("AKIAIOSFODNN7EXAMPLE", False),
        ("wJalrXUtnFEMIK7MDENGbPxRfiCYEXAMPLEKEY00", False),
        ("3fa85f64-5717-4562-b3fc-2c963f66afa6", False),
        ("a\x1b[31mb", False),
        ("sub\u202e01", False),
    ],
)
def test_words_that_are_quoted(word, expected):
    assert is_quotable(word) is expected


def test_labels_that_are_quoted():
    labels = ["01", "NDARAA306NT2", "CMH-0001", "A+1"]
    assert all(map(is_quotable_label, labels))
    assert not any(map(is_quotable_label, ["a b", "a_b", "a=b", "x" * 40, ""]))


def test_a_label_that_differs_in_zeros_only_is_suggested_first():
    labels = {"01", "10", "11", "12", "001"}
    assert suggestion("1", labels) == "did you mean '01'?"
    assert suggestion("7", {str(number) for number in range(10, 13)} | {"9"}) == (
        "there are '9', '10', '11', '12'"
    )
