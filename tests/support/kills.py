"""Runs of the command that end by SIGKILL: forked, as starting Python for each takes too long."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading

_WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT
_STEPS = frozenset({"os.mkdir", "os.remove", "os.rename", "os.rmdir", "os.truncate", "fcntl.flock"})


class Runs:
    """A process that has imported what the command needs, and forks to run it.

    Parameters
    ----------
    log : Path
        Takes what the runs say.
    """

    def __init__(self, log) -> None:
        with log.open("ab") as file:
            self._process = subprocess.Popen(
                [sys.executable, __file__],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=file,
                text=True,
            )

    def run(self, *arguments, at=None, after=None) -> int:
        """Run the command; give its exit code, negative for the signal that ended it.

        Parameters
        ----------
        arguments : str
        at : int, optional
            The step before which it is killed; a step is a call that changes a file system.
        after : float, optional
            Seconds after which it is killed.
        """
        job = {"arguments": [str(each) for each in arguments], "at": at, "after": after}
        self._process.stdin.write(f"{json.dumps(job)}\n")
        self._process.stdin.flush()
        return int(self._process.stdout.readline())

    def stop(self) -> None:
        self._process.stdin.close()
        self._process.wait(30)


def _kill_at(step: int) -> None:
    """Have this process kill itself before its n-th step."""
    from bidsplan.storage import rename as renaming

    left, lock, write = [step], threading.Lock(), os.write

    def count():
        with lock:
            left[0] -= 1
            if left[0] == 0:
                os.kill(os.getpid(), signal.SIGKILL)

    def hear(event, arguments):
        if event in _STEPS or (event == "open" and arguments[2] & _WRITING):
            count()

    def counted(*arguments):
        count()
        return write(*arguments)

    def counted_rename(*names):
        count()
        return rename(*names)

    # Neither writing nor a call by its address is an event that can be heard.
    os.write = counted
    rename = renaming._exclusive_rename()
    if rename is not None:
        renaming._exclusive_rename = lambda: counted_rename
    sys.addaudithook(hear)


def _child(job, run) -> None:
    os.dup2(2, 1)
    if job["at"] is not None:
        _kill_at(job["at"])
    os._exit(run(job["arguments"]))


def _serve() -> None:
    import botocore.session  # noqa: F401
    import obstore.store  # noqa: F401
    import s3fs  # noqa: F401
    import uvloop  # noqa: F401

    import bidsplan.cli.commands.fetch
    import bidsplan.transfer.scheduler  # noqa: F401
    from bidsplan.cli.main import run

    for line in sys.stdin:
        job = json.loads(line)
        child = os.fork()
        if not child:
            _child(job, run)
        if job["after"] is not None:
            timer = threading.Timer(job["after"], os.kill, (child, signal.SIGKILL))
            timer.start()
        _, status = os.waitpid(child, 0)
        if job["after"] is not None:
            timer.cancel()
        sys.stdout.write(f"{os.waitstatus_to_exitcode(status)}\n")
        sys.stdout.flush()


if __name__ == "__main__":
    _serve()
