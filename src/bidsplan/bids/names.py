"""File names of the Brain Imaging Data Structure, taken apart.

Parsing is lexical and never fails: real datasets hold names that the standard does not know. The
suffix is what follows the last underscore, the extension starts at the leftmost dot, and every
``key-value`` token is an entity.

References
----------
BIDS specification 1.11.1, "Filenames" and the schema's ``objects/extensions.yaml``.
"""

from __future__ import annotations

import re
from functools import lru_cache
from types import MappingProxyType
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Mapping


INDEX_ENTITIES = frozenset({"run", "echo", "flip", "inv", "split", "chunk"})
"""Entities whose values are numbers: ``run-01`` is ``run-1`` when selecting."""

_RECORDING = re.compile(r"\.(ds|mefd|ome\.zarr|zarr)$")
_PAIR = re.compile(r"([a-z]+)-([0-9a-zA-Z+]+)")
# No underscore: it would end the entity. Beyond that, real labels are taken as they are.
_SUBJECT = re.compile(r"sub-([^_/]+)")


class Name(NamedTuple):
    """What a path below a dataset's root says.

    Parameters
    ----------
    path : str
        The path itself; of a directory recording, the directory's.
    directory : str
        The path of the directory it stands in, without a slash at its end; empty at the root.
    subject, session, datatype : str or None
        As the directories say; the session, where no directory does, as the file name says.
    suffix : str
        The last underscore-separated token, up to its leftmost dot.
    extension : str
        From the leftmost dot; ``/`` for a directory recording that has none.
    entities : mapping of str to str
        The file name's ``key-value`` tokens.
    shaped : bool
        Whether every token before the suffix is an entity, none of them twice.
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

    @property
    def stem(self) -> str:
        """The path without its extension."""
        return self.path.removesuffix(self.extension)


def bare_label(text: str, prefix: str = "sub-") -> str:
    """Give a label without the prefix that people may write.

    Examples
    --------
    >>> bare_label("sub-01"), bare_label("01")
    ('01', '01')
    """
    return text.removeprefix(prefix)


def subject_label(directory: str) -> str | None:
    """Give the label of a subject's directory name, or None where it is not one.

    Examples
    --------
    >>> subject_label("sub-NDARAA306NT2")
    'NDARAA306NT2'
    >>> subject_label("sourcedata")
    """
    match = _SUBJECT.fullmatch(directory)
    return match[1] if match else None


def recording_of(path: str) -> str | None:
    """Give the directory recording that a path lies in.

    Parameters
    ----------
    path : str
        A file's path below a dataset's root.

    Returns
    -------
    str or None
        The recording's path: a ``.ds``, ``.mefd``, ``.zarr`` or ``.ome.zarr`` directory, or a
        BTi/4D run, whose directory ends in ``_meg``.

    Examples
    --------
    >>> recording_of("sub-01/meg/sub-01_task-rest_meg.ds/hz.ds2")
    'sub-01/meg/sub-01_task-rest_meg.ds'
    """
    if ".ds/" not in path and ".mefd/" not in path and ".zarr/" not in path and "_meg/" not in path:
        return None
    directories = path.split("/")[:-1]
    for depth, directory in enumerate(directories, start=1):
        if _RECORDING.search(directory) or (directory.endswith("_meg") and depth > 1):
            return "/".join(directories[:depth])
    return None


def parse_name(path: str, *, recording: bool = False) -> Name:
    """Take a path below a dataset's root apart.

    Parameters
    ----------
    path : str
        POSIX, relative to the root.
    recording : bool
        Whether the path is a directory recording's.

    Examples
    --------
    >>> name = parse_name("sub-01/ses-test/func/sub-01_ses-test_task-rest_run-02_bold.nii.gz")
    >>> name.datatype, name.suffix, name.extension, name.entities["run"]
    ('func', 'bold', '.nii.gz', '02')
    """
    directory, _, base = path.rpartition("/")
    subject, session, datatype = _directories(directory)
    first, more, rest = base.partition("_")
    pair = _PAIR.fullmatch(first) if more else None
    # What follows the subject is the same for many subjects, and taken apart once.
    words = _words(rest if pair else base)
    if pair and pair[1] in words.entities:
        words, pair = _words(base), None
    entities = {pair[1]: pair[2], **words.entities} if pair else words.entities
    return Name(
        path,
        directory,
        subject,
        session or entities.get("ses"),
        datatype,
        words.suffix,
        words.extension or ("/" if recording else ""),
        entities,
        words.shaped,
    )


class _Words(NamedTuple):
    """What a file name says, or the rest of one."""

    entities: Mapping[str, str]
    suffix: str
    extension: str
    shaped: bool


@lru_cache(maxsize=8192)
def _words(text: str) -> _Words:
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
    # Shared by all names that say the same.
    return _Words(MappingProxyType(entities), suffix, dot + rest, shaped)


@lru_cache(maxsize=8192)
def _directories(directory: str) -> tuple[str | None, str | None, str | None]:
    """Read subject, session and datatype off the directories above a file."""
    parts = directory.split("/")
    subject = subject_label(parts[0])
    if subject is None:
        return None, None, None
    session = None
    rest = parts[1:]
    if rest and rest[0].startswith("ses-"):
        session = rest[0].removeprefix("ses-")
        rest = rest[1:]
    return subject, session, rest[0] if rest else None


def same_value(entity: str, wanted: str, found: str) -> bool:
    """Compare an entity's values as selections do: indices as numbers, all others as text.

    Examples
    --------
    >>> same_value("run", "1", "01"), same_value("task", "1", "01")
    (True, False)
    """
    if wanted == found:
        return True
    if entity not in INDEX_ENTITIES:
        return False
    numbers = wanted.isdecimal() and found.isdecimal() and wanted.isascii() and found.isascii()
    return numbers and wanted.lstrip("0") == found.lstrip("0")
