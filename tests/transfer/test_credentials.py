"""Credentials are needed by requests alone: by those to the source, and by all to a destination."""

from __future__ import annotations

import pytest

from bidsplan.errors import DeniedError, UrlError
from bidsplan.events import Action
from bidsplan.help_codes import HelpCode
from bidsplan.plan import Plan, Root
from bidsplan.plan.file import write_plan
from bidsplan.storage import Access, Transport
from bidsplan.transfer.verification import verify
from caches import contents
from plans import FILES, failures, fetch, finished, plan_over, tree
from servers import Rule

TRANSPORTS = [Transport.OBSTORE, Transport.FSSPEC]


@pytest.fixture
def keyless(counted, bucket, monkeypatch, tmp_path):
    """Give a function that takes the credentials away, and the endpoint that a profile names."""
    config = tmp_path / "config"
    config.write_text(
        "[profile lab]\naws_access_key_id = test\naws_secret_access_key = test\n"
        f"endpoint_url = {counted.url}\n"
    )
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_ENDPOINT_URL_S3"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_CONFIG_FILE", str(config))
    monkeypatch.setenv("AWS_PROFILE", "lab")

    def take(profile):
        counted.requests.clear()
        if profile is None:
            monkeypatch.delenv("AWS_PROFILE")
        else:
            monkeypatch.setenv("AWS_PROFILE", profile)

    return take


@pytest.fixture
def signed(counted, bucket):
    """Give a plan whose source refuses unsigned requests."""
    bucket.fill({f"x/{key}": data for key, data in FILES.items()})
    counted.rules += [
        Rule("status", "/x", status=403, code="AccessDenied", lacks="Authorization", method=method)
        for method in ("GET", "HEAD")
    ]
    plan = plan_over(f"s3://{bucket.name}/x", FILES)
    header = {"manifest_sha256": "0" * 64, "study": "x", "subjects": []}
    roots = [Root(url=f"s3://{bucket.name}/x", anonymous=False)]
    return Plan.build(plan.entries, roots=roots, **header)


@pytest.mark.parametrize(
    ("transport", "profile"), [*((each, None) for each in TRANSPORTS), (TRANSPORTS[0], "nobody")]
)
def test_what_is_complete_needs_no_credentials(
    keyless, signed, counted, tmp_path, transport, profile
):
    access, folder = Access(transport=transport), tmp_path / "d"
    assert failures(fetch(signed, folder, access=access)) == {}
    keyless(profile)
    for options in ({"dry_run": True}, {}, {}):
        events = fetch(signed, folder, access=access, **options)
        assert failures(events) == {}
    assert {action for action, _ in finished(events).values()} == {Action.KEEP}
    assert failures(verify(signed, folder, access=access)) == {}
    assert counted.requests == []


def test_what_the_cache_has_needs_no_credentials(keyless, signed, counted, tmp_path):
    fetch(signed, tmp_path / "d", cache=tmp_path / "cache")
    keyless(None)
    assert failures(fetch(signed, tmp_path / "again", cache=tmp_path / "cache")) == {}
    assert tree(tmp_path / "again") == FILES
    assert counted.requests == []


def test_what_the_cache_has_lost_needs_them(keyless, signed, counted, tmp_path):
    fetch(signed, tmp_path / "d", cache=tmp_path / "cache")
    for path in contents(tmp_path / "cache").values():
        path.chmod(0o600)
        path.write_bytes(b"")
    keyless(None)
    [error] = failures(fetch(signed, tmp_path / "again", cache=tmp_path / "cache")).values()
    assert error.help_code is HelpCode.NO_CREDENTIALS
    assert counted.requests == []


def test_all_requests_to_a_destination_are_signed(counted, signed, bucket, tmp_path, ask_here):
    methods = ("GET", "HEAD", "PUT", "POST", "DELETE")
    counted.rules[:] = [
        Rule("status", where, status=403, code="AccessDenied", lacks="Authorization", method=method)
        for method in methods
        for where in ("/copy", "prefix=copy")
    ]
    write_plan(plan_over(f"s3://{bucket.name}/x", FILES), tmp_path / "s.plan.jsonl")
    arguments = "s.plan.jsonl", f"s3://{bucket.name}/copy", "--anonymous"
    for command in (["fetch"], ["fetch"], ["verify"], ["prune", "--yes"]):
        code, out, said = ask_here(*command, *arguments)
        assert (code, "BP" in out + said) == (0, False), said
    assert bucket.files("copy/").keys() >= FILES.keys()


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_a_destination_without_keys_is_not_asked_anonymously(
    keyless, signed, counted, bucket, tmp_path, transport
):
    keyless(None)
    access = Access(endpoint_url=counted.url, anonymous=True, transport=transport)
    with pytest.raises(
        DeniedError, match="requests to the destination are always signed"
    ) as caught:
        fetch(signed, f"s3://{bucket.name}/copy", access=access)
    assert "--dest-profile" in str(caught.value)
    assert "anonymous" not in str(caught.value)
    assert counted.requests == []


def test_strangers_do_not_write_with_credentials(counted, bucket, signed):
    with pytest.raises(UrlError, match="an untrusted plan may not use credentials"):
        fetch(signed, f"s3://{bucket.name}/copy", access=Access(untrusted=True))
    assert counted.requests == []
