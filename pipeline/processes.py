"""What processes owe each other: one at a time at a task, and none that outlives who began it."""

import ctypes
import os
import signal
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from pipeline.errors import PipelineError

PR_SET_PDEATHSIG = 1  # of linux/prctl.h
STOPPED = 128 + signal.SIGINT  # the exit status that shells give to what was told to stop


class OccupiedError(PipelineError):
    """Another process is at a task; the message says which."""


@contextmanager
def alone(lock: Path, task: str, patience: float = 0.0) -> Iterator[None]:
    """Be the only process at a task, which the file `lock` stands for.

    task: what is said of who holds it, such as "runs this training"; who ends, however that comes,
    holds nothing. patience: s to wait. Raises OccupiedError, which names the other.
    """
    lock.parent.mkdir(parents=True, exist_ok=True)
    held, holder = FileLock(lock), lock.with_suffix(".holder")
    try:
        held.acquire(timeout=patience)
    except Timeout:
        who = holder.read_text() if holder.exists() else "another process"
        raise OccupiedError(f"{who} {task}: wait for it, or stop it") from None
    try:
        holder.write_text(f"process {os.getpid()} on {socket.gethostname()}")
        yield
    finally:
        holder.unlink(missing_ok=True)  # the lock stays: to remove it would let two in
        held.release()


def end_with_parent(number: int = signal.SIGKILL) -> None:
    """Let this process get a signal when the one that started it ends, or has ended already, where
    the kernel offers that."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, number)
        # An orphan belongs to the first process, which may in a container have started it itself,
        # but then in its own session.
        if os.getppid() == 1 and os.getsid(0) != os.getsid(1):
            os.kill(os.getpid(), number)
