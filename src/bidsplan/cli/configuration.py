"""The user's configuration file, and the options that override it."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from bidsplan.destination.cache_options import CacheLink, CacheOptions
from bidsplan.errors import Problem, UsageError
from bidsplan.paths import open_regular, printable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

_LARGEST = 1 << 20
_SIZE = re.compile(r"(\d{1,15}(?:\.\d{1,15})?)\s*(?:([kmgtpe])(i?))?b?", re.IGNORECASE)
_POWERS = "kmgtpe"
_LINE = re.compile(r"\(at line (\d+)")

_EXPECTED = {
    "directory": "a path that is absolute or begins with ~/",
    "size": "a size such as 500GB or 1.5TiB",
    "link": "copy or hard",
}


class CacheSection(NamedTuple):
    """The table ``[cache]`` of the configuration file."""

    directory: str | None = None
    size: int | None = None
    link: str | None = None

    def size_for(self, directory: str) -> int | None:
        """Return the configured cache size, if the directory is the configured one."""
        here = self.directory and os.path.realpath(self.directory)
        return self.size if here == os.path.realpath(directory) else None


def _expanded(path: str, where: str) -> str:
    """Replace ``~`` by the home directory."""
    expanded = os.path.expanduser(path)  # noqa: PTH111 - may be empty
    if expanded.startswith("~"):
        raise UsageError(
            f"{where}: {printable(path)}: there is no such home directory; write the whole path"
        )
    return expanded


def size_of(text: str) -> int | None:
    """Return the bytes of a size such as 500GB or 1.5TiB, or None."""
    match = _SIZE.fullmatch(text.strip())
    if match is None:
        return None
    power = _POWERS.index(match[2].lower()) + 1 if match[2] else 0
    return int(float(match[1]) * (1024 if match[3] else 1000) ** power)


def configuration_path() -> Path | None:
    """Return the path of the configuration file, the same on Linux and macOS.

    In containers and batch systems, users may have no home directory, and then no configuration
    file.
    """
    above = _chosen_home() or os.path.expanduser("~/.config")  # noqa: PTH111 - raises no error
    return Path(above) / "bidsplan" / "config.toml" if Path(above).is_absolute() else None


def _chosen_home() -> str:
    home = os.environ.get("XDG_CONFIG_HOME", "")
    return home if Path(home).is_absolute() else ""


def cache_options(
    *,
    cache_directory: str | None = None,
    cache_size: int | None = None,
    cache_link: str | None = None,
    no_cache: bool = False,
    untrusted: bool = False,
    warn: Callable[[Iterable[Problem]], None],
) -> CacheOptions | None:
    """Return the content cache, from options, environment and configuration.

    Parameters
    ----------
    warn : callable
        Called with problems that are not errors.

    Raises
    ------
    UsageError
        If the file is not valid, or if a size or a kind of link is given without a directory.
    """
    if no_cache or (untrusted and cache_directory is None):
        # A cache that is configured for the user's own plans must not be used for a stranger's
        # plan.
        return None
    configured = read_configuration(warn)
    named = _expanded(os.environ.get("BIDSPLAN_CACHE", ""), "BIDSPLAN_CACHE")
    directory = cache_directory or named or configured.directory
    if not directory:
        if cache_size or cache_link:
            raise UsageError("--cache-size and --cache-link are of no use without --cache DIR")
        return None
    return CacheOptions(
        directory=directory,
        max_bytes=cache_size or configured.size_for(directory),
        link=cache_link or configured.link or CacheLink.COPY,
    )


def read_configuration(warn: Callable[[Iterable[Problem]], None]) -> CacheSection:
    """Read the configuration file; a UsageError lists all its problems."""
    path = configuration_path()
    if path is None:
        return CacheSection()
    try:
        with open_regular(path) as file:
            content = file.read(_LARGEST + 1)
    except (FileNotFoundError, NotADirectoryError):
        return CacheSection()
    except OSError as error:
        if isinstance(error, PermissionError) and not _chosen_home():
            # In containers the home directory is often another user's.
            why = f"{path}: can't be read: {error.strerror}"
            warn([Problem(message=why, hint="no configuration is used")])
            return CacheSection()
        raise UsageError(f"{path}: can't be read: {error.strerror or error}") from error
    text, data = _parsed(path, content)
    problems = list(_problems(data))
    if problems:
        raise UsageError(problems=[_located(problem, path, text) for problem in problems])
    cache: dict[str, str] = data.get("cache", {})
    directory = cache.get("directory")
    return CacheSection(
        None if directory is None else _expanded(directory, str(path)),
        size_of(cache["size"]) if "size" in cache else None,
        cache.get("link"),
    )


def _parsed(path: Path, content: bytes) -> tuple[str, dict[str, Any]]:
    import tomllib  # only if there is a file

    if len(content) > _LARGEST:
        raise UsageError(f"{path}: more than {_LARGEST} bytes; expected a short file")
    try:
        text = content.decode()
        return text, tomllib.loads(text)
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, RecursionError) as error:
        found = _LINE.search(str(error))
        line = int(found[1]) if found else None
        problem = Problem(message=f"this is not TOML: {error}", file=str(path), line=line)
        raise UsageError(problems=[problem]) from error


def _problems(data: dict[str, Any]) -> Iterator[Problem]:
    """Yield the problems of the configuration file."""
    from bidsplan.messages import suggestion  # only if there is a file

    for name, table in data.items():
        if name != "cache":
            yield Problem(
                message=f"there is no {name!r}", at=(name,), hint=suggestion(name, ["cache"])
            )
        elif not isinstance(table, dict):
            yield Problem(message="expected a table", at=(name,), hint="write it as [cache]")
        else:
            yield from _problems_of_cache(table)


def _problems_of_cache(table: dict[str, Any]) -> Iterator[Problem]:
    from bidsplan.messages import suggestion

    for name, value in table.items():
        at = ("cache", name)
        if name not in _EXPECTED:
            hint = suggestion(name, list(_EXPECTED))
            yield Problem(message=f"there is no {name!r}", at=at, hint=hint)
        elif not isinstance(value, str) or not _is_valid(name, value):
            yield Problem(message=f"got {value!r}", at=at, expected=_EXPECTED[name])
        elif name == "size" and "directory" not in table:
            hint = "add the directory that may hold so much"
            yield Problem(message="of no use without cache.directory", at=at, hint=hint)


def _is_valid(name: str, value: str) -> bool:
    if name == "size":
        return bool(size_of(value))
    if name == "link":
        return value in list(CacheLink)
    return value.startswith("~/") or Path(value).is_absolute()


def _located(problem: Problem, path: Path, text: str) -> Problem:
    """Add a key's line to its problem, since TOML's reader gives none."""
    from dataclasses import replace

    name = re.escape(str(problem.at[-1]))
    key = re.compile(rf"""\s*(?:\[\s*["']?{name}["']?\s*\]|(?:\w+\s*\.\s*)?["']?{name}["']?\s*=)""")
    lines = (number for number, line in enumerate(text.splitlines(), 1) if key.match(line))
    return replace(problem, file=str(path), line=next(lines, None))
