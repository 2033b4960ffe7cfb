"""What changed between two plans, and how it is put in Markdown."""

import re
from html.parser import HTMLParser

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from bidsplan.cli.changes_markdown import LONGEST_COMMENT, changes_markdown, code
from bidsplan.cli.plan_changes import Wording, changed_lines
from bidsplan.messages import Redactor
from bidsplan.plan import Entry, Plan, Root
from bidsplan.plan.file import StoredPlan, write_plan
from bidsplan.review.changes import compare_plans
from hostile import HOSTILE


def plan_of(entries, subjects=(), roots=("s3://bucket/x",), **fields):
    fields = {"manifest_sha256": "0" * 64, "study": "x", **fields}
    return Plan.build(entries, subjects=subjects, roots=[Root(url=url) for url in roots], **fields)


def entry(path, size=1, reason="selected", **fields):
    return Entry(path=path, key=fields.pop("key", path), size=size, reason=reason, **fields)


PATHS = st.builds(
    "{}/sub-{}/{}".format,
    st.sampled_from(["derivatives/a", "derivatives/b/c", "Site"]),
    st.sampled_from(["1", "2", "3"]),
    st.sampled_from(["anat/T1w.nii.gz", "ses-1/func/bold.nii", "x"]),
)
ENTRIES = st.builds(
    entry,
    PATHS,
    st.integers(0, 2),
    st.sampled_from(["selected", "table"]),
    key=st.sampled_from(["k", "l"]),
    root=st.integers(0, 1),
    etag=st.sampled_from([None, "a" * 32, "b" * 32]),
    sha256=st.sampled_from([None, "a" * 64]),
)
PLANS = st.builds(
    plan_of,
    st.lists(ENTRIES, max_size=8, unique_by=lambda entry: entry.path),
    st.lists(st.sampled_from(["1", "2", "3"]), unique=True),
    st.lists(
        st.sampled_from(["s3://a/a", "s3://b/b", "s3://c/c"]), min_size=2, max_size=3, unique=True
    ),
    random_seed=st.sampled_from([None, 1, 2]),
)


@given(PLANS)
def test_a_plan_does_not_differ_from_itself(plan):
    changes = compare_plans(plan, plan)
    assert not changes
    assert changes.by_subject() == {}
    parts = changes.to_dict()
    assert [name for name, found in parts.items() if found and name not in {"files", "bytes"}] == []


@given(PLANS, PLANS)
def test_plans_differ_where_their_bytes_do(old, new):
    assert bool(compare_plans(old, new)) == (old != new)


def resolved(plan):
    return {row["path"]: {**row, "root": None} for row in plan.to_dicts()}


@given(PLANS, PLANS)
def test_the_changes_make_the_new_plan_of_the_old_one(old, new):
    changes = compare_plans(old, new)
    made = resolved(old)
    for gone in changes.removed:
        del made[gone.path]
    for come in changes.added:
        made[come.path] = resolved(msgspec.structs.replace(new, entries=(come,)))[come.path]
    for change in changes.changed:
        names = {"root": "url"}
        before = {names.get(name, name): both["old"] for name, both in change.fields.items()}
        assert before.items() <= made[change.path].items()
        made[change.path] |= {
            names.get(name, name): both["new"] for name, both in change.fields.items()
        }
    assert made == resolved(new)
    subjects = {*old.header.subjects} - {*changes.subjects_removed}
    assert subjects | {*changes.subjects_added} == {*new.header.subjects}


@given(PLANS, PLANS)
def test_changes_back_are_the_changes_reversed(old, new):
    there, back = compare_plans(old, new), compare_plans(new, old)
    assert (there.added, there.removed) == (back.removed, back.added)
    assert there.renamed == {old: new for new, old in back.renamed.items()}
    for kind in ("subjects", "pipelines"):
        assert getattr(there, f"{kind}_added") == getattr(back, f"{kind}_removed")
    for one, other in zip(there.changed, back.changed, strict=True):
        assert (one.old, one.new, one.content) == (other.new, other.old, other.content)
        assert {name: (both["old"], both["new"]) for name, both in one.fields.items()} == {
            name: (both["new"], both["old"]) for name, both in other.fields.items()
        }
    units, others = there.by_subject(), back.by_subject()
    assert {unit: row.bytes for unit, row in units.items()} == {
        unit: -row.bytes for unit, row in others.items()
    }
    assert sum(row.bytes for row in units.values()) == new.header.bytes - old.header.bytes


def test_stored_plans_of_any_compression_are_compared(tmp_path):
    old, new = plan_of([entry("sub-1/a"), entry("x")]), plan_of([entry("sub-1/a", 2)])
    for suffix in ("jsonl", "jsonl.gz", "jsonl.zst"):
        write_plan(old, tmp_path / f"old.{suffix}")
    write_plan(new, tmp_path / "new.jsonl")
    found = [
        compare_plans(StoredPlan(path), StoredPlan(tmp_path / "new.jsonl"))
        for path in sorted(tmp_path.glob("old*"))
    ]
    assert len(found) == 3
    assert all(changes == compare_plans(old, new) for changes in found)


def test_other_bytes_are_told_from_another_record():
    tags = {"etag": "a" * 32, "sha256": "1" * 64}
    old = entry("x", 5, **tags)
    expected = {
        True: [
            {"size": 6},
            {"etag": "b" * 32, "sha256": None},
            {"sha256": "2" * 64},
        ],
        # The same SHA-256 says more than another tag: the object was uploaded anew.
        False: [{"etag": "b" * 32}, {"reason": "table"}, {"md5": "0" * 32}, {"sha256": None}],
    }
    for content, edits in expected.items():
        for edit in edits:
            new = msgspec.structs.replace(old, **edit)
            [change] = compare_plans(plan_of([old]), plan_of([new])).changed
            assert (change.content, change.fields.keys()) == (content, edit.keys())


def test_a_root_that_is_renumbered_is_no_change_of_its_files():
    old = plan_of([entry("x"), entry("y", root=1)], roots=["s3://a/a", "s3://b/b"])
    new = plan_of(
        [entry("x", root=1), entry("y", root=2)], roots=["s3://c/c", "s3://a/a", "s3://b/b"]
    )
    changes = compare_plans(old, new)
    assert (changes.changed, changes.header.keys()) == ((), {"roots"})
    assert "roots added: s3://c/c" in changed_lines(changes)
    twice = ["s3://a/a", "s3://a/a"]
    [change] = compare_plans(
        plan_of([entry("x")], roots=twice), plan_of([entry("x", root=1)], roots=twice)
    ).changed
    assert change.fields == {"root": {"old": 0, "new": 1}}
    moved = compare_plans(old, plan_of(old.entries, roots=["s3://a/a", "s3://d/d"]))
    assert [change.fields for change in moved.changed] == [
        {"root": {"old": "s3://b/b", "new": "s3://d/d"}}
    ]


def test_the_first_line_says_what_a_reviewer_asks():
    old = plan_of(
        [
            entry("sub-1/anat/sub-1_T1w.nii", 10, etag="1" * 32),
            entry("sub-2/anat/sub-2_T1w.nii", 10, etag="2" * 32),
            entry("sub-3/anat/sub-3_T1w.nii", 10, etag="3" * 32),
            entry("derivatives/afq/sub-1/x.csv", 5, etag="4" * 32),
            entry("README", 5, etag="5" * 32),
        ],
        ["1", "2", "3"],
    )
    new = plan_of(
        [
            entry("sub-1/anat/sub-1_T1w.nii", 1010, etag="a" * 32),
            entry("sub-2/anat/sub-2_run-1_T1w.nii", 10, etag="2" * 32),
            entry("sub-4/anat/sub-4_T1w.nii", 10, etag="6" * 32),
            entry("sub-5/anat/sub-5_T1w.nii", 10, etag="7" * 32),
            entry("README", 5, "table", etag="5" * 32),
        ],
        ["1", "2", "4", "5"],
        random_seed=3,
    )
    lines = changed_lines(compare_plans(old, new))
    assert lines[:5] == [
        "+2 subjects, −1, +3 files, −3, −1 pipeline, 1 file renamed, 1 file changed content, "
        "1 file changed only reason, +1.0 kB",
        "subjects added: 4, 5",
        "subjects removed: 3",
        "pipelines removed: afq",
        "header: random_seed none -> 3",
    ]
    assert lines[6].split("\n")[1].split() == ["1", "1", "1", "+995", "Bytes"]
    assert lines[8:] == [
        "~ README (reason selected -> table)",
        "- derivatives/afq/sub-1/x.csv (5 Bytes)",
        "~ sub-1/anat/sub-1_T1w.nii (size 10 -> 1010, etag changed)",
        "- sub-2/anat/sub-2_T1w.nii (renamed)",
        "+ sub-2/anat/sub-2_run-1_T1w.nii (10 Bytes, selected; renamed from "
        "sub-2/anat/sub-2_T1w.nii)",
        "- sub-3/anat/sub-3_T1w.nii (10 Bytes)",
        "+ sub-4/anat/sub-4_T1w.nii (10 Bytes, selected)",
        "+ sub-5/anat/sub-5_T1w.nii (10 Bytes, selected)",
    ]


def test_long_lists_are_cut_and_counted():
    new = plan_of([entry(f"sub-{n}/x") for n in range(50)], map(str, range(50)))
    lines = changed_lines(compare_plans(plan_of([]), new))
    first = ", ".join(map(str, range(20)))
    assert f"subjects added: {first} and 30 more" in lines
    assert "… and 30 more subjects" in lines
    assert lines[-1] == "… and 30 more files; 'bidsplan diff --all' names them"
    whole = changed_lines(compare_plans(plan_of([]), new), None)
    assert len(whole) > 50
    assert f"subjects added: {', '.join(map(str, range(50)))}" in whole


class Reader(HTMLParser):
    """Collects elements and the text outside of code."""

    def __init__(self, html):
        super().__init__()
        self.open, self.elements, self.codes, self.text = [], set(), [], ""
        self.feed(html)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.elements.add(tag)
        assert [name for name, _ in attrs if name != "style"] == []
        self.open.append(tag)
        if tag == "code":
            self.codes.append("")

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if "code" in self.open:
            self.codes[-1] += data
        else:
            self.text += data


def read(markdown):
    reader = Reader(MarkdownIt("commonmark", {"html": True}).enable("table").render(markdown))
    assert reader.open == []
    return reader


FRAME = {"p", "strong", "ul", "li", "code", "details", "summary"}
TABLE = {"table", "thead", "tbody", "tr", "th", "td"}


def test_hostile_text_does_nothing_in_markdown():
    for text in HOSTILE:
        reader = read(f"- {code(text)} end")
        assert reader.elements == {"ul", "li", "code"}, text
        assert (len(reader.codes), reader.text.strip()) == (1, "end"), text


def test_hostile_labels_and_keys_do_nothing_in_a_comment():
    texts = [text for text in HOSTILE if text and text.isprintable() and "\\" not in text]
    paths = [re.sub("/+", "/", f"x{n}/{text}/x") for n, text in enumerate(texts)]
    old = plan_of([entry(path) for path in paths], HOSTILE)
    new = plan_of([entry("x")], random_seed=1, roots=["s3://a/<b>@user"])
    for one, other in ((old, new), (new, old)):
        reader = read(changes_markdown(compare_plans(one, other), Redactor(["octocat fixes"])))
        assert reader.elements == FRAME | TABLE
        assert not re.search(r"[<>@#`\[]|octocat", reader.text.replace("->", ""))
        assert not any("octocat fixes" in found for found in reader.codes)


@settings(max_examples=20, deadline=None)
@given(
    st.lists(st.text(max_size=400), unique=True, max_size=60),
    st.sampled_from(["x", "é", "😀", "`", "x:/:@y "]),
    st.integers(0, 3000),
)
def test_a_comment_is_never_too_long(subjects, filler, number):
    entries = [entry(f"sub-{n}/{filler * 60}{n}") for n in range(number)]
    changes = compare_plans(plan_of([]), plan_of(entries, [f"{s}{filler * 99}" for s in subjects]))
    markdown = changes_markdown(changes, Redactor())
    assert len(markdown.encode()) <= LONGEST_COMMENT
    shown = markdown.count("\n- added")
    assert (shown < number) == (f"{number - shown:,} of " in markdown)
    assert (f"of {number:,} files" in markdown) == (shown < number and number > 1)


def test_equal_plans_have_a_comment_too():
    assert changes_markdown(compare_plans(plan_of([]), plan_of([])), Redactor()).startswith(
        "**the plans are equal**"
    )
    assert Wording(compare_plans(plan_of([]), plan_of([], random_seed=1))).headline() == (
        "only the header differs"
    )
