"""What the manifest language has and the compiler does not build yet, refused by name."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bidsplan.errors import Place, Problem, UnsupportedError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from bidsplan.manifest import Manifest

__all__ = ["refuse_unsupported"]


def refuse_unsupported(manifest: Manifest) -> None:
    """Refuse what is valid and not built, all of it at once.

    Parameters
    ----------
    manifest : Manifest

    Raises
    ------
    UnsupportedError
        Naming each place.
    """
    problems = [
        Problem(message=f"{what} is not built yet", at=place, hint="leave it out for now")
        for place, what in _unsupported(manifest)
    ]
    if problems:
        raise UnsupportedError(problems=problems)


def _unsupported(manifest: Manifest) -> Iterator[tuple[Place, str]]:
    study = manifest.study
    if study.versions != "latest":
        yield ("study", "versions"), "pinning versions"
