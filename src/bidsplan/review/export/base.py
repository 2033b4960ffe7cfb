"""What a format is: how a plan becomes the files that another tool reads."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from bidsplan.errors import DestinationError, UsageError
from bidsplan.paths import replacing

if TYPE_CHECKING:
    from bidsplan.errors import Problem
    from bidsplan.plan import Planned
    from bidsplan.review.export.losses import Loss, Refused
    from bidsplan.review.export.sources import Sources


Files = Mapping[str, Iterator[bytes]]
"""The content of files by their path below a directory; of a format that is one file, by ``""``."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Draft:
    """What a format makes of a plan, before the plan's entries are looked at.

    Parameters
    ----------
    losses : tuple of Loss
        What it can't say.
    refused : callable
        Returns why it can't have an entry, or None.
    content : callable
        Makes the files; only if no entry is refused.
    use : callable, optional
        Returns the command line, or the line of Python, that uses the export at a path.
    """

    losses: tuple[Loss, ...]
    refused: Refused
    content: Callable[[], Files]
    use: Callable[[str], str] | None = None


class Format(NamedTuple):
    """A form in which a plan can be written.

    Parameters
    ----------
    tool : str
        What reads it, in messages.
    about : str
        What it is, for the command's help.
    draft : callable
    is_directory : bool
        Whether it is a directory of files.
    """

    tool: str
    about: str
    draft: Callable[[Planned, Sources], Draft]
    is_directory: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class Export:
    """A plan in another tool's form, which is made while it is written.

    Parameters
    ----------
    to : str
        The format's name.
    is_directory : bool
        Whether it is a directory of files.
    warnings : tuple of Problem
        What the format can't say of the plan.
    draft : Draft
        What makes it.
    """

    to: str
    is_directory: bool
    warnings: tuple[Problem, ...]
    draft: Draft

    def use(self, path: str) -> str | None:
        """Return the command line, or the line of Python, that uses the export at a path."""
        return self.draft.use(path) if self.draft.use else None

    def blocks(self) -> Iterator[bytes]:
        """Yield the content of a format that is one file.

        Raises
        ------
        UsageError
            Where it is a directory.
        """
        if self.is_directory:
            raise UsageError(f"{self.to} is a directory of files: name one with '-o DIR'")
        return self.draft.content()[""]

    def write(self, path: str | os.PathLike[str]) -> None:
        """Write the export atomically.

        Parameters
        ----------
        path : path
            A file, which is replaced, or a directory, which must not exist or be empty.

        Raises
        ------
        DestinationError
            Where it can't be written.
        """
        path = Path(path)
        try:
            if self.is_directory:
                with _new_directory(path) as folder:
                    for name, blocks in self.draft.content().items():
                        (folder / name).parent.mkdir(parents=True, exist_ok=True)
                        with (folder / name).open("xb") as file:
                            file.writelines(blocks)
            else:
                with replacing(path) as file:
                    file.writelines(self.blocks())
        except OSError as error:
            raise DestinationError(
                f"{path}: can't be written: {error.strerror or error}; choose another path with "
                "'-o'"
            ) from error


@contextmanager
def _new_directory(path: Path) -> Iterator[Path]:
    """Fill a temporary directory, which becomes the one at a path on success."""
    folder = Path(tempfile.mkdtemp(prefix=f".{path.name}.", dir=path.parent))
    try:
        yield folder
        mask = os.umask(0)
        os.umask(mask)
        # mkdtemp makes directories that only their owner reads.
        folder.chmod(0o777 & ~mask)
        # Fails if anything but an empty directory is there.
        folder.replace(path)
    except BaseException:
        shutil.rmtree(folder)
        raise
