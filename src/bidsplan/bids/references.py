"""What the contents of sidecars and tables name: field maps, empty rooms, stimuli.

References
----------
BIDS specification 1.11.1: "Using IntendedFor metadata", "B0FieldIdentifier and B0FieldSource",
"AssociatedEmptyRoom", "BIDS URIs". Deprecated and sloppy forms are read as real datasets have them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from bidsplan.bids.names import Name


def texts(value: object) -> list[str]:
    """Give the texts of a field that may hold one, or a list of them.

    Examples
    --------
    >>> texts("a"), texts(["a", 3, "b"]), texts(None)
    (['a'], ['a', 'b'], [])
    """
    values = value if isinstance(value, list) else [value]
    return [text for text in values if isinstance(text, str) and text]


def merged(sidecars: Iterable[object]) -> dict[str, Any]:
    """Merge sidecars, of which the later ones come from deeper levels."""
    fields: dict[str, Any] = {}
    for sidecar in sidecars:
        if isinstance(sidecar, dict):
            fields.update(sidecar)
    return fields


def uri_path(text: str, name: Name) -> list[str]:
    """List the paths below the dataset's root that a reference may mean.

    Parameters
    ----------
    text : str
        A BIDS URI, or a path relative to the root or to the subject.
    name : Name
        The file that holds the reference.

    Returns
    -------
    list of str
        Most likely first; empty for a URI of another dataset.

    Examples
    --------
    >>> from bidsplan.bids.names import parse_name
    >>> uri_path("ses-a/func/x.nii", parse_name("sub-1/ses-a/fmap/sub-1_epi.nii"))
    ['sub-1/ses-a/func/x.nii', 'ses-a/func/x.nii']
    """
    if text.startswith("bids::"):
        return [text.removeprefix("bids::").lstrip("/")]
    if text.startswith("bids:"):
        return []
    path = text.lstrip("/").removeprefix("./")
    below_root = path.startswith("sub-") and "/" in path
    candidates = [] if below_root or not name.subject else [f"sub-{name.subject}/{path}"]
    return [*candidates, path]


class Targets:
    """An index of what is taken, to be asked whether a reference names any of it."""

    def __init__(self, names: Iterable[Name]) -> None:
        self._paths: set[str] = set()
        self._bare: set[tuple[str | None, str]] = set()
        for name in names:
            self._paths.add(name.path)
            self._bare.add((name.subject, name.path.rpartition("/")[2]))

    def named_by(self, fields: Mapping[str, Any], holder: Name) -> bool:
        """Tell whether a field map's ``IntendedFor`` names anything that is taken."""
        for text in texts(fields.get("IntendedFor")):
            if any(path in self._paths for path in uri_path(text, holder)):
                return True
            if "/" not in text and (holder.subject, text) in self._bare:
                return True
        return False


def stimulus_files(table: str) -> Iterator[str]:
    r"""List what the ``stim_file`` column of an events table names.

    Parameters
    ----------
    table : str
        Tab-separated, with a header.

    Yields
    ------
    str
        Paths below ``stimuli/``.

    Examples
    --------
    >>> list(stimulus_files("onset\tstim_file\n1\ta.png\n2\tn/a\n"))
    ['a.png']
    """
    lines = table.removeprefix("\ufeff").splitlines()
    header = [cell.strip() for cell in lines[0].split("\t")] if lines else []
    if "stim_file" not in header:
        return
    column = header.index("stim_file")
    for line in lines[1:]:
        cells = line.split("\t")
        value = cells[column].strip() if column < len(cells) else ""
        if value and value != "n/a":
            yield value.lstrip("/")
