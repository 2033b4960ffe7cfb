"""``bidsplan cache``."""

from __future__ import annotations

import click

from bidsplan.cli import options
from bidsplan.cli.configuration import cache_options
from bidsplan.destination.content_space import CacheTask, manage_cache
from bidsplan.errors import Problem, UsageError
from bidsplan.messages import counted, size
from bidsplan.paths import printable


@click.command(
    "cache",
    epilog=options.examples(
        "bidsplan cache",
        "bidsplan cache --prune --size 200GB",
        "bidsplan cache --clear /scratch/bidsplan-cache",
    ),
)
@click.argument("directory", metavar="[DIR]", required=False)
@click.option(
    "--prune",
    "task",
    flag_value=CacheTask.PRUNE.value,
    help="If the cache is larger than its limit, remove the contents that were used least "
    "recently.",
)
@click.option("--clear", "task", flag_value=CacheTask.CLEAR.value, help="Remove all contents.")
@click.option(
    "--size",
    "most",
    type=options.parse_bytes,
    metavar="SIZE",
    help="The limit for the size of the cache. [default: as in the configuration]",
)
@options.settings_of()
def command(
    directory: str | None, task: str | None, most: int | None, settings: options.Settings
) -> int:
    """Show what the content cache DIR contains, or remove contents from it.

    Without DIR, the command uses the cache that the variable BIDSPLAN_CACHE or the configuration
    names. Other runs may use the cache at the same time. Removed contents can be fetched again.
    """
    warn = settings.console.warn
    chosen = cache_options(cache_directory=directory, cache_size=most, warn=warn)
    if chosen is None:
        raise UsageError("no cache is configured; name its directory, or set BIDSPLAN_CACHE")
    doing = CacheTask(task or CacheTask.COUNT)
    if doing is CacheTask.PRUNE and chosen.max_bytes is None:
        raise UsageError("the cache has no size to be kept within; give one by --size")
    done = manage_cache(chosen, doing)
    # Files with the same content are stored once, even if they are in many datasets.
    held = f"{counted(done.files_left, 'different content')}, {size(done.bytes_left)}"
    bound = f" of at most {size(chosen.max_bytes)}" if chosen.max_bytes else ""
    text = f"{printable(str(chosen.directory))}: {held}{bound} on disk"
    if doing is not CacheTask.COUNT:
        text += f"; removed {counted(done.files, 'content')}, {size(done.bytes)}"
    data = {
        "directory": str(chosen.directory),
        "files": done.files_left,
        "bytes": done.bytes_left,
        "max_bytes": chosen.max_bytes,
        "removed_files": done.files,
        "removed_bytes": done.bytes,
        "failed": done.failed,
    }
    settings.console.result(text, data)
    if done.failed:
        settings.console.warn([_problem(done.failed)], "error")
    return int(done.failed > 0)


def _problem(failed: int) -> Problem:
    message = f"files or directories of the cache that can't be read or removed: {failed:,}"
    return Problem(message=message, hint="their owners may remove them")
