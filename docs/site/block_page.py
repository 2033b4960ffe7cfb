"""The page that says which blocks of which page the tests run, and why not the others."""

from __future__ import annotations

from typing import TYPE_CHECKING

from markup import code, table
from snippets import read_page

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from snippets import Page

_HEAD = """# Which examples are run

The tests run the shell and Python that the pages show. [Contributing](../../CONTRIBUTING.md#pages)
says how a page declares where it runs. Made from the pages:

"""


def blocks_page(root: Path) -> str:
    """Write the page, of the Markdown files of a checkout."""
    pages = {
        str(path.relative_to(root)): read_page(path)
        for path in [*sorted(root.glob("*.md")), *sorted((root / "docs").rglob("*.md"))]
    }
    shown = {name: page for name, page in pages.items() if page.runnable}
    run = [
        [code(name), ", ".join(map(code, page.setups or ())), str(_run(page)), str(_skipped(page))]
        for name, page in shown.items()
    ]
    left = [row for name, page in shown.items() for row in _left(name, page)]
    return (
        _HEAD
        + table(["page", "starts from", "blocks run", "not run"], run)
        + "\n## Blocks that are not run\n\n"
        + table(["page", "line", "begins with", "why"], left)
    )


def _run(page: Page) -> int:
    return sum(block.kind != "file" and not block.skipped for block in page.runnable)


def _skipped(page: Page) -> int:
    return sum(bool(block.skipped) for block in page.runnable)


def _left(name: str, page: Page) -> Iterator[list[str]]:
    for block in page.runnable:
        if block.skipped:
            first = block.text.strip().partition("\n")[0]
            yield [code(name), str(block.line), code(first), block.skipped]
