"""Time and memory, measured so that a shared machine's moods cancel out of the ratios."""

import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

import torch

Work = Callable[[], object]


def race(
    *works: Work, rounds: int, device: torch.device | None = None, calls: int = 1
) -> list[float]:
    """Median seconds of a call of each of some works, which take turns: a slow minute slows all
    alike.

    calls: in a row, in each turn; for what is too short to be timed, or to find its memory warm, by
    itself.
    """
    times: list[list[float]] = [[] for _ in works]
    for work in works:  # the first call allocates, compiles and imports
        work()
    for _ in range(rounds):
        for work, each in zip(works, times, strict=True):
            synchronise(device)
            start = time.perf_counter()
            for _ in range(calls):
                work()
            synchronise(device)
            each.append((time.perf_counter() - start) / calls)
    return [median(each) for each in times]


def synchronise(device: torch.device | None) -> None:
    if device is not None and device.type == "cuda":
        torch.cuda.synchronize(device)


def process(*command: str, cwd: Path | None = None, env: dict | None = None) -> str:
    """Run a program to its end and return what it printed; its failure is ours."""
    done = subprocess.run(command, check=False, cwd=cwd, env=env, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)} failed:\n{done.stdout}{done.stderr}")
    return done.stdout


def peak_memory(*command: str, cwd: Path | None = None, env: dict | None = None) -> int:
    """Peak memory, bytes, that a program holds beside the files that it maps (Linux)."""
    running = subprocess.Popen(
        command, cwd=cwd, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    peak = 0
    while running.poll() is None:
        lines = Path(f"/proc/{running.pid}/status").read_text().splitlines()
        held = [int(line.split()[1]) * 1024 for line in lines if line.startswith("RssAnon")]
        peak = max([peak, *held])
        time.sleep(0.02)
    if running.returncode:
        raise RuntimeError(f"{' '.join(command)} failed with status {running.returncode}")
    return peak
