"""A Ray cluster on one machine, whose nodes each have a folder of clones of their own, as machines
have; and a team to sweep for: a bare Git remote, and a folder as DVC's remote."""

import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path

import psutil
import yaml

import servers
from conftest import ROOT, environment, git, sh
from tiny import repository

PACKAGES = ("optuna", "ray")  # of the extra `sweep`


def missing() -> str:
    """Why there can be no sweep here; empty where there can."""
    lacking = [name for name in PACKAGES if find_spec(name) is None]
    said = f"no {', '.join(lacking)}: `pip install -r requirements-sweep.txt`"
    return said if lacking else ""


@dataclass
class Node:
    """`ray start`, in a session of its own, and all that it started."""

    process: subprocess.Popen
    folder: Path  # of its clones
    log: Path

    def family(self) -> list[psutil.Process]:
        with suppress(psutil.NoSuchProcess):
            parent = psutil.Process(self.process.pid)
            return [*parent.children(recursive=True), parent]
        return []

    def workers(self) -> list[psutil.Process]:
        """Ray's processes that run a trial now."""
        found = []
        for process in self.family():
            with suppress(psutil.Error):
                if process.name().startswith("ray::run"):
                    found.append(process)
        return found

    def kill(self) -> None:
        """All at once, as a machine that loses power."""
        for process in self.family():
            with suppress(psutil.Error):
                process.kill()
        self.process.wait()


@dataclass
class Cluster:
    """Ray, on loopback alone in intent: what it starts listens on all interfaces."""

    folder: Path
    port: int = field(default_factory=servers.free_port)
    nodes: dict[str, Node] = field(default_factory=dict)

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    def start(self, name: str, cpus: int = 1, **more: str) -> Node:
        """A node, ready; the first one is the head. more: of its environment."""
        head = ("--head", "--port", str(self.port), "--include-dashboard=false")
        where = ("--address", self.address) if self.nodes else head
        log = self.folder / f"{name}.log"
        with log.open("w") as file:
            process = subprocess.Popen(
                [
                    sys.executable, "-m", "ray.scripts.scripts", "start", *where,
                    "--node-ip-address", "127.0.0.1", "--num-cpus", str(cpus), "--num-gpus", "0",
                    "--object-store-memory", str(80 * 10**6), "--block",
                ],
                cwd=self.folder,
                env=environment() | {
                    "POSENET_SWEEPS": str(self.folder / name), "PYTHONPATH": str(ROOT),
                    "RAY_USAGE_STATS_ENABLED": "0", "RAY_worker_niceness": "0",
                    "RAY_TMPDIR": str(self.temporary), "OMP_NUM_THREADS": "1",
                } | more,
                stdout=file,
                stderr=file,
                start_new_session=True,
            )  # fmt: skip
        self.nodes[name] = Node(process, self.folder / name, log)
        deadline = time.monotonic() + 60
        while "Ray runtime started" not in log.read_text():
            assert process.poll() is None and time.monotonic() < deadline, log.read_text()
            time.sleep(0.1)
        return self.nodes[name]

    @property
    def temporary(self) -> Path:
        """For Ray's sockets, whose paths must be short."""
        return Path(tempfile.gettempdir()) / f"ray-{self.port}"


@contextmanager
def cluster(folder: Path) -> Iterator[Cluster]:
    """One without nodes; those that are started end with it."""
    made = Cluster(folder)
    made.temporary.mkdir()
    try:
        yield made
    finally:
        for node in made.nodes.values():
            node.kill()
        shutil.rmtree(made.temporary, ignore_errors=True)


SMALL = {  # even smaller than tiny
    "train.steps": 4, "train.game_start": 0.5, "train.log_every": 2, "train.validate_every": 4,
}  # fmt: skip


@dataclass
class Team:
    """A bare Git remote and a caller's clone of it, whose commit sets up DVC's remote."""

    folder: Path
    tracking: str

    @classmethod
    def of(
        cls, folder: Path, tracking: str, changes: Mapping[str, object], last: str = "evaluate"
    ) -> "Team":
        """In a folder that is there. changes: of the tiny pipeline's parameters; last: of its
        stages, where the following are left out."""
        first = repository(folder / "first")
        sh(first, "dvc", "remote", "add", "--default", "team", str(folder / "remote"))
        values = yaml.safe_load((first / "params.yaml").read_text())
        for name, value in changes.items():
            group, _, key = name.partition(".")
            values[group][key] = value
        (first / "params.yaml").write_text(yaml.safe_dump(values))
        stages = yaml.safe_load((first / "dvc.yaml").read_text())["stages"]
        left = {name: stages[name] for name in [*stages][: [*stages].index(last) + 1]}
        (first / "dvc.yaml").write_text(yaml.safe_dump({"stages": left}, sort_keys=False))
        git(first, "commit", "-qam", "a remote of the team's")
        git(folder, "clone", "-q", "--bare", str(first), "shared.git")
        team = cls(folder, tracking)
        team.clone("caller")
        return team

    def clone(self, name: str) -> Path:
        git(self.folder, "clone", "-q", "shared.git", name)
        return self.folder / name

    @property
    def caller(self) -> Path:
        return self.folder / "caller"

    def start(self, cluster: Cluster, *words: str, **more: str) -> subprocess.Popen:
        """`python -m pipeline sweep WORDS...`; what it prints goes to the file `log`."""
        with (self.folder / "sweep.log").open("w") as log:
            return subprocess.Popen(
                [sys.executable, "-m", "pipeline", "sweep", *words],
                cwd=self.caller,
                env=environment() | {
                    "RAY_ADDRESS": cluster.address, "MLFLOW_TRACKING_URI": self.tracking,
                    "RAY_TMPDIR": str(cluster.temporary),
                } | more,
                stdout=log,
                stderr=log,
            )  # fmt: skip

    @property
    def said(self) -> str:
        return (self.folder / "sweep.log").read_text().replace("\r", "\n")

    def experiments(self) -> dict[str, str]:
        """On the remote: name to commit."""
        form = "--format=%(objectname) %(refname:lstrip=-1)"
        listed = git(self.folder / "shared.git", "for-each-ref", form, "refs/exps")
        return {name: commit for commit, name in map(str.split, listed.splitlines())}
