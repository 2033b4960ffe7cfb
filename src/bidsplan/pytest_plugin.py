"""A pytest plugin that provides datasets, fetched once for each machine.

Every pytest run in an environment with bidsplan imports this module. Therefore it imports little.
"""

from __future__ import annotations

import os
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator
    from os import PathLike

    from bidsplan.provisioning.cache import DatasetCache
    from bidsplan.provisioning.dataset import Provided

_MARKER = (
    "bidsplan(*paths): the test needs the datasets of these manifests or plans, which are relative "
    "to the rootdir; they are fetched before the first test"
)
_OPTIONS = (
    (
        "bidsplan",
        ("fetch", "offline", "skip"),
        "fetch",
        "Fetch what the cache lacks (default); make no request, and use what the cache has; or "
        "skip all tests that need a dataset",
    ),
    (
        "bidsplan_unavailable",
        ("fail", "skip"),
        "fail",
        "What to do with tests whose dataset can't be reached, or is not in the cache when "
        "offline: fail them (default), or skip them",
    ),
    (
        "bidsplan_cache",
        None,
        "",
        "Directory of the datasets, relative to the rootdir; by default the user's cache",
    ),
)


class BidsplanDataset(Protocol):
    """The type of the fixture ``bidsplan_dataset``."""

    def __call__(self, source: str | PathLike[str], /) -> Path:
        """Return the directory of a manifest's or a plan's complete dataset.

        Parameters
        ----------
        source : path
            A manifest or a plan, relative to pytest's rootdir.

        Returns
        -------
        Path
            A directory that all tests on the machine share. Tests must not write to it.
        """


@pytest.fixture(scope="session")
def bidsplan_dataset(pytestconfig: pytest.Config) -> BidsplanDataset:
    """Return a function that provides a manifest's or a plan's dataset."""
    return _datasets(pytestconfig).path


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the options for the command line and the configuration file."""
    group = parser.getgroup("bidsplan", "datasets for tests")
    for name, choices, default, text in _OPTIONS:
        option = f"--{name.replace('_', '-')}"
        values: dict[str, Any] = {"choices": choices} if choices else {"metavar": "DIR"}
        group.addoption(option, dest=name, default=None, help=f"{text}.", **values)
        parser.addini(name, f"{text} (as {option}).", default=default)


def pytest_configure(config: pytest.Config) -> None:
    """Register the marker, and refuse invalid options in the configuration file."""
    config.addinivalue_line("markers", _MARKER)
    for name, choices, _, _ in _OPTIONS:
        if choices and (value := _option(config, name)) not in choices:
            raise pytest.UsageError(
                f"{name}: expected one of {', '.join(choices)}; got {value!r}, in {config.inipath}"
            )


def _option(config: pytest.Config, name: str) -> str:
    return str(config.getoption(name) or config.getini(name))


def pytest_report_header(config: pytest.Config) -> list[str]:
    """Show options that are not the default."""
    values = [(name, default, _option(config, name)) for name, _, default, _ in _OPTIONS]
    shown = [f"{name}={value}" for name, default, value in values if value != default]
    return [f"datasets for tests: {', '.join(shown)}"] if shown else []


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark tests that use the fixture, so that ``-m bidsplan`` selects them."""
    for item in items:
        used = "bidsplan_dataset" in getattr(item, "fixturenames", ())
        if used and item.get_closest_marker("bidsplan") is None:
            item.add_marker("bidsplan")


@pytest.hookimpl(tryfirst=True)
def pytest_runtestloop(session: pytest.Session) -> None:
    """Provide the markers' datasets before any test's time is measured."""
    config = session.config
    if config.option.collectonly or _option(config, "bidsplan") == "skip":
        return
    if session.testsfailed and not config.option.continue_on_collection_errors:
        return
    if sources := [path for item in session.items for path in _marked(item)]:
        for source in sources:
            # The tests that need a failed dataset report the failure.
            _datasets(config).provide(source)
        _datasets(config).show()


def _marked(item: pytest.Item) -> Iterator[Any]:
    return (path for marker in item.iter_markers("bidsplan") for path in marker.args)


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip or fail a test whose datasets are missing."""
    if item.get_closest_marker("bidsplan") is None:
        return
    if _option(item.config, "bidsplan") == "skip":
        pytest.skip("it needs a dataset (--bidsplan=skip)")
    for source in _marked(item):
        _datasets(item.config).path(source)


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    """Check whether tests changed a dataset, and report it to the controller."""
    datasets = session.config.stash.get(_STASHED, None)
    output = getattr(session.config, "workeroutput", None)
    if datasets is not None:
        datasets.look_for_changes()
        if output is not None:
            output["bidsplan"] = [tuple(line) for line in datasets.lines()]


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    """Collect the report of a pytest-xdist worker, if it did not crash."""
    reported = getattr(node, "workeroutput", {}).get("bidsplan", ())
    node.config.stash.setdefault(_REPORTED, []).extend(_Line(*line) for line in reported)


def pytest_terminal_summary(
    terminalreporter: pytest.TerminalReporter, config: pytest.Config
) -> None:
    """Show which datasets were provided, from where, and their warnings."""
    totals: Counter[_Line] = Counter()
    own = config.stash.get(_STASHED, None)
    for line in (*config.stash.get(_REPORTED, ()), *(own.lines() if own is not None else ())):
        totals[line._replace(fetched=0)] += line.fetched
    if totals:
        terminalreporter.write_sep("=", "bidsplan")
    for line, fetched in totals.items():
        terminalreporter.write_line(str(line._replace(fetched=fetched)), yellow=line.odd)


class _Line(NamedTuple):
    """A line of the report, about a provided dataset or a warning.

    Parameters
    ----------
    fetched : int
        How many of the dataset's files this process has fetched.
    """

    text: str
    odd: bool = False
    folder: str = ""
    files: int = 0
    fetched: int = 0

    def __str__(self) -> str:
        """Return the whole line."""
        if self.odd:
            return self.text
        some = f"{self.fetched:,} fetched, others from the cache"
        whole = self.fetched >= self.files
        how = "from the cache" if not self.fetched else "fetched" if whole else some
        return f"{self.text}, {how}: {self.folder}"


class _Datasets:
    """The datasets that this process has or could not get, by path."""

    def __init__(self, config: pytest.Config) -> None:
        self._config = config
        self._mode = _option(config, "bidsplan")
        self._skips = _option(config, "bidsplan_unavailable") == "skip"
        self._provided: dict[Path, Provided | _Failure] = {}
        self._changed: list[_Line] = []
        self._shown: set[_Line] = set()
        self._reporter = config.pluginmanager.get_plugin("terminalreporter")
        self._cache: DatasetCache | None = None

    def path(self, source: str | PathLike[str], /) -> Path:
        """Return a dataset's directory, or end the test."""
        __tracebackhide__ = True
        if self._mode == "skip":
            pytest.skip("it needs a dataset (--bidsplan=skip)")
        found = self.provide(source)
        if not isinstance(found, _Failure):
            return found.folder
        if found.unavailable and self._skips:
            pytest.skip(found.text)
        pytest.fail(found.text, pytrace=False)

    def provide(self, source: str | PathLike[str]) -> Provided | _Failure:
        """Provide a dataset, once in each process."""
        if not isinstance(source, str | os.PathLike):
            expected = "expected the path of a manifest or a plan"
            return _Failure(f"bidsplan: {expected}; got {source!r}", unavailable=False)
        path = self._config.rootpath / source
        if path not in self._provided:
            self._provided[path] = self._new(path)
        return self._provided[path]

    def _new(self, path: Path) -> Provided | _Failure:
        from bidsplan.errors import BidsplanError, UsageError
        from bidsplan.help_codes import help_line
        from bidsplan.provisioning.cache import is_unavailable

        try:
            if not path.exists():
                rootdir = self._config.rootpath
                raise UsageError(
                    f"there is no such file; paths are relative to pytest's rootdir, {rootdir}"
                )
            return self._opened().provide(path)
        except BidsplanError as error:
            # Messages about the file itself, or the plan next to it, already contain its name.
            named = str(error).startswith(str(path.with_suffix("")))
            text = str(error) if named else f"{self._name(path)}: {error}"
            text = f"{_shown(text)} [{error.help_code}]\n{help_line(error.help_codes())}"
            return _Failure(f"bidsplan: {text}", is_unavailable(error))
        except OSError as error:
            return _Failure(f"bidsplan: {_shown(str(error))}", unavailable=False)

    def _opened(self) -> DatasetCache:
        from bidsplan.provisioning.cache import DatasetCache

        if self._cache is None:
            worker = getattr(self._config, "workerinput", {})
            self._cache = DatasetCache(
                self._directory(),
                offline=self._mode == "offline",
                run=worker.get("testrunuid", ""),
                say=self._say,
            )
        return self._cache

    def _directory(self) -> Path:
        if chosen := _option(self._config, "bidsplan_cache"):
            return self._config.rootpath / Path(chosen).expanduser()
        try:
            from platformdirs import user_cache_path  # of the extra 'pytest'
        except ImportError as error:
            from bidsplan.errors import LibraryError

            raise LibraryError(
                "the cache of the machine is found by platformdirs, which is not installed; run "
                "pip install 'bidsplan[pytest]', or choose a directory with --bidsplan-cache"
            ) from error
        return user_cache_path("bidsplan", appauthor=False) / "datasets"

    def _say(self, text: str) -> None:
        if self._reporter is not None:
            self._reporter.write_line(f"bidsplan: {text}")

    def _name(self, path: Path) -> str:
        from bidsplan.paths import printable

        above = self._config.rootpath
        return printable(str(path.relative_to(above) if path.is_relative_to(above) else path))

    def show(self) -> None:
        """Show at once what was provided, if there is a terminal."""
        if self._reporter is not None:
            for line in self.lines():
                self._reporter.write_line(f"bidsplan: {line}", yellow=line.odd)
                self._shown.add(line)

    def look_for_changes(self) -> None:
        """Check whether tests changed the datasets."""
        from bidsplan.messages import listed
        from bidsplan.provisioning.seal import changed_files

        for path, found in self._provided.items():
            if isinstance(found, _Failure):
                continue
            if changed := changed_files(found.folder):
                text = (
                    f"warning: {self._name(path)}: {listed(changed)} changed while tests ran, and "
                    "they must not write to shared data; the next run restores it"
                )
                self._changed.append(_Line(text, odd=True))

    def lines(self) -> list[_Line]:
        """Return the lines that were not shown yet."""
        from bidsplan.messages import counted, size

        lines = []
        for path, found in self._provided.items():
            if isinstance(found, _Failure):
                continue
            name, folder = self._name(path), str(found.folder)
            text = f"{name}: {counted(found.files, 'file')}, {size(found.bytes)}"
            lines.append(_Line(text, False, folder, found.files, found.fetched))
            lines += [_Line(_shown(f"{name}: {note}"), odd=True) for note in found.notes]
        return [line for line in (*lines, *self._changed) if line not in self._shown]


def _shown(text: str) -> str:
    """Hide secrets, and escape text that could control the terminal."""
    from bidsplan.paths import printable
    from bidsplan.redaction import find_redactor

    return "\n".join(printable(line) for line in find_redactor()(text).split("\n"))


class _Failure(NamedTuple):
    """Why a dataset is missing."""

    text: str
    unavailable: bool


_STASHED = pytest.StashKey[_Datasets]()
_REPORTED = pytest.StashKey[list[_Line]]()


def _datasets(config: pytest.Config) -> _Datasets:
    if _STASHED not in config.stash:
        config.stash[_STASHED] = _Datasets(config)
    return config.stash[_STASHED]
