"""A denial says what the request may have lacked; what is archived is no denial."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest

from bidsplan.errors import (
    ArchivedError,
    BidsplanError,
    CredentialsError,
    DeniedError,
    SourceMissingError,
)
from bidsplan.plan.file import write_plan
from bidsplan.storage import Access, Transport, find_file, open_store
from plans import FILES, failures, fetch, plan_over, tree
from servers import Rule
from sites import Page, Site

TRANSPORTS = [Transport.OBSTORE, Transport.FSSPEC]
IMAGE = "sub-1/anat/image.nii.gz"


@pytest.fixture
def source(counted, bucket):
    bucket.fill({f"x/{key}": data for key, data in FILES.items()})
    return f"s3://{bucket.name}/x"


def refuse(proxy, code, match="/x/", **more):
    proxy.rules.append(Rule("status", match, status=403, code=code, **more))


@pytest.mark.parametrize("transport", TRANSPORTS)
@pytest.mark.parametrize("key", ["a.txt", IMAGE], ids=["whole", "streamed"])
@pytest.mark.parametrize("to_storage", [False, True], ids=["directory", "bucket"])
def test_an_archived_object_fails_as_such_and_the_others_come(
    counted, source, bucket, tmp_path, ask, transport, key, to_storage
):
    refuse(counted, "InvalidObjectState", key)
    plan = plan_over(source, FILES)
    folder = f"s3://{bucket.name}/copy" if to_storage else tmp_path / "d"
    events = fetch(plan, folder, access=Access(transport=transport))
    failed = failures(events)
    assert {path: error.code for path, error in failed.items()} == {key: "archived"}
    assert "restore it (aws s3api restore-object), or exclude it" in str(failed[key])
    assert "credentials" not in str(failed[key])
    there = bucket.files("copy/") if to_storage else tree(tmp_path / "d")
    assert set(there) == set(FILES) - {key}


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_a_table_that_is_archived_is_an_error_of_its_own(counted, source, transport):
    refuse(counted, "InvalidObjectState")
    store = open_store(source, access=Access(transport=transport))
    with pytest.raises(ArchivedError, match=r"is archived \(403 InvalidObjectState\)"):
        store.read("a.txt", limit=99)


def test_an_archived_copy_is_archived_when_it_is_verified(counted, source, bucket, tmp_path, ask):
    write_plan(plan_over(source, FILES), tmp_path / "s.plan.jsonl")
    url = f"s3://{bucket.name}/copy"
    assert ask("fetch", tmp_path / "s.plan.jsonl", url)[0] == 0
    refuse(counted, "InvalidObjectState", "copy/a.txt")
    code, out, said = ask("verify", tmp_path / "s.plan.jsonl", url, "--json")
    assert code == 1
    assert '"archived"' in out
    assert "credentials" not in out + said


PAYS = "if its requesters pay, add --requester-pays"
HINTS = {
    (False, False): f"check whether the bucket is public, or give credentials and say "
    f"'anonymous: false' or --signed; {PAYS}",
    (False, True): "--requester-pays needs signed requests: give credentials, and say "
    "'anonymous: false' or --signed",
    (True, False): f"the credentials in use (environment variables) have no access to it; {PAYS}",
    (True, True): "the credentials in use (environment variables) have no access to it",
}


@pytest.mark.parametrize("transport", TRANSPORTS)
@pytest.mark.parametrize(("signed", "pays"), HINTS)
@pytest.mark.parametrize("key", ["a.txt", IMAGE], ids=["whole", "streamed"])
def test_a_denial_says_what_this_request_lacked(
    counted, source, tmp_path, transport, signed, pays, key
):
    refuse(counted, "AccessDenied")
    access = Access(transport=transport, anonymous=not signed, requester_pays=pays)
    said = str(failures(fetch(plan_over(source, FILES), tmp_path / "d", access=access))[key])
    assert said == f"{source}/{key}: access is denied (403 AccessDenied); {HINTS[signed, pays]}"


@pytest.mark.parametrize("transport", TRANSPORTS)
@pytest.mark.parametrize(("signed", "pays"), HINTS)
def test_a_denied_listing_says_so_too(counted, source, transport, signed, pays):
    refuse(counted, "AccessDenied", "list-type=2")
    access = Access(transport=transport, anonymous=not signed, requester_pays=pays)
    with pytest.raises(DeniedError) as caught:
        open_store(source, access=access).children()
    assert str(caught.value).endswith(f"(403 AccessDenied); {HINTS[signed, pays]}")


def use_profile(monkeypatch, folder):
    """Have credentials in a profile alone."""
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    secrets = "aws_access_key_id = KEYID\naws_secret_access_key = SECRET\n"
    (folder / "credentials").write_text(f"[lab]\n{secrets}")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(folder / "credentials"))


@pytest.mark.parametrize("by", ["option", "environment"])
def test_a_profile_is_named_and_no_secret_is(counted, source, monkeypatch, tmp_path, by):
    use_profile(monkeypatch, tmp_path)
    if by == "environment":
        monkeypatch.setenv("AWS_PROFILE", "lab")
    refuse(counted, "AccessDenied", "list-type=2")
    access = Access(profile="lab" if by == "option" else None, anonymous=False)
    used = f"in use (profile 'lab' of {'--profile' if by == 'option' else 'AWS_PROFILE'}) have no"
    with pytest.raises(DeniedError, match=re.escape(used)) as caught:
        open_store(source, access=access).children()
    assert "KEYID" not in str(caught.value)
    assert "SECRET" not in str(caught.value)


REFUSED = {
    "SignatureDoesNotMatch": "the secret key is not that of the access key; correct it",
    "InvalidAccessKeyId": "{} of AWS_ENDPOINT_URL_S3 does not know the access key; check profile "
    "and endpoint",
    "RequestTimeTooSkewed": "this machine's clock is wrong; set it, and run it again",
    "ExpiredToken": "renew them, and run it again",
}


@pytest.mark.parametrize("transport", TRANSPORTS)
@pytest.mark.parametrize("code", REFUSED)
@pytest.mark.parametrize("step", ["list", "read"])
def test_refused_credentials_are_named_with_what_to_do(
    counted, source, monkeypatch, tmp_path, transport, code, step
):
    use_profile(monkeypatch, tmp_path)
    refuse(counted, code, "list-type=2" if step == "list" else "/x/")
    access = Access(transport=transport, profile="lab", anonymous=False)
    with pytest.raises(CredentialsError) as caught, open_store(source, access=access) as store:
        store.children() if step == "list" else store.read("a.txt", limit=99)
    used = "the credentials in use (profile 'lab' of --profile) are refused"
    told = REFUSED[code].format(counted.url)
    assert str(caught.value).endswith(f": {used} (403 {code}); {told}")
    assert "KEYID" not in str(caught.value)


def test_a_denied_upload_names_the_credentials(counted, source, bucket, tmp_path):
    refuse(counted, "AccessDenied", "/copy/", method="PUT")
    plan, url = plan_over(source, FILES), f"s3://{bucket.name}/copy"
    said = {str(error) for error in failures(fetch(plan, url, access=Access())).values()}
    assert said
    assert all(
        "denied (403 AccessDenied); the credentials in use (environment variables)" in text
        for text in said
    )


def test_a_status_without_a_code_is_said_once(counted, source):
    refuse(counted, "", method="HEAD")
    with pytest.raises(DeniedError, match=r"access is denied \(403\);"):
        find_file(f"{source}/a.txt", anonymous=False).read()


def test_a_web_server_is_given_no_credentials():
    with Site({"/x/": Page(status=403)}) as site, pytest.raises(DeniedError) as caught:
        open_store(f"{site.url}/x", access=Access(allow_protocols=frozenset({"http"}))).children()
    assert "anonymous" not in str(caught.value)
    assert "without a login" in str(caught.value)


PROFILES = {
    "--profile": ("profile 'lab' of --profile", {"profile": "lab"}, {}),
    "AWS_PROFILE": ("profile 'lab' of AWS_PROFILE", {}, {"AWS_PROFILE": "lab"}),
    "AWS_DEFAULT_PROFILE": (
        "profile 'lab' of AWS_DEFAULT_PROFILE",
        {},
        {"AWS_PROFILE": "x", "AWS_DEFAULT_PROFILE": "lab"},
    ),
    "none": ("the default profile", {}, {}),
}
WITHOUT = {
    "": "{} has no AWS credentials; add its keys or its sign-in to the AWS configuration, or ask",
    "credential_process = false": "the AWS credentials of {} can't be read (Cred",
}


@pytest.fixture
def lab(counted, monkeypatch, tmp_path):
    """Have no credentials but what a profile says, which the function writes."""
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))

    def write(setting):
        text = "".join(f"[{name}]\n{setting}\n" for name in ("default", "profile lab", "profile x"))
        (tmp_path / "config").write_text(text)

    return write


def refusal(source, access):
    with pytest.raises(BidsplanError) as caught:
        open_store(source, access=access).children()
    return str(caught.value)


@pytest.mark.parametrize("setting", WITHOUT)
@pytest.mark.parametrize("by", PROFILES)
def test_without_credentials_the_profile_is_named_and_what_chose_it(
    lab, source, monkeypatch, by, setting
):
    used, options, variables = PROFILES[by]
    lab(setting)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    expected = WITHOUT[setting].format(used)
    if (by, setting) == ("none", ""):
        expected = f"no AWS credentials were found for signed requests ({used}); set AWS_PROFILE"
    assert expected in refusal(source, Access(anonymous=False, **options))


def test_a_destination_has_a_profile_and_an_endpoint_of_its_own(lab, counted, source):
    lab("")
    options = {"dest_profile": "lab", "dest_endpoint_url": counted.url, "anonymous": False}
    access = Access(profile="x", **options).at_destination()
    assert "profile 'lab' of --dest-profile has no AWS credentials" in refusal(source, access)
    told = refusal("s3://no-such-bucket-here/x", replace(access, anonymous=True))
    assert f"(now {counted.url} of --dest-endpoint-url)" in told


def test_the_source_and_the_destination_may_have_the_same_profile_and_endpoint(
    lab, counted, source
):
    lab("")
    options = {"profile": "lab", "endpoint_url": counted.url, "anonymous": False}
    own = {f"dest_{name}": options[name] for name in ("profile", "endpoint_url")}
    for access, prefix in (
        (Access(**options, **own), ""),
        (Access(**options).at_destination(), ""),
        (Access(**options, **own).at_destination(), "dest-"),
    ):
        assert f"profile 'lab' of --{prefix}profile has no AWS" in refusal(source, access)
        told = refusal("s3://no-such-bucket-here/x", replace(access, anonymous=True))
        assert f"(now {counted.url} of --{prefix}endpoint-url)" in told


@pytest.mark.parametrize("by", ["--profile", "AWS_PROFILE"])
def test_an_unknown_profile_is_named_and_what_chose_it(counted, source, monkeypatch, by):
    if by == "AWS_PROFILE":
        monkeypatch.setenv("AWS_PROFILE", "nobody")
    access = Access(profile="nobody" if by == "--profile" else None, anonymous=False)
    assert f"there is no profile 'nobody' of {by} in its files" in refusal(source, access)


@pytest.mark.parametrize("by", ["--endpoint-url", "AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL"])
def test_where_a_bucket_is_missing_the_endpoint_is_named_and_what_chose_it(
    counted, monkeypatch, by
):
    if by == "AWS_ENDPOINT_URL":
        monkeypatch.delenv("AWS_ENDPOINT_URL_S3")
        monkeypatch.setenv(by, counted.url)
    access = Access(endpoint_url=counted.url if by == "--endpoint-url" else None)
    assert f"(now {counted.url} of {by})" in refusal("s3://no-such-bucket-here/x", access)


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_an_endpoint_with_a_path_is_named_where_an_object_is_missing(
    counted, source, bucket, tmp_path, transport
):
    endpoint = f"{counted.url}/{bucket.name}"
    access = Access(endpoint_url=endpoint, anonymous=True, transport=transport)
    said = f"the endpoint in use, {endpoint} of --endpoint-url, has a path: if that is the name of"
    assert said in refusal(source, access)
    assert said in str(failures(fetch(plan_over(source, FILES), tmp_path / "d", access=access)))
    with pytest.raises(SourceMissingError) as caught:
        open_store(source, access=replace(access, endpoint_url=counted.url)).read("no", limit=9)
    assert "path" not in str(caught.value)


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_where_an_object_has_changed_the_endpoint_in_use_is_named(
    counted, source, bucket, tmp_path, transport
):
    plan = plan_over(source, FILES)
    bucket.put(f"x/{IMAGE}", FILES[IMAGE][::-1] + b"x")
    access = Access(anonymous=True, transport=transport)
    [error] = failures(fetch(plan, tmp_path / "d", access=access)).values()
    assert f" at {counted.url}; compile the plan again, or give the --endpoint-url" in str(error)
