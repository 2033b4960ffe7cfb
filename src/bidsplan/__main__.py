"""``python -m bidsplan`` and the ``bidsplan`` command."""

from __future__ import annotations

import gc
import os
import sys
from typing import NoReturn


def main() -> NoReturn:
    """Run the command line and leave with its exit code."""
    from bidsplan.cli import signals  # importing this module must stay free

    # Whatever comes before the command or after it has nothing to put in order.
    signals.leave_at_once()
    # Of a million small records none is in a cycle; looking for some takes a tenth of a run.
    gc.set_threshold(100_000)
    # Half the cores move the bytes: Python's part, and the rest of the machine, needs the others.
    os.environ.setdefault("TOKIO_WORKER_THREADS", str(max(1, (os.cpu_count() or 1) // 2)))
    # Of pydantic's plugins none has a say in what a manifest is, and looking for some takes time.
    os.environ.setdefault("PYDANTIC_DISABLE_PLUGINS", "__all__")
    from bidsplan.cli import run

    code = run(sys.argv[1:])
    sys.stdout.flush()
    sys.stderr.flush()
    # All is done. While the interpreter shuts down, obstore's threads may abort, signals would kill
    # it, and it would wait for threads that a server keeps waiting.
    os._exit(code)


if __name__ == "__main__":
    main()
