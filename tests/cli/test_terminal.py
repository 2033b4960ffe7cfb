"""What people see: progress in its place, on a terminal and in a log."""

from __future__ import annotations

import re
import sys
import threading

import pytest

from bidsplan.cli.console import Console
from bidsplan.cli.report import Outcome
from bidsplan.compile.survey.inventory import take_inventory
from bidsplan.plan.file import write_plan
from bidsplan.storage import Access
from bidsplan.transfer.materialisation import materialise
from plans import plan_over
from servers import Rule
from terminal import Terminal

LARGE = bytes(9 << 20)
FILES = {f"sub-{number:02}/x.json": b"{}" for number in range(5)} | {"sub-99/x.nii": LARGE}
BIDSPLAN = [sys.executable, "-m", "bidsplan"]


def is_bar(line):
    return "%|" in line


@pytest.fixture
def plan(bucket, proxy):
    """Plan files of which the proxy lacks one, and stops in the midst of the large one."""
    bucket.fill(FILES)
    proxy.rules.append(Rule("status", "/sub-03", status=404))
    proxy.rules.append(Rule("stall", "/sub-99"))
    return plan_over(f"s3://{bucket.name}", FILES)


@pytest.fixture
def fetch(plan, proxy, tmp_path):
    write_plan(plan, tmp_path / "p.plan.jsonl")
    command = [*BIDSPLAN, "fetch", str(tmp_path / "p.plan.jsonl"), str(tmp_path / "d")]
    return [*command, "--endpoint-url", proxy.url]


def is_half_done(lines):
    """Wait for half of the large file, but for what is still in buffers."""
    return any(re.search(r" (4[5-9]|50)%\|.*5/6 files", line) for line in lines)


def test_a_message_is_above_the_bar_and_ctrl_c_leaves_it_in_its_place(fetch, proxy):
    terminal = Terminal(fetch, columns=100)
    message, bar = terminal.wait_for(is_half_done)
    assert message.startswith("error: s3://")
    assert message.endswith("/sub-03/x.json: there is no such object or bucket (404) [BP501]")
    assert re.search(r"\| 4\.\d\dM/9\.44M \[00:\d\d<00:\d\d, [0-9.]+[kM]?B/s, 5/6 files\]$", bar)
    terminal.press(b"\x03")
    lines = terminal.wait()
    assert terminal.code == 130
    assert lines[0] == message
    assert [is_bar(line) for line in lines] == [False, True, *[False] * (len(lines) - 2)]
    assert "^C" not in "".join(lines)
    # A line that is wrapped at a space loses it.
    said = "".join(lines[2:]).replace(" ", "")
    kept = re.search(r"1unfinished,(4\.\dMB)keptforthenextrun", said)[1]
    assert lines[-1] == "stopped; finished files are kept; run the same command to continue"
    proxy.rules.clear()
    assert f"{kept}fromearlierruns" in "".join(Terminal(fetch).wait()).replace(" ", "")


@pytest.mark.parametrize("option", ["--quiet", "--json"])
def test_no_bar_is_drawn_where_nobody_asks_for_one(fetch, proxy, option):
    proxy.rules.pop()
    lines = Terminal([*fetch, option]).wait()
    assert any("there is no such object" in line for line in lines)
    assert not any(map(is_bar, lines))


def test_a_terminal_gets_no_colours_where_they_are_not_wanted(fetch, proxy):
    proxy.rules.pop()
    for environment, colours in (({}, True), ({"NO_COLOR": "1"}, False)):
        terminal = Terminal(fetch, environment=environment)
        assert is_bar(" ".join(terminal.wait()))
        assert (b"\x1b[31m" in terminal.written) is colours


@pytest.fixture
def hung(bucket, proxy, tmp_path):
    """List a study of which the proxy holds up one subject."""
    bucket.fill({f"sub-{number}/anat/sub-{number}_T1w.json": b"{}" for number in range(1, 10)})
    over = threading.Event()
    rule = Rule("call", "sub-9", hook=lambda: over.wait(60))
    proxy.rules.append(rule)
    rule.release = over.set
    yield rule
    over.set()


LISTED = "listed 17 objects ["  # 9 directories, and 8 files below them


@pytest.mark.parametrize("command", ["inspect", "compile"])
def test_a_terminal_shows_what_is_being_listed(hung, bucket, proxy, tmp_path, command):
    url = f"s3://{bucket.name}"
    manifest = tmp_path / "m.yaml"
    manifest.write_text(f"manifest_version: 1\nstudy: {{id: x, url: '{url}'}}\n")
    arguments = [*BIDSPLAN, command, str(manifest), "--endpoint-url", proxy.url]
    terminal = Terminal(arguments, columns=160)
    [bar] = terminal.wait_for(lambda lines: LISTED in "".join(lines))
    assert bar.endswith(f"objects/s] of {url}")
    hung.release()
    lines = terminal.wait()
    assert terminal.code == 0
    assert "9 subjects, " in "".join(lines)
    assert "listed" not in "".join(lines)


def test_ctrl_c_ends_a_listing(hung, bucket, proxy):
    url = f"s3://{bucket.name}"
    terminal = Terminal([*BIDSPLAN, "inspect", url, "--endpoint-url", proxy.url])
    terminal.wait_for(lambda lines: LISTED in "".join(lines))
    terminal.press(b"\x03")
    assert terminal.wait() == ["stopped; finished files are kept; run the same command to continue"]
    assert terminal.code == 130


class Log:
    """A redactor, which every text passes, that waits for a line of progress."""

    def __init__(self, wanted):
        self.found, self._wanted = threading.Event(), wanted

    def __call__(self, text):
        if re.fullmatch(self._wanted, text):
            self.found.set()
        return text


def test_a_log_gets_lines_of_progress(plan, proxy, tmp_path):
    log = Log(r"4\.\d\dMB of 9\.44MB, 5/6 files, [0-9.]+[kM]?B/s, 00:\d\d left")
    console = Console(interval=0.01, redact=log)
    access = Access(endpoint_url=proxy.url)
    events = materialise(plan, tmp_path / "d", access=access, stopping=log.found.is_set)
    assert Outcome(plan, console).follow(events) == 1
    assert log.found.is_set()


def test_a_log_gets_lines_while_a_study_is_listed(hung, bucket, proxy):
    log = Log(rf"listed 17 objects \[00:\d\d, +[0-9.]+ objects/s\] of s3://{bucket.name}")
    console = Console(interval=0.01, redact=log)
    threading.Thread(target=lambda: log.found.wait(60) and hung.release(), daemon=True).start()
    with console.progress() as notify:
        access = Access(endpoint_url=proxy.url)
        take_inventory(f"s3://{bucket.name}", access=access, notify=notify)
    assert log.found.is_set()
