"""``python -m bidsplan`` and the ``bidsplan`` command."""

from __future__ import annotations

import gc
import os
import sys
from typing import NoReturn

from bidsplan import UNSUPPORTED


def main() -> NoReturn:
    """Run the command line and exit with its exit code."""
    if sys.platform == "win32":
        sys.stderr.write(f"error: {UNSUPPORTED}\n")
        sys.exit(2)
    from bidsplan.cli import signals  # imports little, so that a signal during start-up is handled

    # Nothing before or after the command needs any cleaning up.
    signals.exit_at_once()
    # A million small records form no cycles, and looking for some takes a tenth of a run.
    gc.set_threshold(100_000)
    # Half of the cores transfer bytes, and the others are for Python and the rest of the machine.
    os.environ.setdefault("TOKIO_WORKER_THREADS", str(max(1, (os.cpu_count() or 1) // 2)))
    # pydantic plugins must not change what a manifest means, and looking for them takes time.
    os.environ.setdefault("PYDANTIC_DISABLE_PLUGINS", "__all__")
    from bidsplan.cli.main import run

    code = run(sys.argv[1:])
    sys.stdout.flush()
    sys.stderr.flush()
    # Skips the interpreter's shutdown, in which obstore's threads may abort. A signal would kill
    # it, and it would wait for threads that wait for a server.
    os._exit(code)


if __name__ == "__main__":
    main()
