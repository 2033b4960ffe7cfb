"""What a format is: how a plan becomes the files that another tool reads."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from bidsplan.errors import DestinationError, UsageError
from bidsplan.paths import filling, replacing

if TYPE_CHECKING:
    import os

    from bidsplan.errors import Problem
    from bidsplan.plan import Planned
    from bidsplan.review.export.losses import Loss, Refused
    from bidsplan.review.export.sources import Sources


Files = Mapping[str, Iterator[bytes]]
"""The content of files by their path below a directory; of a format that is one file, by ``""``.

A path that ends in a slash is an empty directory.
"""


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
    warnings : tuple of Problem
        What it can't say of anything but files.
    """

    losses: tuple[Loss, ...]
    refused: Refused
    content: Callable[[], Files]
    use: Callable[[str], str] | None = None
    warnings: tuple[Problem, ...] = ()


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
    draft: Draft = field(repr=False)

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
                with filling(path) as folder:
                    self._fill(folder)
            else:
                with replacing(path) as file:
                    file.writelines(self.blocks())
        except OSError as error:
            raise DestinationError(
                f"{path}: can't be written: {error.strerror or error}; choose another path with "
                "'-o'"
            ) from error

    def _fill(self, folder: Path) -> None:
        for name, blocks in self.draft.content().items():
            if name.endswith("/"):
                (folder / name).mkdir()
                continue
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            with (folder / name).open("xb") as file:
                file.writelines(blocks)
