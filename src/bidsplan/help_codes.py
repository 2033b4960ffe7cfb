"""The numbers of the troubleshooting entries, which errors end with."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable


class HelpCode(StrEnum):
    """The number of a troubleshooting entry, for ``bidsplan help``.

    There is one number for each thing that a user can do about an error, and not for each message.
    A number never changes its meaning: it is not reused, even if the error no longer exists.
    """

    # The command line, and the machine that it runs on.
    USAGE = "BP101"
    WRONG_DOCUMENT = "BP102"
    LIBRARY = "BP103"
    UNSUPPORTED = "BP104"
    OPEN_FILES = "BP105"
    PART = "BP106"
    DASK = "BP107"
    CONFIGURATION = "BP108"
    MACHINE = "BP109"
    BUG = "BP110"

    # The manifest.
    MANIFEST_UNREADABLE = "BP201"
    YAML = "BP202"
    MANIFEST = "BP203"
    SECRET = "BP204"  # noqa: S105 - says that a manifest has one
    URL = "BP205"
    UNTRUSTED = "BP206"
    STRICT = "BP207"

    # What the study holds.
    STUDY_MISSING = "BP301"
    NO_SUBJECTS = "BP302"
    SITE_MISSING = "BP303"
    SUBJECT_MISSING = "BP304"
    SAMPLE = "BP305"
    TABLE = "BP306"
    SELECTION = "BP307"
    DERIVATIVE = "BP308"
    LIMIT = "BP309"
    KEY_ADDRESSED = "BP310"
    CONTENT_MISSING = "BP311"
    UNVERSIONED = "BP312"
    CLASH = "BP313"

    # The plan.
    PLAN = "BP401"
    PLAN_VERSION = "BP402"
    PLAN_STALE = "BP403"
    PLAN_MISSING = "BP404"
    PLAN_UNREADABLE = "BP405"

    # The storage that the files come from.
    SOURCE_MISSING = "BP501"
    ROOT_MISSING = "BP502"
    SOURCE_CHANGED = "BP503"
    ARCHIVED = "BP504"
    LISTING = "BP505"
    NO_INDEX = "BP506"
    DENIED = "BP507"
    DENIED_UNSIGNED = "BP508"
    NO_CREDENTIALS = "BP509"
    CREDENTIALS = "BP510"
    REFUSED_HOST = "BP511"
    REGION = "BP512"
    THROTTLED = "BP513"
    UNREACHABLE = "BP514"
    CERTIFICATE = "BP515"
    TOO_SLOW = "BP516"
    STORAGE = "BP517"
    BUCKET_MISSING = "BP518"

    # The bytes.
    CORRUPT = "BP601"
    UNPROVED = "BP602"
    DIFFERS = "BP603"
    SIZE_ONLY = "BP604"
    IMAGE_DAMAGED = "BP605"

    # The destination.
    EXISTING = "BP701"
    MISSING = "BP702"
    UNSAFE_PATH = "BP703"
    LOCKED = "BP704"
    DISK_FULL = "BP705"
    DESTINATION = "BP706"
    DATALAD_CLONE = "BP707"
    SAME_NAME = "BP708"
    WRITE_DENIED = "BP709"
    FETCH_FAILED = "BP710"
    CACHE = "BP711"
    OUTDATED = "BP712"

    @property
    def topic(self) -> str:
        """The code's name in words, such as ``source-changed``."""
        return self.name.lower().replace("_", "-")


def help_line(codes: Iterable[HelpCode]) -> str:
    """Return the command that prints the entries of help codes."""
    return f"for help: bidsplan help {' '.join(sorted(set(codes)))}"
