"""Plans that record versions: what was planned still comes when others have taken its place."""

from __future__ import annotations

import json
from urllib.parse import parse_qs

import pytest

from bidsplan.cli.main import run
from bidsplan.compile.compiler import compile_manifest
from bidsplan.errors import (
    ListingError,
    SelectionError,
    SourceChangedError,
    StorageError,
    UnreachableError,
)
from bidsplan.manifest.load import load_manifest
from bidsplan.plan.file import read_plan
from bidsplan.storage import Access, Transport, open_store
from plans import failures, fetch, tree
from servers import PAGE, Bucket, Rule

TRANSPORTS = [Transport.OBSTORE, Transport.FSSPEC]
T1W = "sub-1/anat/sub-1_T1w.nii.gz"
ODD = "sub-1/anat/sub-1_desc-a+b%20c_T1w.json"
FILES = {
    "dataset_description.json": b'{"Name": "x", "BIDSVersion": "1.10.0"}',
    "README": b"hello",
    T1W: b"first",
    ODD: b"{}",
    "sub-1/dwi/sub-1_dwi.nii.gz": b"other",
    "sub-2/anat/sub-2_T1w.nii.gz": b"not selected",
}
DERIVED = {"sub-1/dwi/sub-1_desc-preproc_dwi.nii.gz": b"derived"}


@pytest.fixture(params=TRANSPORTS)
def transport(request):
    return request.param


@pytest.fixture
def study(bucket):
    """Fill a bucket with a study and a derivative, and give the versions that it told."""
    bucket.versioned()
    put = {}
    for root, files in {"study": FILES, "derived": DERIVED}.items():
        for key, data in files.items():
            put[f"{root}/{key}"] = bucket.put(f"{root}/{key}", data)["x-amz-version-id"]
    bucket.told = put
    return bucket


def manifest(folder, url, more="", versions="pinned"):
    path = folder / "study.yaml"
    path.write_text(
        f"manifest_version: 1\nstudy:\n  id: x\n  url: {url}\n  versions: {versions}\n"
        f"subjects: {{include: ['1']}}\n{more}",
        encoding="utf-8",
    )
    return path


def compiled(folder, bucket, url=None, more="", versions="pinned", **access):
    path = manifest(folder, f"s3://{bucket.name}/study", more, versions)
    options = Access(endpoint_url=url or bucket.endpoint, **access)
    return compile_manifest(load_manifest(path).manifest, base=folder, access=options).plan


def versions(plan):
    return {entry.path: entry.version for entry in plan.entries}


def told(bucket, *paths):
    return {path: bucket.told[f"study/{path}"] for path in paths}


SELECTED = [path for path in FILES if "sub-2" not in path]


def test_a_plan_has_the_version_of_each_file(study, tmp_path, transport):
    more = f"derivatives: {{pipe: {{url: 's3://{study.name}/derived'}}}}\n"
    plan = compiled(tmp_path, study, more=more, transport=transport)
    derived = dict.fromkeys(DERIVED)
    assert versions(plan) == {
        **told(study, *SELECTED),
        **{f"derivatives/pipe/{key}": study.told[f"derived/{key}"] for key in derived},
        # Generated here, it is no object.
        "derivatives/pipe/dataset_description.json": None,
    }


def test_each_transport_and_each_run_give_the_same_plan(study, tmp_path):
    plans = [
        list(compiled(tmp_path, study, transport=transport, jobs=jobs).lines())
        for transport in TRANSPORTS
        for jobs in (1, 8)
    ]
    assert all(plan == plans[0] for plan in plans)


def test_only_directories_of_selected_files_are_asked_for(study, proxy, tmp_path, transport):
    compiled(tmp_path, study, proxy.url, transport=transport)
    asked = [path for _, path in proxy.requests if "versions" in path]
    assert len(asked) == 3
    assert not [method for method, _ in proxy.requests if method == "HEAD"]


def test_the_old_bytes_come_after_the_object_was_replaced(study, tmp_path, transport):
    pinned = compiled(tmp_path, study)
    latest = compiled(tmp_path, study, versions="latest")
    study.put(f"study/{T1W}", b"LATER, and longer")
    access = Access(endpoint_url=study.endpoint, transport=transport)
    assert failures(fetch(pinned, tmp_path / "pinned", access=access)) == {}
    assert tree(tmp_path / "pinned") == {path: FILES[path] for path in SELECTED}
    failed = failures(fetch(latest, tmp_path / "latest", access=access))
    assert {path: error.code for path, error in failed.items()} == {T1W: "source-changed"}


def test_the_bytes_come_after_the_object_was_deleted(study, tmp_path, transport):
    pinned = compiled(tmp_path, study)
    latest = compiled(tmp_path, study, versions="latest")
    for key in (T1W, ODD):
        study.delete(f"study/{key}")
    access = Access(endpoint_url=study.endpoint, transport=transport)
    assert failures(fetch(pinned, tmp_path / "pinned", access=access)) == {}
    assert tree(tmp_path / "pinned") == {path: FILES[path] for path in SELECTED}
    failed = failures(fetch(latest, tmp_path / "latest", access=access))
    codes = {path: error.code for path, error in failed.items()}
    assert codes == {T1W: "source-missing", ODD: "source-missing"}


def test_a_version_that_is_gone_is_missing(study, tmp_path, transport):
    plan = compiled(tmp_path, study)
    study._send("DELETE", f"/study/{T1W}?versionId={study.told[f'study/{T1W}']}")
    study.put(f"study/{T1W}", FILES[T1W])
    access = Access(endpoint_url=study.endpoint, transport=transport)
    failed = failures(fetch(plan, tmp_path / "d", access=access))
    assert {path: error.code for path, error in failed.items()} == {T1W: "source-missing"}


@pytest.mark.parametrize("status", [403, 405, 501])
def test_where_versions_may_not_be_listed_each_object_tells_its_own(
    study, proxy, tmp_path, transport, status
):
    proxy.rules.append(Rule("status", "versions", status=status))
    plan = compiled(tmp_path, study, proxy.url, transport=transport, jobs=1)
    assert versions(plan) == told(study, *SELECTED)
    asked = [path for _, path in proxy.requests if "versions" in path]
    heads = [path for method, path in proxy.requests if method == "HEAD"]
    assert (len(asked), len(heads)) == (1, len(SELECTED))


def test_what_is_only_out_of_reach_is_an_error(study, proxy, tmp_path, transport):
    proxy.rules.append(Rule("status", "versions", status=500))
    with pytest.raises(UnreachableError, match="the storage failed"):
        compiled(tmp_path, study, proxy.url, transport=transport)


def test_an_object_from_before_versioning_is_version_null(bucket, tmp_path, transport):
    bucket.put("study/README", b"hello")
    bucket.put(f"study/{T1W}", b"first")
    bucket.versioned()
    description = bucket.put("study/dataset_description.json", b"{}")["x-amz-version-id"]
    plan = compiled(tmp_path, bucket, transport=transport)
    assert versions(plan) == {
        "README": "null",
        T1W: "null",
        "dataset_description.json": description,
    }
    bucket.put(f"study/{T1W}", b"later")
    bucket.delete("study/README")
    access = Access(endpoint_url=bucket.endpoint, transport=transport)
    assert failures(fetch(plan, tmp_path / "d", access=access)) == {}
    assert tree(tmp_path / "d")[T1W] == b"first"


def test_null_is_taken_where_the_object_itself_tells_it(bucket, proxy, tmp_path, transport):
    # All objects are from before versioning: then a listing can't tell it from none at all.
    bucket.put(f"study/{T1W}", b"first")
    tag = bucket.put("study/README", b"hello")["ETag"]
    headers = {"x-amz-version-id": "null", "ETag": tag, "Content-Length": "5"}
    proxy.rules.append(Rule("status", "README", status=200, headers=headers, method="HEAD"))
    plan = compiled(tmp_path, bucket, proxy.url, "dataset_files: [README]\n", transport=transport)
    assert versions(plan) == {"README": "null", T1W: "null", "dataset_description.json": None}


REFUSED = "{}:5: study.versions: s3://{}/study keeps no versions: 'README' has none to pin"


@pytest.mark.parametrize("denied", [False, True])
def test_a_bucket_that_keeps_no_versions_is_refused(
    bucket, proxy, tmp_path, transport, denied, capsys, monkeypatch
):
    bucket.fill({"study/README": b"hello", f"study/{T1W}": b"first"})
    if denied:
        proxy.rules.append(Rule("status", "versions", status=403))
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", proxy.url)
    path = manifest(tmp_path, f"s3://{bucket.name}/study")
    assert run(["compile", str(path), "--transport", transport.value]) == 1
    assert REFUSED.format(path, bucket.name) in capsys.readouterr().err
    assert not (tmp_path / "study.plan.jsonl").exists()


def test_storage_without_versions_is_refused_before_it_is_listed(tmp_path, capsys):
    path = manifest(tmp_path, "nowhere")
    assert run(["compile", str(path)]) == 1
    assert (
        f"{path}:5: study.versions: nowhere: this storage has no versions to pin; only S3 has"
        in capsys.readouterr().err
    )
    assert run(["explain", str(path)]) == 1
    assert "no versions to pin" in capsys.readouterr().err


def test_a_derivative_elsewhere_must_have_versions_too(study, tmp_path):
    with pytest.raises(SelectionError, match="memory:///d: this storage has no versions to pin"):
        compiled(tmp_path, study, more="derivatives: {pipe: {url: 'memory://d'}}\n")


def changes(study, what):
    if what == "replaced":
        return lambda: study.put(f"study/{T1W}", b"later")
    return lambda: study.delete(f"study/{T1W}")


@pytest.mark.parametrize("denied", [False, True])
@pytest.mark.parametrize(
    ("what", "message"),
    [
        ("replaced", "it was listed with entity tag 8b04d5e3775d298e78455efc5ca404d5 and 5 bytes"),
        ("deleted", "it is no longer there"),
    ],
)
def test_a_source_that_changes_meanwhile_is_told(
    study, proxy, tmp_path, transport, denied, what, message
):
    if denied:
        proxy.rules.append(Rule("status", "versions", status=403))
        rule = Rule("call", "README", times=1, hook=changes(study, what), method="HEAD")
    else:
        rule = Rule("call", "versions", times=1, hook=changes(study, what))
    proxy.rules.insert(0, rule)
    with pytest.raises(SourceChangedError, match="the source changed while") as caught:
        compiled(tmp_path, study, proxy.url, transport=transport, jobs=1)
    assert message in str(caught.value)
    assert T1W in str(caught.value)


def test_check_tells_of_a_newer_version(study, tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", study.endpoint)
    path = manifest(tmp_path, f"s3://{study.name}/study")
    assert run(["compile", str(path)]) == 0
    before = read_plan(tmp_path / "study.plan.jsonl")
    assert run(["compile", "--check", str(path)]) == 0
    # The same bytes again: only the version tells.
    study.put(f"study/{T1W}", FILES[T1W])
    capsys.readouterr()
    assert run(["compile", "--check", str(path), "--json"]) == 1
    differences = json.loads(capsys.readouterr().out)["differences"]
    assert differences[1:] == [f"~ {T1W} (version changed)"]
    assert read_plan(tmp_path / "study.plan.jsonl") == before


def at(bucket, transport, path="study"):
    access = Access(endpoint_url=bucket.endpoint, transport=transport)
    return open_store(f"s3://{bucket.name}/{path}", access=access)


def test_versions_go_on_over_pages(bucket, transport):
    bucket.versioned()
    for number in range(PAGE):
        bucket.put(f"study/d/{number:03}", b"1")
        bucket.put(f"study/d/{number:03}", b"22")
    bucket.delete("study/d/007")
    bucket.put("study/d/below/x", b"3")
    found = list(at(bucket, transport).versions("d/"))
    expected = {f"d/{number:03}": 2 for number in range(PAGE) if number != 7}
    assert {item.key: item.size for item in found} == expected
    assert len({item.version for item in found}) == PAGE - 1


def test_keys_are_unquoted_and_a_listing_that_leads_nowhere_is_an_error(study, proxy, transport):
    # As S3 answers, and moto does not; and the marker is the same on every page.
    page = (
        b"<ListVersionsResult><IsTruncated>true</IsTruncated><EncodingType>url</EncodingType>"
        b"<NextKeyMarker>study/a%2Bb+c%25</NextKeyMarker>"
        b"<Version><Key>study/a%2Bb+c%25</Key><VersionId>1</VersionId><IsLatest>true</IsLatest>"
        b"<LastModified>2026-01-01T00:00:00.000Z</LastModified><Size>1</Size></Version>"
        b"</ListVersionsResult>"
    )
    proxy.rules.append(Rule("status", "versions", status=200, body=page))
    access = Access(endpoint_url=proxy.url, transport=transport)
    store = open_store(f"s3://{study.name}/study", access=access)
    found = store.versions("")
    assert next(found).key == "a+b c%"
    with pytest.raises(ListingError, match="sends the same page again and again"):
        next(found)
    first, second = [path for _, path in proxy.requests if "versions" in path]
    assert "key-marker" not in first
    assert parse_qs(second.partition("?")[2])["key-marker"] == ["study/a+b c%"]


def test_a_server_that_knows_no_versions_says_so_at_once(rclone, transport):
    store = at(Bucket(rclone.url, f"noversions-{transport}"), transport)
    with pytest.raises(StorageError, match="501"):
        list(store.versions(""))


def test_other_storage_has_no_versions(tmp_path):
    with open_store(str(tmp_path), access=Access()) as store:
        with pytest.raises(StorageError, match="this storage has no versions"):
            store.versions("")
        with pytest.raises(StorageError, match="this storage has no versions"):
            store.version_of("x")


def test_an_old_version_tells_whether_its_tag_is_a_digest(study, transport):
    store = at(study, transport)
    study.delete(f"study/{T1W}")
    assert store.etag_is_md5(T1W, version=study.told[f"study/{T1W}"])
    with pytest.raises(StorageError, match="404"):
        store.etag_is_md5(T1W)
