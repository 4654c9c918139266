"""People who train at once in clones of their own, with a team's home between them; and the counts
of what must be there afterwards, in MLflow, in the DVC remote, in Git."""

import csv
import hashlib
import json
import subprocess
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import mlflow
import pytest
import yaml
from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository

from conftest import environment, git, sh
from pipeline.files import digest
from team_home import Home
from tiny import repository

EXPERIMENT = "adversarial-posenet-figures"
PUSHED = ("train", "finder", "calibrate", "evaluate")
WEIGHTS = "models/generator.safetensors"
ARTIFACTS = ("params.yaml", "pictures", "report.html")
Disturb = Callable[[list[subprocess.Popen]], None]


@dataclass
class Clone:
    """A person's, with her password and key in the environment and in .dvc/config.local."""

    folder: Path
    member: dict[str, str]

    def words(self, *command: str) -> tuple[str, ...]:
        more = self.member | {"OMP_NUM_THREADS": "1"}  # networks so small are slower on more
        return "env", *(f"{name}={value}" for name, value in more.items()), *command

    def run(self, *command: str) -> str:
        return sh(self.folder, *self.words(*command))

    @contextmanager
    def client(self) -> Iterator[mlflow.MlflowClient]:
        """Hers; MLflow takes a password from the environment alone."""
        with pytest.MonkeyPatch.context() as patch:
            for name, value in self.member.items():
                patch.setenv(name, value)
            patch.setenv("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
            yield mlflow.MlflowClient(self.member["MLFLOW_TRACKING_URI"])


class Team:
    """A bare Git remote, and clones that know the home."""

    def __init__(self, folder: Path, home: Home) -> None:
        self.folder, self.home = folder, home
        self.members: dict[str, Clone] = {}
        first = repository(folder / "first")
        sh(first, "dvc", "remote", "add", "--default", "team", "s3://dvc/posenet")
        sh(first, "dvc", "remote", "modify", "team", "endpointurl", home.objects.address)
        sh(first, "dvc", "repro", "download", "cache")
        git(first, "add", "-A")
        git(first, "commit", "-qm", "a remote of the team's, and the data")
        git(folder, "clone", "-q", "--bare", str(first), "shared.git")

    def join(self, name: str) -> Clone:
        """A new member, who clones, and makes the data, which is never pushed."""
        git(self.folder, "clone", "-q", "shared.git", name)
        clone, key = Clone(self.folder / name, self.home.tracking.member(name)), self.key
        for option, value in (("access_key_id", key.id), ("secret_access_key", key.secret)):
            sh(clone.folder, "dvc", "remote", "modify", "--local", "team", option, value)
        clone.run("dvc", "repro", "download", "cache")
        self.members[name] = clone
        return clone

    @property
    def key(self):
        return self.home.objects.keys["dvc"]

    @property
    def secrets(self) -> set[str]:
        passwords = {each.member["MLFLOW_TRACKING_PASSWORD"] for each in self.members.values()}
        return self.home.secrets | passwords

    def train(
        self, names: dict[str, list[str]], *options: str, disturb: Disturb | None = None
    ) -> None:
        """Experiments of the members, all at once; each has a seed, and so a result, of its own.

        options: of `dvc exp run`. disturb: what is done to the home meanwhile.
        """
        for name in names:
            self.join(name)
        started, seed = [], 0
        for member, experiments in names.items():
            for experiment in experiments:
                seed += 1
                clone, log = self.members[member], self.folder / f"{experiment}.log"
                command = ("dvc", "exp", "run", "--temp", "--name", experiment)
                with log.open("w") as file:
                    started.append(
                        subprocess.Popen(
                            clone.words(*command, "-S", f"train.seed={seed}", *options),
                            cwd=clone.folder,
                            env=environment(),
                            stdout=file,
                            stderr=file,
                        )
                    )
        try:
            if disturb:
                disturb(started)
            for process in started:
                assert process.wait(900) == 0, self.logs()
        finally:
            for process in started:
                process.kill()
        for member, experiments in names.items():
            said = self.members[member].run("python", "-m", "pipeline", "track", "--resend")
            assert all(line.endswith((": sent", "nothing waits")) for line in said.splitlines())
            for experiment in experiments:
                self.members[member].run("dvc", "exp", "push", "--run-cache", "origin", experiment)

    def logs(self) -> str:
        return "\n".join(path.read_text()[-2000:] for path in self.folder.glob("*.log"))


def counted(team: Team, experiments: list[str]) -> Counter[str]:
    """What is there of each experiment, seen by a new member from a new clone.

    Raises AssertionError where something is missing, there twice, or other than it was made.
    """
    clone, counts = team.join("later"), Counter()
    with clone.client() as client:
        place = client.get_experiment_by_name(EXPERIMENT).experiment_id
        found = client.search_runs([place])
        assert sorted(run.info.run_name for run in found) == sorted(experiments)
        for run in found:
            name = run.info.run_name
            clone.run("git", "checkout", "--quiet", "--", ".")
            clone.run("dvc", "exp", "pull", "origin", name)
            clone.run("dvc", "exp", "apply", name)
            assert digest(clone.folder / WEIGHTS) == run.data.tags["model.sha256"]
            counts["runs"] += 1
            counts["points"] += points(client, run, clone.folder / "metrics/learning_curve.csv")
            counts["artifacts"] += artifacts(client, run, team.folder / f"artifacts-{name}")
            counts["outputs pulled"] += outputs(clone.folder)
        versions = client.search_model_versions(f"name = '{EXPERIMENT}'")
        assert sorted(v.run_id for v in versions) == sorted(run.info.run_id for run in found)
        champion = client.get_model_version_by_alias(EXPERIMENT, "champion")
        assert champion.tags["score"] == max((v.tags["score"] for v in versions), key=float)
        counts["versions"] += len(versions)
    return counts


def outputs(folder: Path) -> int:
    """How many files the stages that are pushed have in a clone, each as dvc.lock says."""
    stages, count = yaml.safe_load((folder / "dvc.lock").read_text())["stages"], 0
    for stage in PUSHED:
        for out in stages[stage]["outs"]:
            path = folder / out["path"]
            files = [each for each in path.rglob("*") if each.is_file()] or [path]
            assert (md5_of_folder(path) if path.is_dir() else md5(path)) == out["md5"], out
            count += len(files)
    return count


def md5(path: Path) -> str:
    return hashlib.md5(path.read_bytes(), usedforsecurity=False).hexdigest()


def md5_of_folder(folder: Path) -> str:
    """As DVC names a folder: by the names and hashes of all files in it."""
    files = {each.relative_to(folder).as_posix(): each for each in folder.rglob("*")}
    entries = [{"md5": md5(files[name]), "relpath": name} for name in sorted(files)
               if files[name].is_file()]  # fmt: skip
    said = json.dumps(entries, sort_keys=True).encode()
    return f"{hashlib.md5(said, usedforsecurity=False).hexdigest()}.dir"


def points(client: mlflow.MlflowClient, run, curve: Path) -> int:
    """How many points a training's curves have, each once, with the value that the stage wrote."""
    assert run.info.status == "FINISHED" and run.data.tags["complete"] == "true"
    count = 0
    with curve.open(newline="") as lines:
        rows = list(csv.DictReader(lines))
    for name in rows[0]:
        if name == "step":
            continue
        written = sorted((int(row["step"]), float(row[name])) for row in rows if row[name])
        history = client.get_metric_history(run.info.run_id, name)
        there = sorted((point.step, point.value) for point in history)
        assert [step for step, _ in there] == [step for step, _ in written], name
        assert all(abs(a - b) <= 1e-4 * max(abs(b), 1) for (_, a), (_, b) in zip(
            there, written, strict=True)), name  # fmt: skip
        count += len(there)
    return count


def artifacts(client: mlflow.MlflowClient, run, folder: Path) -> int:
    """How many files a run and its model have, all downloaded."""
    (output,) = run.outputs.model_outputs
    model = client.get_logged_model(output.model_id)
    assert model.status == "READY"
    count = 0
    for number, address in enumerate((run.info.artifact_uri, model.artifact_location)):
        (folder / str(number)).mkdir(parents=True)
        repository = get_artifact_repository(address, tracking_uri=client.tracking_uri)
        repository.download_artifacts("", str(folder / str(number)))
        files = [path for path in (folder / str(number)).rglob("*") if path.is_file()]
        count += len(files)
    assert all((folder / "0" / name).exists() for name in ARTIFACTS)
    (weights,) = (folder / "1").rglob(Path(WEIGHTS).name)
    assert digest(weights) == run.data.tags["model.sha256"]
    return count


def told(team: Team) -> list[str]:
    """Where a password or a secret key is found that has no place there."""
    found, needles = [], [each.encode() for each in team.secrets]
    bare = team.folder / "shared.git"
    commits = sh(bare, "git", "log", "--all", "-p", "--format=%B%an%ae").encode()
    found += ["a commit"] * any(each in commits for each in needles)
    places = [path for path in team.folder.rglob("*") if path.is_file() and not path.is_symlink()]
    for path in [*places, *team.home.logs]:
        if path.name != "config.local" and path.stat().st_size < 2**24:
            content = path.read_bytes()
            found += [str(path)] * any(each in content for each in needles)
    with next(iter(team.members.values())).client() as client:
        for experiment in client.search_experiments():
            for run in client.search_runs([experiment.experiment_id]):
                content = repr(run.to_dictionary()).encode()
                found += [run.info.run_name] * any(each in content for each in needles)
    return found


def restarts(team: Team, times: int, pause: float = 10.0, down: float = 5.0) -> Disturb:
    """Kill PostgreSQL and the S3 server in turn while trainings run; each comes back."""

    def disturb(processes: list[subprocess.Popen]) -> None:
        with next(iter(team.members.values())).client() as client:
            wait_for_points(client, processes)
        for number in range(times):
            part = (team.home.database, team.home.objects)[number % 2]
            assert any(process.poll() is None for process in processes), "all have ended"
            part.kill()
            time.sleep(down)
            part.start()
            time.sleep(pause)

    return disturb


def wait_for_points(client: mlflow.MlflowClient, processes: list[subprocess.Popen]) -> None:
    """Until a run of each training has told something."""
    waited = time.monotonic() + 600
    while time.monotonic() < waited:
        assert all(process.poll() is None for process in processes), "a training ended too early"
        if experiment := client.get_experiment_by_name(EXPERIMENT):
            found = client.search_runs([experiment.experiment_id])
            if sum(bool(run.data.metrics) for run in found) == len(processes):
                return
        time.sleep(1)
    raise AssertionError("trainings told nothing")
