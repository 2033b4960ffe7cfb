"""Tables and sidecars that a compile reads are all of what was listed, or an error."""

from __future__ import annotations

import hashlib
import importlib
import os
import re
from urllib.parse import parse_qs, unquote, urlsplit

import pytest

from bidsplan.cli.main import run
from bidsplan.errors import SourceChangedError, StorageError, UnreachableError
from bidsplan.storage import Access, open_store
from scripted import Scripted, answer, range_of

TABLE = b"participant_id\tsex\n" + b"".join(b"sub-0%d\tF\n" % each for each in range(1, 5))
CUT = TABLE[: TABLE.index(b"sub-03")]
FILES = {
    "dataset_description.json": b'{"Name": "x", "BIDSVersion": "1.8.0"}',
    "participants.tsv": TABLE,
    **{f"sub-0{each}/anat/sub-0{each}_T1w.nii.gz": b"image" for each in range(1, 5)},
}


@pytest.fixture(autouse=True)
def quick_tries(monkeypatch):
    """Wait a hundredth between tries: how long is another matter than how often."""
    module = importlib.import_module("bidsplan.storage.retry")
    monkeypatch.setattr(module, "_LONGEST_WAIT", 0.01)


def serving(table, **listed):
    """Serve the study as S3 and as a web server, and its table as `table` says."""
    etag = {"ETag": listed["etag"]} if "etag" in listed else {}

    def script(method, path, asked):
        url = urlsplit(path)
        key = unquote(url.path).removeprefix("/bucket").removeprefix("/ds").lstrip("/")
        if "list-type" in url.query:
            return answer(body=_page(parse_qs(url.query), listed.get("etag")))
        if key in {"", *(f"{name.rpartition('/')[0]}/" for name in FILES), *_subjects()}:
            names = {re.match("[^/]*/?", name[len(key) :])[0] for name in _below(key)}
            links = "".join(f"<a href='{name}'>x</a>" for name in sorted(names))
            return answer(body=f"<html>{links}</html>".encode(), Content_Type="text/html")
        data = FILES[key]
        if method == "HEAD":
            return answer(length=len(data), **etag)
        return table(asked) if key == "participants.tsv" else _part(data, asked)

    return script


def _subjects():
    return {f"{name.partition('/')[0]}/" for name in FILES if "/" in name}


def _below(prefix):
    return [name for name in FILES if name.startswith(prefix)]


def _page(query, etag):
    prefix = query.get("prefix", [""])[0].removeprefix("ds/")
    items = set()
    for name in _below(prefix):
        rest = name[len(prefix) :]
        tag = etag or f'"{hashlib.md5(FILES[name]).hexdigest()}"'
        item = (
            f"<Contents><Key>ds/{name}</Key><Size>{len(FILES[name])}</Size><ETag>{tag}</ETag>"
            "</Contents>"
        )
        if "delimiter" in query and "/" in rest:
            above = prefix + rest.partition("/")[0]
            item = f"<CommonPrefixes><Prefix>ds/{above}/</Prefix></CommonPrefixes>"
        items.add(item)
    found = "".join(sorted(items))
    return f"<ListBucketResult><IsTruncated>false</IsTruncated>{found}</ListBucketResult>".encode()


def _part(data, asked, **more):
    start, end = range_of(asked)
    if "range" not in asked:
        return answer(body=data, **more)
    body = data[start:end]
    said = f"bytes {start}-{start + len(body) - 1}/{len(data)}"
    return answer(206, body, Content_Range=said, **more)


def unsized(_asked):
    return answer(body=CUT).replace(b"Content-Length: %d\r\n" % len(CUT), b"")


def chunked(_asked):
    body = b"%x\r\n%s\r\n0\r\n\r\n" % (len(CUT), CUT)
    said = b"Content-Length: %d\r\n" % len(body)
    return answer(body=body, Transfer_Encoding="chunked").replace(said, b"")


WRONG = {
    "cut": lambda asked: _part(CUT, asked),
    "cut, without a length": unsized,
    "cut, in chunks": chunked,
    "none": lambda _: answer(204),
    "longer": lambda asked: _part(TABLE + b"sub-05\tF\n", asked),
    "a part": lambda _: answer(206, CUT, Content_Range=f"bytes 0-{len(CUT) - 1}/{len(TABLE)}"),
}


@pytest.mark.parametrize(
    ("transport", "wrong"),
    [
        *(("web", wrong) for wrong in WRONG),
        ("obstore", "cut"),
        ("fsspec", "cut"),
        ("obstore", "longer"),
    ],
)
def test_a_table_of_another_size_than_was_listed_is_no_table(tmp_path, capsys, transport, wrong):
    with Scripted(serving(WRONG[wrong])) as server:
        code, plan = compiled(server, transport, tmp_path)
    told = capsys.readouterr().err
    assert (code, plan.exists()) == (1, False)
    assert "participants.tsv" in told
    assert "Traceback" not in told


def compiled(server, transport, folder):
    url, more = f"{server.url}/ds", ["--allow-protocol", "http"]
    if transport != "web":
        url = "s3://bucket/ds"
        more = ["--transport", transport, "--endpoint-url", server.url, "--anonymous"]
    manifest, plan = folder / "m.yaml", folder / "p.jsonl"
    manifest.write_text(
        f'manifest_version: 1\nstudy: {{id: ds, url: "{url}"}}\nsubjects: {{where: {{sex: F}}}}\n'
    )
    code = run(["compile", str(manifest), "-o", str(plan), "--timeout", "5", *more])
    return code, plan


def test_a_table_that_is_all_there_is_read(tmp_path):
    with Scripted(serving(lambda asked: _part(TABLE, asked))) as server:
        code, plan = compiled(server, "web", tmp_path)
    assert code == 0
    assert set(re.findall(r"sub-0\d(?=/)", plan.read_text())) == {f"sub-0{n}" for n in range(1, 5)}


def test_a_table_of_another_tag_than_was_listed_is_no_table():
    table = serving(lambda asked: _part(TABLE, asked, ETag='"other"'), etag='"listed"')
    access = Access(allow_protocols=frozenset({"http"}))
    with (
        Scripted(table) as server,
        open_store(f"{server.url}/ds", access=access) as store,
        pytest.raises(SourceChangedError, match="no longer the file that was listed"),
    ):
        store.read("participants.tsv", limit=1000, etag="listed")


def test_what_has_content_without_a_size_is_refused():
    with open_store("/proc/self", access=Access()) as store, pytest.raises(StorageError):
        store.read("environ", limit=1 << 20, size=0)


def test_a_size_is_compared_whatever_the_storage(tmp_path):
    (tmp_path / "a.json").write_bytes(b"{}")
    with open_store(str(tmp_path), access=Access()) as store:
        assert store.read("a.json", limit=10, size=2) == b"{}"
        for size in (1, 3):
            with pytest.raises(UnreachableError, match=f"listed with {size} bytes"):
                store.read("a.json", limit=10, size=size)


def test_a_local_file_whose_times_are_put_back_has_changed(tmp_path):
    path = tmp_path / "a.bin"
    path.write_bytes(b"A" * (3 << 20))
    before = path.stat()
    with open_store(str(tmp_path), access=Access()) as store:
        chunks = iter(stream := store.stream("a.bin"))
        next(chunks)
        with path.open("r+b") as file:
            file.write(b"B" * before.st_size)
        os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
        with pytest.raises(SourceChangedError):
            list(chunks)
        stream.close()
