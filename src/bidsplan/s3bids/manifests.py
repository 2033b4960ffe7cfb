"""From a study and a download's arguments to the manifest that says the same, and back."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from bidsplan.bids.dataset_files import DESCRIPTION
from bidsplan.bids.recordings import items_of
from bidsplan.compile.select.globs import Globs, is_glob
from bidsplan.s3bids.arguments import AGNOSTIC

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from bidsplan.manifest import Filter, Manifest
    from bidsplan.s3bids.arguments import DownloadOptions


_ALL = "**"
_BY_SUFFIX = "**/*"


def agnostic_names(names: Iterable[str], wanted: str | Sequence[str]) -> list[str]:
    """Choose among the files at a study's root.

    Parameters
    ----------
    wanted : str or sequence of str
        ``all``, or names; ``README`` is also ``README.md``.

    Returns
    -------
    list of str
        Sorted.

    Examples
    --------
    >>> agnostic_names(["README.md", "CHANGES", "T1w.json"], ["README"])
    ['README.md']
    """
    if wanted == "all":
        return sorted(names)
    several = (wanted,) if isinstance(wanted, str) else wanted
    return sorted(name for name in names if {name, name.partition(".")[0]} & set(several))


def filter_of(paths: Iterable[str], suffix: str) -> dict[str, list[str]] | None:
    """Make the filter that takes the files whose names end so.

    Parameters
    ----------
    paths : iterable of str
        All there are, below the dataset's root.
    suffix : str
        Empty for all of them. A recording that is a folder is matched by its own name.

    Returns
    -------
    dict or None
        None where there is no such file, since a filter that takes nothing is an error.

    Examples
    --------
    >>> filter_of(["sub-1/dwi/sub-1_profiles.csv", "sub-1/.x"], "")
    {'include': ['**', 'sub-1/.x']}
    """
    names = [item.name.path for item in items_of(paths) if item.name.path.endswith(suffix)]
    glob = f"{_BY_SUFFIX}{suffix}" if suffix else _ALL
    globs = [glob] if not is_glob(suffix) and any(map(Globs([glob]).match, names)) else []
    # Dotfiles come only where a glob spells the dot.
    known = Globs(globs)
    others = [name for name in names if not known.match(name)]
    return {"include": globs + others} if names else None


def derivative_of(
    paths: Iterable[str], options: DownloadOptions, *, described: bool
) -> dict[str, Any] | None:
    """Make what a manifest says of a derivative pipeline.

    Parameters
    ----------
    paths : iterable of str
        Files of the selected subjects, below the pipeline's root.
    described : bool
        Whether the pipeline has a description.

    Returns
    -------
    dict or None
        None where nothing of it is to come.
    """
    taken = filter_of(paths, options.suffix)
    described = described and options.descriptions
    if taken is not None:
        return {**taken, "dataset_files": "description" if described else "none"}
    if described:
        return {"scope": "whole", "include": [DESCRIPTION], "dataset_files": "none"}
    return None


def download_arguments(manifest: Manifest) -> dict[str, Any]:
    """Guess the arguments of a download that brings what a manifest asks for.

    Returns
    -------
    dict
        The closest there is. What it does not say shows when a manifest is made of it again.
    """
    arguments: dict[str, Any] = {"include_modality_agnostic": _agnostic(manifest.dataset_files)}
    wanted = manifest.derivatives
    derivatives = {} if wanted == "all" else wanted
    if wanted:
        arguments["include_derivs"] = True if wanted == "all" else sorted(derivatives)
        if manifest.study.layout == "pipeline-first":
            arguments["include_derivs_dataset_description"] = wanted == "all" or any(
                derivative.dataset_files != "none" or derivative.scope == "whole"
                for derivative in derivatives.values()
            )
    filters = [
        *manifest.files,
        *(filter_ for derivative in derivatives.values() for filter_ in derivative.filters),
    ]
    suffix = next((found for filter_ in filters if (found := _suffix(filter_))), None)
    return arguments | ({"suffix": suffix} if suffix else {})


def _agnostic(dataset_files: str | tuple[str, ...]) -> bool | tuple[str, ...]:
    if isinstance(dataset_files, tuple):
        known = {name for name in AGNOSTIC if agnostic_names(dataset_files, [name])}
        unknown = set(dataset_files) - set(agnostic_names(dataset_files, sorted(known)))
        return True if unknown else tuple(sorted(known))
    by_word: dict[str, bool | tuple[str, ...]] = {
        "none": False,
        "description": (DESCRIPTION,),
        "standard": AGNOSTIC,
    }
    return by_word.get(dataset_files, True)


def _suffix(filter_: Filter) -> str | None:
    """Read the suffix off a filter's globs, where it is of that form."""
    for glob in filter_.include or ():
        if glob.startswith(_BY_SUFFIX) and not is_glob(glob.removeprefix(_BY_SUFFIX)):
            return glob.removeprefix(_BY_SUFFIX) or None
    return None
