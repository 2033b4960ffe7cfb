"""What people, and strangers, get wrong in a manifest: one clear message each, at its place."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bidsplan.cli.main import run
from bidsplan.errors import ManifestError
from bidsplan.manifest.load import load_manifest
from bidsplan.manifest.yaml_reader import read_yaml
from codes import without_codes

HEAD = "manifest_version: 1\nstudy: {id: x, url: s3://bucket/x}\n"
SECRETS = "credentials and endpoints come from the environment or from flags, never from a manifest"

WRONG = {
    "unknown field": (
        HEAD + "files: {sufixes: [T1w]}\n",
        "m.yaml:3: files.sufixes: unknown field 'sufixes'; did you mean 'suffixes'?",
    ),
    "unknown field that resembles none": (
        HEAD + "limits: {zzz: 1}\n",
        "m.yaml:3: limits.zzz: unknown field 'zzz'; expected one of max_bytes, max_files",
    ),
    "wrong type": (
        HEAD + "files:\n  - {suffixes: {T1w: true}}\n",
        "m.yaml:4: files[0].suffixes: expected text; got a mapping",
    ),
    "duplicate key": (
        HEAD + "site: A\nsite: B\n",
        "m.yaml:4: site: the key is there twice, first on line 3",
    ),
    "anchor": (
        HEAD + "site: &a A\n",
        "m.yaml:3: site: an anchor is not allowed here; write the value out",
    ),
    "tag": (
        HEAD + "random_seed: !!python/object/apply:os.system [id]\n",
        "m.yaml:3: random_seed: a tag is not allowed here; write the value out",
    ),
    "credentials in a URL": (
        "manifest_version: 1\nstudy: {id: x, url: 's3://user:hunter2@bucket/x'}\n",
        "m.yaml:2: study.url: the URL is refused: it holds a user name or password; credentials "
        "come from the environment",
    ),
    "credentials as a field": (
        "manifest_version: 1\nstudy: {id: x, url: s3://b/x, aws_secret: hunter2}\n",
        f"m.yaml:2: study.aws_secret: 'aws_secret' is not allowed; {SECRETS}",
    ),
    "chained URL": (
        "manifest_version: 1\nstudy: {id: x, url: 'zip::s3://bucket/x'}\n",
        "m.yaml:2: study.url: the URL is refused: chained URLs ('::') are not allowed",
    ),
    "link-local host": (
        "manifest_version: 1\nstudy: {id: x, url: 'https://169.254.169.254/x'}\n",
        "m.yaml:2: study.url: the URL is refused: it names a link-local host",
    ),
    "over-long": (
        HEAD + "# " + "x" * (1 << 20) + "\n",
        "m.yaml: the file has 1,048,577 bytes, more than 1,048,576",
    ),
    "no seed": (
        HEAD + "subjects: {sample: {count: 2}}\n",
        "m.yaml:3: subjects.sample: a sample needs a seed, so that others draw the same subjects; "
        "write 'random_seed: 42' at the top level",
    ),
    "no value": (
        HEAD + "random_seed:\n",
        "m.yaml:3: random_seed: expected a whole number; got nothing",
    ),
    "a newer version": (
        HEAD.replace(": 1", ": 2", 1),
        "m.yaml:1: manifest_version: the manifest has version 2, and this bidsplan reads 1; update "
        "bidsplan",
    ),
    "missing": (
        "manifest_version: 1\n",
        "m.yaml:1: study: is required; write 'study: {id: ds000114, url: "
        "s3://openneuro.org/ds000114}'",
    ),
    "too deep": (
        HEAD + "files: " + "[" * 60 + "]" * 60 + "\n",
        "m.yaml:3: it is nested more than 50 levels deep",
    ),
    "not UTF-8": (b"manifest_version: 1\nstudy: \xff\n", "m.yaml:2: the file is not UTF-8 text"),
    "not YAML": ("a: [\n", None),
    "empty": (
        "",
        "m.yaml: expected a mapping of fields; 'bidsplan init URL' writes one; the least is "
        "'manifest_version: 1' and 'study: {id: ds000114, url: s3://openneuro.org/ds000114}'",
    ),
    "a wrong word": (
        HEAD + "subjects: {missing: maybe}\n",
        "m.yaml:3: subjects.missing: not an allowed value; expected 'error' or 'skip'",
    ),
    "one derivative's filter": (
        HEAD + "derivatives:\n  afq: {extensions: [csv]}\n",
        "m.yaml:4: derivatives.afq.extensions[0]: expected an extension with its dot; did you mean "
        "'.csv'?",
    ),
    "a site that leads elsewhere": (
        HEAD + "site: ../other\n",
        "m.yaml:3: site: expected a name below the dataset's root; it has a '..' segment",
    ),
    "a protocol that nobody allowed": (
        "manifest_version: 1\nstudy: {id: x, url: 'ssh://host/x'}\n",
        "m.yaml:2: study.url: the URL is refused: the protocol 'ssh' is not allowed; allowed are "
        "az, file, gs, https, memory, s3; --allow-protocol adds one",
    ),
}


@pytest.mark.parametrize(("text", "message"), WRONG.values(), ids=WRONG)
def test_a_wrong_manifest_gets_one_clear_message(text, message, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    data = text if isinstance(text, bytes) else text.encode()
    (tmp_path / "m.yaml").write_bytes(data)
    assert run(["validate", "m.yaml"]) == 2
    error = capsys.readouterr().err
    assert "Traceback" not in error
    assert "hunter2" not in error
    assert error.count("error: ") == 1
    if message is not None:
        assert without_codes(error) == f"error: {message}\n"


def test_all_problems_are_told_at_once(tmp_path):
    path = tmp_path / "m.yaml"
    path.write_text(
        "manifest_version: 1\nstudy: {id: x}\nsite: &a A\nfiles: {foo: 1}\nrandom_seed: -1\n",
        encoding="utf-8",
    )
    with pytest.raises(ManifestError) as caught:
        load_manifest(path)
    assert [problem.line for problem in caught.value.problems] == [2, 3, 4, 5]


def test_a_file_that_is_not_there(tmp_path, capsys):
    assert run(["validate", str(tmp_path / "none.yaml")]) == 2
    assert "can't be read: No such file or directory" in capsys.readouterr().err


def test_unquoted_scalars_stay_what_was_written(tmp_path):
    path = tmp_path / "m.yaml"
    path.write_text(
        HEAD + "subjects: {include: [01, 010, no, 1e3, 12:30, null]}\nsessions: [01]\n",
        encoding="utf-8",
    )
    manifest = load_manifest(path).manifest
    assert manifest.subjects.include == ("01", "010", "no", "1e3", "12:30", "null")
    assert manifest.sessions.include == ("01",)


def test_comments_and_layout_do_not_count(tmp_path):
    texts = [
        HEAD + "files: {suffixes: [T1w]}\nsubjects: {include: [sub-01]}\n",
        "# hello\nsubjects:\n  include:\n  - '01'\nstudy:\n  url: s3://bucket/x\n  id: x\n"
        "files:\n  - suffixes: T1w\nmanifest_version: 1\n",
    ]
    digests = set()
    for text in texts:
        path = tmp_path / "m.yaml"
        path.write_text(text, encoding="utf-8")
        digests.add(load_manifest(path).manifest.sha256())
    assert len(digests) == 1


BOMBS = {
    "merge keys": "a: &a {x: 1}\n" + "".join(f"b{n}: {{<<: *a}}\n" for n in range(2000)),
    "aliases": "a: &a [x]\n" + "".join(f"a{n}: [*a, *a, *a]\n" for n in range(2000)),
    "nesting": "[" * 200_000,
    "python": "!!python/object/apply:os.system ['true']",
    "many nodes": "[" + "1," * 150_000 + "]",
}


@pytest.mark.timeout(10)
@pytest.mark.parametrize("text", BOMBS.values(), ids=BOMBS)
def test_bombs_are_refused_soon(text):
    assert read_yaml(text.encode()).problems


@given(
    st.one_of(
        st.binary(max_size=300),
        st.text(alphabet=" \n:-{}[]&*!#'\"<a1,|>", max_size=200).map(str.encode),
    )
)
def test_nothing_makes_the_reader_crash(data):
    document = read_yaml(data)
    assert document.problems or document.data is None or document.lines


@given(
    st.recursive(
        st.text(st.characters(codec="utf-8"), max_size=5),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(st.text("abc_", min_size=1), inner, max_size=3)
        ),
        max_leaves=10,
    )
)
def test_no_shape_makes_validation_crash(tmp_path_factory, data):
    path = tmp_path_factory.mktemp("m") / "m.yaml"
    fields = [
        "study",
        "site",
        "subjects",
        "files",
        "derivatives",
        "companions",
        "sessions",
        "limits",
    ]
    text = "manifest_version: 1\n" + "".join(f"{name}: {json.dumps(data)}\n" for name in fields)
    path.write_text(text, encoding="utf-8")
    with pytest.raises(ManifestError):
        load_manifest(path)
