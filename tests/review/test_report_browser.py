"""The page of a plan, in a real browser: opened, filtered, sorted, and read by other means."""

from __future__ import annotations

import re
import runpy
from pathlib import Path

import pytest

import bidsplan
from bidsplan.plan import Entry, Plan, Root
from bidsplan.review.completeness import view_completeness
from bidsplan.review.report import write_report
from browsers import chromium, needs_chromium, opened, violations

pytestmark = needs_chromium

BENCHMARK = Path(__file__).resolve().parents[2] / "benchmarks" / "report_page.py"
EVIL = "<script>window.ran=1</script>"
STUDY = """
sub-1/anat/sub-1_T1w.nii.gz
sub-1/func/sub-1_task-rest_bold.nii.gz
sub-1/dwi/sub-1_dwi.nii.gz
sub-2/anat/sub-2_T2w.nii.gz
sub-2/func/sub-2_task-rest_bold.nii.gz
sub-3/anat/sub-3_T1w.nii.gz
sub-3/func/sub-3_task-bad_bold.nii.gz
sub-4/anat/sub-4_T2w.nii.gz
sub-4/func/sub-4_task-rest_bold.nii.gz
sub-5/anat/sub-5_T1w.nii.gz
derivatives/afq/sub-1/dwi/sub-1_profiles.csv
"""
MANIFEST = """
manifest_version: 1
study: {id: every kind, url: study}
subjects: {exclude: ["5"]}
files: {suffixes: [T1w, bold, dwi], exclude: ["**/*_task-bad_*"]}
derivatives: {afq: {suffixes: [profiles]}}
"""
LABELS = [EVIL, '"><img src=x onerror=window.ran=1>', "</script><b>{{7*7}}", "a\u202eb", "=cmd()"]


def plan_of(paths, subjects, study="study"):
    entries = [
        Entry(path=path, key=path, size=100 + number, reason="selected")
        for number, path in enumerate(paths)
    ]
    return Plan.build(
        entries,
        manifest_sha256="0" * 64,
        study=study,
        roots=[Root(url="s3://bucket/study")],
        subjects=subjects,
    )


@pytest.fixture(scope="module")
def browser():
    with chromium() as started:
        yield started


@pytest.fixture
def small(tmp_path):
    paths = [
        "sub-01/anat/sub-01_T1w.nii.gz",
        "sub-01/dwi/sub-01_dwi.nii.gz",
        "sub-02/anat/sub-02_T1w.nii.gz",
        "sub-10/anat/sub-10_T1w.nii.gz",
        "sub-10/dwi/sub-10_dwi.nii.gz",
        "derivatives/afq/sub-01/dwi/sub-01_profiles.csv",
    ]
    path = tmp_path / "small.html"
    write_report(plan_of(paths, ["01", "02", "10"]), path)
    return path


@pytest.fixture
def every_kind(tmp_path, monkeypatch):
    """Make a page with a reason of each kind, subjects that are left out, and a destination."""
    monkeypatch.chdir(tmp_path)
    study = Path("study")
    for path in STUDY.split():
        (study / path).parent.mkdir(parents=True, exist_ok=True)
        (study / path).write_text(path)
    Path("m.yaml").write_text(MANIFEST)
    loaded = bidsplan.load_manifest("m.yaml")
    plan = bidsplan.compile_manifest(loaded.manifest).plan
    for _ in bidsplan.materialise(plan, "data"):
        pass
    Path("data/sub-1/anat/sub-1_T1w.nii.gz").unlink()
    Path("data/sub-3/anat/sub-3_T1w.nii.gz").write_text("other")
    (study / "sub-2/anat/sub-2_T1w.nii.gz").write_text("new")
    reasons, proofs = bidsplan.find_reasons(plan, loaded), bidsplan.find_proofs(plan, "data")
    bidsplan.write_report(plan, "page.html", reasons=reasons, proofs=proofs)
    kinds = {
        reason.kind for view in view_completeness(plan, reasons, {}) for reason in view.reasons
    }
    assert kinds == {"no-file", "no-directory", "filtered", "excluded", "stale"}
    return tmp_path / "page.html"


def shown(page, selector="#grid tbody .first"):
    return page.locator(selector).all_inner_texts()


def says(page, selector, text):
    """Wait until an element's text starts so."""
    page.locator(selector, has_text=re.compile(f"^{re.escape(text)}")).wait_for()


def test_a_large_plan_is_drawn_only_where_it_is_in_view_filtered_and_sorted(browser, tmp_path):
    path = tmp_path / "large.html"
    write_report(runpy.run_path(str(BENCHMARK))["large_plan"](), path)
    assert path.stat().st_size < 6_000_000
    with opened(browser, path) as page:
        assert page.locator("#grid").get_attribute("aria-rowcount") == "3001"
        assert page.locator("#grid thead th").count() == 22
        assert 10 < page.locator("#grid tbody tr").count() < 60
        assert 10 < page.locator("#files-table tbody tr").count() < 60
        page.evaluate("document.querySelector('#grid-scroll').scrollTop = 1e9")
        page.wait_for_selector("#grid tr[aria-rowindex='3001']")
        # The cell that is active is not drawn now, and is again when keys come back to it.
        assert page.locator("#grid").get_attribute("aria-activedescendant") is None
        page.focus("#grid")
        page.keyboard.press("ArrowDown")
        assert page.locator("#grid .active").inner_text() == shown(page)[1]
        page.fill("#find", "NDAR0012")
        says(page, "#count", "10 of")
        page.check("#incomplete")
        assert page.locator("#count").inner_text() != "10 of 3,000 subjects"
        assert {name[:8] for name in shown(page)} == {"NDAR0012"}
        page.fill("#find-file", "SUB-ndar00007_EEG")
        says(page, "#file-count", "2 of")
        ends = (".json", ".nii.gz")
        paths = [f"sub-NDAR00007/eeg/sub-NDAR00007_eeg{end}" for end in ends]
        assert shown(page, "#files-table td.mono") == paths
        page.click("#files-table [data-sort=size]")
        assert shown(page, "#files-table td.mono") == paths[::-1]
        sizes = page.locator("#files-table th.size")
        assert sizes.get_attribute("aria-sort") == "descending"


def test_what_most_lack_comes_first_and_each_column_sorts(browser, small):
    with opened(browser, small) as page:
        heads = shown(page, "#grid thead th .name")
        assert heads == ["Subject", "Missing", "dwi", "dwi", "anat"]
        assert shown(page) == ["02", "10", "01"]
        page.click("#grid [data-sort='-2']")
        assert shown(page) == ["01", "02", "10"]
        page.click("#grid [data-sort='-2']")
        assert shown(page) == ["10", "02", "01"]
        page.click("#grid [data-sort='1']")
        assert shown(page) == ["02", "01", "10"]
        states = [head.get_attribute("aria-sort") for head in page.locator("#grid thead th").all()]
        assert states == ["none", "none", "none", "descending", "none"]


def test_the_matrix_is_used_by_the_keyboard(browser, small):
    with opened(browser, small) as page:
        page.focus("#grid")
        for key in ("ArrowRight", "ArrowRight"):
            page.keyboard.press(key)
        active = page.locator(f"#{page.locator('#grid').get_attribute('aria-activedescendant')}")
        assert active.inner_text().startswith("?")
        assert page.locator("#detail").inner_text().startswith("02, afq dwi: no file: the plan")
        page.keyboard.press("ArrowUp")
        page.keyboard.press("ArrowLeft")
        page.keyboard.press("ArrowLeft")
        page.keyboard.press("Enter")
        assert shown(page) == ["01", "02", "10"]
        page.keyboard.press("ArrowDown")
        page.keyboard.press("End")
        assert page.locator("#detail").inner_text() == "01, anat: 1 file"
        page.keyboard.press("Enter")
        assert page.locator("#find-file").input_value() == "sub-01/"
        assert page.locator("#file-count").inner_text().startswith("3 of 6 files")
        page.keyboard.press("Tab")
        assert page.evaluate("document.activeElement.id") == "files-scroll"


def test_a_cell_shows_the_files_of_its_site_and_of_pipelines_that_have_no_sites(browser, tmp_path):
    mine = ["B/sub-1/anat/sub-1_T1w.nii.gz", "derivatives/afq/sub-1/dwi/sub-1_profiles.csv"]
    paths = ["A/sub-1/anat/sub-1_T1w.nii.gz", "B/sub-10/anat/sub-10_T1w.nii.gz", *mine]
    path = tmp_path / "sites.html"
    write_report(plan_of(paths, ["A/1", "B/1", "B/10"]), path)
    with opened(browser, path) as page:
        name = page.get_by_text("B/1", exact=True)
        page.locator("#grid tbody tr", has=name).locator("td").first.click()
        page.focus("#grid")
        page.keyboard.press("Enter")
        assert page.locator("#find-file").input_value() == "B/sub-1/"
        assert shown(page, "#files-table td.mono") == mine


def test_lists_are_copied_downloaded_and_understood_by_a_manifest(browser, small, tmp_path):
    with opened(browser, small, accept_downloads=True) as page:
        page.select_option("#list", label="without dwi")
        assert page.locator("#list-text").input_value() == "02\n"
        page.select_option("#list", "any")
        with page.expect_download() as download:
            page.click("#download")
        assert download.value.suggested_filename == "list.txt"
        download.value.save_as(tmp_path / "list.txt")
        page.select_option("#format", "tsv")
        reason = "no file: the plan has no such file; its manifest would show why"
        assert page.locator("#list-text").input_value().splitlines() == [
            "subject\tcolumn\treason",
            f"02\tafq dwi\t{reason}",
            f"02\tdwi\t{reason}",
            f"10\tafq dwi\t{reason}",
        ]
        page.click("#copy")
        page.locator("#list-count", has_not_text="2 subjects").wait_for()
    from bidsplan.compile.survey.participants import parse_labels

    assert parse_labels((tmp_path / "list.txt").read_bytes(), "list.txt") == (["02", "10"], [])


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_no_violation(browser, every_kind, scheme):
    with opened(browser, every_kind, color_scheme=scheme, reduced_motion="reduce") as page:
        assert violations(page) == []


def test_hostile_labels_and_keys_do_nothing(browser, tmp_path):
    paths = [f"sub-01/anat/{name}_T1w.nii.gz".replace("</", "<") for name in LABELS[:3]]
    plan = plan_of(paths, ["01", *LABELS], study=EVIL)
    write_report(plan, tmp_path / "evil.html")
    with opened(browser, tmp_path / "evil.html") as page:
        assert page.evaluate("window.ran") is None
        assert page.locator("img").count() == 0
        assert page.locator("h1").inner_text() == f"{EVIL}: what the plan lacks, and why"
        names = shown(page)
        assert {EVIL, '"><img src=x onerror=window.ran=1>', "</script><b>{{7*7}}"} <= set(names)
        assert "a\\u202eb" in names
        page.select_option("#list", "any")
        lines = page.locator("#list-text").input_value().splitlines()
        assert "a\\u202eb" not in lines
        page.select_option("#format", "tsv")
        lines = page.locator("#list-text").input_value().splitlines()
        assert [line[:7] for line in lines if "cmd" in line] == ["'=cmd()"]
        page.fill("#find-file", "<script>")
        says(page, "#file-count", "2 of 3 files")
        assert page.evaluate("window.ran") is None


def test_a_script_that_got_in_would_not_run(browser, small):
    text = small.read_text("utf-8").replace("<main>", f"<main>{EVIL}<p onclick=1 id=p>x</p>")
    small.write_text(text, "utf-8")
    policed = pytest.raises(AssertionError, match="Content Security Policy")
    with policed, opened(browser, small) as page:
        assert page.evaluate("window.ran") is None


def test_the_summary_needs_no_script_and_prints(browser, small):
    with opened(browser, small, java_script_enabled=False) as page:
        text = page.locator("main").inner_text()
        assert "3 cells have no file" in text
        assert "sub-10/dwi/sub-10_dwi.nii.gz" in text
        assert not page.locator("#matrix").is_visible()
        rows = page.locator("[aria-labelledby=by-column] tbody tr").all_inner_texts()
        assert [row.split("\t")[:3] for row in rows] == [
            ["afq dwi", "1", "2"],
            ["dwi", "2", "1"],
            ["anat", "3", "0"],
        ]
    with opened(browser, small) as page:
        page.emulate_media(media="print")
        assert not page.locator("#grid").is_visible()
        assert page.locator("#by-column").is_visible()


def test_a_plan_without_subjects_or_files_has_a_page(browser, tmp_path):
    for number, plan in enumerate([plan_of([], []), plan_of(["README"], ["01"])]):
        write_report(plan, tmp_path / f"{number}.html")
        with opened(browser, tmp_path / f"{number}.html") as page:
            assert "No file of the plan belongs to a selected subject" in page.inner_text("main")
