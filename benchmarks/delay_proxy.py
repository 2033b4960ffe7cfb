"""Pass TCP connections on, every byte after a delay: a distant server on the loopback.

    python benchmarks/delay_proxy.py 9001 9000 0.030

The delay is that of a round trip; half of it is spent in each direction. Bandwidth is not limited.
"""

from __future__ import annotations

import asyncio
import sys
from typing import cast

import uvloop


class End(asyncio.Protocol):
    """One end of a connection, which hands on what it gets to the other end, later.

    Parameters
    ----------
    delay : float
        Seconds.
    """

    def __init__(self, delay: float) -> None:
        self._delay = delay
        self._loop = asyncio.get_running_loop()
        self.other: End | None = None
        self.transport: asyncio.Transport | None = None
        self._early: list[bytes] = []

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """See `asyncio.Protocol`."""
        self.transport = cast("asyncio.Transport", transport)
        for data in self._early:
            self.transport.write(data)

    def data_received(self, data: bytes) -> None:
        """See `asyncio.Protocol`."""
        self._loop.call_later(self._delay, self._pass_on, data)

    def _pass_on(self, data: bytes) -> None:
        if self.other is not None:
            self.other.take(data)

    def take(self, data: bytes) -> None:
        """Send what the other end got."""
        if self.transport is None:
            self._early.append(data)
        elif not self.transport.is_closing():
            self.transport.write(data)

    def connection_lost(self, exc: Exception | None) -> None:
        """See `asyncio.Protocol`."""
        self._loop.call_later(self._delay, self._close_other)

    def _close_other(self) -> None:
        if self.other is not None and self.other.transport is not None:
            self.other.transport.close()


async def main() -> None:
    """Serve until stopped."""
    port, upstream, delay = int(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3]) / 2
    loop = asyncio.get_running_loop()
    tasks: set[asyncio.Task[object]] = set()

    def accept() -> End:
        near, far = End(delay), End(delay)
        near.other, far.other = far, near
        task = loop.create_task(loop.create_connection(lambda: far, "127.0.0.1", upstream))
        tasks.add(task)
        task.add_done_callback(tasks.discard)
        return near

    server = await loop.create_server(accept, "127.0.0.1", port, backlog=1024)
    await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(main())
