"""A terminal that a command runs in: what is on its screen, and keys that are pressed."""

from __future__ import annotations

import fcntl
import os
import pty
import select
import struct
import termios
import time

import pyte

_DEADLINE = 30.0


class Terminal:
    """Runs a command in a terminal of its own."""

    def __init__(self, command, *, columns=80, rows=24, environment=()) -> None:
        self._screen = pyte.Screen(columns, rows)
        self._stream = pyte.ByteStream(self._screen)
        self.written = b""
        self.code = None
        environment = {**os.environ, **dict(environment), "TERM": "xterm"}
        self._pid, self._fd = pty.fork()
        if self._pid == 0:
            fcntl.ioctl(0, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
            os.execvpe(command[0], command, environment)

    @property
    def lines(self) -> list[str]:
        """The lines of the screen that have text."""
        return [line.rstrip() for line in self._screen.display if line.strip()]

    def press(self, keys: bytes) -> None:
        os.write(self._fd, keys)

    def wait_for(self, shown) -> list[str]:
        """Wait until a function says that these lines are what is waited for."""
        end = time.monotonic() + _DEADLINE
        while not shown(self.lines):
            assert time.monotonic() < end, self.lines
            if not self._read(0.05) and self.code is not None:
                raise AssertionError(self.lines)
        return self.lines

    def wait(self) -> list[str]:
        """Wait until the command ends."""
        while self._read(_DEADLINE):
            pass
        _, status = os.waitpid(self._pid, 0)
        self.code = os.waitstatus_to_exitcode(status)
        os.close(self._fd)
        return self.lines

    def _read(self, seconds: float) -> bool:
        """Take what the command has written; false where it has ended."""
        readable, _, _ = select.select([self._fd], [], [], seconds)
        if not readable:
            return seconds < _DEADLINE
        try:
            data = os.read(self._fd, 1 << 16)
        except OSError:
            return False
        self.written += data
        self._stream.feed(data)
        return bool(data)
