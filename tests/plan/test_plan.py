"""Plans are written alike everywhere, and trusted nowhere."""

from __future__ import annotations

import gzip
import hashlib
import json
from collections import deque

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bidsplan.errors import DestinationError, PlanError, PlanVersionError, UsageError
from bidsplan.paths import (
    collision_form,
    is_plain,
    longest_segment,
    parents,
    printable,
    unsafe_key,
    unsafe_path,
)
from bidsplan.plan import Entry, Plan, Root
from bidsplan.plan.file import StoredPlan, default_plan_path, read_plan, write_plan
from bidsplan.plan.parse import PathCheck
from plans import plan_of

segments = st.text(
    st.characters(
        codec="utf-8", exclude_categories=("Cc", "Cf", "Zl", "Zp"), exclude_characters="/\\"
    ),
    min_size=1,
    max_size=12,
).filter(lambda text: text not in {".", ".."})
paths = (
    st.lists(segments, min_size=1, max_size=4).map("/".join).filter(lambda p: not unsafe_path(p))
)


@st.composite
def plans(draw):
    chosen = draw(st.lists(paths, unique=True, max_size=12))
    above = {parent for path in chosen for parent in parents(path)}
    entries = [
        Entry(
            path=path,
            key=draw(paths),
            size=draw(st.integers(0, 2**40)),
            reason=draw(st.sampled_from(["selected", "inherited", "dataset"])),
            etag=draw(st.none() | st.text("0123456789abcdef-", min_size=1)),
            sha256=draw(st.none() | st.binary(min_size=32, max_size=32).map(bytes.hex)),
        )
        for path in chosen
        if path not in above
    ]
    return Plan.build(
        entries,
        manifest_sha256="0" * 64,
        study=draw(st.text(min_size=1, max_size=9)),
        roots=[Root(url="s3://bucket/x", anonymous=True)],
        subjects=draw(st.lists(st.text("ab1"), unique=True)),
        random_seed=draw(st.none() | st.integers(0, 2**32 - 1)),
    )


@given(plans(), st.sampled_from(["p.jsonl", "p.jsonl.gz", "p.jsonl.zst"]))
def test_a_plan_is_read_as_it_was_written_and_packed_alike(tmp_path_factory, plan, name):
    path = tmp_path_factory.mktemp("plan") / name
    write_plan(plan, path)
    assert read_plan(path) == plan
    first = path.read_bytes()
    write_plan(plan, path)
    assert path.read_bytes() == first


@given(plans(), st.data())
def test_an_edited_plan_is_refused(plan, data):
    lines = list(plan.lines())
    text = b"".join(lines)
    position = data.draw(st.integers(0, len(text) - 1))
    edited = text[:position] + bytes([text[position] ^ 1]) + text[position + 1 :]
    try:
        found = Plan.parse(edited.splitlines(keepends=True))
    except PlanError:
        return
    # What the digest does not cover is the header's own words.
    assert found.entries == plan.entries


def simple(**fields):
    entry = Entry(path="a", key="a", size=1, reason="selected", **fields)
    return Plan.build(
        [entry], manifest_sha256="0" * 64, study="x", roots=[Root(url="s3://b")], subjects=[]
    )


def forged(entry_line, **header):
    """Make a plan whose counts and digest agree with a hostile entry."""
    raw = json.loads(entry_line)
    fields = json.loads(next(simple().lines()))
    fields |= {"files": 1, "bytes": raw.get("size", 0)}
    fields["entries_sha256"] = hashlib.sha256(entry_line + b"\n").hexdigest()
    return [json.dumps({**fields, **header}).encode() + b"\n", entry_line + b"\n"]


HOSTILE = {
    "a path that leaves": (
        b'{"path":"../x","key":"a","size":1,"reason":"selected"}',
        "the path '../x' is refused: it has a '..' segment",
    ),
    "an absolute path": (
        b'{"path":"/etc/x","key":"a","size":1,"reason":"selected"}',
        "the path '/etc/x' is refused: it is absolute",
    ),
    "bidsplan's own folder": (
        b'{"path":".BidsPlan/x","key":"a","size":1,"reason":"selected"}',
        "the path '.BidsPlan/x' is refused: .bidsplan/ is bidsplan's own",
    ),
    "a key that leaves": (
        b'{"path":"x","key":"a/../../b","size":1,"reason":"selected"}',
        "the key 'a/../../b' is refused: it has a '..' segment",
    ),
    "a root that is not there": (
        b'{"path":"x","key":"a","size":1,"reason":"selected","root":7}',
        "'x' names root 7, and there are 1",
    ),
    "a bidirectional override": (
        b'{"path":"x\\u202egz.exe","key":"a","size":1,"reason":"selected"}',
        "the path 'x\\u202egz.exe' is refused: it has the character U+202E",
    ),
    "a generated file of another size": (
        b'{"path":"x","size":9,"reason":"dataset","content":"{}"}',
        "'x' is generated, so it has no key and its content's size",
    ),
}


@pytest.mark.parametrize(("line", "message"), HOSTILE.values(), ids=HOSTILE)
def test_a_hostile_entry_is_refused(line, message):
    with pytest.raises(PlanError) as caught:
        Plan.parse(forged(line))
    assert str(caught.value) == message


@pytest.mark.parametrize(
    "line",
    [
        b'{"path":"x","key":"a","size":-1,"reason":"selected"}',
        b'{"path":"x","key":"a","size":9223372036854775808,"reason":"selected"}',
        b'{"path":"x","key":"a","size":NaN,"reason":"selected"}',
        b'{"path":"x","key":"a","size":1,"reason":"because"}',
        b'{"path":"x","key":"a","size":1,"reason":"selected","mode":511}',
        b'{"path":"x","key":"a","size":1,"reason":"selected","sha256":"zz"}',
        b"[" * 100_000,
        b"\xff",
    ],
)
def test_a_line_that_is_no_entry_is_told_with_its_number(line):
    header = next(simple().lines())
    with pytest.raises(PlanError, match="line 2: not a valid entry"):
        Plan.parse([header, line + b"\n"])


STRANGE = {
    "a doubled field": b'{"path":"w","path":"x","key":"a","size":1,"reason":"selected"}',
    "spaces": b'{ "path":"x","key":"a","size":1,"reason":"selected"}',
    "another order": b'{"key":"a","path":"x","size":1,"reason":"selected"}',
    "a needless escape": b'{"path":"\\u0078","key":"a","size":1,"reason":"selected"}',
    "a default": b'{"path":"x","key":"a","size":1,"reason":"selected","root":0}',
}
AS_WRITTEN = (
    "not as bidsplan writes it: doubled or reordered fields, spaces or escapes; compile it again"
)


@pytest.mark.parametrize("line", STRANGE.values(), ids=STRANGE)
def test_an_entry_that_others_may_read_otherwise_is_refused(line):
    header = json.dumps(json.loads(forged(line)[0]), separators=(",", ":")).encode()
    with pytest.raises(PlanError) as caught:
        Plan.parse([header, line])
    assert str(caught.value) == f"line 2: {AS_WRITTEN}"


def test_a_header_that_others_may_read_otherwise_is_refused():
    header, *entries = simple().lines()
    doubled = header.replace(b'{"plan_version":1,', b'{"plan_version":1,"study":"other",')
    with pytest.raises(PlanError) as caught:
        Plan.parse([doubled, *entries])
    assert str(caught.value) == f"line 1: {AS_WRITTEN}"


def many(count):
    entries = [
        Entry(path=f"f{number:06}", key="a", size=1, reason="selected") for number in range(count)
    ]
    more = {"manifest_sha256": "0" * 64, "study": "x", "roots": [Root(url="x")], "subjects": []}
    return Plan.build(entries, **more)


@pytest.mark.parametrize("number", [2, 4097, 4098, 9000])
@pytest.mark.parametrize("line", [b"\n", b"{}\n", b'{"path":"x"}{"path":"y"}\n'])
def test_a_wrong_line_among_many_is_told_with_its_number(number, line):
    lines = list(many(9000).lines())
    assert Plan.parse(lines).header.files == 9000
    lines[number - 1] = line
    with pytest.raises(PlanError, match=f"^line {number}: not a valid entry"):
        Plan.parse(lines)


@given(paths | st.text("ab./\\\x00\n\u202e", max_size=8))
def test_a_plan_takes_just_the_paths_that_are_safe(path):
    # Among others, since entries are looked at many at a time.
    others = [entry_at("!"), entry_at("~~")]
    entry = entry_at(path)
    more = {"manifest_sha256": "0" * 64, "study": "x", "roots": [Root(url="x")], "subjects": []}
    if unsafe_path(path) is None and path not in {"!", "~~"}:
        assert entry in Plan.build([entry, *others], **more).entries
    else:
        with pytest.raises(PlanError):
            Plan.build([entry, *others], **more)


def entry_at(path):
    return Entry(path=path, key="a", size=1, reason="selected")


@given(
    st.sets(st.from_regex(r"[ab!0]{1,2}(/[ab!0]{1,2}){0,2}", fullmatch=True), max_size=12),
    st.integers(1, 4),
)
def test_no_path_is_a_file_and_a_directory_wherever_blocks_end(names, length):
    found = sorted(names)
    check = PathCheck(1)
    blocks = [
        [entry_at(path) for path in found[start : start + length]]
        for start in range(0, len(found), length)
    ]
    if any(above in names for path in names for above in parents(path)):
        with pytest.raises(PlanError, match="both a file and a directory"):
            deque(map(check, blocks), maxlen=0)
    else:
        deque(map(check, blocks), maxlen=0)


def test_a_digest_has_no_line_feed():
    header = next(simple().lines()).replace(b"0" * 64, b"0" * 64 + b"\\n")
    with pytest.raises(PlanError, match="line 1: not a valid header"):
        Plan.parse([header])


@pytest.mark.parametrize("name", ["p.jsonl", "p.jsonl.gz", "p.jsonl.zst"])
def test_a_stored_plan_is_read_or_refused_as_it_is_opened(tmp_path, name):
    path = tmp_path / name
    plan = many(5000)
    write_plan(plan, path)
    stored = StoredPlan(path)
    assert (stored.header, tuple(stored.entries)) == (plan.header, plan.entries)
    (tmp_path / "empty.jsonl").write_bytes(b"")
    with pytest.raises(PlanError, match=r"empty\.jsonl: line 1: this is not a bidsplan plan"):
        StoredPlan(tmp_path / "empty.jsonl")


@pytest.mark.parametrize("name", ["p.jsonl.gz", "p.jsonl.zst"])
def test_a_damaged_plan_is_refused_and_named(tmp_path, name):
    path = tmp_path / name
    plan = many(300)
    write_plan(plan, path)
    data = path.read_bytes()
    for position in range(0, len(data), max(1, len(data) // 150)):
        damaged = bytearray(data)
        damaged[position] ^= 0x55
        path.write_bytes(damaged)
        try:
            # Some bits of a packed file mean nothing, such as the system that packed it.
            assert read_plan(path) == plan
        except PlanError as error:
            assert str(error).startswith(f"{path}: ")  # noqa: PT017 - either end is right


def test_a_plan_that_is_not_there_or_can_not_be_written(tmp_path):
    with pytest.raises(PlanError, match="can't be read: No such file"):
        read_plan(tmp_path / "none.jsonl")
    with pytest.raises(DestinationError, match="can't be written: No such file"):
        write_plan(simple(), tmp_path / "none" / "p.jsonl")
    assert list(tmp_path.iterdir()) == []


def test_a_newer_plan_is_an_error_of_its_own():
    with pytest.raises(PlanVersionError, match="update bidsplan"):
        Plan.parse([b'{"plan_version":2,"new":"field"}\n'])


def test_line_ends_that_git_changed_are_told(tmp_path):
    path = tmp_path / "p.jsonl"
    write_plan(simple(), path)
    path.write_bytes(path.read_bytes().replace(b"\n", b"\r\n"))
    with pytest.raises(PlanError, match=r"CRLF.*\.gitattributes"):
        read_plan(path)


@pytest.mark.parametrize("data", [b"", b"hello\n", b"{}\n", b"[1]\n"])
def test_what_is_no_plan_is_told(tmp_path, data):
    path = tmp_path / "p.jsonl"
    path.write_bytes(data)
    with pytest.raises(PlanError, match="not a bidsplan plan"):
        read_plan(path)


@pytest.mark.parametrize("cut", [1, 30, 200])
@pytest.mark.parametrize("name", ["p.jsonl", "p.jsonl.gz", "p.jsonl.zst"])
def test_a_cut_plan_is_refused(tmp_path, name, cut):
    path = tmp_path / name
    write_plan(simple(), path)
    path.write_bytes(path.read_bytes()[:-cut])
    with pytest.raises(PlanError):
        read_plan(path)


def test_what_is_not_gzip_is_told(tmp_path):
    (tmp_path / "p.jsonl.gz").write_bytes(b"hello")
    with pytest.raises(PlanError, match="can't be read"):
        read_plan(tmp_path / "p.jsonl.gz")


def test_an_unpacked_line_is_bounded(tmp_path):
    path = tmp_path / "p.jsonl.gz"
    path.write_bytes(gzip.compress(b"x" * (1 << 25)))
    with pytest.raises(PlanError, match="larger than any plan"):
        read_plan(path)


def test_plans_are_named_after_their_manifest_and_known_by_their_name(tmp_path):
    assert default_plan_path("a/hbn.yaml").as_posix() == "a/hbn.plan.jsonl"
    with pytest.raises(UsageError, match="name ends in"):
        write_plan(simple(), tmp_path / "plan.txt")


def test_two_entries_of_one_path_are_refused():
    entry = Entry(path="a", key="a", size=1, reason="selected")
    more = {"manifest_sha256": "0" * 64, "study": "x", "roots": [Root(url="x")], "subjects": []}
    with pytest.raises(PlanError, match="'a' is there twice"):
        Plan.build([entry, entry], **more)
    below = Entry(path="a/b", key="b", size=1, reason="selected")
    with pytest.raises(PlanError, match="'a' is both a file and a directory"):
        Plan.build([entry, below], **more)


@given(st.text(max_size=30))
def test_a_key_is_safe_only_where_it_stays_below(key):
    reason = unsafe_key(key)
    if reason is None:
        assert not key.startswith("/")
        assert all(part not in {"", ".", ".."} for part in key.split("/"))
        assert printable(key) == key
        assert "\0" not in key


@given(st.text(max_size=30) | st.text("a./ \n\u00e9", max_size=8) | st.just("a/" + "b" * 256))
def test_what_is_plain_is_safe_and_short(key):
    if is_plain(key):
        assert unsafe_key(key) is None
        assert longest_segment(key) <= 255
    else:
        assert not key.isascii() or unsafe_key(key) is not None or longest_segment(key) > 255


@given(st.text(max_size=20))
def test_what_is_printed_drives_no_terminal(text):
    shown = printable(text)
    assert not any(ord(character) < 32 or character in "\x7f\x9b\u202e" for character in shown)


@given(st.text(max_size=10))
def test_folding_is_stable(text):
    assert collision_form(collision_form(text)) == collision_form(text)
    assert collision_form(text.upper()) == collision_form(text.upper().lower())


@pytest.mark.parametrize("suffix", [".jsonl", ".jsonl.gz", ".jsonl.zst"])
def test_a_long_plan_is_read_again_and_told_from_another(tmp_path, monkeypatch, suffix):
    monkeypatch.setattr("bidsplan.plan.file.MOST_IN_MEMORY", 10)
    monkeypatch.setattr("bidsplan.plan.file._BLOCK", 1 << 10)
    path = tmp_path / f"x.plan{suffix}"
    long, longer = (plan_of([entry_at(f"{n:03}") for n in range(m)], "s3://b/x") for m in (90, 100))
    write_plan(long, path)
    stored = StoredPlan(path)
    for _ in range(2):
        assert list(stored.entries) == list(long.entries)
    for other in (longer, plan_of([entry_at("000")], "s3://b/x"), plan_of([], "s3://b/x")):
        write_plan(other, path)
        with pytest.raises(PlanError, match="replaced while it was in use"):
            list(stored.entries)
