"""One training of several processes, of which some are killed: ranks, and whole machines' agents.

An agent is a train stage that is torchrun; two of them, each in a clone of its own with one folder
of saved states, stand for two machines.
"""

import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import partial
from itertools import count

import numpy as np
import psutil
from tqdm import tqdm

import servers
from faults.clone import PATIENCE, Clone, Reference, runs
from faults.table import Lost, Table, require
from pipeline import paths
from pipeline.files import digest

KILLS = 20  # of the whole suite
SHARE = {"rank": 0.6, "agent": 0.2}  # of them; the rest are agents of two, that come back
ONE = "--standalone --nproc-per-node 2 --max-restarts 1000"
MEETING = "--nnodes 1:2 --nproc-per-node 1 --max-restarts 1000 --rdzv-backend c10d --rdzv-id faults"
TRAIN = ("python", "-m", "stages.train")


def run(table: Table, reference: Reference, share: float, rng: np.random.Generator) -> None:
    """Each kind of kill in turn, each training to its end; it must have made what one that nobody
    disturbed made."""
    total = max(round(share * KILLS), 3)
    ranks, agents = (max(round(part * total), 1) for part in SHARE.values())
    with prepared(reference, "ranks") as clone:
        trained(clone, ONE)
        weights = digest(clone.folder / paths.WEIGHTS)
        bar = tqdm(total=total, desc="ranks", unit=" kills")
        rest = {"a rank": ranks, "the agent": agents}
        for kind, kills in rest.items():
            name = f"SIGKILL, {kind} of two processes"
            kill = killed_ranks if kind == "a rank" else killed_agents
            table.attempt(name, partial(kill, clone, weights, kills, rng), kills)
            bar.update(kills)
        left = max(total - ranks - agents, 1)
        name = "SIGKILL, one of two machines' agents, which comes back"
        table.attempt(name, partial(rejoined, reference, clone, left, rng), left)
        bar.close()


@contextmanager
def prepared(reference: Reference, name: str) -> Iterator[Clone]:
    """A clone with the data of a training and without its results."""
    with reference.clone(name, done=True) as clone:
        forget(clone)
        yield clone


def forget(clone: Clone) -> None:
    """Let nothing be trained, and nothing be tracked."""
    for path in (paths.WEIGHTS, paths.LEARNING_CURVE, "mlflow.db"):
        (clone.folder / path).unlink(missing_ok=True)
    shutil.rmtree(clone.folder / ".dvc/tmp/tracking", ignore_errors=True)


def start(clone: Clone, options: str, *more: str) -> subprocess.Popen:
    """A train stage that is torchrun."""
    return clone.start("env", *more, f"POSENET_TORCHRUN={options}", *TRAIN)


def trained(clone: Clone, options: str) -> None:
    """A training to its end."""
    process = start(clone, options)
    require(process.wait(PATIENCE) == 0, f"it failed: {clone.said[-300:]}")


def at_work(clone: Clone, process: subprocess.Popen) -> list[psutil.Process]:
    """Wait until an agent's processes train: its curve is written anew; they, or none at its
    end."""
    curve, waited = clone.folder / paths.LEARNING_CURVE, time.monotonic() + PATIENCE
    curve.unlink(missing_ok=True)
    while process.poll() is None and not curve.exists():
        require(time.monotonic() < waited, f"nothing is trained: {clone.said[-300:]}")
        time.sleep(0.02)
    with suppress(psutil.NoSuchProcess):
        return psutil.Process(process.pid).children()
    return []


def killed_ranks(clone: Clone, weights: str, kills: int, rng: np.random.Generator) -> None:
    """Kill one process after another of a training, which torchrun starts again."""
    forget(clone)
    done = 0
    while done < kills:
        process = start(clone, ONE)
        while done < kills and (ranks := at_work(clone, process)):
            time.sleep(rng.uniform(0, 1.5))
            with suppress(psutil.NoSuchProcess):
                ranks[rng.integers(len(ranks))].kill()
            done += 1
        require(process.wait(PATIENCE) == 0, f"it failed: {clone.said[-300:]}")
        same(clone, weights)


def killed_agents(clone: Clone, weights: str, kills: int, rng: np.random.Generator) -> None:
    """Kill torchrun itself: nothing of it may go on, and the next start does."""
    forget(clone)
    for _ in range(kills):
        process = start(clone, ONE)
        at_work(clone, process)
        time.sleep(rng.uniform(0, 1.5))
        process.kill()
        process.wait()
        clone.end()
    trained(clone, ONE)
    same(clone, weights)


def rejoined(reference: Reference, clone: Clone, kills: int, rng: np.random.Generator) -> None:
    """Kill the second of two machines' agents, again and again; it comes back, and both end with
    the same weights. How many trained is not the same from run to run, so neither are those."""
    forget(clone)
    with prepared(reference, "ranks-second") as second:
        port = servers.free_port()
        shared = f"POSENET_CHECKPOINTS={clone.folder / 'checkpoints'}"
        options = f"{MEETING} --rdzv-endpoint 127.0.0.1:{port}"
        first = start(clone, options, shared)
        at_work(clone, first)
        for killed in count():
            other = start(second, options, shared)
            at_work(second, other)
            if killed == kills or first.poll() is not None:
                break
            time.sleep(rng.uniform(0, 1.0))
            other.kill()
            other.wait()
            second.end()
        require(first.wait(PATIENCE) == 0, f"the first failed: {clone.said[-300:]}")
        require(killed == kills, f"the training ended after {killed} of {kills} kills")
        require(other.wait(PATIENCE) == 0, f"the second failed: {second.said[-300:]}")
        same(second, digest(clone.folder / paths.WEIGHTS))


def same(clone: Clone, weights: str) -> None:
    """Raises Lost where a training that has ended made other weights, or left something."""
    if digest(clone.folder / paths.WEIGHTS) != weights:
        raise Lost("other weights than undisturbed")
    require(not clone.leftovers(), f"left over: {clone.leftovers()}")
    for found in runs(clone).values():
        status = [run.info.status for run in found]
        require(set(status) == {"FINISHED"}, f"runs are {status}")
