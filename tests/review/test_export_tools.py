"""Exports, read by the tools that they are for: the planned files come, and no others."""

from __future__ import annotations

import json
from hashlib import sha256

import pytest

import exports
from plans import tree
from sites import Page, Site


@pytest.fixture
def try_export(ask_here, tmp_path, moto):
    """Export a plan; gives what --json says of it, and the destination."""
    (tmp_path / "dest dir").mkdir()

    def call(plan, to, *options, code=0):
        path = exports.written(plan, tmp_path)
        name = f"it's {to}"
        found, out, err = ask_here(
            "export", path, "--to", to, "-o", name, "--json", "--endpoint-url", moto.url, *options
        )
        assert found == code, err
        return json.loads(out), tmp_path / "dest dir"

    return call


def fetched(ask, folder, moto):
    """Give the tree that bidsplan makes of the plan, verified."""
    plan, dest = folder / "p.plan.jsonl", folder / "fetched"
    for command in ("fetch", "verify"):
        code, _, err = ask(command, plan, dest, "--endpoint-url", moto.url)
        assert code == 0, err
    return tree(dest)


def without_generated(files):
    return {path: data for path, data in files.items() if path not in exports.GENERATED}


def test_s5cmd_brings_the_planned_files(try_export, bucket, ask, moto, tmp_path):
    exports.needed("s5cmd")
    files = exports.FILES | exports.PERCENT | exports.TRAILING
    said, dest = try_export(exports.odd_plan(bucket, files, more=exports.generated()), "s5cmd")
    code, output = exports.run_shell(said["use"], tmp_path, dest)
    assert code == 0, output
    assert tree(dest) == without_generated(fetched(ask, tmp_path, moto))


def test_s5cmd_brings_the_planned_versions(try_export, bucket, tmp_path):
    exports.needed("s5cmd")
    bucket.versioned()
    version = bucket.put("raw/a", b"old")["x-amz-version-id"]
    bucket.put("raw/a", b"newer")
    plan = exports.odd_plan(bucket, {}, more=[exports.entry("a", b"old", version=version)])
    said, dest = try_export(plan, "s5cmd")
    assert exports.run_shell(said["use"], tmp_path, dest)[0] == 0
    assert (dest / "a").read_bytes() == b"old"
    assert not [w for w in said["warnings"] if "version" in w["message"]]


def test_rclone_brings_the_planned_files_and_writes_the_generated(
    try_export, bucket, ask, moto, tmp_path
):
    exports.needed("rclone")
    files = exports.FILES | exports.PERCENT | exports.TRAILING
    said, dest = try_export(exports.odd_plan(bucket, files, more=exports.generated()), "rclone")
    code, output = exports.run_shell(said["use"], tmp_path, dest)
    assert code == 0, output
    assert tree(dest) == fetched(ask, tmp_path, moto)


@pytest.mark.parametrize("fault", ["gone", "longer"])
def test_the_rclone_script_fails_where_a_file_is_missing_or_another(
    try_export, bucket, tmp_path, fault
):
    exports.needed("rclone")
    said, dest = try_export(exports.odd_plan(bucket, {"a": b"1", "b": b"2"}), "rclone")
    bucket.delete("raw/b")
    if fault == "longer":
        bucket.put("raw/b", b"22")
    code, output = exports.run_shell(said["use"], tmp_path, dest)
    assert (code, "expected" in output) == (1, True), output


def test_rclone_reads_local_files_and_web_servers(ask_here, tmp_path):
    exports.needed("rclone")
    plan_folder = tmp_path / "it's here"
    (plan_folder / "source").mkdir(parents=True)
    (tmp_path / "elsewhere").write_bytes(b"linked")
    (plan_folder / "source" / "a b.txt").symlink_to(tmp_path / "elsewhere")
    with Site({"/s t/sub/c#d.txt": Page(b"web")}) as site:
        entries = [
            exports.entry("a b.txt", b"linked"),
            exports.entry("sub/c#d.txt", b"web", root=1),
        ]
        roots = [exports.Root(url="source"), exports.Root(url=f"{site.url}/s t")]
        path = exports.written(exports.plan_of(entries, roots), plan_folder)
        code, _, err = ask_here(
            "export", path, "--to", "rclone", "-o", "script", "--allow-protocol", "http"
        )
        assert code == 0, err
        code, output = exports.run_shell("sh script DEST", tmp_path, tmp_path / "d")
    assert code == 0, output
    assert tree(tmp_path / "d") == {"a b.txt": b"linked", "sub/c#d.txt": b"web"}


@pytest.mark.parametrize(("to", "program"), [("s5cmd", "s5cmd"), ("rclone", "rclone")])
def test_signed_requests_use_the_credentials_of_the_tools_own_environment(
    try_export, bucket, tmp_path, proxy, to, program
):
    exports.needed(program)
    plan = exports.odd_plan(bucket, {"a": b"1"}, anonymous=False)
    said, dest = try_export(plan, to, "--endpoint-url", proxy.url)
    secret = {"AWS_ACCESS_KEY_ID": "mykey", "AWS_SECRET_ACCESS_KEY": "mysecret"}
    code, output = exports.run_shell(said["use"], tmp_path, dest, **secret)
    assert code == 0, output
    assert (dest / "a").read_bytes() == b"1"
    assert proxy.keys == {"mykey"}


def test_aria2_asks_a_web_server_for_the_planned_entity_tag(ask_here, tmp_path):
    exports.needed("aria2c")
    pages = {"/s t/a b": Page(b"1", etag='"x"'), "/s t/changed": Page(b"2", etag='"new"')}
    with Site(pages) as site:
        entries = [exports.entry(key, b"1", etag="x") for key in ("a b", "changed")]
        path = exports.written(
            exports.plan_of(entries, [exports.Root(url=f"{site.url}/s t")]), tmp_path
        )
        options = ("--to", "aria2", "-o", "list", "--json", "--allow-protocol", "http")
        code, out, err = ask_here("export", path, *options)
        assert code == 0, err
        (tmp_path / "d").mkdir()
        code, output = exports.run_shell(json.loads(out)["use"], tmp_path, tmp_path / "d")
    assert (code != 0, tree(tmp_path / "d")) == (True, {"a b": b"1"}), output


def test_aria2_brings_the_planned_files(try_export, bucket, ask, moto, tmp_path):
    exports.needed("aria2c")
    files = exports.FILES | exports.PERCENT
    said, dest = try_export(exports.odd_plan(bucket, files, more=exports.generated()), "aria2")
    for _ in range(2):
        code, output = exports.run_shell(said["use"], tmp_path, dest)
        assert code == 0, output
        assert tree(dest) == without_generated(fetched(ask, tmp_path, moto))


def test_aria2_refuses_other_bytes_and_other_objects(try_export, bucket, tmp_path):
    exports.needed("aria2c")
    other = sha256(b"other").hexdigest()
    plan = exports.odd_plan(
        bucket,
        {"kept": b"1", "changed": b"2"},
        more=[exports.entry("spoilt", b"3", sha256=other), exports.entry("big", b"4", etag="x-2")],
    )
    bucket.put("raw/spoilt", b"3")
    bucket.put("raw/big", b"not what was planned")
    bucket.put("raw/changed", b"replaced")
    said, dest = try_export(plan, "aria2")
    code, output = exports.run_shell(said["use"], tmp_path, dest)
    assert code != 0
    # aria2 keeps a file whose digest differs, with a file beside it that says so.
    assert (dest / "spoilt.aria2").exists()
    assert {"kept", "spoilt"} == {path for path in tree(dest) if "/" not in path} - {"spoilt.aria2"}
    assert "Checksum error" in output
    assert "412" in output
    assert "of 1 file: big" in said["warnings"][0]["message"]


@pytest.mark.parametrize("sha256_of", ["all", "raw"])
def test_coreutils_accept_the_fetched_files_and_no_others(
    try_export, bucket, ask, moto, tmp_path, sha256_of
):
    files = exports.FILES | exports.PERCENT | exports.TRAILING | {"-": b"hyphen"}
    plan = exports.odd_plan(bucket, files, more=exports.generated(), sha256_of=sha256_of)
    said, _ = try_export(plan, "checksums")
    assert ("md5sum" in said["use"]) == (sha256_of == "raw")
    found = fetched(ask, tmp_path, moto)
    dest = tmp_path / "fetched"
    code, output = exports.run_shell(said["use"], tmp_path, dest)
    assert code == 0, output
    assert len(output.splitlines()) == len(found)
    (dest / "-").write_bytes(b"other")
    code, output = exports.run_shell(said["use"], tmp_path, dest)
    assert code == 1
    assert "./-: FAILED" in output


def test_pooch_brings_the_planned_files(try_export, bucket, ask, moto, tmp_path):
    pooch = pytest.importorskip("pooch")
    files = exports.FILES | exports.PERCENT | exports.TRAILING
    plan = exports.odd_plan(bucket, files, more=exports.generated())
    said, dest = try_export(plan, "pooch")
    found = pooch.create(path=dest, base_url="")
    assert said["use"] == (
        'study = pooch.create(path="DEST", base_url=""); study.load_registry("it\'s pooch")'
    )
    found.load_registry(tmp_path / "it's pooch")
    for name in found.registry:
        found.fetch(name)
    assert tree(dest) == without_generated(fetched(ask, tmp_path, moto))
    bucket.put("raw/=cmd()", b"other")
    (dest / "=cmd()").unlink()
    with pytest.raises(ValueError, match="hash"):
        found.fetch("=cmd()")


@pytest.mark.parametrize("digest", ["sha256", "md5"])
def test_bdbag_fills_and_accepts_the_bag(try_export, bucket, ask, moto, tmp_path, digest):
    exports.needed("bdbag")
    fields = {"sha256": sha256(b"x").hexdigest()} if digest == "sha256" else {}
    bucket.fill({f"raw/{key}": b"x" for key in exports.FILES})
    entries = [exports.entry(key, b"x", **fields) for key in exports.FILES]
    roots = [exports.Root(url=f"s3://{bucket.name}/raw", anonymous=True)]
    made = exports.generated() if digest == "md5" else []
    plan = exports.plan_of([*entries, *made], roots)
    said, _ = try_export(plan, "bagit")
    bag = tmp_path / "it's bagit"
    assert (bag / f"manifest-{digest}.txt").exists()
    assert sorted(tree(bag / "data")) == [entry.path for entry in made]
    code, output = exports.run_shell(said["use"], tmp_path, bag)
    assert code == 0, output
    assert tree(bag / "data") == fetched(ask, tmp_path, moto)
    (bag / "data" / "#hash").write_bytes(b"y")
    assert exports.run_shell("bdbag --validate full DEST", tmp_path, bag)[0] != 0


def annexed(tmp_path, dest):
    """Make a git-annex repository that may read from the loopback."""
    exports.needed("git", "git-annex")
    commands = (
        "git init -q && git config user.name x && git config user.email x@x && git annex init -q"
        " && git config annex.security.allowed-ip-addresses 127.0.0.1"
    )
    code, output = exports.run_shell(f"cd DEST && {commands}", tmp_path, dest)
    assert code == 0, output


def test_git_annex_gets_the_planned_files(try_export, bucket, ask, moto, tmp_path):
    files = exports.FILES | exports.PERCENT | exports.TRAILING
    tag = bucket.put_in_parts("raw/big.nii.gz", b"big", 5 << 20)
    undigested = exports.entry("big.nii.gz", b"big", etag=tag)
    plan = exports.odd_plan(bucket, files, more=[*exports.generated(), undigested])
    said, dest = try_export(plan, "datalad")
    annexed(tmp_path, dest)
    code, output = exports.run_shell(said["use"], tmp_path, dest)
    assert code == 0, output
    for command in ("git annex get -q .", "git commit -qm x", "git annex fsck -q"):
        code, output = exports.run_shell(f"cd DEST && {command}", tmp_path, dest)
        assert code == 0, output
    found = {path: data for path, data in tree(dest).items() if not path.startswith(".git/")}
    assert found == fetched(ask, tmp_path, moto)
    target = (dest / "sub-01/anat/sub-01_T1w.nii.gz").readlink().name
    assert target.startswith("SHA256E-s50000--")
    assert target.endswith(".nii.gz")
    assert (dest / "derivatives/pipe/sub-01/x.json").readlink().name.startswith("MD5E-s3--")
    # Newer ones note the digest of what came first from a URL, and call the key so.
    assert "URL--" in (dest / "big.nii.gz").readlink().name
    assert said["warnings"][0]["message"].startswith("the plan has no digest of 1 file: ")


def test_git_annex_refuses_what_is_not_planned(try_export, bucket, tmp_path):
    said, dest = try_export(exports.odd_plan(bucket, {"a": b"1"}), "datalad")
    bucket.put("raw/a", b"2")
    annexed(tmp_path, dest)
    assert exports.run_shell(said["use"], tmp_path, dest)[0] == 0
    assert exports.run_shell("cd DEST && git annex get a", tmp_path, dest)[0] != 0
    assert not (dest / "a").exists()
    # A second time the files are there already.
    assert exports.run_shell(said["use"], tmp_path, dest)[0] == 0
