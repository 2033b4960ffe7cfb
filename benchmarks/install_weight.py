"""Measure what installing bidsplan costs: seconds, megabytes, and each dependency's share.

A fresh environment gets the checkout, or whatever is named instead, as pip installs it: first
without pip's cache, then with it. Then each direct dependency is looked at: its own megabytes,
those of packages that it alone brings, which of the others would bring it anyway, the seconds for
which bidsplan's own import statements of it keep a processor busy, and the rooms that have these. A
megabyte is a million bytes; compiled modules (`.pyc`) count, pip and setuptools do not::

    python benchmarks/install_weight.py
    python benchmarks/install_weight.py "bidsplan[dask]"

Run it by the interpreter that the environment shall have. It needs `packaging`, which nibabel
brings.
"""

from __future__ import annotations

import argparse
import ast
import re
import resource
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from dataclasses import dataclass
from functools import cached_property
from importlib.metadata import Distribution, distributions
from pathlib import Path
from typing import TYPE_CHECKING

from packaging.requirements import Requirement
from tabulate import tabulate

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "src" / "bidsplan"
OWN = "bidsplan"
PROMISED = {"fsspec", "nibabel", "pydantic", "pyyaml", "s3fs", "tqdm"}
"""What the project is built on, whatever it weighs."""

TRIES = 5
TIMED = """
import time
start = time.process_time()
{statements}
print(time.process_time() - start)
"""


def canonical(name: str) -> str:
    """Spell a package's name as registries compare it."""
    return re.sub(r"[-_.]+", "-", name).lower()


@dataclass(frozen=True)
class Installed:
    """A package in the new environment."""

    package: Distribution

    @cached_property
    def size(self) -> int:
        """Bytes of all its files."""
        paths = [Path(str(file.locate())) for file in self.package.files or ()]
        return sum(path.stat().st_size for path in paths if path.is_file())

    @cached_property
    def needs(self) -> list[str]:
        """The packages that it needs without extras."""
        found = map(Requirement, self.package.requires or ())
        return [
            canonical(one.name)
            for one in found
            if one.marker is None or one.marker.evaluate({"extra": ""})
        ]

    @cached_property
    def modules(self) -> set[str]:
        """The names that are imported of it: `lxml`, or `backports.zstd` of a shared folder."""
        files = [file.parts for file in self.package.files or () if file.suffix == ".py"]
        packages = {parts[0] for parts in files if parts[1:] == ("__init__.py",)}
        alone = {parts[0].removesuffix(".py") for parts in files if len(parts) == 1}
        shared = {
            ".".join(parts[:2])
            for parts in files
            if parts[2:] == ("__init__.py",) and parts[0] not in packages
        }
        return packages | alone | shared


def install(python: Path, target: str, *options: str) -> str:
    """Install a package by pip, and return what that took."""
    start, used = time.perf_counter(), cpu_seconds()
    command = [str(python), "-m", "pip", "install", "--quiet", *options, target]
    subprocess.run(command, check=True, stderr=subprocess.DEVNULL)
    return f"{time.perf_counter() - start:.1f} ({cpu_seconds() - used:.1f} of a processor)"


def cpu_seconds() -> float:
    """Return the processor time that finished children have used."""
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    return children.ru_utime + children.ru_stime


def environment(folder: Path) -> Path:
    """Make an environment, and return its interpreter."""
    subprocess.run([sys.executable, "-m", "venv", folder], check=True)
    return folder / "bin" / "python"


def installed(folder: Path) -> dict[str, Installed]:
    """Find the packages of an environment, without those that install others."""
    [site] = folder.glob("lib/python*/site-packages")
    found = {
        canonical(one.metadata["Name"]): Installed(one) for one in distributions(path=[str(site)])
    }
    return {name: one for name, one in found.items() if name not in {"pip", "setuptools"}}


def closure(names: Iterable[str], found: dict[str, Installed]) -> set[str]:
    """Return packages with all that they need."""
    reached: set[str] = set()
    waiting = [name for name in names if name in found]
    while waiting:
        name = waiting.pop()
        if name not in reached:
            reached.add(name)
            waiting += [needed for needed in found[name].needs if needed in found]
    return reached


def executed(node: ast.AST) -> Iterator[ast.AST]:
    """Walk a syntax tree, leaving out what only type checkers read."""
    for child in ast.iter_child_nodes(node):
        if not isinstance(child, ast.If) or ast.unparse(child.test) != "TYPE_CHECKING":
            yield child
            yield from executed(child)


def imports() -> Iterator[tuple[str, str, str]]:
    """Find bidsplan's imports: what is imported, the statement, and the room that has it."""
    for path in sorted(PACKAGE.rglob("*.py")):
        room = path.relative_to(PACKAGE).parts[0].removesuffix(".py")
        for node in executed(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                for alias in node.names:
                    yield alias.name, f"import {alias.name}", room
            elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
                for alias in node.names:
                    name = f"{node.module}.{alias.name}"
                    yield name, f"from {node.module} import {alias.name}", room


def users(modules: set[str]) -> tuple[list[str], list[str]]:
    """Return the statements that import any of the modules, and the rooms that have them."""
    statements: defaultdict[str, set[str]] = defaultdict(set)
    for name, statement, room in imports():
        if any(name == module or name.startswith(f"{module}.") for module in modules):
            statements[statement].add(room)
    rooms = sorted(set().union(*statements.values()))
    return sorted(statements), rooms


def import_seconds(python: Path, statements: list[str]) -> float:
    """Return the least seconds that a new interpreter needs for import statements."""
    code = TIMED.format(statements="\n".join(statements))
    runs = [
        subprocess.run([python, "-c", code], check=True, capture_output=True, text=True)
        for _ in range(TRIES)
    ]
    return min(float(run.stdout) for run in runs)


def megabytes(names: Iterable[str], found: dict[str, Installed]) -> str:
    """Add up packages' sizes."""
    return f"{sum(found[name].size for name in names) / 1e6:.1f}"


def rows(python: Path, found: dict[str, Installed]) -> Iterator[tuple[str, ...]]:
    """Describe each direct dependency, the largest first."""
    direct = [name for name in found[OWN].needs if name in found]
    for name in sorted(direct, key=lambda name: -found[name].size):
        others = [other for other in direct if other != name]
        alone = closure([name], found) - closure(others, found) - {name}
        bringing = [other for other in others if name in closure([other], found)]
        statements, rooms = users(found[name].modules)
        yield (
            name,
            megabytes([name], found),
            megabytes(alone, found),
            ", ".join(bringing),
            f"{import_seconds(python, statements):.3f}",
            ", ".join(rooms) if len(rooms) < 5 else f"{len(rooms)} rooms",
        )


def main() -> None:
    """Install twice, and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("target", nargs="?", default=str(ROOT), help="what pip installs")
    target = parser.parse_args().target
    with tempfile.TemporaryDirectory() as folder:
        cold = install(environment(Path(folder, "cold")), target, "--no-cache-dir")
        python = environment(Path(folder, "warm"))
        install(python, target)  # fills pip's cache
        warm = install(python, target, "--force-reinstall")
        found = installed(Path(folder, "warm"))
        promised = closure(PROMISED, found)
        summary = [
            ("seconds, nothing cached", cold),
            ("seconds, packages cached", warm),
            ("packages", len(found)),
            ("megabytes", megabytes(found, found)),
            (f"of {', '.join(sorted(PROMISED))}, and what they bring", megabytes(promised, found)),
            ("of all others", megabytes(set(found) - promised - {OWN}, found)),
            ("of bidsplan", megabytes([OWN], found)),
        ]
        print(tabulate(summary, tablefmt="github", disable_numparse=True), "\n")
        headers = ("package", "MB", "MB it alone brings", "also by", "import s", "imported by")
        print(tabulate(rows(python, found), headers, "github", disable_numparse=True))


if __name__ == "__main__":
    main()
