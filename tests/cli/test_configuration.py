"""An unusable configuration is reported, without its content."""

from __future__ import annotations

import json

import pytest

CANARY = "canary-0123456789"


@pytest.mark.parametrize("command", [["inspect"], ["inspect", "--transport", "fsspec"]])
@pytest.mark.parametrize(
    "proxy",
    [
        f"http://me:{CANARY}%40proxy:3128",
        f"http://me:{CANARY}\uff20proxy:3128",
        f"me:{CANARY}@proxy:x",
        f"socks5h://me:{CANARY}@127.0.0.1:9",
    ],
)
def test_an_invalid_proxy_is_not_repeated(ask, monkeypatch, command, proxy):
    monkeypatch.setenv("HTTP_PROXY", proxy)
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", "http://127.0.0.1:9")
    code, out, err = ask(*command, "s3://bucket/x", "--debug")
    assert code == 2
    assert "the proxy that the environment names can't be used" in err
    assert CANARY not in out + err


@pytest.mark.parametrize(
    "endpoint",
    [
        f"http://me:{CANARY}\uff20h",
        f"http://me\uff1a{CANARY}@h",
        f"{CANARY}@h",
        f"http://{CANARY} h",
    ],
)
def test_an_invalid_endpoint_is_not_repeated(ask, monkeypatch, endpoint):
    monkeypatch.setenv("AWS_ENDPOINT_URL", endpoint)
    code, out, err = ask("inspect", "s3://bucket/x", "--debug")
    assert code == 2
    assert "can't be used" in err
    assert CANARY not in out + err


@pytest.mark.parametrize("transport", ["obstore", "fsspec"])
@pytest.mark.parametrize(
    "printed",
    [
        json.dumps(
            {
                "Version": 1,
                "AccessKeyId": "A",
                "SecretAccessKey": "s",
                "SessionToken": f"{CANARY}\n",
            }
        ),
        f"{CANARY} is no JSON",
        json.dumps({"Version": 7, "SecretAccessKey": CANARY}),
    ],
)
def test_invalid_credentials_are_not_shown(ask, monkeypatch, tmp_path, printed, transport):
    (tmp_path / "printed").write_text(printed)
    config = tmp_path / "config"
    config.write_text(f"[default]\ncredential_process = cat {tmp_path / 'printed'}\n")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(config))
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", "http://127.0.0.1:9")
    options = ("--signed", "--transport", transport, "--debug")
    code, out, err = ask("inspect", "s3://bucket/x", *options)
    assert code == 1
    assert "the AWS credentials" in err
    assert CANARY not in out + err


def test_credentials_of_google_are_not_shown(ask, monkeypatch):
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", json.dumps({"refresh": CANARY}))
    code, out, err = ask("inspect", "gs://bucket/x", "--debug")
    assert code == 2
    assert "it can't be opened" in err
    assert CANARY not in out + err
