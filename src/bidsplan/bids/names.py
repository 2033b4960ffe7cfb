"""Parses BIDS file names.

Parsing looks only at the text and never fails, since real datasets have names that the standard
does not know. The suffix follows the last underscore. The extension starts at the leftmost dot.
Every ``key-value`` token is an entity (BIDS specification 1.11.1, "Filenames").
"""

from __future__ import annotations

import re
from functools import lru_cache
from types import MappingProxyType
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Mapping


# Entities with numbers as values, so that run-01 and run-1 are the same for selections.
_INDEX_ENTITIES = frozenset({"run", "echo", "flip", "inv", "split", "chunk"})

_RECORDING = re.compile(r"\.(ds|mefd|ome\.zarr|zarr)$")
_PAIR = re.compile(r"([a-z]+)-([0-9a-zA-Z+]+)")
# An underscore is not allowed, since it would end the entity. Otherwise labels are accepted as they
# are.
_SUBJECT = re.compile(r"sub-([^_/]+)")
# FreeSurfer's longitudinal directories belong to one session or a template: sub-01_ses-a,
# sub-01_ses-a.long.sub-01.
_PART_OF_SUBJECT = re.compile(r"sub-([^_/]+?)(?:_|\.long\.)(?:ses-([^_./]+))?[^/]*")


class Name(NamedTuple):
    """The entities, suffix and other parts of a path in a dataset.

    Parameters
    ----------
    directory : str
        The directory, without a slash at its end. It is empty at the root.
    subject, session, datatype : str or None
        Labels from the directories. If no directory has the session, it is taken from the file
        name.
    suffix : str
        The last underscore-separated token, up to its leftmost dot.
    extension : str
        From the leftmost dot; ``/`` for a directory recording that has none.
    entities : mapping of str to str
        The file name's ``key-value`` tokens.
    shaped : bool
        Whether all tokens before the suffix are entities, without duplicates.
    """

    path: str
    directory: str
    subject: str | None
    session: str | None
    datatype: str | None
    suffix: str
    extension: str
    entities: Mapping[str, str]
    shaped: bool


def bare_label(text: str, prefix: str = "sub-") -> str:
    """Return a label without the prefix that people may write."""
    return text.removeprefix(prefix)


def subject_label(directory: str) -> str | None:
    """Return the label of a subject's directory name, or None."""
    match = _SUBJECT.fullmatch(directory)
    return match[1] if match else None


def owner_label(directory: str) -> str | None:
    """Return the subject's label in a derivative's directory name, or None.

    Examples
    --------
    >>> owner_label("sub-01"), owner_label("sub-01_ses-a.long.sub-01")
    ('01', '01')
    """
    return _owner(directory)[0]


def _owner(directory: str) -> tuple[str | None, str | None]:
    """Return the subject and session that a directory's name contains."""
    # Only a few directories are tried, because there are very many.
    parts = "_" in directory or ".long." in directory
    match = _PART_OF_SUBJECT.fullmatch(directory) if parts else None
    return (match[1], match[2]) if match else (subject_label(directory), None)


def recording_of(path: str) -> str | None:
    """Return the path of the directory recording that contains a file.

    A directory recording is a ``.ds``, ``.mefd``, ``.zarr`` or ``.ome.zarr`` directory, or a BTi/4D
    run, whose directory ends in ``_meg``.
    """
    if ".ds/" not in path and ".mefd/" not in path and ".zarr/" not in path and "_meg/" not in path:
        return None
    directories = path.split("/")[:-1]
    for depth, directory in enumerate(directories, start=1):
        if _RECORDING.search(directory) or (directory.endswith("_meg") and depth > 1):
            return "/".join(directories[:depth])
    return None


def parse_name(path: str, *, recording: bool = False) -> Name:
    """Parse the path of a file or a directory recording in a dataset.

    Examples
    --------
    >>> name = parse_name("sub-01/ses-test/func/sub-01_ses-test_task-rest_run-02_bold.nii.gz")
    >>> name.datatype, name.suffix, name.extension, name.entities["run"]
    ('func', 'bold', '.nii.gz', '02')
    """
    directory, _, base = path.rpartition("/")
    subject, session, datatype = _parse_directory(directory)
    first, more, rest = base.partition("_")
    pair = _PAIR.fullmatch(first) if more else None
    # The rest of a name is the same for many subjects, so it is parsed once.
    others, suffix, extension, shaped = _parse_base(rest if pair else base)
    if pair and pair[1] in others:
        others, suffix, extension, shaped = _parse_base(base)
        pair = None
    entities = {pair[1]: pair[2], **others} if pair else others
    return Name(
        path,
        directory,
        subject,
        session or entities.get("ses"),
        datatype,
        suffix,
        extension or ("/" if recording else ""),
        entities,
        shaped,
    )


@lru_cache(maxsize=8192)
def _parse_base(text: str) -> tuple[Mapping[str, str], str, str, bool]:
    """Parse the entities, suffix, extension and shape of a file name."""
    stem, dot, rest = text.partition(".")
    *tokens, suffix = stem.split("_")
    entities: dict[str, str] = {}
    shaped = True
    for token in tokens:
        match = _PAIR.fullmatch(token)
        if match is None or match[1] in entities:
            shaped = False
        else:
            entities[match[1]] = match[2]
    # All names with the same content share these objects.
    return MappingProxyType(entities), suffix, dot + rest, shaped


@lru_cache(maxsize=8192)
def _parse_directory(directory: str) -> tuple[str | None, str | None, str | None]:
    """Parse the subject, session and datatype of a directory."""
    first, *rest = directory.split("/")
    subject, session = _owner(first)
    if subject is None:
        return None, None, None
    if rest and rest[0].startswith("ses-"):
        session = rest.pop(0).removeprefix("ses-")
    return subject, session, rest[0] if rest else None


def same_value(entity: str, wanted: str, found: str) -> bool:
    """Compare two values of an entity: indices as numbers, others as text."""
    if wanted == found:
        return True
    if entity not in _INDEX_ENTITIES:
        return False
    numbers = all(value.isascii() and value.isdecimal() for value in (wanted, found))
    return numbers and wanted.lstrip("0") == found.lstrip("0")
