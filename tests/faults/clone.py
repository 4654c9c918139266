"""A clone with a tiny pipeline, what runs in it, and what an undisturbed run of it made."""

import json
import os
import shutil
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import mlflow
import psutil
import yaml
from mlflow.entities import Run

from conftest import environment, git, sh
from faults.table import Lost, require
from tiny import repository

LAST = {  # what each stage writes last
    "download": "data/dataset",
    "cache": "data/split.csv",
    "train": "data/copies/train",
    "finder": "data/copies/finder",
    "calibrate": "data/copies/calibrate",
    "evaluate": "data/copies/evaluate",
}
STEPS = 220  # of training: the state is saved after 100
PATIENCE = 300.0  # s for anything that should end by itself
DURATION = 30.0  # s within which what was stopped ends
Points = Counter[tuple[str, int]]  # how often each step of each curve is there
UNFINISHED = (".*.part", ".*.old", "*.holder")  # of files that are being written
WRITTEN = ("data", "models", "metrics", "checkpoints", ".dvc/tmp/download")


def made(folder: Path) -> Path:
    """A repository with a tiny pipeline that saves its training on the way; nothing has run."""
    repository(folder)
    values = yaml.safe_load((folder / "params.yaml").read_text())
    values["train"] |= {"steps": STEPS, "log_every": 10, "validate_every": 100}
    (folder / "params.yaml").write_text(yaml.safe_dump(values))
    git(folder, "commit", "-qam", "longer")
    return folder


@dataclass
class Clone:
    """A folder in which things are broken."""

    folder: Path
    tracking: str | None = None  # MLFLOW_TRACKING_URI; its own database where there is none
    mended: int = 0  # how often DVC's own lock was torn

    def start(self, *command: str) -> subprocess.Popen:
        """A program, in a session of its own, whose output goes to the file `log`."""
        more = {"OMP_NUM_THREADS": "1"}  # networks so small are slower on more
        more |= {"MLFLOW_TRACKING_URI": self.tracking} if self.tracking else {}
        with (self.folder.parent / f"{self.folder.name}.log").open("a") as log:
            return subprocess.Popen(
                command,
                cwd=self.folder,
                env=environment() | more,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    @property
    def said(self) -> str:
        """What the programs said so far."""
        log = self.folder.parent / f"{self.folder.name}.log"
        return log.read_text(errors="replace") if log.exists() else ""

    def mend_dvc(self) -> None:
        """Delete what DVC left that it cannot read itself, where it was killed while it wrote its
        lock or its run cache, as docs/reliability.md says to."""
        lock = self.folder / ".dvc/tmp/rwlock"
        with suppress(FileNotFoundError):
            try:
                json.loads(lock.read_text())
            except ValueError:
                lock.unlink()
                self.mended += 1
        for entry in (self.folder / ".dvc/cache/runs").glob("*/*/"):
            if not any(entry.iterdir()):
                entry.rmdir()
                self.mended += 1

    def run(self, *command: str) -> None:
        """A program that must succeed."""
        self.mend_dvc()
        before = len(self.said)
        process = self.start(*command)
        try:
            status = process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            raise Lost(f"`{' '.join(command)}` did not end: {self.said[before:][-300:]}") from None
        said = self.said[before:]
        require(status == 0, f"`{' '.join(command)}` ended with {status}: {said[-300:]}")
        require("Traceback" not in said, f"a traceback: {said[-600:]}")

    def processes(self, stage: str = "") -> list[psutil.Process]:
        """What runs in the folder, or in DVC's copies of it; of one stage, if it is named."""
        found = []
        for process in psutil.process_iter():
            try:
                words, place = process.cmdline(), Path(process.cwd())
            except (psutil.Error, OSError):
                continue
            if process.status() == psutil.STATUS_ZOMBIE or not words:
                continue
            inside = place.is_relative_to(self.folder)
            if inside and (not stage or words[-2:] == ["-m", f"stages.{stage}"]):
                found.append(process)
        return found

    def end(self, seconds: float = DURATION) -> None:
        """Wait until nothing runs here. Raises Lost where something does not end."""
        waited = time.monotonic() + seconds
        while left := self.processes():
            if time.monotonic() > waited:
                names = [" ".join(process.cmdline())[-80:] for process in left]
                for process in left:
                    process.kill()
                raise Lost(f"goes on after its parent was killed: {', '.join(names)}")
            time.sleep(0.05)

    def writing(self) -> bool:
        """Is a file half written at this moment?"""
        return any(
            next((self.folder / place).glob(pattern), None)
            for place in WRITTEN
            for pattern in UNFINISHED[:2]
        )

    def leftovers(self) -> list[str]:
        """Files that should be gone when all is done."""
        found = [
            path for place in WRITTEN for pattern in UNFINISHED
            for path in (self.folder / place).rglob(pattern)
        ]  # fmt: skip
        found += (self.folder / "checkpoints").glob("*.pt")
        found += (self.folder / ".dvc/tmp/tracking").glob("*")
        return [str(path.relative_to(self.folder)) for path in found]

    def client(self) -> mlflow.MlflowClient:
        return mlflow.MlflowClient(self.tracking or f"sqlite:///{self.folder}/mlflow.db")


@dataclass(frozen=True)
class Reference:
    """What an undisturbed run of the pipeline made."""

    folder: Path
    lock: dict  # dvc.lock: the digest of every input and output
    seconds: dict[str, float]  # that each stage took
    points: dict[str, Points]  # of the training of each network

    @classmethod
    def of(cls, folder: Path) -> "Reference":
        """Run it in a folder that is not there yet."""
        clone, seconds = Clone(made(folder)), {}
        for stage in LAST:
            start = time.monotonic()
            clone.run("dvc", "repro", "--single-item", stage)
            seconds[stage] = time.monotonic() - start
        trained = {network: points(clone, found[0]) for network, found in runs(clone).items()}
        return cls(folder, locked(folder), seconds, trained)

    @contextmanager
    def clone(self, name: str, done: bool = False) -> Iterator[Clone]:
        """A clone to break things in; with `done`, after the whole pipeline."""
        folder = self.folder.with_name(name)
        if done:
            shutil.copytree(self.folder, folder, symlinks=True)
            # Else DVC restores what is to be made anew.
            shutil.rmtree(folder / ".dvc/cache/runs")
        else:
            sh(self.folder.parent, "git", "clone", "-q", str(self.folder), str(folder))
        clone = Clone(folder)
        try:
            yield clone
        finally:
            for process in clone.processes():
                process.kill()
            shutil.rmtree(folder, ignore_errors=True)

    def check(self, clone: Clone) -> int:
        """Raises Lost where a clone that has run to its end differs in anything; returns what
        `check_runs` does."""
        require(locked(clone.folder) == self.lock, "other bytes than undisturbed")
        require("up to date" in sh(clone.folder, "dvc", "status"), "dvc status is not clean")
        left = clone.leftovers()
        require(not left, f"left over: {', '.join(left)}")
        return self.check_runs(clone)

    def check_runs(self, clone: Clone) -> int:
        """Raises Lost where MLflow does not hold each training, with each of its points once.

        Returns how often one was trained again after its end, which DVC was killed before it could
        record.
        """
        again = 0
        for network, found in runs(clone).items():
            status = [run.info.status for run in found]
            require(set(status) == {"FINISHED"}, f"runs of the {network} are {status}")
            complete = [run.data.tags.get("complete") for run in found]
            require(set(complete) == {"true"}, f"runs of the {network} are incomplete")
            now = points(clone, found[0])
            missing, more = self.points[network] - now, now - self.points[network]
            said = f"points of the {network}: missing {list(missing)[:3]}, more {list(more)[:3]}"
            require(not missing and not more, said)
            again += len(found) - 1
        return again


def locked(folder: Path) -> dict:
    """What dvc.lock says."""
    return yaml.safe_load((folder / "dvc.lock").read_text())


def runs(clone: Clone) -> dict[str, list]:
    """The MLflow runs of the generator and of the finder, the newest first."""
    client, found = clone.client(), {}
    for network, ending in (("generator", "figures"), ("finder", "figures-finder")):
        if experiment := client.get_experiment_by_name(f"adversarial-posenet-{ending}"):
            found[network] = list(client.search_runs([experiment.experiment_id]))
    return found


def points(clone: Clone, run: Run) -> Points:
    """How often a run has each step of each of its curves, but for those of the machine."""
    found = Counter()
    for name in run.data.metrics:
        if not name.startswith("system/"):
            history = clone.client().get_metric_history(run.info.run_id, name)
            found.update((name, point.step) for point in history)
    return found
