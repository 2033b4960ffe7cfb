"""Ranges of a file are of one content, by what their own answers say, or it comes whole."""

from __future__ import annotations

import importlib

import fsspec
import pytest

from bidsplan.errors import RefusedHostError, SourceChangedError, StorageError
from bidsplan.s3bids.images import s3fs_json_read
from bidsplan.storage import RangedFile, find_file
from scripted import Scripted, answer, range_of

SIZE = 4 << 20
LONG_AGO = {
    "Last_Modified": "Thu, 01 Jan 2026 00:00:00 GMT",
    "Date": "Thu, 26 Nov 2026 00:00:00 GMT",
}
LATER = {"Last_Modified": "Fri, 02 Jan 2026 00:00:00 GMT", "Date": "Thu, 26 Nov 2026 00:00:00 GMT"}


@pytest.fixture(autouse=True)
def quick_tries(monkeypatch):
    """Wait a hundredth between tries: how long is another matter than how often."""
    module = importlib.import_module("bidsplan.storage.retry")
    monkeypatch.setattr(module, "_LONGEST_WAIT", 0.01)


class Changing:
    """A file that is all of one letter and then of another; no condition is heeded.

    Parameters
    ----------
    told : callable
        Gives the headers for a letter.
    head : callable, optional
        Gives those of answers to HEAD, where they differ.
    """

    def __init__(self, told, head=None, size=SIZE):
        self.letter, self.told, self.head, self.size = "A", told, head or told, size

    def __call__(self, method, _path, asked):
        if method == "HEAD":
            return answer(length=self.size, Accept_Ranges="bytes", **self.head(self.letter))
        start, stop = range_of(asked)
        stop = min(stop or self.size, self.size)
        body, more = self.letter.encode() * (stop - start), {}
        if "range" in asked:
            more = {"status": 206, "Content_Range": f"bytes {start}-{stop - 1}/{self.size}"}
        return answer(body=body, **more, **self.told(self.letter))


VALIDATORS = {
    "nothing": lambda _: {},
    "a weak tag": lambda _: {"ETag": 'W/"x"'},
    "a tag without quotes": lambda _: {"ETag": "x"},
    "a tag": lambda letter: {"ETag": f'"{letter}"'},
    "a time": lambda letter: LONG_AGO if letter == "A" else LATER,
}
CONSTANT = {"HEAD says nothing": lambda _: {}, "HEAD never changes": lambda _: {"ETag": '"A"'}}


def mixed(file, site):
    """Read a piece, then one of the other content; give the letters that came."""
    ranges = RangedFile(file)
    first = ranges.read(1 << 20)
    site.letter = "B"
    ranges.seek(2 << 20)
    return set(first + ranges.read(1 << 20))


@pytest.mark.parametrize(
    ("kind", "head"),
    [*((kind, None) for kind in VALIDATORS), *(("a tag", head) for head in CONSTANT)],
)
@pytest.mark.parametrize("storage", ["web", "s3"])
def test_two_contents_are_never_mixed(monkeypatch, storage, kind, head):
    site = Changing(VALIDATORS[kind], CONSTANT.get(head))
    with Scripted(site) as server:
        monkeypatch.setenv("AWS_ENDPOINT_URL_S3", server.url)
        url = f"{server.url}/a.bin" if storage == "web" else "s3://bucket/a.bin"
        try:
            found = mixed(find_file(url, anonymous=True), site)
        except StorageError:
            found = None
        if kind not in {"a tag", "a time"}:
            # Nothing binds ranges: all of it comes at once.
            assert found == {ord("A")}
            assert [asked.get("range") for asked in server.gets()][-1] is None
    if found is not None:
        assert len(found) == 1


def test_a_file_system_of_the_callers_own_is_asked_for_all_where_it_tells_nothing():
    for kind in ("nothing", "a weak tag"):
        site = Changing(VALIDATORS[kind])
        with Scripted(site) as server:
            file = find_file(f"{server.url}/a.bin", fsspec.filesystem("http"))
            assert mixed(file, site) == {ord("A")}


def test_a_file_system_of_the_callers_own_is_asked_whether_the_file_has_changed():
    site = Changing(VALIDATORS["a time"])
    with Scripted(site) as server, pytest.raises(SourceChangedError):
        mixed(find_file(f"{server.url}/a.bin", fsspec.filesystem("http")), site)


def test_web_files_are_reached_by_no_redirect_to_where_urls_may_not_lead():
    for target in ("http://169.254.169.254/a.json", "file:///etc/passwd", "https://["):
        with Scripted(lambda *_, to=target: answer(302, Location=to)) as server:
            with pytest.raises(RefusedHostError):
                s3fs_json_read(f"{server.url}/a.json")
            assert len(server.requests) == 1
    with pytest.raises(RefusedHostError) as caught:
        s3fs_json_read("http://me:secret@127.0.0.1:1/a.json?token=secret")
    assert "secret" not in str(caught.value)


def test_each_piece_of_a_web_file_comes_from_one_mirror():
    tags = VALIDATORS["a weak tag"], lambda _: {"ETag": '"same"'}
    for told in tags:
        first, second = Changing(told), Changing(told)
        second.letter = "B"
        with Scripted(first) as one, Scripted(second) as other, Scripted(None) as server:
            targets = [one, one, other, other, other, other]
            server.script = lambda _, path, __, to=targets: answer(
                302, Location=f"{to.pop(0).url}{path}"
            )
            try:
                found = mixed(find_file(f"{server.url}/a.bin"), first)
            except StorageError:
                continue
        assert len(found) == 1


def test_small_and_empty_web_files_are_read():
    with Scripted(lambda *_: answer(body=b'{"a": 1}')) as server:
        assert s3fs_json_read(f"{server.url}/some%20file.json?a=b#c") == {"a": 1}
        assert server.requests[0][1] == "/some%20file.json?a=b"
    with Scripted(lambda *found: answer(416 if "range" in found[2] else 200)) as server:
        assert find_file(f"{server.url}/a").read() == b""


def test_a_web_file_that_is_packed_on_its_way_is_refused():
    def script(_method, _path, _asked):
        return answer(body=b"packed", Content_Encoding="gzip", ETag='"x"')

    with Scripted(script) as server, pytest.raises(StorageError, match="gzip"):
        s3fs_json_read(f"{server.url}/a.json")
