"""Pages of S3's listings: exact keys, whatever the server leaves out, and nothing invented."""

from __future__ import annotations

from xml.sax.saxutils import escape

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bidsplan.errors import StorageError
from bidsplan.storage import Object
from bidsplan.storage.s3.listing_xml import NoListingError, Page

URL = "<EncodingType>url</EncodingType>"
SPACE = "http://s3.amazonaws.com/doc/2006-03-01/"


def page(*items, head="", root=f'ListBucketResult xmlns="{SPACE}"', kind="Contents"):
    inside = "".join(f"<{kind}>{item}</{kind}>" for item in items)
    end = root.split()[0]
    return Page(f'<?xml version="1.0"?>\n<{root}>{head}{inside}</{end}>'.encode(), "listing x")


def item(key, size="3", etag='"abc"', **more):
    fields = {"Key": key, "Size": size, "ETag": etag, **more}
    return "".join(
        f"<{name}>{escape(text)}</{name}>" for name, text in fields.items() if text is not None
    )


def test_objects_are_what_the_page_says():
    found = page(item("x/a", Owner="me"), item("x/b", "0", '"d-2"', StorageClass="STANDARD"))
    assert found.objects(2) == [Object("a", 3, "abc"), Object("b", 0, "d-2")]
    assert found.kind == "ListBucketResult"
    assert not found.truncated


def test_what_one_object_lacks_is_not_taken_from_another():
    found = page(item("a", etag=None), item("b", "5", '"b"'), item("c", None, '"c"'))
    assert found.objects(0) == [Object("a", 3, None), Object("b", 5, "b"), Object("c", 0, "c")]


def test_a_marker_of_the_root_itself_is_left_out():
    assert page(item("x/"), item("x/a")).objects(2) == [Object("a", 3, "abc")]
    quoted = page(item("caf%C3%A9/"), item("caf%C3%A9/a%2Bb+c"), head=URL)
    assert quoted.objects(5) == [Object("a+b c", 3, "abc")]


def test_what_comes_twice_in_one_object_is_not_given_to_the_next():
    twice = item("a") + "<ETag>other</ETag>"
    found = page(twice, item("b", etag=None)).objects(0)
    assert found == [Object("a", 3, "abc"), Object("b", 3, None)]


def test_an_instruction_in_a_key_is_no_end_of_it():
    assert page("<Key>a<?x?>b</Key><Size>1</Size>").objects(0) == [Object("ab", 1, None)]


@pytest.mark.parametrize(
    "root",
    ["ListBucketResult", f'ListBucketResult xmlns="{SPACE}"', f"ListBucketResult xmlns='{SPACE}'"],
)
def test_namespaces_do_not_matter(root):
    assert page(item("a"), root=root).objects(0) == [Object("a", 3, "abc")]


def test_namespaces_with_a_prefix_do_not_matter():
    text = (
        f'<s:ListBucketResult xmlns:s="{SPACE}"><?page 1?><s:IsTruncated>true</s:IsTruncated>'
        "<s:Contents><s:Key>a</s:Key><s:Size>1</s:Size></s:Contents></s:ListBucketResult>"
    )
    found = Page(text.encode(), "listing x")
    assert found.objects(0) == [Object("a", 1, None)]
    assert found.truncated


@pytest.mark.parametrize("size", ["-1", "1.5", "", " 1", "9" * 5000, str(2**63), "\u0661", "x"])
def test_a_size_that_no_file_has_is_refused(size):
    found = page(item("a", size))
    if size:
        with pytest.raises(StorageError, match="listing x: an object is said to have"):
            found.objects(0)
    else:
        assert found.objects(0) == [Object("a", 0, "abc")]


def test_of_versions_only_the_latest_counts():
    old = item("x/a", VersionId="1", IsLatest="false")
    new = item("x/a", VersionId="2", IsLatest="true")
    found = page(old, new, kind="Version", root="ListVersionsResult")
    assert list(found.latest(2)) == [Object("a", 3, "abc", "2")]


def test_common_prefixes_are_directories():
    found = page("<Prefix>a%20b/</Prefix>", kind="CommonPrefixes", head=URL)
    assert list(found.directories()) == ["a b/"]


@pytest.mark.parametrize(
    "text", [b"", b"hello", b"<a>", b"<a>\xff</a>", b"<!DOCTYPE a><a/>", b"<a>\0</a>"]
)
def test_what_is_no_page_is_told(text):
    with pytest.raises(NoListingError):
        Page(text, "listing x")


keys = st.text(
    st.characters(
        codec="utf-8", exclude_categories=["Cc", "Cs"], exclude_characters="\ufffe\uffff"
    ),
    min_size=1,
)


@given(st.lists(st.tuples(keys, st.integers(0, 2**63 - 1)), max_size=20))
def test_keys_come_exactly_as_they_are_stored(rows):
    found = page(*(item(key, str(size)) for key, size in rows))
    assert found.objects(0) == [Object(key, size, "abc") for key, size in rows]
