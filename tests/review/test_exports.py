"""What exports say and refuse, without the tools that read them."""

from __future__ import annotations

import csv
import io
import json
import os
import re
import shlex
import subprocess
import sys
from hashlib import sha256
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import bidsplan
import exports
from bidsplan.plan import Plan, Root
from bidsplan.review.export.formats import FORMATS
from bidsplan.review.export.shell import print_text
from bidsplan.storage.access import Access
from plans import tree

S3 = [Root(url="s3://openneuro.org/ds1", anonymous=True)]
SIGNED = [Root(url="s3://private/ds1", anonymous=False)]
WEB = [Root(url="https://example.org/a b")]
LOCAL = [Root(url="/data/study")]
A = exports.entry("a.txt", b"a", sha256=sha256(b"a").hexdigest())
NO_DIGEST = exports.entry("big.nii.gz", b"big", etag="0123456789abcdef0123456789abcdef-2")


def exported(to, roots, *entries, **access):
    return bidsplan.export_plan(exports.plan_of(entries, roots), to, access=Access(**access))


def text(to, roots, *entries, **access):
    return b"".join(exported(to, roots, *entries, **access).blocks()).decode()


def warnings(to, roots, *entries, **access):
    return [str(problem) for problem in exported(to, roots, *entries, **access).warnings]


def refusal(to, roots, *entries, **access):
    with pytest.raises(bidsplan.UsageError) as caught:
        exported(to, roots, *entries, **access)
    return str(caught.value)


def test_the_endpoint_of_the_environment_is_used_without_its_password(monkeypatch):
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://me:secret@127.0.0.1:9/x")
    for name in FORMATS.keys() - {"bagit"}:
        found = text(name, S3, A)
        assert "secret" not in found
        assert ("127.0.0.1:9/x" in found) == (name not in {"checksums", "csv", "samplesheet"})


def test_what_a_format_cannot_say_is_counted_once_a_kind():
    tagged = exports.entry("b.txt", b"b")
    version = exports.entry("c.txt", b"c", version="v1")
    entries = A, tagged, version, NO_DIGEST, *exports.generated()
    assert warnings("s5cmd", S3, *entries) == [
        "s5cmd can't request 3 files by their entity tags: an object that was replaced is fetched "
        "too; check what came with 'bidsplan verify'",
        "s5cmd compares no digests: those of 3 files are left out; check what came with 'bidsplan "
        "verify'",
        "the text of 1 file that the plan generates is left out: "
        "derivatives/gen/dataset_description.json; 'bidsplan fetch' writes them",
    ]
    kinds = {
        name: len(warnings(name, S3, *entries)) for name in FORMATS.keys() - {"pooch", "bagit"}
    }
    assert kinds == {
        "s5cmd": 3,
        "rclone": 3,
        "aria2": 2,
        "checksums": 1,
        "csv": 1,
        "samplesheet": 0,
        "datalad": 1,
    }


def test_entity_tags_are_digests_only_of_public_s3():
    tagged = exports.entry("b.txt", b"b")
    assert f"checksum=md5={tagged.etag}" in text("aria2", S3, tagged)
    assert "checksum" not in text("aria2", WEB, tagged)
    assert text("checksums", SIGNED, tagged) == ""
    assert f"{tagged.etag}  b.txt" in text("checksums", S3, tagged)
    # Elsewhere they mostly are, which is said.
    regional = {"endpoint_url": "https://s3.eu-west-1.amazonaws.com"}
    assert warnings("aria2", S3, tagged, **regional) == []
    elsewhere = {"endpoint_url": "http://127.0.0.1:9"}
    for name, number in {"aria2": 1, "checksums": 2, "bagit": 2}.items():
        assert warnings(name, S3, A, tagged) == []
        (found,) = warnings(name, S3, A, tagged, **elsewhere)
        assert found.startswith(f"the MD5 of {number} file")
        assert "other than Amazon's" in found


@pytest.mark.parametrize(
    ("to", "roots", "entry", "reason"),
    [
        ("aria2", LOCAL, A, "web clients can't read local directories"),
        ("pooch", SIGNED, A, "web clients can't sign requests; if the storage is public"),
        ("bagit", [Root(url="memory://x")], A, "web clients can't read the protocol 'memory'"),
        (
            "datalad",
            WEB,
            exports.entry("a", b"", version="1"),
            "only URLs of S3 can name a version",
        ),
        ("aria2", S3, exports.entry("trailing ", b""), "spaces at the start and the end"),
        ("s5cmd", WEB, A, "it reads only S3"),
        ("rclone", [Root(url="memory://x")], A, "what rclone calls the protocol 'memory'"),
        ("rclone", [Root(url="az://x")], A, "AZURE_STORAGE_ACCOUNT_NAME"),
        ("rclone", S3, exports.entry("a", b"", path="b"), "a list gives files no other names"),
        (
            "pooch",
            S3,
            NO_DIGEST,
            "it needs a digest of each file; 'bidsplan compile --digest' adds it",
        ),
        ("bagit", S3, NO_DIGEST, "digests of one kind of all files; 'bidsplan pin' adds"),
        ("bagit", S3, exports.entry("a%20b", b""), "decodes '%' in paths in different ways"),
    ],
)
def test_what_a_format_cannot_have_is_refused_by_name(to, roots, entry, reason):
    found = refusal(to, roots, entry)
    assert found.startswith(f"1 file can't be written for {FORMATS[to].tool}: {entry.path}; ")
    assert reason in found


def test_a_refusal_counts_the_files_and_names_the_first():
    entries = [exports.entry(f"f{number}", b"") for number in range(1234)]
    found = refusal("s5cmd", LOCAL, *entries)
    assert "1,234 files can't be written for s5cmd: f0, f1, f10 and 1,231 more" in found


def test_anonymous_and_signed_requests_become_options():
    assert "--no-sign-request" in text("s5cmd", S3, A)
    assert "--no-sign-request" not in text("s5cmd", SIGNED, A)
    assert "--s3-env-auth" in text("rclone", SIGNED, A)
    assert "--s3-env-auth" not in text("rclone", SIGNED, A, anonymous=True)
    paid = text("s5cmd", SIGNED, A, requester_pays=True, profile="my lab")
    assert "--profile 'my lab' --request-payer requester run" in paid
    paid = text("rclone", SIGNED, A, requester_pays=True, profile="my lab")
    assert "--s3-profile 'my lab' --s3-requester-pays" in paid
    both = exports.entry("b.txt", b"", root=1)
    assert "1 file of anonymous roots" in warnings("s5cmd", SIGNED + S3, A, both)[-1]


def test_strangers_cannot_name_local_files():
    assert "untrusted" in refusal("rclone", LOCAL, A, untrusted=True)


def test_an_unknown_format_is_an_error_with_a_suggestion():
    assert refusal("s5cdm", S3, A) == "there is no format 's5cdm'; did you mean 's5cmd'?"


def test_tables_are_read_as_written_and_hold_no_formula():
    odd = [
        exports.entry(name, b"")
        for name in ("=cmd|' /C calc'!A0", "+1", "-1", "@x", "＝1", 'a,"b"\u3042', "ok")
    ]
    found = text("csv", S3, *odd, *exports.generated())
    rows = list(csv.DictReader(io.StringIO(found, newline="")))
    assert found.count("\r\n") == len(odd) + 2 == found.count("\n")
    assert {row["path"].removeprefix("'") for row in rows} == {
        *(entry.path for entry in odd),
        *exports.GENERATED,
    }
    assert [row["path"] for row in rows if row["path"][0] in "=+-@＝"] == []
    assert rows[0].keys() >= {"size", "reason", "url", "etag", "version", "md5", "sha256"}
    assert {row["url"] for row in rows} == {S3[0].url, ""}
    assert "apostrophe stands before cells of 5 files" in warnings("csv", S3, *odd)[0]


def test_no_name_that_would_need_an_escape_in_a_list_reaches_an_export():
    for name in ("a\nb", "a\\b", "a\rb", "a\x1b[0m", "a\u202eb", "/a", "a//b"):
        with pytest.raises(bidsplan.errors.PlanError):
            exports.plan_of([exports.entry(name, b"")], S3)


@given(st.text())
def test_a_shell_prints_any_text(text):
    found = subprocess.run(["sh", "-c", print_text(text)], capture_output=True, check=True)
    assert found.stdout == text.encode()


names = st.text(
    st.characters(exclude_categories=["Cc", "Cf", "Cs", "Zl", "Zp"], exclude_characters="\\/"),
    min_size=1,
    max_size=8,
).filter(lambda name: name not in {".", "..", ".bidsplan"})


@given(st.lists(names, min_size=1, max_size=3), st.lists(names, max_size=2), names)
def test_the_words_of_s5cmd_and_the_lists_of_rclone_are_whole(shared, above, root):
    entry = exports.entry("/".join(shared), b"", path="/".join([*above, *shared]))
    roots = [Root(url=f"s3://bucket/{root}x")]
    if bidsplan.urls.refused_url(roots[0].url):
        return
    line = text("s5cmd", roots, entry).split("\n")[1]
    words = shlex.split(line)
    assert words[:3] == ["cp", "--raw", f"s3://bucket/{root.lstrip('/')}x/{entry.key}"]
    assert words[3].removeprefix("./") == entry.path.removeprefix("./")
    script = text("rclone", roots, entry)
    call, listed, end = script.partition("\ncopy ")[2].split("\n")[:3]
    _, _, destination, source, *_ = shlex.split(call.removesuffix(" <<'/'"))
    assert (f"{destination}/{listed}", end) == (f"/{entry.path}", "/")
    assert f"{source}/{listed}" == f":s3:bucket/{root}x/{entry.key}"


def test_exports_are_the_same_bytes_from_any_order_and_hash_seed():
    entries = [A, NO_DIGEST, *exports.generated(), *(exports.entry(n, b"") for n in "zyx")]
    for name in FORMATS.keys() - {"bagit", "pooch"}:
        assert text(name, S3, *entries) == text(name, S3, *reversed(entries))


def test_a_stored_plan_is_exported_as_one_in_memory(tmp_path):
    plan = exports.plan_of([A, NO_DIGEST], S3)
    stored = bidsplan.plan.file.StoredPlan(exports.written(plan, tmp_path))
    for name in FORMATS.keys() - {"bagit", "pooch"}:
        assert b"".join(bidsplan.export_plan(stored, name).blocks()).decode() == text(
            name, S3, A, NO_DIGEST
        )


@pytest.fixture
def plan(tmp_path):
    return exports.written(exports.plan_of([A, NO_DIGEST], S3), tmp_path)


def test_an_export_goes_to_standard_output_or_to_a_file(ask_here, plan, tmp_path):
    code, out, err = ask_here("export", plan, "--to", "aria2")
    assert (code, err.count("warning: ")) == (0, 1)
    (tmp_path / "x").write_text("old")
    code, said, _ = ask_here("export", plan, "--to", "aria2", "-o", "x")
    assert code == 0
    assert (tmp_path / "x").read_text() == out
    assert said.startswith("wrote x; use it by: aria2c ")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["p.plan.jsonl", "x"]


def test_the_summary_is_json_where_it_is_asked_for(ask_here, plan):
    code, out, _ = ask_here("export", plan, "--to", "csv", "-o", "x.csv", "--json")
    said = json.loads(out)
    assert (code, said["files"], said["use"], said["warnings"]) == (0, 2, None, [])
    code, out, err = ask_here("export", plan, "--to", "csv", "--json")
    assert (code, json.loads(out)["error"]) == (2, "usage")
    assert "'-o'" in err


def test_refusals_and_strict_warnings_write_nothing(ask_here, plan, tmp_path):
    for options in (["--to", "pooch"], ["--to", "aria2", "--strict"], ["--to", "nothing"]):
        code, out, err = ask_here("export", plan, *options, "-o", "x")
        assert (code, out) == (2, "")
        assert "big.nii.gz" in err or "is not one of" in err
    assert not (tmp_path / "x").exists()
    code, _, err = ask_here("export", plan, "--to", "csv", "-o", "no/such/x")
    assert (code, "can't be written" in err) == (1, True)


def test_a_bag_is_a_directory_that_was_not_there(ask_here, tmp_path):
    plan = exports.written(exports.plan_of([A, *exports.generated()], S3), tmp_path)
    code, _, err = ask_here("export", plan, "--to", "bagit")
    assert (code, "-o DIR" in err) == (2, True)
    (tmp_path / "bag").mkdir()
    assert ask_here("export", plan, "--to", "bagit", "-o", "bag")[0] == 0
    first = tree(tmp_path / "bag")
    assert set(first) == {
        *("bagit.txt", "bag-info.txt", "manifest-sha256.txt", "fetch.txt"),
        *(f"data/{path}" for path in exports.GENERATED),
    }
    assert (tmp_path / "bag").stat().st_mode & 0o777 == 0o777 & ~_mask()
    code, _, err = ask_here("export", plan, "--to", "bagit", "-o", "bag")
    assert (code, "can't be written" in err) == (1, True)
    assert tree(tmp_path / "bag") == first
    assert not list(tmp_path.glob(".bag*"))


def _mask():
    mask = os.umask(0)
    os.umask(mask)
    return mask


def test_an_export_of_a_plan_loads_nothing_heavy(plan):
    code = (
        "import sys\nfrom bidsplan.cli.main import run\n"
        f"run(['export', {str(plan)!r}, '--to', 'datalad'])\n"
        "print(sorted({'pydantic', 'botocore', 'fsspec', 'obstore', 'yaml'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True, text=True)
    assert done.stdout.splitlines()[-1] == "[]"


def test_the_page_has_the_formats_and_their_commands():
    page = (
        Path(__file__).parents[2].joinpath("docs/how-to/exporting.md").read_text(encoding="utf-8")
    )
    assert re.findall(r"^\| `(\w+)` \|", page, re.M) == list(FORMATS)
    for name, files in re.findall(r"^bidsplan export \S+ --to (\w+) -o (\S+)$", page, re.M):
        use = exported(name, S3, A).use(files)
        assert use is None or name == "pooch" or use in page, name
    assert len(re.findall(r"--to (\w+) -o", page)) == len(FORMATS) + 1


def test_a_hostile_study_or_text_stays_inside_its_script():
    study = "x\nrm -rf ~\n\u202e\x1b]0;title\x07"
    for name in ("rclone", "datalad"):
        found = b"".join(
            bidsplan.export_plan(
                Plan.build(
                    exports.generated(),
                    manifest_sha256="0" * 64,
                    study=study,
                    roots=[],
                    subjects=[],
                ),
                name,
            ).blocks()
        ).decode()
        assert "\nrm -rf" not in found
        assert re.fullmatch(r"[ -~\n]*", found)
