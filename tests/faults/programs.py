"""Programs that are given bad input: run, watched, and judged by how they end."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from conftest import ROOT, environment
from faults.table import require

LIMIT = 60.0  # s within which a program ends
MEMORY = 2 * 2**30  # bytes that a program may take
ALLOWED = 4 * 2**30  # bytes with which it is killed, before the kernel kills others too
LONGEST = 600  # characters of a line that says what is wrong
UNFINISHED = (".*.part", ".*.old")  # of files that are being written
Stamps = Mapping[str, tuple[int, int]]  # size and time of files, by name


@dataclass(frozen=True)
class Ended:
    """How a program ended."""

    status: int | None  # negative: the signal that ended it; None: it took too much, was killed
    said: str  # stdout and stderr
    seconds: float
    memory: int  # bytes, resident, at most
    written: int  # bytes that went to disks

    @property
    def errors(self) -> list[str]:
        """The lines from the first that begins with `error: ` on."""
        lines = self.said.splitlines()
        first = next((k for k, line in enumerate(lines) if line.startswith("error: ")), len(lines))
        return lines[first:]


def settings() -> dict[str, str]:
    """The environment of a program: this code, and no progress bars in what it says."""
    code = os.pathsep.join(map(str, (ROOT, ROOT / "tests")))
    return environment() | {"PYTHONPATH": code, "TQDM_DISABLE": "1", "PYTHONDONTWRITEBYTECODE": "1"}


def peak(pid: int) -> int:
    """Bytes of memory that a process had at its worst moment, since it became what it is."""
    try:
        said = Path(f"/proc/{pid}/status").read_text()
        return 1024 * int(said.partition("VmHWM:")[2].split()[0])
    except (OSError, IndexError):  # it has just ended, or this is no Linux
        return 0


def watched(pid: int, limit: float) -> dict:
    """Wait for a process that leads a group; kill the group where it takes too long, or too much.
    What `Ended` holds, without what was said."""
    start, memory, killed = time.monotonic(), 0, False
    while True:
        found, status, usage = os.wait4(pid, os.WNOHANG)
        if found:
            break
        memory = max(memory, peak(pid))
        if not killed and (time.monotonic() - start > limit or memory > ALLOWED):
            os.killpg(pid, signal.SIGKILL)
            killed = True
        time.sleep(0.01)
    return {
        "status": None if killed else os.waitstatus_to_exitcode(status),
        "seconds": time.monotonic() - start,
        "memory": memory,
        "written": usage.ru_oublock * 512,
    }


def ran(folder: Path, *words: str, limit: float = LIMIT, **more: str) -> Ended:
    """Run `python WORDS...` in a folder, with more settings of its environment."""
    log = folder.with_name(f"{folder.name}.log")
    with log.open("wb") as file:
        process = subprocess.Popen(
            [sys.executable, *words],
            cwd=folder,
            env=settings() | more,
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=file,
            start_new_session=True,
        )
        found = watched(process.pid, limit)
        process.returncode = found["status"]
    return Ended(said=log.read_text(errors="replace"), **found)


class Forks:
    """One process that has imported everything; a fork of it runs each program at once."""

    def __init__(self, process: subprocess.Popen, log: Path) -> None:
        self.process, self.log = process, log

    def run(self, folder: Path, *words: str, limit: float = LIMIT, **more: str) -> Ended:
        """Run `python -m WORDS...` in a folder: a command of the pipeline, or a stage."""
        order = {"folder": str(folder), "words": words, "limit": limit, "more": more}
        order["log"] = str(self.log)
        assert self.process.stdin and self.process.stdout
        self.process.stdin.write(json.dumps(order) + "\n")
        self.process.stdin.flush()
        answer = self.process.stdout.readline()
        require(answer, "the process that forks has died")
        return Ended(said=self.log.read_text(errors="replace"), **json.loads(answer))


@contextmanager
def forks(folder: Path) -> Iterator[Forks]:
    """Start the process of `faults.forks`, which keeps its log in a folder."""
    process = subprocess.Popen(
        [sys.executable, "-m", "faults.forks"],
        cwd=folder,
        env=settings(),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        yield Forks(process, folder / "forks.log")
    finally:
        process.stdin.close()
        process.wait()


def ended_well(ended: Ended) -> None:
    """Raises Lost where a program did not end by itself, or told of it as programs tell of their
    mistakes."""
    last = ended.said[-600:]
    took = f"{ended.seconds:.0f} s and {ended.memory / 2**20:.0f} MiB"
    require(ended.status is not None, f"was killed after {took}: {last}")
    require(ended.status >= 0, f"ended by signal {-ended.status}: {last}")
    require("Traceback" not in ended.said, f"a traceback: {last}")
    require("Warning: " not in ended.said, f"a library's warning: {last}")
    require(ended.memory < MEMORY, f"took {ended.memory / 2**20:.0f} MiB: {last}")


def refused(ended: Ended, *names: str) -> None:
    """Raises Lost where a program did not end with sentences that all have one of these names."""
    ended_well(ended)
    require(ended.status != 0, f"accepted: {ended.said[-300:]}")
    require(ended.errors, f"status {ended.status}, but no sentence: {ended.said[-300:]!r}")
    clear(ended.errors, names)


def clear(errors: Sequence[str], names: Sequence[str]) -> None:
    """Raises Lost where a line is no sentence about one of these names."""
    for line in errors:
        require(any(name in line for name in names), f"says not what it is about: {line[:400]!r}")
        require(len(line) <= LONGEST, f"{len(line):,} characters: {line[:200]!r}")
        require(line.isprintable(), f"control characters: {line[:200]!r}")


def contents(folder: Path) -> Stamps:
    """What tells each file in a folder from another, by name."""
    found = {}
    for path in folder.rglob("*"):
        if not path.is_dir():
            status = path.lstat()
            found[str(path.relative_to(folder))] = status.st_size, status.st_mtime_ns
    return found


def kept(folder: Path, before: Stamps) -> None:
    """Raises Lost where what was in a folder is no longer, or something is half written."""
    now = contents(folder)
    lost = [name for name, stamp in before.items() if now.get(name) != stamp]
    require(not lost, f"changed or gone: {', '.join(lost[:5])}")
    whole(folder)


def whole(folder: Path) -> None:
    """Raises Lost where something in a folder is half written."""
    half = [str(path) for pattern in UNFINISHED for path in folder.rglob(pattern)]
    require(not half, f"half written: {', '.join(half[:5])}")
