"""A sweep of eight trials on a Ray cluster of two nodes, whose workers and nodes are killed; then
everything is counted, and compared with the same trials run on one machine."""

import json
import time
from collections.abc import Iterator
from contextlib import suppress
from itertools import cycle
from pathlib import Path

import mlflow
import numpy as np
import psutil
import yaml
from tqdm import tqdm

import servers
import sweeping
from conftest import git, sh
from faults.table import Table, require
from pipeline.sweeps import space
from teamwork import PUSHED

NAME, GRID = "faults", "train.alpha=0,0.001,0.002,0.005,0.01,0.02,0.05,0.1"
WORKERS, NODES = 5, 2  # that are killed
CHANGES = {"train.steps": 220, "train.log_every": 10, "train.validate_every": 100}
LONGEST = 3600.0  # s of the whole sweep
MEASURES = ("metrics/validation.json", "metrics/test.json")


def run(table: Table, folder: Path, rng: np.random.Generator) -> None:
    """One sweep, one row; skipped with a reason where there is no Ray."""
    kind = f"SIGKILL of {WORKERS} of a sweep's workers and {NODES} of its nodes, under 8 trials"
    if reason := sweeping.missing():
        print(f"sweep: {reason}")
        return

    def attempt() -> None:
        folder.mkdir(parents=True)
        words = (
            "server",
            "--workers",
            "1",
            "--backend-store-uri",
            f"sqlite:///{folder}/mlflow.db",
            "--artifacts-destination",
            f"{folder}/artifacts",
        )
        with servers.running(*words, folder=folder, log=folder / "mlflow.log", ready="/health") as (
            address,
            _,
        ):
            team = sweeping.Team.of(folder, address, CHANGES)
            start = time.monotonic()
            swept(team, rng)
            minutes = (time.monotonic() - start) / 60
            counted(team, mlflow.MlflowClient(address))
        start = time.monotonic()
        compared(team)
        alone = (time.monotonic() - start) / 60
        table.notes[kind] = (
            f"nothing: 8 experiments, 8 finished runs, each once, the same bits as on one machine"
            f" ({minutes:.0f} minutes; there, undisturbed, one after the other, {alone:.0f})"
        )  # fmt: skip

    table.attempt(kind, attempt, WORKERS + NODES)


def swept(team: sweeping.Team, rng: np.random.Generator) -> None:
    """The sweep to its end, while a worker dies, and another, then a node, which comes back."""
    shared = {"POSENET_CHECKPOINTS": str(team.folder / "checkpoints")}
    with sweeping.cluster(team.folder) as cluster:
        cluster.start("head", cpus=0)
        for name in ("one", "two"):
            cluster.start(name)
        process = team.start(cluster, NAME, "-S", GRID, "--retries", "20", **shared)
        deadline = time.monotonic() + LONGEST
        bar = tqdm(total=WORKERS + NODES, desc="sweep", unit=" kills")
        for victim, name in zip(plan(), cycle(("one", "two"))):
            node = cluster.nodes[name]
            while not (at_work := node.workers()) and process.poll() is None:
                require(time.monotonic() < deadline, f"no trial on {name}: {team.said[-300:]}")
                time.sleep(0.2)
            time.sleep(rng.uniform(0, 15))
            require(process.poll() is None, f"the sweep ended too early: {team.said[-300:]}")
            if victim == "node":
                node.kill()
                time.sleep(rng.uniform(0, 10))
                cluster.start(name)
            else:
                with suppress(psutil.Error):
                    at_work[0].kill()
            bar.update()
        bar.close()
        status = process.wait(max(deadline - time.monotonic(), 1))
        require(status == 0, f"the sweep ended with {status}: {team.said[-600:]}")
        require("8/8" in team.said, f"not all trials: {team.said[-300:]}")


def plan() -> Iterator[str]:
    """What is killed, in turn."""
    yield from ("worker", "worker", "node", "worker", "worker", "node", "worker")


def counted(team: sweeping.Team, client: mlflow.MlflowClient) -> None:
    """Raises Lost where an experiment or a run is missing or there twice, or an output is."""
    names = sorted(trial.name for trial in space.grid(NAME, [GRID]))
    there = team.experiments()
    require(sorted(there) == names, f"experiments on the remote: {sorted(there)}")
    place = client.get_experiment_by_name("adversarial-posenet-figures").experiment_id
    found = client.search_runs([place])
    done = sorted(each.info.run_name for each in found if each.info.status == "FINISHED")
    require(done == names, f"finished runs in MLflow: {done}")
    require({each.data.tags["sweep"] for each in found} == {NAME}, "runs of other sweeps")
    late = team.clone("late")
    sh(late, "dvc", "repro", "download", "cache")  # which are never pushed
    for name in names:
        git(late, "clean", "-fdq")
        git(late, "reset", "-q", "--hard")
        sh(late, "dvc", "exp", "pull", "origin", name)
        sh(late, "dvc", "exp", "apply", name)
        outs = outputs(team.folder / "shared.git", there[name])
        missing = [path for path in outs if not (late / path).exists()]
        require(not missing, f"{name}: not pulled: {', '.join(missing)}")


def outputs(repository: Path, commit: str) -> dict[str, str]:
    """What the pushed stages of an experiment made: hash by path."""
    stages = yaml.safe_load(git(repository, "show", f"{commit}:dvc.lock"))["stages"]
    return {out["path"]: out["md5"] for stage in PUSHED for out in stages[stage]["outs"]}


def compared(team: sweeping.Team) -> None:
    """Raises Lost where a trial made other bytes than on one machine, without Ray."""
    clone, there = team.clone("alone"), team.experiments()
    bare = team.folder / "shared.git"
    for trial in tqdm(space.grid(NAME, [GRID]), desc="on one machine", unit=" trials"):
        words = [word for override in trial.overrides for word in ("-S", override)]
        own = ("env", "OMP_NUM_THREADS=1", "dvc", "exp", "run", "--name", trial.name, *words)
        sh(clone, *own)
        commit = next(line.split()[0] for line in git(clone, "show-ref").splitlines()
                      if line.endswith(f"/{trial.name}"))  # fmt: skip
        made, expected = outputs(clone, commit), outputs(bare, there[trial.name])
        other = [path for path, md5 in expected.items() if made[path] != md5]
        require(not other, f"{trial.name}: other bytes of {', '.join(other)}")
        for path in MEASURES:
            ours, theirs = (
                json.loads(git(place, "show", f"{revision}:{path}"))
                for place, revision in ((clone, commit), (bare, there[trial.name]))
            )
            require(ours == theirs, f"{trial.name}: other numbers in {path}")
        git(clone, "clean", "-fdq")
        git(clone, "reset", "-q", "--hard")
