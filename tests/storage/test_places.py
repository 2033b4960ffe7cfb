"""A place is one however it is spelt, and no two places are one."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from bidsplan.destination.sources import Sources
from bidsplan.plan import Entry, Root
from bidsplan.storage import Access
from bidsplan.storage.places import place_of
from bidsplan.storage.s3.credentials import connect, find_endpoint
from bidsplan.transfer.download import partial_key
from bidsplan.urls import canonical_url

SAME = [
    ("s3://b/p", "s3://b/p/"),
    ("s3://b/p", "S3://b/p"),
    ("s3://b", "s3://b/"),
    ("memory://x/y", "memory:///x/y/"),
    ("https://h.org/a", "HTTPS://H.org:443/a/"),
    ("https://h.org/a", "https://h.org./b/../a/."),
    ("https://h.org", "https://h.org/"),
    ("https://[2001:db8::1]/a", "https://[2001:DB8:0:0::1]:0443/a"),
    ("/data/x", "file:///data/x/"),
    ("/data/x", "//data/./x"),
    ("../x", "./../x/"),
    ("x", "./x//"),
    (".", "./"),
]
DIFFERENT = [
    ("s3://b/p", "s3://B/p"),
    ("s3://b/p", "s3://b/P"),
    ("s3://b/p//q", "s3://b/p/q"),
    ("s3://b/p", "gs://b/p"),
    ("https://h.org/a", "https://h.org:8443/a"),
    ("https://h.org/a", "http://h.org/a"),
    ("https://h.org/a", "https://h.org/A"),
    ("https://h.org/a%2Fb", "https://h.org/a/b"),
    ("/data/x", "data/x"),
    ("/data/x", "/data/X"),
]


@pytest.mark.parametrize(("one", "other"), SAME)
def test_spellings_of_one_place_are_one(one, other, tmp_path):
    assert canonical_url(one) == canonical_url(other)
    assert canonical_url(canonical_url(other)) == canonical_url(other)
    assert place_of(one, Access(), tmp_path) == place_of(other, Access(), tmp_path)


@pytest.mark.parametrize(("one", "other"), DIFFERENT)
def test_different_places_never_are(one, other, tmp_path):
    assert canonical_url(one) != canonical_url(other)
    prefixes = {place_of(url, Access(), tmp_path).prefix for url in (one, other)}
    assert len(prefixes) == 2


def test_a_local_place_is_its_real_path(tmp_path):
    (tmp_path / "real" / "study").mkdir(parents=True)
    (tmp_path / "deep" / "er").mkdir(parents=True)
    (tmp_path / "link").symlink_to("real/study")
    spelt = {
        (".", "real/study"),
        ("deep", "../real/study"),
        ("deep/er", "../../link/"),
        ("deep/er", f"file://{tmp_path}/link/../study"),
        ("nowhere", f"{tmp_path}/real/./study"),
    }
    places = {place_of(url, Access(), tmp_path / base) for base, url in spelt}
    assert places == {(("file",), f"{tmp_path}/real/study")}
    root, below = (place_of(url, Access(), tmp_path) for url in ("/", "/data"))
    assert f"{root.prefix}data/x" == f"{below.prefix}x"


def test_the_object_counts_and_not_where_its_root_ends(tmp_path):
    whole, part = (place_of(url, Access(), tmp_path) for url in ("s3://b", "s3://b/p"))
    assert whole.prefix + "p/x" == part.prefix + "x"


AMAZON = {
    "https://s3.amazonaws.com": "aws",
    "https://s3.eu-west-1.amazonaws.com/": "aws",
    "https://s3-eu-west-1.amazonaws.com:443": "aws",
    "HTTPS://S3.dualstack.us-west-2.amazonaws.com": "aws",
    "https://s3-fips.us-east-1.amazonaws.com": "aws",
    "https://bucket.vpce-1a2b-3c.s3.us-east-1.vpce.amazonaws.com": "aws",
    "https://s3.us-gov-west-1.amazonaws.com": "aws-us-gov",
    "https://s3-fips.us-gov-east-1.amazonaws.com": "aws-us-gov",
    "https://s3.cn-north-1.amazonaws.com.cn": "aws-cn",
    # Anybody's machines are there too.
    "http://s3.us-east-1.elb.amazonaws.com": "http://s3.us-east-1.elb.amazonaws.com",
    "https://ec2-1-2-3-4.compute-1.amazonaws.com": "https://ec2-1-2-3-4.compute-1.amazonaws.com",
    "https://s3.amazonaws.com.evil.org": "https://s3.amazonaws.com.evil.org",
    "http://Minio.lab:80/": "http://minio.lab",
    "http://minio.lab:9000/s3/": "http://minio.lab:9000/s3",
    "http://user:canary@minio.lab:9000": "http://minio.lab:9000",
    "http:/user:canary@minio.lab": "unknown",
}


@pytest.mark.parametrize(("endpoint", "service"), AMAZON.items())
def test_an_endpoint_is_a_place_and_those_of_a_partition_are_one(endpoint, service, tmp_path):
    place = place_of("s3://b/p", Access(endpoint_url=endpoint), tmp_path)
    assert place == (("s3", service, "b"), "p")


CONFIGS = [
    ({}, "", "aws"),
    ({"AWS_ENDPOINT_URL": "http://a"}, "", "http://a"),
    ({"AWS_ENDPOINT_URL": "http://a", "AWS_ENDPOINT_URL_S3": "http://b"}, "", "http://b"),
    (
        {"AWS_ENDPOINT_URL_S3": "http://b", "AWS_IGNORE_CONFIGURED_ENDPOINT_URLS": "True"},
        "",
        "aws",
    ),
    ({}, "[default]\nregion = eu-west-1\n", "aws"),
    ({}, "[default]\nendpoint_url = http://c\n", "http://c"),
    ({"AWS_ENDPOINT_URL_S3": "http://b"}, "[default]\nendpoint_url = http://c\n", "http://b"),
    (
        {"AWS_ENDPOINT_URL_S3": "http://b"},
        "[default]\nignore_configured_endpoint_urls = true\n",
        "aws",
    ),
    ({}, "[default]\nREGION=cn-north-1\n", "aws-cn"),
    ({"AWS_DEFAULT_REGION": "us-gov-west-1"}, "", "aws-us-gov"),
    ({"AWS_DEFAULT_REGION": "us-west-2"}, "", "aws"),
    (
        {"AWS_PROFILE": "x"},
        "[profile x]\nservices = s\n[services s]\ns3 =\n  endpoint_url = http://d\n",
        "http://d",
    ),
]


@pytest.mark.parametrize(("variables", "config", "service"), CONFIGS)
def test_the_cheap_endpoint_is_the_one_that_requests_go_to(
    tmp_path, monkeypatch, variables, config, service
):
    (tmp_path / "config").write_text(config)
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    connection = connect(Access(), anonymous=True)
    assert place_of("s3://b", Access(), tmp_path).service[1] == service
    asked = Access(endpoint_url=connection.endpoint)
    assert place_of("s3://b", asked, tmp_path).service[1] == service


def test_the_cheap_endpoint_imports_nothing(tmp_path):
    (tmp_path / "config").write_text("[default]\nregion = eu-west-1\n")
    code = (
        "import sys\n"
        "from bidsplan.storage.access import Access\n"
        "from bidsplan.storage.places import place_of\n"
        "print(place_of('s3://b/p', Access(), '.'))\n"
        "print({'botocore', 'urllib3', 'obstore'} & set(sys.modules))"
    )
    environment = {**os.environ, "AWS_CONFIG_FILE": str(tmp_path / "config")}
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True
    )
    assert done.stdout.splitlines()[1] == "set()"
    assert find_endpoint(Access()) is None


def test_what_is_kept_of_a_download_is_that_of_one_place():
    shorter = Entry(path="x", key="x", size=5, reason="selected", etag="0" * 32)
    longer = Entry(path="x", key="p/x", size=5, reason="selected", etag="0" * 32)
    names = [
        partial_key(entry, Sources([Root(url=url)], Access(endpoint_url=endpoint)).place(entry))
        for entry, url, endpoint in (
            (longer, "s3://b", "http://one"),
            (shorter, "s3://b/p/", "http://one/"),
            (longer, "s3://b", "http://two"),
        )
    ]
    assert names[0] == names[1] != names[2]


def test_a_local_source_that_changes_while_it_is_read_has_no_state(tmp_path):
    (tmp_path / "x").write_bytes(b"first")
    entry = Entry(path="x", key="x", size=5, reason="selected")
    sources = Sources([Root(url=str(tmp_path)), Root(url="s3://b")], Access())
    before = sources.state(entry)
    assert before is not None
    assert sources.unchanged(entry, before) == before
    os.utime(tmp_path / "x", ns=(1, 1))
    assert sources.unchanged(entry, before) is None
    assert sources.state(Entry(path="x", key="x", size=5, reason="selected", root=1)) is None
    (tmp_path / "x").unlink()
    assert sources.state(entry) is None
