"""Programs that are killed: at any moment, by any signal, alone or with all around them."""

import os
import signal
import subprocess
import time
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from itertools import cycle, product

import numpy as np
import psutil
from tqdm import tqdm

from conftest import sh
from faults.clone import LAST, PATIENCE, Clone, Reference, locked
from faults.table import Lost, Table, require

MOMENTS = ("at its start", "in its work", "while it writes", "at its end")
SIGNALS = (signal.SIGKILL, signal.SIGTERM, signal.SIGINT)
TARGETS = ("the stage", "dvc", "the group")
SHARE_ASIDE = 0.1  # of all faults, from which on experiments that run aside are killed too
SWALLOWED = "Remainder of file ignored"  # said by Python of a SIGINT while it read a .pth
KILLS = 216  # of the whole suite: each stage, moment, signal and target once


@dataclass(frozen=True)
class Kill:
    """One of them."""

    stage: str
    moment: str
    number: signal.Signals
    target: str

    @property
    def kind(self) -> str:
        """Its row of the table."""
        return f"{self.number.name}, {self.target}"


def plan(rng: np.random.Generator, count: int) -> list[list[Kill]]:
    """Chains of kills, from the first stage to the last, in which all there are come in turn."""
    ways = cycle(rng.permutation(list(product(range(3), range(3)))).tolist())
    chains = []
    while sum(map(len, chains)) < count:
        chain = [
            Kill(stage, moment, SIGNALS[number], TARGETS[target])
            for stage, moment in product(LAST, MOMENTS)
            for number, target in [next(ways)]
        ]
        next(ways)  # 24 is no multiple of 9, but of 3: shifted, each moment sees each way
        chains.append(chain)
    short = sum(map(len, chains)) - count
    if short and len(chains) == 1:  # a few, from all over
        chosen = np.sort(rng.permutation(len(chains[0]))[:count])
        return [[chains[0][k] for k in chosen]]
    return chains


def run(table: Table, reference: Reference, share: float, rng: np.random.Generator) -> None:
    """All chains, each in a clone of its own; then the queue and copies of the repository."""
    chains = plan(rng, max(round(share * KILLS), 4))
    bar = tqdm(total=sum(map(len, chains)), desc="kills", unit=" kills")
    for number, chain in enumerate(chains):
        with reference.clone(f"kills-{number}") as clone:
            for kill in chain:
                table.attempt(kill.kind, partial(killed, clone, reference, kill, rng))
                bar.update()
            kind = f"... {len(chains)} times to the end, then"
            table.attempt(kind, partial(finished, clone, reference, table))
            if clone.mended:
                table.count(
                    "DVC's own lock, or run cache, torn by a kill, and deleted by hand",
                    clone.mended,
                )
    bar.close()
    if share >= SHARE_ASIDE:
        aside(table, reference, share, rng)


def killed(clone: Clone, reference: Reference, kill: Kill, rng: np.random.Generator) -> None:
    """Start the pipeline, kill something at a moment of a stage, and wait until nothing runs."""
    clone.mend_dvc()
    process = clone.start("dvc", "repro", kill.stage)
    before = stamp(clone, kill.stage)
    stage = appeared(clone, process, kill.stage)
    if stage is None:
        require(process.wait() == 0, f"dvc repro {kill.stage}: {clone.said[-300:]}")
        return  # nothing was left to do: a kill at its end came too late for this stage
    wait_for(kill.moment, clone, stage, reference.seconds[kill.stage], before, rng)
    try:
        if kill.target == "the stage":
            stage.send_signal(kill.number)
        elif kill.target == "dvc":
            process.send_signal(kill.number)
        else:
            os.killpg(process.pid, kill.number)
    except (psutil.NoSuchProcess, ProcessLookupError):
        pass
    try:
        process.wait(60)
    except subprocess.TimeoutExpired:
        if SWALLOWED in clone.said:  # by Python: nobody heard it, and the stage goes on to its end
            with suppress(subprocess.TimeoutExpired):
                process.wait(PATIENCE)
        if process.returncode == 0:
            return
        os.killpg(process.pid, signal.SIGKILL)
        raise Lost(f"{kill} did not end dvc: {clone.said[-300:]}") from None
    clone.end()


def appeared(
    clone: Clone, process: subprocess.Popen, stage: str, seconds: float = 0.0
) -> psutil.Process | None:
    """The stage's process, once there; None where dvc ends, and so many seconds pass, without
    it."""
    waited = time.monotonic() + seconds
    while process.poll() is None or time.monotonic() < waited:
        if found := clone.processes(stage):
            return found[0]
        time.sleep(0.01)
    return None


def wait_for(
    moment: str,
    clone: Clone,
    stage: psutil.Process,
    seconds: float,
    before: object,
    rng: np.random.Generator,
) -> None:
    """Until a moment of a stage, or its end."""
    if moment == MOMENTS[0]:
        time.sleep(rng.uniform(0, 0.3))
        return
    if moment == MOMENTS[1]:
        time.sleep(rng.uniform(0.2, 0.9) * seconds)
        return
    name = stage.cmdline()[-1].removeprefix("stages.")
    while stage.is_running() and stage.status() != psutil.STATUS_ZOMBIE:
        if moment == MOMENTS[2] and clone.writing():
            return
        if moment == MOMENTS[3] and stamp(clone, name) != before:
            return
        time.sleep(0.002)


def stamp(clone: Clone, stage: str) -> object:
    """What tells whether a stage's last output is another."""
    path = clone.folder / LAST[stage]
    try:
        return path.stat().st_mtime_ns, path.stat().st_ino
    except OSError:
        return None


def finished(clone: Clone, reference: Reference, table: Table) -> None:
    """Let it run to its end: it must have made what an undisturbed one makes."""
    clone.run("dvc", "repro")
    # The machine may be too busy for all to be sent in the minute that a stage waits.
    if any((clone.folder / ".dvc/tmp/tracking").glob("*")):
        clone.run("python", "-m", "pipeline", "track", "--resend")
        table.count("a store that had not all at the end, sent by `track --resend`", 1)
    if again := reference.check(clone):
        table.count("trained again: DVC was killed between a stage's end and its record", again)


def aside(table: Table, reference: Reference, share: float, rng: np.random.Generator) -> None:
    """Kill trainings in DVC's temporary copies of the repository: of `dvc exp run --temp`, and of
    the queue's worker. What they saved serves the next, and one run stands for all."""
    times = max(round(share * 9), 1)
    for way in ("exp run --temp", "queue start"):
        with reference.clone(f"aside-{way.split()[0]}") as clone:
            for name, number in zip(range(times), cycle(SIGNALS), strict=False):
                kind = f"{number.name}, dvc {way}"
                table.attempt(kind, partial(beside, clone, way, name, number, rng))
            table.attempt(f"... dvc {way} to the end", partial(kept, clone, way, reference))


def beside(
    clone: Clone, way: str, name: int, number: signal.Signals, rng: np.random.Generator
) -> None:
    """Kill the training of an experiment that runs aside."""
    process = experiment(clone, way, f"killed-{name}")
    stage = appeared(clone, process, "train", PATIENCE)
    require(stage, f"no training began: {clone.said[-300:]}")
    time.sleep(rng.uniform(3, 12))
    with suppress(psutil.NoSuchProcess):  # it has ended
        stage.send_signal(number)
    process.wait()
    clone.run("dvc", "queue", "stop", "--kill")
    clone.end(60)


def experiment(clone: Clone, way: str, name: str) -> subprocess.Popen:
    """Begin an experiment, of the reference's parameters, aside."""
    if way == "exp run --temp":
        return clone.start("dvc", "exp", "run", "--temp", "--force", "--name", name)
    clone.run("dvc", "exp", "run", "--queue", "--force", "--name", name)
    return clone.start("dvc", "queue", "start")


def kept(clone: Clone, way: str, reference: Reference) -> None:
    """An experiment that is not killed ends as the reference did, by what the others left."""
    process = experiment(clone, way, "whole")
    require(process.wait(PATIENCE) == 0, f"it failed: {clone.said[-300:]}")
    waited = time.monotonic() + PATIENCE
    while "whole" not in sh(clone.folder, "dvc", "exp", "list", "--name-only").split():
        require(time.monotonic() < waited, f"it did not end: {clone.said[-300:]}")
        time.sleep(1)
    clone.run("dvc", "queue", "stop", "--kill")
    clone.end(60)
    clone.run("dvc", "exp", "apply", "whole")
    require(locked(clone.folder) == reference.lock, "other bytes than undisturbed")
    reference.check_runs(clone)
    require(not clone.leftovers(), f"left over: {clone.leftovers()}")
