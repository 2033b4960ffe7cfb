"""After a fetch, the commands that are named work as they are written."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
from pathlib import Path

import pytest

from bidsplan.cli.main import bidsplan
from bidsplan.command_lines import command_line, shell_line
from bidsplan.storage import Access
from studies import gamblers

ROOT = Path(__file__).resolve().parents[2]
PLAN = "demo.plan.jsonl"


@pytest.fixture
def ask_with_plan(ask_here, tmp_path):
    """Run commands beside the demo study, its manifest and its plan."""
    shutil.copytree(ROOT / "manifests" / "demo", tmp_path / "demo")
    shutil.copy(ROOT / "manifests" / "demo.yaml", tmp_path)
    assert ask_here("compile", "demo.yaml")[0] == 0
    return ask_here


def named(said):
    """Return the commands that a message names."""
    line = next(line for line in said.splitlines() if line.startswith("next: "))
    found = re.findall("'(bidsplan .*?)' (?:check|show|write)s", line)
    return [shlex.split(command)[1:] for command in found]


@pytest.mark.parametrize(
    "part",
    [
        ["--subject", "1"],
        ["--subject", "1", "--subject", "11", "--shard", "1/2"],
        ["--subject", "1", "--session", "baseline"],
        ["--shard", "2/3"],
        ["--subject", "1", "--shard", "1/2"],
    ],
    ids=" ".join,
)
def test_after_a_partial_fetch_the_same_part_is_verified(ask_with_plan, part):
    code, _, said = ask_with_plan("fetch", *part, PLAN, "some")
    assert code == 0, said
    verify = named(said)[0]
    assert verify == ["verify", *part, PLAN, "some"]
    assert ask_with_plan(*verify)[0] == 0
    assert ask_with_plan("verify", PLAN, "some")[0] == 1


def test_the_manifest_of_a_plan_is_named_to_show_what_the_study_lacks(ask_with_plan):
    said = ask_with_plan("fetch", PLAN, "all")[2]
    assert named(said)[1] == ["report", "demo.yaml"]
    for command in named(said):
        assert ask_with_plan(*command)[0] == 0


@pytest.mark.parametrize("beside", ["none", "another", "invalid"])
def test_a_plan_without_its_manifest_is_not_said_to_show_it(ask_with_plan, beside):
    manifest = Path("demo.yaml")
    text = manifest.read_text(encoding="utf-8").replace("random_seed: 42", "random_seed: 43")
    if beside == "none":
        manifest.unlink()
    else:
        manifest.write_text(text if beside == "another" else "filters: [")
    code, _, said = ask_with_plan("fetch", PLAN, "all")
    assert code == 0
    assert named(said) == [["verify", PLAN, "all"]]
    assert "lacks" not in said
    assert "warning" not in said


@pytest.mark.parametrize("place", ["all", "with space"])
def test_the_command_that_removes_files_of_an_earlier_plan_has_its_names(ask_with_plan, place):
    assert ask_with_plan("fetch", "demo.yaml", place)[0] == 0
    manifest = Path("demo.yaml")
    text = manifest.read_text(encoding="utf-8").replace("{count: 2}", "{count: 1}")
    manifest.write_text(text)
    said = ask_with_plan("fetch", "demo.yaml", place)[2]
    found = re.search(r"still there; '(bidsplan prune .*)' removes what the plan no longer", said)
    prune = shlex.split(found[1])[1:]
    assert prune == ["prune", "demo.yaml", place]
    assert ask_with_plan(*prune, "--yes")[0] == 0
    assert "still there" not in ask_with_plan("fetch", "demo.yaml", place)[2]


HARD = ["plain", "a b", "~/x", "it's", 'say "x"', "$HOME", "a`b", "a\\b", "a!b", "*", "", "é"]


def test_commands_can_be_pasted_and_their_quotes_do_not_nest():
    line = command_line("compile", Access(profile="my lab"), *HARD)
    assert shlex.split(line) == ["bidsplan", "compile", "--profile", "my lab", *HARD]
    printed = ["bash", "-c", f"printf '%s\\n' {shell_line(HARD)}"]
    said = subprocess.run(printed, capture_output=True, text=True, check=True).stdout
    assert said.split("\n")[:-1] == HARD
    assert "'" not in command_line("compile", Access(), "a b", "~/x", "*")


KEYS = "[lab]\naws_access_key_id = lab\naws_secret_access_key = lab-secret\n"
MANIFEST = """manifest_version: 1
study: {{id: lab, url: {url}, anonymous: false}}
files: {{suffixes: [T1w]}}
"""


@pytest.fixture
def lab(ask_here, bucket, tmp_path, monkeypatch):
    """Give the options that reach a private study, which no variable says, and its manifest."""
    (tmp_path / "keys").write_text(KEYS)
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "keys"))
    bucket.fill({f"study/{path}": data for path, data in gamblers().items()})
    Path("my lab.yaml").write_text(MANIFEST.format(url=f"s3://{bucket.name}/study"))
    return ["--endpoint-url", bucket.endpoint, "--profile", "lab"]


def test_the_commands_after_a_fetch_reach_the_same_storage(ask_here, lab):
    code, _, said = ask_here("fetch", *lab, "my lab.yaml", "data")
    assert code == 0, said
    verify, report = named(said)
    assert verify == ["verify", "my lab.yaml", "data"]
    assert report == ["report", *lab, "my lab.yaml"]
    for command in (verify, report):
        assert ask_here(*command)[0] == 0
    code, _, said = ask_here("report", "my lab.yaml")
    assert code != 0, "the options are not needed"


def test_the_command_after_init_reaches_the_same_study(ask_here, lab, bucket):
    study = f"s3://{bucket.name}/study"
    said = ask_here("init", *lab, study, "-o", "my new.yaml")[2]
    assert named(said) == [["compile", *lab, "my new.yaml"]]
    assert ask_here(*named(said)[0])[0] == 0
    assert "next" not in ask_here("init", *lab, study, "-o", "x.yaml", "--quiet")[2]


def test_what_a_destination_in_storage_needs_is_repeated(ask_here, lab, bucket):
    destination = f"s3://{bucket.name}/copy"
    code, _, said = ask_here("fetch", *lab, "--dest-profile", "lab", "my lab.yaml", destination)
    assert code == 0, said
    verify = named(said)[0]
    assert verify == ["verify", *lab, "--dest-profile", "lab", "my lab.yaml", destination]
    assert ask_here(*verify)[0] == 0
    Path("my lab.plan.jsonl").unlink()
    code, _, said = ask_here("fetch", *lab, "--locked", "my lab.yaml", destination)
    assert (code, shell_line(["bidsplan", "compile", *lab, "my lab.yaml"]) in said) == (2, True)


def test_a_command_that_was_wrong_is_named_with_its_options(ask_here, lab, bucket):
    said = ask_here("compile", *lab, "--signed", f"s3://{bucket.name}/study")[2]
    found = re.search("write one with 'bidsplan (.*)'", said)
    assert ask_here(*shlex.split(found[1]))[0] == 0
    assert ask_here("compile", *lab, "study.yaml")[0] == 0


EVERYTHING = Access(
    transport="fsspec",
    endpoint_url="https://key:password@storage.example.org:9000/x",
    region="eu-west-1",
    profile="my profile",
    anonymous=False,
    requester_pays=True,
    allow_protocols=frozenset({"sftp", "ftp"}),
    untrusted=True,
    dest_endpoint_url="https://key@other.example.org",
    dest_profile="$(other)",
    timeout=90,
)
LISTED = (
    "--endpoint-url https://storage.example.org:9000/x --region eu-west-1 "
    '--profile "my profile" '
    "{}--signed --requester-pays --allow-protocol ftp --allow-protocol sftp --untrusted "
    "--timeout 90{} "
)
SOURCES = LISTED.format("", " --transport fsspec")
BOTH = LISTED.format("--dest-endpoint-url https://other.example.org --dest-profile '$(other)' ", "")
ALLOWED = "--allow-protocol ftp --allow-protocol sftp --untrusted "


@pytest.mark.parametrize(
    ("command", "destination", "options"),
    [
        ("compile", [], SOURCES),
        ("diff", [], SOURCES),
        ("init", [], SOURCES),
        ("report", [], SOURCES),
        ("validate", [], ALLOWED),
        ("prune", ["data"], ALLOWED),
        ("prune", ["s3://bucket/data"], BOTH),
        ("verify", ["data"], ALLOWED),
        ("verify", ["s3://bucket/data"], BOTH),
    ],
)
def test_each_command_has_the_options_that_are_named_for_it(command, destination, options):
    line = command_line(command, EVERYTHING, "a b.yaml", *destination)
    assert line == f"bidsplan {command} {options}{shell_line(['a b.yaml', *destination])}"
    parser = bidsplan.get_command(None, command)
    words = shlex.split(line)[2:]
    values = parser.make_context(command, words).params
    for name, value in values.items():
        if name in EVERYTHING.__slots__ and f"--{name.replace('_', '-')}" in words:
            assert value == getattr(EVERYTHING, name) or "@" in getattr(EVERYTHING, name)


def test_no_option_is_named_that_was_not_given_or_is_a_secret(monkeypatch):
    assert command_line("compile", Access(), "x.yaml") == "bidsplan compile x.yaml"
    monkeypatch.setenv("BIDSPLAN_UNTRUSTED", "1")
    assert command_line("verify", Access(), "x.yaml", "d") == "bidsplan verify x.yaml d"
    signed = command_line("init", Access(), "https://me:pw@h/x?X-Amz-Signature=f00", "-o", "x.yaml")
    assert signed == 'bidsplan init "https://***@h/x?X-Amz-Signature=***" -o x.yaml'


NAMES = [
    "a b.yaml",
    "it's $(id).yaml",
    "two\nlines\\n'.yaml",
    "\x1b[31mé\x9f\u202e.yaml",
    "\udcff1.yaml",
]


@pytest.mark.parametrize("name", NAMES, ids=ascii)
def test_a_shell_reads_the_names_of_files_as_they_are(name):
    line = command_line("verify", Access(), Path(name), name)
    assert line.isprintable()
    read = subprocess.run(["bash", "-c", f"printf '%s\\0' {line}"], capture_output=True, check=True)
    assert os.fsdecode(read.stdout).split("\0")[2:4] == [name, name]


def test_files_whose_names_begin_with_a_dash_are_no_options_of_the_named_commands(ask_with_plan):
    for name in ("demo.yaml", PLAN):
        Path(name).rename(f"-{name}")
    code, _, said = ask_with_plan("fetch", "--", f"-{PLAN}", "-d")
    assert code == 0, said
    assert named(said) == [["verify", f"./-{PLAN}", "./-d"], ["report", "./-demo.yaml"]]
    for command in named(said):
        assert ask_with_plan(*command)[0] == 0
    said = ask_with_plan("fetch", "--", "-d", f"-{PLAN}")[2]
    assert f"write './-{PLAN} ./-d'" in said
    said = ask_with_plan("compile", "--", "-d")[2]
    found = re.search("write one with 'bidsplan (.*)' ", said)
    assert ask_with_plan(*shlex.split(found[1]))[0] == 0
    assert ask_with_plan("validate", "./-d.yaml")[0] == 0


def test_a_signed_url_is_named_without_its_signature_and_with_all_quotes(ask_here):
    said = ask_here("compile", "https://h/x/?X-Amz-Credential=me&X-Amz-Signature=f00/a")[2]
    found = re.search(r"write one with '(.*)' \[BP102\]", said)
    hidden = "https://h/x/?X-Amz-Credential=***&X-Amz-Signature=***"
    assert shlex.split(found[1]) == ["bidsplan", "init", hidden, "-o", "x.yaml"]
