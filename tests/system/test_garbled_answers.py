"""Servers whose pages and headers are garbled: a clear answer, and never wrong bytes."""

from __future__ import annotations

import pytest

from fuzzing import captured
from garbling import garbled, sent, served


def cut(*answer):
    whole = sent(*answer)
    return whole[: len(whole) - 200]


def saying(name, text):
    def garble(method, target, status, headers, body):
        return sent(method, target, status, headers | {name: text}, body)

    return garble


PAGES = {
    "a page that is cut off": cut,
    "a page that is not packed": saying("Content-Encoding", "gzip"),
    "a page that is not in pieces": saying("Transfer-Encoding", "chunked"),
}


@pytest.mark.parametrize("garble", PAGES.values(), ids=PAGES)
def test_a_page_that_can_not_be_read_is_told(tmp_path, garble):
    with served(tmp_path) as server:
        server.garble = garble
        code, said = captured(["compile", "m.yaml", "-o", "q.plan.jsonl", "--timeout", "1"])
    assert code == 1
    assert said.startswith("error: m.yaml:2: study.url: listing s3://bucket/: ")
    assert "broke off" in said or "is packed" in said
    assert not (tmp_path / "q.plan.jsonl").exists()


@pytest.mark.parametrize("text", ["abc", "1e3"])
def test_a_length_that_is_none_is_no_size(tmp_path, text):
    def garble(method, target, status, headers, body):
        if "versions" in target:
            # Then each object is asked for its version.
            return sent(method, target, "403 Forbidden", {"Content-Length": "0"}, b"")
        if method == "HEAD":
            headers = headers | {"Content-Length": text, "x-amz-version-id": "1"}
        return sent(method, target, status, headers, body)

    with served(tmp_path) as server:
        manifest = tmp_path / "m.yaml"
        manifest.write_text(manifest.read_text().replace("'}", "', versions: pinned}"))
        server.garble = garble
        code, said = captured(["compile", "m.yaml", "-o", "q.plan.jsonl", "--timeout", "1"])
    assert "defect" not in said
    assert code == 1


def test_garbled_answers_get_clear_ones(tmp_path):
    assert garbled(tmp_path, answers=6, seed=4, transports=("obstore",)) == []
