"""The blocks of code of a page: what a reader types, in which order, and what is not run and why.

A page whose blocks a reader runs says in a comment where the tests run them::

    <!-- page: demo git -->

The words name set-ups of ``tests/support/setups.py``. Where nothing of a page can be run, or one
block of it, a comment gives the reason, which the site shows in a table::

    <!-- page: not run; each measures for minutes -->
    <!-- block: not run; needs a cluster -->

Where each section of a page is for a reader with another error, the comment says ``entries``: each
starts from the error whose code its heading has. ``tests/support/mending.py`` follows them.

A block with a ``title`` is the content of that file: it is written, and not run. A block of shell
whose commands begin with ``$`` shows what each prints. What any other block prints is compared if a
block of the language ``output`` follows it. In both, ``…`` stands for any text.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

from markdown_it import MarkdownIt

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from markdown_it.token import Token

SHELLS = frozenset({"console", "sh", "bash", "shell"})
_COMMENT = re.compile(r"<!--\s*(page|block):\s*(?:not run;\s*(.+?)|(.+?))\s*-->", re.S)
_TITLE = re.compile(r'title="([^"]+)"')


@dataclass(frozen=True, kw_only=True)
class Block:
    """A fenced block of a page.

    Parameters
    ----------
    language : str
        The first word of its opening line.
    text : str
        Its content.
    line : int
        The line of the page on which it opens, from 1.
    title : str, optional
        The file whose content it shows.
    skipped : str, optional
        Why it is not run.
    prints : str, optional
        What it prints, if the page shows that in a block of its own.
    heading : str, optional
        The heading that it is below.
    """

    language: str
    text: str
    line: int
    title: str | None = None
    skipped: str | None = None
    prints: str | None = None
    heading: str = ""

    @property
    def kind(self) -> Literal["file", "shell", "python"] | None:
        """What a reader does with it: writes a file, types it into a shell or into Python."""
        if self.title is not None:
            return "file"
        if self.language in SHELLS:
            return "shell"
        return "python" if self.language in {"python", "py"} else None

    def calls(self) -> Iterator[tuple[str, str]]:
        """Yield the commands of a session, which begin with ``$``, each with what it prints."""
        for call in re.split(r"^\$ ", self.text, flags=re.M)[1:]:
            lines = call.splitlines(keepends=True)
            goes_on = (number for number, line in enumerate(lines) if not line.endswith("\\\n"))
            end = next(goes_on, len(lines)) + 1
            yield "".join(lines[:end]).rstrip("\n"), "".join(lines[end:])


@dataclass(frozen=True, kw_only=True)
class Page:
    """The blocks of a page, and where they are run.

    Parameters
    ----------
    path : Path
    blocks : tuple of Block
        In the order of the page.
    setups : tuple of str, optional
        The names of its set-ups; None if the page declares nothing.
    """

    path: Path
    blocks: tuple[Block, ...]
    setups: tuple[str, ...] | None

    @property
    def runnable(self) -> tuple[Block, ...]:
        """The blocks that a reader runs, and the files that they need."""
        return tuple(block for block in self.blocks if block.kind)


def read_page(path: Path) -> Page:
    """Read the blocks of a page of Markdown."""
    setups: tuple[str, ...] | None = None
    skipped: str | None = None
    skipped_page: str | None = None
    heading, blocks = "", list[Block]()
    tokens = MarkdownIt("commonmark").parse(path.read_text(encoding="utf-8"))
    for number, token in enumerate(tokens):
        if token.type == "heading_open":
            heading = tokens[number + 1].content
        elif token.type == "fence" and token.info == "output":
            blocks[-1] = replace(blocks[-1], prints=token.content)
        elif token.type == "fence":
            blocks.append(_block(token, heading, skipped or skipped_page))
            skipped = None
        elif found := _COMMENT.search(token.content) if token.type == "html_block" else None:
            about, reason, names = found.groups()
            if about == "block":
                skipped = reason
            else:
                setups, skipped_page = tuple((names or "").split()), reason
    return Page(path=path, blocks=tuple(blocks), setups=setups)


def _block(token: Token, heading: str, skipped: str | None) -> Block:
    """Make a block of a fence below a heading."""
    title = _TITLE.search(token.info)
    return Block(
        language=token.info.partition(" ")[0],
        text=token.content,
        line=(token.map or [0])[0] + 1,
        title=title[1] if title else None,
        skipped=skipped,
        heading=heading,
    )
