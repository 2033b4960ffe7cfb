"""What looks like a secret is hidden in text, and so is a value that is known to be one."""

from __future__ import annotations

import json
import random
import string
import time

import pytest

from bidsplan.messages import HIDDEN, Redactor, has_user_info, redacted, secrets_in

HELD = {
    "https://u:pw@h/x": "https://***@h/x",
    "https:/u:pw@h": "https:/***@h",
    "https:u:pw@h": "https:***@h",
    "https//u:pw@h": "https//***@h",
    "file://u:pw@h/x": "file://***@h/x",
    "file:///u:pw@h/x": "file:///***@h/x",
    "s3:/AKIA0123456789ABCDEF:a/b+c@b": "s3:/***@b",
    "s3://AKIA0123456789ABCDEF:a@b@c/d": "s3://***@c/d",
    "S3://:pw@b": "S3://***@b",
    "u:pw@h:9000": "***@h:9000",
    "('u:pw@h')": "('***@h')",
    "from http://u:pw@a, http://v:pw@b": "from http://***@a, http://***@b",
    "https://token@h/x": "https://***@h/x",
    "https://h/x?X-Amz-Signature=f00&a=1": "https://h/x?X-Amz-Signature=***&a=1",
    "https://h/x?sv=1&sig=a%2Fb": "https://h/x?sv=1&sig=***",
    "AccountKey=abc==;x": "AccountKey=***;x",
    "aws_secret_access_key = abc": "aws_secret_access_key = ***",
    '{"aws_session_token": "abc"}': '{"aws_session_token": ***',
    "-----BEGIN RSA PRIVATE KEY-----\nabc": "***",
    "'h/x?X-Amz-Signature=***' -o x": "'h/x?X-Amz-Signature=***' -o x",
}


@pytest.mark.parametrize("text", HELD)
def test_what_looks_like_a_secret_is_hidden_once_and_for_all(text):
    assert redacted(text) == HELD[text]
    assert redacted(redacted(text)) == redacted(text)


PLAIN = [
    "s3://openneuro.org/ds000114/sub-01/anat/sub-01_T1w.nii.gz",
    "s3://bucket/sub-01/a:b@c.json",
    "sub-01/anat/a:b@c.json",
    "https://host:8080/a@b",
    "http://127.0.0.1:9000",
    "/home/me@lab/study",
    "file:///home/me@lab/study",
    "git@github.com:o/r",
    "m.yaml:3: files[0].suffixes: expected text; got a number",
    "s3://b/k?part=1&x=2",
    "expected content 0f (xxh3-128), got 1e",
    "sub-01: no column 'token'; there are 'age', 'sex'",
]


@pytest.mark.parametrize("text", PLAIN)
def test_plain_text_stays_as_it_is(text):
    assert redacted(text) == text
    assert not has_user_info(text)


@pytest.mark.parametrize("piece", ["//a:", "a:" * 2, "https:/", "?sig", "x" * 40, ":@", "u:p"])
def test_no_text_makes_the_search_crawl(piece):
    text = piece * (40_000 // len(piece)) + "@"
    began = time.thread_time()
    redacted(text)
    assert time.thread_time() - began < 1


def test_known_values_are_hidden_in_every_way_of_writing_them():
    secret = 'a"b\\c/d+e\n é'
    redact = Redactor([secret, "short"])
    for text in (secret, repr(secret), json.dumps(secret, ensure_ascii=False)):
        assert redact(f"<{text}>").strip("<'\">") == HIDDEN
    assert redact("%61x a%22b%5Cc%2Fd%2Be%0A%20%C3%A9") == f"%61x {HIDDEN}"
    assert redact("a short one") == "a short one"
    assert Redactor(["no UTF-8: \udcff"])("<no UTF-8: \udcff>") == "<***>"


def test_settings_are_secret_by_their_names_or_for_a_password_in_a_url():
    values = {
        "AWS_SECRET_ACCESS_KEY": "s1",
        "AWS_SESSION_TOKEN": "s2",
        "my_password": "s3",
        "HTTPS_PROXY": "http://u:s4@h:3128",
        "X": "https://u:s5@h",
        "AWS_ACCESS_KEY_ID": "no",
        "AWS_WEB_IDENTITY_TOKEN_FILE": "no",
        "PATH": "/usr/bin:/opt/node@16/bin",
        "AWS_ENDPOINT_URL": "http://127.0.0.1:9000/x@y",
    }
    assert list(secrets_in(values)) == ["s1", "s2", "s3", "s4", "s5"]


def test_whatever_the_text_it_is_redacted_in_one_go():
    draw = random.Random(0)
    letters = string.ascii_letters + ":/@?&=.#\"'\\ "
    redact = Redactor(["abcdefgh"])
    for _ in range(2000):
        text = "".join(draw.choices(letters, k=draw.randrange(60)))
        once = redact(text)
        assert redact(once) == once
