"""Real servers for tests: on a free port, ready when they are handed over, ended with their
workers."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import requests


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@contextmanager
def running(
    *words: str,
    folder: Path,
    log: Path,
    ready: str,
    port: int | None = None,
    more: Mapping[str, str] | None = None,
) -> Iterator[tuple[str, subprocess.Popen]]:
    """`mlflow WORDS...` in a folder, once its path `ready` answers: its address and its process.

    more: of its environment.
    """
    port = port or free_port()
    address = f"http://127.0.0.1:{port}"
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    command = [sys.executable, "-m", "mlflow", *words, "--host", "127.0.0.1", "--port", str(port)]
    more = {"PATH": path, "MLFLOW_DISABLE_TELEMETRY": "true"} | dict(more or {})
    with program(command, folder, log, lambda: answers(address + ready), more) as process:
        yield address, process


@contextmanager
def program(
    command: Sequence[str],
    folder: Path,
    log: Path,
    ready: Callable[[], bool],
    more: Mapping[str, str],
    user: str | None = None,
) -> Iterator[subprocess.Popen]:
    """A server in a folder, once it is ready. more: of its environment; user: whose it is."""
    with log.open("a") as file:
        process = subprocess.Popen(
            command,
            cwd=folder,
            env=os.environ | more,
            stdout=file,
            stderr=file,
            start_new_session=True,
            user=user,
            group=user,
            extra_groups=[] if user else None,
        )
    try:
        deadline = time.monotonic() + 60
        while not ready():
            assert process.poll() is None and time.monotonic() < deadline, log.read_text()
            time.sleep(0.2)
        yield process
    finally:
        stop(process)


def answers(address: str) -> bool:
    try:
        return requests.get(address, timeout=2).ok
    except requests.RequestException:
        return False


def stop(process: subprocess.Popen) -> None:
    """End the server and its workers, which share a process group."""
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
