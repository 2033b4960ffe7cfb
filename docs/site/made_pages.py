"""The pages of the site that are not files of ``docs``."""

from __future__ import annotations

from typing import TYPE_CHECKING

from block_page import blocks_page
from command_page import commands_page
from interface_page import errors_page, events_page, interface_page, s3bids_page
from manifest_page import fields_page

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

MADE: dict[str, Callable[[Path], str]] = {
    "reference/manifest-fields.md": fields_page,
    "reference/commands.md": commands_page,
    "reference/interface.md": lambda _: interface_page(),
    "reference/s3bids-interface.md": lambda _: s3bids_page(),
    "reference/errors.md": lambda _: errors_page(),
    "reference/events.md": lambda _: events_page(),
    "developer/examples.md": blocks_page,
}
"""Pages that are made from the code, by where they are; each is given the repository's folder."""

PAGES = {
    "README.md": "developer/readme.md",
    "CONTRIBUTING.md": "developer/contributing.md",
    "CHANGELOG.md": "changelog.md",
}
"""Pages of the repository's root, and where they are in the site."""
