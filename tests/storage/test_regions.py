"""A region that one answer names is where every later request goes, on both transports."""

from __future__ import annotations

import threading

import pytest

from bidsplan.storage import Access, Transport, find_file, open_store
from plans import FILES, failures, fetch, finished, plan_over, tree
from servers import Proxy, Rule

TRANSPORTS = [Transport.OBSTORE, Transport.FSSPEC]
REGION = "eu-central-1"
MANY = {f"sub-{number:02}/a.txt": b"%d" % number for number in range(40)}


class Elsewhere(Proxy):
    """Answers only what is signed for a region, as a bucket that is there does.

    Parameters
    ----------
    status : int
    named : str
        Where an answer names the region: in a ``header`` or in its ``body``.
    """

    def __init__(self, upstream, status=400, named="header", region=REGION):
        super().__init__(upstream)
        self.region = region
        self.misled = []
        code = "AuthorizationHeaderMalformed" if status == 400 else "PermanentRedirect"
        self._status, self._code, self._named = status, code, named
        self._counting = threading.Lock()

    def _rule(self, method, path, headers):
        if f"/{self.region}/s3/" in headers.get("Authorization", ""):
            return super()._rule(method, path, headers)
        with self._counting:
            self.misled.append((method, path))
        named, body = {}, f"<Error><Code>{self._code}</Code>"
        if self._named == "header":
            named = {"x-amz-bucket-region": self.region}
        else:
            body += f"<Region>{self.region}</Region>"
        body = f"{body}</Error>".encode()
        return Rule("status", status=self._status, headers=named, body=body)


class Nowhere(Elsewhere):
    """Names another region each time."""

    region = property(lambda self: f"eu-west-{len(self.misled) + 2}", lambda *_: None)

    def _rule(self, method, path, headers):
        return super()._rule(method, path, {})


@pytest.fixture(params=[(400, "header"), (301, "header"), (400, "body")], ids=str)
def elsewhere(request, moto, s3, monkeypatch):
    server = Elsewhere(moto.url, *request.param)
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", server.url)
    yield server
    server.stop()


def access(transport, **more):
    return Access(transport=transport, anonymous=False, timeout=5, **more)


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_a_study_elsewhere_is_listed_read_and_fetched(elsewhere, bucket, ask, tmp_path, transport):
    study = {f"sub-0{n}/anat/sub-0{n}_T1w.nii.gz": b"%d" % n for n in range(1, 9)}
    study["dataset_description.json"] = b'{"Name": "x", "BIDSVersion": "1.8.0"}'
    bucket.fill({f"ds/{key}": data for key, data in study.items()})
    (tmp_path / "s.yaml").write_text(
        f"manifest_version: 1\nstudy: {{id: x, url: s3://{bucket.name}/ds}}\n"
    )
    options = ("--signed", "--transport", transport)
    code, _, said = ask("fetch", tmp_path / "s.yaml", tmp_path / "d", *options)
    assert code == 0, said
    assert tree(tmp_path / "d") == study


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_a_finished_plan_learns_it_by_a_request_or_two(elsewhere, bucket, tmp_path, transport):
    bucket.fill({f"x/{key}": data for key, data in MANY.items()})
    plan = plan_over(f"s3://{bucket.name}/x", MANY)
    events = fetch(plan, tmp_path / "d", access=access(transport))
    assert tree(tmp_path / "d") == MANY, failures(events)
    assert len(elsewhere.misled) <= 2


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_it_is_learnt_for_destinations_and_their_sources(elsewhere, bucket, tmp_path, transport):
    bucket.fill({f"x/{key}": data for key, data in FILES.items()})
    plan = plan_over(f"s3://{bucket.name}/x", FILES)
    url = f"s3://{bucket.name}/copy"
    assert set(finished(fetch(plan, url, access=access(transport)))) == set(FILES)
    assert bucket.files("copy/") == FILES
    kept = {
        action.value for action, _ in finished(fetch(plan, url, access=access(transport))).values()
    }
    assert kept == {"keep"}


def test_it_is_learnt_for_images(elsewhere, bucket):
    bucket.put("x/image.nii.gz", FILES["a.txt"])
    assert find_file(f"s3://{bucket.name}/x/image.nii.gz", anonymous=False).read() == b"hello"


def test_requests_that_race_are_all_sent_again(elsewhere, bucket):
    bucket.fill({f"x/{key}": data for key, data in MANY.items()})
    store = open_store(f"s3://{bucket.name}/x", access=access(Transport.AUTO))
    start, found = threading.Barrier(8), []

    def ask(number):
        start.wait()
        found.append(store.children(f"sub-{number:02}/").objects[0].key)

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(found) == sorted(MANY)[:8]


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_a_region_that_leads_on_and_on_is_named_before_there_is_a_plan(
    moto, s3, bucket, ask, tmp_path, monkeypatch, transport
):
    server = Nowhere(moto.url)
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", server.url)
    manifest = tmp_path / "s.yaml"
    manifest.write_text(f"manifest_version: 1\nstudy: {{id: x, url: s3://{bucket.name}/ds}}\n")
    code, _, said = ask("compile", manifest, "--signed", "--transport", transport)
    server.stop()
    assert code == 1
    assert "the bucket is in the region 'eu-west-" in said
    assert list(tmp_path.glob("*.jsonl")) == []
