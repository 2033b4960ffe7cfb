"""The files of a content cache, named by their digests.

::

    DIR/content/<first two digits>/<kind>-<digest>-<size>   the contents
    DIR/content/CACHEDIR.TAG                                keeps backups from saving them
    DIR/added/<random>-<bytes>                              how much was added since all was counted
    DIR/.bidsplan/partial/                                  files that are being written

No run trusts what another run wrote. Each content is digested when it is used, and unusable
contents are removed. So the files need no lock, and need not be on the disk before they get their
names.
"""

from __future__ import annotations

import os
import re
import secrets
import stat
import time
from contextlib import suppress
from typing import TYPE_CHECKING, NamedTuple

from bidsplan.destination.directory import PARTIALS, Directory
from bidsplan.destination.partial_files import NEW_FILE
from bidsplan.plan import Entry
from bidsplan.plan.integrity import CheckMethod, best_check
from bidsplan.storage.rename import rename

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_CONTENT = "content"
_ADDED = "added"
_NAME = re.compile(r"(sha256-[0-9a-f]{64}|md5-[0-9a-f]{32}|parts-[0-9a-f]{32}-[1-9][0-9]{0,4})-\d+")
_NOTE = re.compile(r"[0-9a-f]{16}-([0-9]{1,19})")
_MANY_NOTES = 256

_UNKNOWN = 10**18
"""The bytes of a note that replaces others.

They exceed every cache, so that the next run counts the files.
"""

_BLOCK = 4096
"""The unit in which file systems allocate bytes to files."""

_TAG = "CACHEDIR.TAG"
_TAG_TEXT = (
    b"Signature: 8a477f597d28d172789f06886806bc55\n"
    b"# Contents that bidsplan fetched and can fetch again; see bidsplan cache --help.\n"
    b"# For what this file says to backups see https://bford.info/cachedir/\n"
)


_OFTEN_NS = 3600 * 1_000_000_000
"""Nanoseconds in which another use is not noted."""


class ContentKey(NamedTuple):
    """The digest and size by which a content is found."""

    kind: str
    """``sha256``, ``md5``, or ``parts``: the entity tag of an upload in parts."""
    digest: str
    size: int

    @property
    def name(self) -> str:
        """The file's name."""
        return f"{self.kind}-{self.digest}-{self.size}"

    @property
    def place(self) -> str:
        """The file's directory."""
        return f"{_CONTENT}/{self.digest[:2]}"

    def entry(self) -> Entry:
        """Return an entry that only this content proves."""
        field = {"parts": "etag"}.get(self.kind, self.kind)
        known = {field: self.digest}
        return Entry(path=self.name, key=self.name, size=self.size, reason="selected", **known)  # type: ignore[arg-type]


def content_keys(entry: Entry) -> list[ContentKey]:
    """Return the keys of an entry's content, the strongest first."""
    known = [("sha256", entry.sha256), ("md5", entry.md5)]
    # Only the entity tag is used, even if other digests are known.
    tagged = Entry(path=entry.path, size=entry.size, reason=entry.reason, etag=entry.etag)
    kinds = {CheckMethod.ETAG_MD5: "md5", CheckMethod.MULTIPART: "parts"}
    if kind := kinds.get(best_check(tagged)):
        known.append((kind, entry.etag))
    keys = [ContentKey(kind, digest, entry.size) for kind, digest in known if digest]
    return [] if entry.content is not None else list(dict.fromkeys(keys))


def room_of(size: int) -> int:
    """Return the disk space that a file of a size takes."""
    return max(1, -(-size // _BLOCK)) * _BLOCK


class Held(NamedTuple):
    """A cached content, and its last use in nanoseconds."""

    place: str
    name: str
    size: int
    used_ns: int


class Removed(NamedTuple):
    """The contents that were removed, and those that are left.

    `failed` are the files that can't be removed, and the directories that can't be read.
    """

    files: int
    bytes: int
    files_left: int
    bytes_left: int
    failed: int


class ContentFiles(Directory):
    """The files of a content cache; parameters as for `Directory`.

    Attributes
    ----------
    unread : set of str
        Directories that can't be read, because they belong to other users.
    not_removed : int
        Files that can't be removed.
    """

    def __init__(self, root: str, *, create: bool) -> None:
        super().__init__(root, create=create)
        self.writable = os.access(root, os.W_OK)
        self._marked = False
        self.unread: set[str] = set()
        self.not_removed = 0

    def open(self, key: ContentKey) -> int | None:
        """Open a content; None if absent, negative if unusable.

        Raises OSError.
        """
        try:
            with self.directory(key.place) as directory:
                return _open_plain(key, directory)
        except FileNotFoundError:
            return None

    def has(self, key: ContentKey) -> bool:
        """Report whether a content's name exists, also as a link."""
        return _exists(f"{key.place}/{key.name}", self._fd)

    def shares_disk(self, root: str) -> bool:
        """Report whether a directory is on the same file system. Raises OSError."""
        return os.stat(root).st_dev == os.fstat(self._fd).st_dev  # noqa: PTH116 - once a content

    def free_bytes(self) -> int:
        """Return the free bytes, without quotas. Raises OSError."""
        found = os.statvfs(self._fd)
        return found.f_bavail * found.f_frsize

    def add(self, key: ContentKey, write: Callable[[int], bool]) -> bool:
        """Add a content that `write` writes to a descriptor.

        Returns whether it was added, and did not exist before. Raises OSError.
        """
        self._mark()
        if self.has(key):
            return False
        partials, name = self.partials(), self.new_name()
        try:
            descriptor = os.open(name, NEW_FILE, 0o666, dir_fd=partials)
            try:
                wanted = write(descriptor)
            finally:
                # Network file systems report some write errors only when the file is closed.
                os.close(descriptor)
            if not wanted:
                return False
            with self.directory(key.place, create=True) as directory:
                return rename(name, key.name, above=partials, directory=directory, replace=False)
        finally:
            with suppress(FileNotFoundError):
                os.unlink(name, dir_fd=partials)

    def new_name(self) -> str:
        """Return a name that is unique in all directories."""
        return secrets.token_hex(16)

    def _make_partials(self) -> int:
        """Create the partials' directory; after a killed run, the cache's size is unknown."""
        before = self._runs()
        made = super()._make_partials()
        if before - self._runs():
            self.note_added(_UNKNOWN)
        return made

    def _runs(self) -> set[str]:
        with suppress(FileNotFoundError), self.directory(PARTIALS) as above:
            return set(os.listdir(above))
        return set()

    def discard(self, key: ContentKey) -> None:
        """Remove a content's file; a directory that is not empty stays."""
        with suppress(OSError), self.directory(key.place) as directory:
            try:
                os.unlink(key.name, dir_fd=directory)
            except (IsADirectoryError, PermissionError):
                os.rmdir(key.name, dir_fd=directory)

    def _mark(self) -> None:
        """Mark the directory once as a cache, for backup programs."""
        if self._marked:
            return
        self._marked = True
        with suppress(FileExistsError), self.directory(_CONTENT, create=True) as directory:
            descriptor = os.open(_TAG, NEW_FILE, 0o666, dir_fd=directory)
            try:
                os.write(descriptor, _TAG_TEXT)
            finally:
                os.close(descriptor)

    def held(self) -> Iterator[Held]:
        """Yield all contents in any order, and skip those removed meanwhile."""
        for place in self._places():
            try:
                with self.directory(place) as directory, os.scandir(directory) as found:
                    for each in found:
                        if (held := _content(place, each)) is not None:
                            yield held
            except (FileNotFoundError, NotADirectoryError):
                pass
            except OSError:
                self.unread.add(place)

    def _places(self) -> list[str]:
        try:
            with self.directory(_CONTENT) as above:
                return [f"{_CONTENT}/{name}" for name in os.listdir(above)]
        except FileNotFoundError:
            return []
        except OSError:
            self.unread.add(_CONTENT)
            return []

    def remove(self, held: Held) -> bool:
        """Remove a content; returns whether it existed."""
        try:
            with self.directory(held.place) as directory:
                os.unlink(held.name, dir_fd=directory)
        except FileNotFoundError:
            return False
        except OSError:
            self.not_removed += 1
            return False
        return True

    def note_added(self, number: int) -> None:
        """Note that `number` bytes were added; raises OSError."""
        with self.directory(_ADDED, create=True) as above:
            name = f"{secrets.token_hex(8)}-{number}"
            os.close(os.open(name, NEW_FILE, 0o666, dir_fd=above))

    def added(self) -> dict[str, int]:
        """Return the notes of added bytes."""
        with suppress(OSError), self.directory(_ADDED) as above:
            found = ((name, _NOTE.fullmatch(name)) for name in os.listdir(above))
            return {name: int(match[1]) for name, match in found if match}
        return {}

    def estimate(self) -> int:
        """Return the approximate size of the cache, without reading files.

        The estimate may be too high if two runs make notes at once or a run was killed; the next
        count corrects it. It lacks the bytes that running runs have added since their last note.
        """
        notes = self.added()
        if len(notes) > _MANY_NOTES and self.writable:
            self.replace_notes(notes, sum(notes.values()))
        return sum(notes.values())

    def replace_notes(self, notes: dict[str, int], number: int) -> None:
        """Replace all notes by one; raises OSError."""
        self.note_added(min(number, _UNKNOWN))
        with self.directory(_ADDED) as above:
            for name in notes:
                with suppress(FileNotFoundError):
                    os.unlink(name, dir_fd=above)


def _open_plain(key: ContentKey, directory: int) -> int:
    """Open a regular file with the size in its name; otherwise return -1."""
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    try:
        descriptor = os.open(key.name, flags, dir_fd=directory)
    except FileNotFoundError:
        raise
    except OSError:
        if stat.S_ISREG(os.stat(key.name, dir_fd=directory, follow_symlinks=False).st_mode):
            raise
        return -1
    found = os.fstat(descriptor)
    if stat.S_ISREG(found.st_mode) and found.st_size == key.size:
        return descriptor
    os.close(descriptor)
    return -1


def _content(place: str, found: os.DirEntry[str]) -> Held | None:
    """Return a file's content entry; None if it is not a content."""
    with suppress(OSError):
        if _NAME.fullmatch(found.name) and found.is_file(follow_symlinks=False):
            state = found.stat(follow_symlinks=False)
            used = max(state.st_atime_ns, state.st_mtime_ns)
            return Held(place, found.name, state.st_size, used)
    return None


def _exists(name: str, directory: int) -> bool:
    try:
        os.stat(name, dir_fd=directory, follow_symlinks=False)
    except OSError:
        return False
    return True


def forbid_writing(descriptor: int) -> int:
    """Make a file read-only, and return its earlier mode."""
    mode = stat.S_IMODE(os.fstat(descriptor).st_mode)
    os.fchmod(descriptor, mode & 0o444)
    return mode


def note_use(descriptor: int) -> None:
    """Note the use of a content, in a time that every mount keeps."""
    found, now = os.fstat(descriptor), time.time_ns()
    if now - max(found.st_atime_ns, found.st_mtime_ns) < _OFTEN_NS:
        return
    try:
        # The modification time must not change, since receipts of linked files contain it.
        os.utime(descriptor, ns=(now, found.st_mtime_ns))
    except OSError:
        if found.st_nlink == 1:
            # For a writable file of another user, only both times can be set.
            with suppress(OSError):
                os.utime(descriptor)
