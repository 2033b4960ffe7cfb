"""Kill fetches again and again, at any step and at any time, and look at what stands there.

``python tests/support/kill_runs.py --kills 300 --seed 0`` prints the number of runs that
were killed, of partials that were left, and of files with wrong bytes; it exits
with 1 where there are any.
"""

from __future__ import annotations

import argparse
import random
import shutil
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

from test_kills import FILES, OLD

from bidsplan.plan.file import write_plan
from kills import Runs
from plans import leftovers, plan_over, tree, write_files
from servers import Bucket, moto_server
from sites import Site

_MOST_STEPS = 40
_LONGEST = 0.4


def sources(folder: Path, stack: ExitStack):
    """Serve the files in every way; gives the plan and the options of each."""
    server = moto_server(folder)
    stack.callback(server.stop)
    bucket = Bucket(server.url, "kills")
    bucket.fill(FILES)
    site = stack.enter_context(Site())
    site.fill(FILES, etag='"v1"')
    write_files(folder / "source", FILES)
    plans = {
        "local": (plan_over(str(folder / "source"), FILES, tags=False), ()),
        "web": (plan_over(site.url, FILES, tags=False), ("--allow-protocol", "http")),
    }
    for transport in ("obstore", "fsspec"):
        options = ("--transport", transport, "--endpoint-url", server.url)
        plans[transport] = (plan_over("s3://kills", FILES), options)
    return plans


def wrong(found, replacing: bool) -> list[str]:
    """Name the files that are neither the planned ones nor, where they are replaced, the old."""
    old = OLD if replacing else {}
    return [path for path, data in found.items() if data not in {FILES[path], old.get(path)}]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=300)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    draw = random.Random(arguments.seed)
    kills = partials = unfinished = 0
    bad: list[str] = []
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        plans = sources(folder, stack)
        runs = Runs(folder / "log")
        stack.callback(runs.stop)
        while kills < arguments.kills:
            name = draw.choice(sorted(plans))
            replacing = draw.random() < 0.3
            place = folder / "d"
            shutil.rmtree(place, ignore_errors=True)
            if replacing:
                write_files(place, OLD)
            plan, options = plans[name]
            path = folder / f"{name}.plan.jsonl"
            write_plan(plan, path)
            command = ["fetch", path, place, *options]
            command += ["--existing", "replace"] if replacing else []
            for _ in range(draw.randint(1, 4)):
                at = draw.randint(1, _MOST_STEPS) if draw.random() < 0.5 else None
                code = runs.run(*command, at=at, after=None if at else draw.random() * _LONGEST)
                kills += code == -9
                partials += bool(leftovers(place))
                bad += wrong(tree(place), replacing) if place.is_dir() else []
            code = runs.run(*command)
            unfinished += code != 0 or tree(place) != FILES or bool(leftovers(place))
    sys.stdout.write(
        f"{kills} kills, {partials} runs that left partials; "
        f"{len(bad)} files with wrong bytes, {unfinished} runs that did not finish afterwards\n"
    )
    return 1 if bad or unfinished or not partials else 0


if __name__ == "__main__":
    sys.exit(main())
