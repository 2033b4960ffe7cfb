"""What `canary_runs` runs: commands, what the storage does meanwhile, and files that they read."""

from __future__ import annotations

from dataclasses import dataclass, field

CANARY = "cAnArY7f3a9b"
STUDY = {
    "dataset_description.json": b'{"Name": "x", "BIDSVersion": "1.10.0"}',
    "participants.tsv": b"participant_id\tage\nsub-01\t20\nsub-02\t30\n",
    "sub-01/anat/sub-01_T1w.nii.gz": bytes(3000),
    "sub-01/anat/sub-01_T1w.json": b"{}",
    "sub-02/anat/sub-02_T1w.nii.gz": bytes(2000),
}


KNOWN: frozenset[str] = frozenset()
"""Kinds of cases that still leak: the script tells them and fails, the test passes over them."""


@dataclass
class Case:
    """One command, and what the storage does meanwhile.

    Parameters
    ----------
    name : str
    arguments : list of str
        ``{bucket}``, ``{other}`` and ``{dead}`` stand for what is known only later.
    rules : list of (method, fields of a `Rule`)
    kind : str
        What the case is about.
    """

    name: str
    arguments: list[str]
    rules: list = field(default_factory=list)
    kind: str = ""


STORAGE = ("init", "inspect", "compile", "explain", "fetch")
WAYS = {
    # Transport, how to sign, how to tell, and whether the endpoint's URL has user info.
    "obstore": (["--transport", "obstore", "--anonymous"], [], True),
    "fsspec json": (["--transport", "fsspec", "--signed"], ["--json"], False),
    "obstore debug": (["--transport", "obstore", "--signed"], ["--json", "--debug"], False),
    "fsspec debug": (["--transport", "fsspec", "--signed"], ["--debug"], True),
    "untrusted": (["--transport", "obstore", "--untrusted"], ["--debug"], True),
}
READS = {
    "init": ["init", "s3://{bucket}"],
    "inspect": ["inspect", "s3://{bucket}"],
    "compile": ["compile", "m.yaml", "-o", "new.plan.jsonl"],
    "explain": ["explain", "m.yaml"],
    "fetch": ["fetch", "p.plan.jsonl", "d"],
    "fetch to storage": ["fetch", "p.plan.jsonl", "s3://{bucket}/copy"],
}
FAULTS = {
    "denied": {"status": 403, "code": "AccessDenied"},
    "expired": {"status": 400, "code": "ExpiredToken"},
    "throttled": {"status": 503, "code": "SlowDown", "headers": {"Retry-After": "9"}},
    "failed": {"status": 500, "body": b"<html>"},
    "region": {
        "status": 400,
        "code": "AuthorizationHeaderMalformed",
        "headers": {"x-amz-bucket-region": "eu-west-9"},
    },
}
REDIRECTS = {
    f"redirect {status}": {"status": status, "headers": {"Location": "{other}/x"}}
    for status in (301, 302, 307, 308)
}
TYPED = (
    "https://u:{canary}@h.invalid/x",
    "https:/u:{canary}@h",
    "https:u:{canary}@h",
    "file://u:{canary}@h/x",
    "s3:/AKIA0123456789ABCDEF:{canary}@b",
    "s3://AKIA0123456789ABCDEF:{canary}/a+b@b/c",
    "u:{canary}@h",
    "https://h.invalid/x?X-Amz-Signature={canary}",
    "nothing://u:{canary}@h",
)


def cases() -> list[Case]:
    """Give all cases, in a fixed order."""
    return [*_well(), *_faulty(), *_typed(), *_wrong(), *_exports(), *_pages()]


def _well() -> list[Case]:
    commands = [
        *READS.values(),
        ["init", "s3://{bucket}", "-o", "new.yaml"],
        ["inspect", "m.yaml"],
        ["validate", "m.yaml"],
        ["compile", "m.yaml", "--check", "-o", "p.plan.jsonl"],
        ["explain", "m.yaml", "sub-01"],
        ["fetch", "m.yaml", "d"],
        ["fetch", "p.plan.jsonl", "d", "-n"],
        ["verify", "p.plan.jsonl", "done"],
        ["pin", "p.plan.jsonl", "done", "-o", "pinned.plan.jsonl"],
        ["prune", "p.plan.jsonl", "done", "--yes", "--all"],
        ["schema", "plan"],
    ]
    return [Case(" ".join(command), command, kind="well") for command in commands]


def _exports() -> list[Case]:
    commands = [
        ["export", "p.plan.jsonl", "--to", name, "-o", f"new.{name}"]
        for name in ("s5cmd", "rclone", "aria2", "checksums", "csv", "datalad")
    ]
    return [Case(" ".join(command), command, kind="well") for command in commands]


def _faulty() -> list[Case]:
    found = []
    for fault, fields in {**FAULTS, **REDIRECTS}.items():
        for name, command in READS.items():
            methods = ("GET", "HEAD", "PUT", "POST") if "storage" in name else ("GET", "HEAD")
            rules = [(method, {"do": "status", **fields}) for method in methods]
            kind = "redirect" if fault in REDIRECTS else fault
            found.append(Case(f"{name}: {fault}", command, rules, kind))
    for name, command in READS.items():
        found.append(Case(f"{name}: page", command, [("GET", {"do": "page"})], "listing"))
        dead = [*command, "--endpoint-url", f"http://u:{CANARY}-dead@127.0.0.1:{{dead}}"]
        found.append(Case(f"{name}: no server", dead, kind="endpoint"))
        missing = [argument.replace("{bucket}", "no-such-bucket") for argument in command]
        found.append(Case(f"{name}: missing bucket", missing, kind="missing"))
    return found


def _typed() -> list[Case]:
    found = []
    for form in TYPED:
        url = form.format(canary=f"{CANARY}-typed")
        commands = (
            ["init", url],
            ["init", url, "-o", "new.yaml"],
            ["inspect", url],
            ["fetch", "p.plan.jsonl", url, "-n"],
            ["inspect", "s3://{bucket}", "--endpoint-url", url],
            ["compile", url],
            ["verify", url, url],
        )
        found += [Case(" ".join(command), command, kind="typed") for command in commands]
    return found


def _wrong() -> list[Case]:
    found = []
    for name in ("key.yaml", "url.yaml", "local.yaml", "table.yaml", "labels.yaml", "where.yaml"):
        kind = "linked" if name in {"table.yaml", "labels.yaml", "where.yaml"} else "manifest"
        found += [
            Case(f"{command} {name}", [command, name, *more], kind=kind)
            for command, *more in (
                ["validate"],
                ["compile", "-o", "new.plan.jsonl"],
                ["explain"],
                ["inspect"],
                ["fetch", "d"],
            )
        ]
    for name in ("cut.plan.jsonl", "root.plan.jsonl", "local.plan.jsonl", "key.yaml"):
        found += [
            Case(f"{command} {name}", [command, name, "done", *more], kind="plan")
            for command, *more in (["fetch"], ["verify"], ["pin"], ["prune", "--yes"])
        ]
    wrong = (
        # An option's name is no secret, unless it holds what is known to be one.
        ["fetch", f"--{CANARY}-unrelated"],
        ["fetch", "p.plan.jsonl", "d", "--jobs", f"https://u:{CANARY}-typed@h"],
        ["fetch", "p.plan.jsonl", "d", "--profile", f"u:{CANARY}-typed@h"],
        [f"u:{CANARY}-typed@h"],
        ["explain", "m.yaml", f"u:{CANARY}-typed@h"],
    )
    return found + [Case(" ".join(words), words, kind="options") for words in wrong]


def _pages() -> list[Case]:
    """Give cases of pages, which hold what the manifest, the study and the destination say."""
    page = ["report", "p.plan.jsonl", "-o", "page.html"]
    manifests = [[*page, "--manifest", name] for name in MANIFESTS]
    typed = [[*page, "--dest", form.format(canary=f"{CANARY}-typed")] for form in TYPED]
    commands = [[*page, "--dest", "done"], *manifests, *typed]
    return [Case(" ".join(command), command, kind="page") for command in commands]


MANIFESTS = {
    "m.yaml": "study: {{id: x, url: s3://{bucket}}}",
    "key.yaml": "study: {{id: x, url: s3://{bucket}}}\naws_secret_access_key: {canary}-typed",
    "url.yaml": 'study: {{id: x, url: "https:/u:{canary}-typed@h"}}',
    "local.yaml": 'study: {{id: x, url: "file://u:{canary}-typed@h/x"}}',
    "table.yaml": "study: {{id: x, url: s3://{bucket}}}\n"
    "subjects: {{from: participants, table: {{file: linked.csv, id_column: ID}}}}",
    "labels.yaml": "study: {{id: x, url: s3://{bucket}}}\n"
    "subjects: {{from: participants, table: {{file: linked.csv, id_column: participant_id}}}}",
    "where.yaml": "study: {{id: x, url: s3://{bucket}}}\n"
    "subjects: {{table: {{file: linked.csv, id_column: participant_id}}, where: {{age: 1}}}}",
}
