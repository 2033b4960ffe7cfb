"""Stops dask's profiler in a worker whose Python it can block for ever.

The module imports nothing else of bidsplan, so that a worker can call it before it does.
"""

from __future__ import annotations

import sys
import threading
from typing import Any

_SAFE = (3, 11, 12)
"""The first version of Python whose threads can be looked at while others begin or end."""

_SECONDS = 5.0
"""How long the worker's loop may take to stop its profiler."""


def stop_sampling(worker: Any) -> None:
    """Stop a worker's profiler, unless its Python has the fix of `gh-106883`_.

    The profiler asks for the frames of all threads, every ten milliseconds. Before the fix, that
    can block Python where another thread begins or ends meanwhile, as the threads of a share do.

    .. _gh-106883: https://github.com/python/cpython/issues/106883
    """
    sampler = worker.periodic_callbacks.get("profile")
    if sys.version_info >= _SAFE or sampler is None or not sampler.is_running():
        return
    stopped = threading.Event()

    def stop() -> None:
        sampler.stop()
        stopped.set()

    # Only the worker's loop may stop it.
    worker.loop.add_callback(stop)
    stopped.wait(_SECONDS)
