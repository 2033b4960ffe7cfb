"""``bidsplan demo``."""

from __future__ import annotations

from pathlib import Path

import click

from bidsplan.cli import options
from bidsplan.cli.demo_study import MANIFEST, write_demo
from bidsplan.command_lines import shell_line
from bidsplan.messages import counted, size


@click.command(
    "demo",
    epilog=options.examples(
        "bidsplan demo demo",
        "bidsplan demo /tmp/bidsplan-demo",
    ),
)
@click.argument("folder", metavar="DIR", type=click.Path(path_type=Path, file_okay=False))
@options.settings_of()
def command(folder: Path, settings: options.Settings) -> None:
    """Write a small study and its manifest to DIR, for trying all commands without a network.

    Files of an earlier demo are kept. If DIR has a file that differs from the demo's, nothing is
    written.
    """
    demo = write_demo(folder)
    written = "wrote" if demo.written else "already there:"
    files = f"{counted(demo.files, 'file')}, {size(demo.bytes)}"
    name = str(folder)
    entered = shell_line(["cd", f"./{name}" if name.startswith("-") else name])
    steps = [f"bidsplan {step}" for step in _STEPS]
    settings.console.result(
        "\n".join(
            [
                f"{written} {demo.manifest} and its study: {files}",
                f"next: {entered}",
                *(f"      {step}" for step in steps),
            ]
        ),
        {
            "manifest": str(demo.manifest),
            "files": demo.files,
            "bytes": demo.bytes,
            "written": demo.written,
            "next": [entered, *steps],
        },
    )


_STEPS = (f"compile {MANIFEST}", f"fetch {MANIFEST} data", f"report {MANIFEST}")
