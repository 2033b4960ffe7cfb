"""The steps of the GitHub Action that read the plan, and fetch and verify its files.

Reads the action's inputs from the environment, runs the ``bidsplan`` command, and writes outputs
and a summary to the files that GitHub names. Needs only the standard library.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

_UNITS = {"": 1, "K": 10**3, "M": 10**6, "G": 10**9, "T": 10**12}
_BINARY = {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30, "T": 1 << 40}


class Failure(Exception):
    """What ends a step; a message, unless the command has written one."""


def main(step: str) -> int:
    """Run a step, and return its exit code."""
    try:
        {"plan": read_plan, "fetch": fetch}[step]()
    except Failure as failure:
        if str(failure):
            annotate("error", str(failure))
        return 1
    return 0


def read_plan() -> None:
    """Find the plan and its key, and whether the cache may be used."""
    untrusted = is_untrusted()
    plan = checked_plan(untrusted)
    header = header_of(plan, untrusted)
    caching = caching_of(header["bytes"], untrusted)
    set_outputs(
        {
            "plan": plan,
            "path": destination(),
            "untrusted": untrusted,
            "caching": caching,
            "restore": caching in {"auto", "restore-only", "untrusted"},
            "cache-key": f"bidsplan-{header['entries_sha256']}",
            "files": header["files"],
            "bytes": header["bytes"],
        }
    )


def fetch() -> None:
    """Fetch and verify the plan's files; only then may they be saved."""
    plan, path = os.environ["PLAN"], os.environ["DESTINATION"]
    untrusted = os.environ["UNTRUSTED"] == "true"
    jobs, report = value("jobs"), value("report")
    hit = os.environ["CACHE_HIT"] == "true"
    rows = {"plan": plan, "directory": path, "fetched": "failed", "verified": "no"}
    rows["cache"] = "restored" if hit else "nothing restored, and nothing saved"
    try:
        parallel = ["--jobs", jobs] if jobs else []
        done = bidsplan("fetch", "--json", *parallel, "--", plan, path, untrusted=untrusted)
        rows["fetched"] = done["summary"]
        rows["verified"] = "failed"
        rows["verified"] = bidsplan("verify", "--json", "--", plan, path)["summary"]
        if report:
            bidsplan("report", "--dest", path, "--output", report, "--", plan)
            rows["report"] = report
        if not hit:
            rows["cache"] = _CACHED[os.environ["CACHING"]].format(key=os.environ["CACHE_KEY"])
    except Failure:
        if hit and rows["verified"] == "failed":
            key = os.environ["CACHE_KEY"]
            annotate("error", f"the cache is damaged; delete it: gh cache delete {key}")
        raise
    finally:
        summarise(rows)
    fetched = done["done"].get("fetch", 0) + done["done"].get("replace", 0)
    save = not hit and os.environ["CACHING"] == "auto"
    set_outputs({"path": Path(path).absolute(), "changed": fetched > 0, "save": save})


_CACHED = {
    "auto": "saved as {key}",
    "restore-only": "not found; not saved, as the workflow asks",
    "off": "not used, as the workflow asks",
    "untrusted": "not found; not saved, as the manifest is not trusted",
    "too-large": "not used, as the plan is larger than max-cache-size",
}
"""What the summary says of the cache, unless the data was restored from it."""


def value(name: str, *allowed: str) -> str:
    """Return an input; raises Failure if it is none of the allowed ones, if there are any."""
    text = os.environ.get("INPUT_" + name.upper().replace("-", "_"), "")
    if not text.isprintable():
        raise Failure(f"the input '{name}' has control characters or line breaks")
    if allowed and text not in allowed:
        raise Failure(f"the input '{name}' is {text!r}; expected one of {', '.join(allowed)}")
    return text


def destination() -> str:
    """Return the directory to provision, as the workflow names it."""
    path = value("path")
    if not path or "://" in path:
        raise Failure(f"the input 'path' is {path!r}; expected a directory")
    return path


def is_untrusted() -> bool:
    """Return whether the manifest is a stranger's: as the input says, or of a fork."""
    asked = value("untrusted", "auto", "true", "false")
    if asked != "auto":
        return asked == "true"
    path = os.environ.get("GITHUB_EVENT_PATH")
    event = json.loads(Path(path).read_text(encoding="utf-8")) if path else {}
    return is_strangers(event, os.environ.get("GITHUB_REPOSITORY", ""))


def is_strangers(event: dict[str, Any], repository: str) -> bool:
    """Return whether an event is about the code of another repository, or may be.

    A comment on a pull request does not say where its code comes from.
    """
    if "pull_request" in event:
        head = event["pull_request"]["head"]["repo"]  # None if the fork was deleted
    elif "workflow_run" in event:
        head = event["workflow_run"]["head_repository"]
    else:
        return "pull_request" in event.get("issue", {})
    return head is None or head["full_name"] != repository


def checked_plan(untrusted: bool) -> str:
    """Return the plan's path, after checking that it is the manifest's, or compiling it."""
    manifest, plan = value("manifest"), value("plan")
    locked = value("locked", "true", "false") == "true"
    if bool(manifest) == bool(plan):
        raise Failure("expected one of the inputs 'manifest' and 'plan'")
    if plan:
        return plan
    if locked:
        bidsplan("validate", "--locked", "--", manifest, untrusted=untrusted)
    elif not is_current(manifest, untrusted):
        bidsplan("compile", "--", manifest, untrusted=untrusted)
    return str(Path(manifest).with_suffix(".plan.jsonl"))


def caching_of(size: int, untrusted: bool) -> str:
    """Return how far the cache is used for a plan of so many bytes: a key of `_CACHED`."""
    cache = value("cache", "auto", "restore-only", "off")
    most = parsed_size(value("max-cache-size"))
    if cache != "off" and size > most:
        annotate(
            "warning",
            f"the plan has {size:,} bytes, and max-cache-size is {most:,}: nothing is cached",
        )
        return "too-large"
    # A stranger's plan may have the key of a trusted one, and other sources.
    return "untrusted" if cache == "auto" and untrusted else cache


def parsed_size(text: str) -> int:
    """Return the number of bytes that a size such as 5GB or 1.5 GiB means."""
    match = re.fullmatch(r"([0-9]+(?:\.[0-9]+)?) ?([KMGT]?)(i?)B?", text, re.IGNORECASE)
    if not match:
        raise Failure(f"the input 'max-cache-size' is {text!r}; expected a size such as 5GB")
    units = _BINARY if match[3] else _UNITS
    return int(float(match[1]) * units[match[2].upper()])


def bidsplan(*arguments: str, untrusted: bool = False) -> dict[str, Any]:
    """Run a command, and return the last line of its results if they are JSON."""
    environment = {**os.environ, **({"BIDSPLAN_UNTRUSTED": "1"} if untrusted else {})}
    last = "{}"
    with subprocess.Popen(
        [os.environ["BIDSPLAN"], *arguments], stdout=subprocess.PIPE, env=environment, text=True
    ) as process:
        for last in process.stdout or ():
            if "--json" not in arguments:
                print(last, end="", flush=True)
    if process.returncode:
        raise Failure
    return dict(json.loads(last)) if "--json" in arguments else {}


def is_current(manifest: str, untrusted: bool) -> bool:
    """Return whether the manifest has a plan that was compiled from it; shows no problems."""
    environment = {**os.environ, **({"BIDSPLAN_UNTRUSTED": "1"} if untrusted else {})}
    command = [os.environ["BIDSPLAN"], "validate", "--locked", "--", manifest]
    return not subprocess.run(command, capture_output=True, env=environment, check=False).returncode


def header_of(plan: str, untrusted: bool) -> dict[str, Any]:
    with open(plan) as file:
        return json.loads(file.readline())


def set_outputs(outputs: dict[str, object]) -> None:
    """Set outputs of the step; no value has a line break."""
    with Path(os.environ["GITHUB_OUTPUT"]).open("a", encoding="utf-8") as file:
        for name, output in outputs.items():
            text = str(output).lower() if isinstance(output, bool) else str(output)
            file.write(f"{name}={text}\n")


def summarise(rows: dict[str, str]) -> None:
    """Add a table to the job's summary."""
    lines = ["### bidsplan", "", "| | |", "|---|---|"]
    lines += [f"| {name} | {markdown(text)} |" for name, text in rows.items()]
    with Path(os.environ["GITHUB_STEP_SUMMARY"]).open("a", encoding="utf-8") as file:
        file.write("\n".join(lines) + "\n\n")


def markdown(text: str) -> str:
    """Escape text, so that Markdown shows it as it is."""
    shown = "".join(character if character.isprintable() else "\ufffd" for character in text)
    return re.sub(r"[^A-Za-z0-9 /-]", lambda match: f"&#{ord(match[0])};", shown)


def annotate(label: str, text: str) -> None:
    """Show a message at the run."""
    escaped = text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")
    print(f"::{label} title=bidsplan::{escaped}", flush=True)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
