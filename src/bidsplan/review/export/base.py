"""The interface of all export formats."""

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
"""The content of files by their paths below the export's directory.

A format that is a single file has the path ``""``. A path that ends in a slash is an empty
directory.
"""


@dataclass(frozen=True, kw_only=True, slots=True)
class Draft:
    """An export that is prepared, before the plan's entries are read.

    Parameters
    ----------
    losses : tuple of Loss
        The information about files that the format can't express.
    refused : callable
        Returns why the format can't contain an entry, or None.
    content : callable
        Makes the files. It is only called if no entry is refused.
    use : callable, optional
        Returns the command line, or the line of Python, that uses the export at a path.
    warnings : tuple of Problem
        Other information that the format can't express.
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
        The name of the tool that reads the format, for messages.
    about : str
        A description of the format, for the help of `bidsplan export`.
    draft : callable
        Prepares the export of a plan.
    is_directory : bool
        Whether the export is a directory of files.
    """

    tool: str
    about: str
    draft: Callable[[Planned, Sources], Draft]
    is_directory: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class Export:
    """A plan in the form of another tool, ready to be written.

    Parameters
    ----------
    to : str
        The format's name.
    is_directory : bool
        Whether the export is a directory of files.
    warnings : tuple of Problem
        The information in the plan that the format can't express.
    draft : Draft
        The prepared export, whose content is made while it is written.
    """

    to: str
    is_directory: bool
    warnings: tuple[Problem, ...]
    draft: Draft = field(repr=False)

    def use(self, path: str) -> str | None:
        """Return the command line, or the line of Python, that uses this export.

        Parameters
        ----------
        path : str
            The path that the export is written to.

        Returns
        -------
        str or None
            None if no command uses the format, for example a table.
        """
        return self.draft.use(path) if self.draft.use else None

    def blocks(self) -> Iterator[bytes]:
        """Yield the content of an export that is a single file.

        Yields
        ------
        bytes

        Raises
        ------
        UsageError
            If the export is a directory.
        """
        if self.is_directory:
            raise UsageError(f"{self.to} is a directory of files: name one with '-o DIR'")
        return self.draft.content()[""]

    def write(self, path: str | os.PathLike[str]) -> None:
        """Write the export atomically.

        Parameters
        ----------
        path : path
            The file or directory to write. An existing file is replaced. A directory must be empty
            or not exist.

        Raises
        ------
        DestinationError
            If the export can't be written.
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
