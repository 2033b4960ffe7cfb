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
from collections import deque
from pathlib import Path
from typing import Any

_UNITS = {"": 1, "K": 10**3, "M": 10**6, "G": 10**9, "T": 10**12}
_BINARY = {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30, "T": 1 << 40}


class StepError(Exception):
    """What ends a step: a message, unless a command has written one."""


def main(step: str) -> int:
    """Run a step, and return its exit code."""
    try:
        {"plan": read_plan, "fetch": fetch}[step]()
    except StepError as error:
        if str(error):
            annotate("error", str(error))
        return 1
    return 0


def read_plan() -> None:
    """Find the plan and its key, and decide whether the cache may be used."""
    untrusted, path = is_untrusted(), destination()
    cache = value("cache", "auto", "restore-only", "off")
    most = parsed_size(value("max-cache-size"))
    if untrusted:
        os.environ["BIDSPLAN_UNTRUSTED"] = "1"
    source = value("manifest") or value("plan")
    plan = found_plan(source)
    known = bidsplan("cache-key", "--json", "--", source)
    caching = caching_of(cache, known["bytes"], most, untrusted=untrusted)
    set_outputs(
        {
            "plan": plan,
            "path": path,
            "untrusted": untrusted,
            "caching": caching,
            "restore": caching in {"auto", "restore-only", "untrusted"},
            "cache-key": f"bidsplan-{known['cache_key']}",
            "files": known["files"],
            "bytes": known["bytes"],
        }
    )


def fetch() -> None:
    """Fetch and verify the plan's files; only then may they be saved."""
    if os.environ["UNTRUSTED"] == "true":
        os.environ["BIDSPLAN_UNTRUSTED"] = "1"
    path, key = os.environ["DESTINATION"], os.environ["CACHE_KEY"]
    hit, caching = os.environ["CACHE_HIT"] == "true", os.environ["CACHING"]
    rows = {"plan": os.environ["PLAN"], "directory": path}
    try:
        done = fetched_and_verified(rows)
        rows["cache"] = f"restored from {key}" if hit else _CACHED[caching].format(key=key)
    except StepError:
        rows["cache"] = f"restored from {key}" if hit else "nothing is saved"
        if hit and "failed" in {rows["fetched"], rows["verified"]}:
            why = "what was cached is damaged, or another plan's of the same names and sizes"
            annotate("error", f"{why}; delete it: gh cache delete {key}")
        raise
    finally:
        summarise(rows)
    changed = any(done.get(action) for action in ("fetch", "replace"))
    save = not hit and caching == "auto"
    set_outputs({"path": Path(path).absolute(), "changed": changed, "save": save})


def fetched_and_verified(rows: dict[str, str]) -> dict[str, int]:
    """Run the commands, note their results in rows of the summary, and count what was done."""
    plan, path = rows["plan"], rows["directory"]
    jobs, report = value("jobs"), value("report")
    rows |= {"fetched": "failed", "verified": "not tried"}
    parallel = ["--jobs", jobs] if jobs else []
    fetched = bidsplan("fetch", "--json", *parallel, "--", plan, path)
    rows |= {"fetched": fetched["summary"], "verified": "failed"}
    rows["verified"] = bidsplan("verify", "--json", "--", plan, path)["summary"]
    if report:
        bidsplan("report", "--dest", path, "--output", report, "--", plan)
        rows["report"] = report
    return dict(fetched["done"])


_CACHED = {
    "auto": "saved as {key}",
    "restore-only": "not found; not saved, as the workflow asks",
    "off": "not used, as the workflow asks",
    "untrusted": "not found; not saved, as the manifest is not trusted",
    "too-large": "not used, as the plan is larger than max-cache-size",
}
"""What the summary says of the cache, unless the data was restored from it."""


def value(name: str, *allowed: str) -> str:
    """Return an input; raises StepError if it is none of the allowed ones, if there are any."""
    text = os.environ.get("INPUT_" + name.upper().replace("-", "_"), "")
    if not text.isprintable():
        raise StepError(f"the input '{name}' has control characters or line breaks")
    if allowed and text not in allowed:
        raise StepError(f"the input '{name}' is {text!r}; expected one of {', '.join(allowed)}")
    return text


def destination() -> str:
    """Return the directory to provision, as the workflow names it."""
    path = value("path")
    if not path or "://" in path:
        raise StepError(f"the input 'path' is {path!r}; expected a directory")
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


def found_plan(source: str) -> str:
    """Return the path of a plan, or of a manifest's, which is compiled if need be."""
    if bool(value("manifest")) == bool(value("plan")):
        raise StepError("expected one of the inputs 'manifest' and 'plan'")
    if source == value("plan"):
        return source
    if value("locked", "true", "false") == "false" and not is_current(source):
        bidsplan("compile", "--", source)
    return str(Path(source).with_suffix(".plan.jsonl"))


def caching_of(cache: str, size: int, most: int, *, untrusted: bool) -> str:
    """Return how far the cache is used for a plan of so many bytes: a key of `_CACHED`."""
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
        raise StepError(f"the input 'max-cache-size' is {text!r}; expected a size such as 5GB")
    units = _BINARY if match[3] else _UNITS
    return int(float(match[1]) * units[match[2].upper()])


def bidsplan(*arguments: str) -> dict[str, Any]:
    """Run a command; with ``--json`` return the last line of its results, else show them."""
    parsed = "--json" in arguments
    output = subprocess.PIPE if parsed else None
    with subprocess.Popen(
        [os.environ["BIDSPLAN"], *arguments], stdout=output, encoding="utf-8"
    ) as process:
        last = "".join(deque(process.stdout or (), maxlen=1))
    if process.returncode < 0:
        raise StepError(f"bidsplan {arguments[0]} was stopped by signal {-process.returncode}")
    result = dict(json.loads(last or "{}")) if parsed else {}
    if process.returncode:
        # What ends a command is shown by the command itself, as an annotation.
        raise StepError(f"{arguments[0]}: {result['summary']}" if "summary" in result else "")
    if "summary" in result:
        print(f"{arguments[0]}: {harmless(result['summary'])}", flush=True)
    return result


def is_current(manifest: str) -> bool:
    """Return whether a manifest has a plan that was compiled from it; shows no problems."""
    command = [os.environ["BIDSPLAN"], "validate", "--locked", "--", manifest]
    return subprocess.run(command, capture_output=True, check=False).returncode == 0


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


def harmless(text: str) -> str:
    """Escape the older form of workflow commands, which runners find anywhere in a line."""
    return text.replace("##[", "#\\x23[")


def annotate(label: str, text: str) -> None:
    """Show a message at the run."""
    escaped = harmless(text).replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")
    print(f"::{label} title=bidsplan::{escaped}", flush=True)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
