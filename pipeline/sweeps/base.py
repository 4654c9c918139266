"""What all trials of a sweep begin with, and what they left on the Git remote."""

import json
import os
import subprocess
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from dvc.exceptions import DvcException
from dvc.repo import Repo

from pipeline.errors import brief
from pipeline.paths import main_root, measures
from pipeline.sweeps import SweepError
from pipeline.tracking.provenance import CODE
from pipeline.tracking.store import public

STORE = "MLFLOW_TRACKING_URI"
PASSED_ON = (STORE, "POSENET_CHECKPOINTS")  # from the caller's environment to all machines


@dataclass(frozen=True)
class Base:
    """A commit on a Git remote, and what its trials are told."""

    remote: str  # the address that every machine clones from
    commit: str
    environment: Mapping[str, str] = field(default_factory=dict)

    def reference(self, name: str) -> str:
        """Where DVC keeps an experiment of this commit's."""
        return f"refs/exps/{self.commit[:2]}/{self.commit[2:]}/{name}"

    def finished(self) -> dict[str, str]:
        """The experiments of this commit's on the remote: name to commit. Raises SweepError."""
        listed = git("ls-remote", "--quiet", self.remote, self.reference("*"))
        lines = (line.split("\t") for line in listed.splitlines())
        return {reference.rpartition("/")[2]: commit for commit, reference in lines}

    def validation(self, names: Iterable[str]) -> dict[str, float]:
        """PCK@0.2 of the validation part (0 to 1) of experiments on the remote. Raises
        SweepError."""
        found = self.finished()
        wanted = {name: found[name] for name in names if name in found}
        if not wanted:
            return {}
        references = [self.reference(name) for name in wanted]
        git("fetch", "--quiet", "--no-tags", "--no-write-fetch-head", self.remote, *references)
        place = measures("validation").as_posix()
        texts = {name: git("show", f"{commit}:./{place}") for name, commit in wanted.items()}
        return {name: json.loads(text)["pck_0.2"]["mean"] for name, text in texts.items()}


def base(remote: str) -> Base:
    """The commit that is checked out, on a Git remote that is called so.

    Raises SweepError where other machines would not have it, or would not share what they make.
    """
    if git("status", "--porcelain", "--untracked-files=no") or git(
        "status", "--porcelain", "--", *CODE
    ):
        raise SweepError(
            "there are uncommitted changes, and trials begin with a commit: commit and push them"
        )
    address = git("remote", "get-url", remote)
    if ":" not in address:  # a folder; machines have other current ones
        address = str((main_root() / address).resolve())
    git("fetch", "--quiet", remote)
    commit = git("rev-parse", "HEAD")
    if not git("for-each-ref", "--contains", commit, f"refs/remotes/{remote}"):
        raise SweepError(
            f"commit {commit[:12]} is not on {remote}, where trials get it: run `git push` first"
        )
    _check_outputs()
    if not os.environ.get(STORE):
        raise SweepError(
            f"{STORE} is not set: it names the MLflow server that all trials are told to"
            " (docs/team.md)"
        )
    passed_on = {name: os.environ[name] for name in PASSED_ON if os.environ.get(name)}
    return Base(address, commit, passed_on)


def git(*words: str, folder: Path | None = None) -> str:
    """What a git command prints. Raises SweepError with what it says where it fails."""
    command = ["git", *words]
    quiet = os.environ | {"GIT_TERMINAL_PROMPT": "0"}  # nobody is there to answer
    done = subprocess.run(
        command, cwd=folder, env=quiet, capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise SweepError(public(f"`git {' '.join(words[:3])}`: {brief(done.stderr)}"))
    return done.stdout.strip()


def _check_outputs() -> None:
    """Raises SweepError where DVC's remote is none that machines share."""
    try:
        with Repo() as repo:
            remote, root = repo.cloud.get_remote(), Path(repo.root_dir)
            local = remote.fs.protocol == "local"
    except DvcException as error:
        raise SweepError(f"DVC has no remote to share outputs by: {brief(error)}") from None
    if local and Path(remote.path).is_relative_to(root):
        raise SweepError(
            f"DVC's remote {remote.path} lies inside this clone: name one that all machines share"
            " (docs/experiments.md, A remote of your own)"
        )
