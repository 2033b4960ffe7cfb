"""Runs the steps of a composite action as GitHub's runner does, with a folder as the cache."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parents[2]
ACTION = yaml.safe_load((ROOT / "action.yml").read_text(encoding="utf-8"))
_EXPRESSION = re.compile(r"\$\{\{ (.*?) \}\}")


@dataclass
class Job:
    """What became of a job that used the action."""

    code: int
    outputs: dict[str, str]
    log: str
    summary: str
    steps: list[str] = field(default_factory=list)


class Runner:
    """Runs jobs in a checkout; `cache` is a folder that they share.

    Parameters
    ----------
    event : path, optional
        What the runner says of the event that started the workflow.
    """

    def __init__(self, checkout: Path, folder: Path, *, event: Path | None = None) -> None:
        self.cache = folder / "cache"
        self.cache.mkdir(exist_ok=True)
        self._checkout, self._folder = checkout, folder
        self._event = event
        self._number = 0

    def run(self, *, interrupted=None, **inputs: str) -> Job:
        """Run a job; `interrupted` is called with each process of a step that was started."""
        self._number += 1
        return _Run(self, self._folder / f"job{self._number}", inputs, interrupted).result()

    def environment(self, folder: Path) -> dict[str, str]:
        """Return the variables that a runner sets, its files made anew."""
        names = ("GITHUB_OUTPUT", "GITHUB_STEP_SUMMARY")
        files = {name: str(folder / name.lower()) for name in names}
        Path(files["GITHUB_OUTPUT"]).write_text("")
        return {
            **os.environ,
            **files,
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
            "GITHUB_ACTIONS": "true",
            "GITHUB_ACTION_PATH": str(ROOT),
            "GITHUB_WORKSPACE": str(self._checkout),
            "GITHUB_REPOSITORY": "lab/study",
            "RUNNER_TEMP": str(folder),
            **({"GITHUB_EVENT_PATH": str(self._event)} if self._event else {}),
        }

    def restore(self, path: str, key: str) -> bool:
        """Unpack the archive of a key, as actions/cache/restore does, if there is one."""
        archive = self.cache / f"{key}.tar"
        if archive.exists():
            self._tar("-xf", archive)
        return archive.exists()

    def save(self, path: str, key: str) -> None:
        """Pack a path as actions/cache/save does."""
        self._tar("--posix", "-cf", self.cache / f"{key}.tar", "--", path)

    def _tar(self, *arguments: object) -> None:
        subprocess.run(["tar", "-P", *map(str, arguments)], cwd=self._checkout, check=True)

    @property
    def checkout(self) -> Path:
        return self._checkout


class _Run:
    """One job: its steps until one fails, and what they write."""

    def __init__(self, runner: Runner, folder: Path, inputs, interrupted) -> None:
        folder.mkdir()
        self._runner, self._folder, self._interrupted = runner, folder, interrupted
        # The tests' own installation stands for the action's.
        self._inputs = {"bidsplan": "bidsplan", **inputs}
        self._outputs: dict[str, dict[str, str]] = {}
        self._log: list[str] = []

    def result(self) -> Job:
        names, code = [], 0
        for step in ACTION["runs"]["steps"]:
            if self._evaluated(step.get("if", "'true' == 'true'")) == "true":
                names.append(step["name"])
                code = self._step(step)
                if code:
                    break
        summary = self._folder / "github_step_summary"
        return Job(
            code,
            {name: self._filled(output["value"]) for name, output in ACTION["outputs"].items()},
            "".join(self._log),
            summary.read_text() if summary.exists() else "",
            names,
        )

    def _step(self, step) -> int:
        if "run" in step:
            return self._script(step)
        what = re.fullmatch(r"actions/cache/(restore|save)@[0-9a-f]{40}", step["uses"])[1]
        given = {name: self._filled(text) for name, text in step["with"].items()}
        if what == "restore":
            hit = self._runner.restore(**given)
            self._outputs[step["id"]] = {"cache-hit": "true" if hit else ""}
        else:
            self._runner.save(**given)
        return 0

    def _script(self, step) -> int:
        assert step["shell"] == "bash"
        environment = self._runner.environment(self._folder)
        environment |= {name: self._filled(text) for name, text in step["env"].items()}
        with subprocess.Popen(
            ["bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", step["run"]],
            cwd=self._runner.checkout,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            text=True,
        ) as process:
            if self._interrupted and self._interrupted(step):
                os.killpg(process.pid, signal.SIGKILL)
            self._log.append(process.stdout.read())
        lines = Path(environment["GITHUB_OUTPUT"]).read_text().splitlines()
        self._outputs[step["id"]] = dict(line.split("=", 1) for line in lines)
        return process.returncode

    def _filled(self, text: str) -> str:
        return _EXPRESSION.sub(lambda match: self._evaluated(match[1]), str(text))

    def _evaluated(self, expression: str) -> str:
        """Evaluate the few forms of expressions that the action uses."""
        left, equals, right = expression.partition(" == ")
        if equals:
            return str(self._evaluated(left) == self._evaluated(right)).lower()
        if literal := re.fullmatch(r"'(.*)'", expression):
            return literal[1]
        kind, name, *rest = expression.split(".")
        if kind == "inputs":
            return str(self._inputs.get(name, ACTION["inputs"][name].get("default", "")))
        assert (kind, rest[0]) == ("steps", "outputs"), expression
        return self._outputs.get(name, {}).get(rest[1], "")
