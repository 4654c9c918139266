"""One trial, on the machine where Ray starts it.

A machine keeps a folder of clones, of which each runs one trial at a time, and for all of them one
cache of DVC's. What a killed trial left in its clone is cleared away by the next one there.
"""

import hashlib
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from itertools import count
from pathlib import Path

from dvc.exceptions import DvcException
from dvc.repo import Repo

from pipeline.errors import PipelineError, brief
from pipeline.files import written_whole
from pipeline.processes import OccupiedError, alone
from pipeline.sweeps import SweepError
from pipeline.sweeps.base import Base, git
from pipeline.sweeps.space import Trial

VARIABLE = "POSENET_SWEEPS"  # names the folder of this machine
DEFAULT = "~/.cache/adversarial-posenet/sweeps"
PAUSE = 15.0  # s before another try
OCCUPIED = "wait for it, or stop it"  # the end of what OccupiedError says
# dvc does not outlive who runs the trial, nor its stage dvc.
LEASH = """
import os, sys; from pipeline.processes import end_with_parent
end_with_parent(); os.execvp(sys.argv[1], sys.argv[1:])
"""


class TrialError(PipelineError):
    """A trial failed, and would fail again; the message says why, and where its log is."""


class PassingError(PipelineError):
    """A trial failed for a reason that may pass: it is worth another try."""


def run(trial: Trial, base: Base) -> None:
    """Run an experiment, and put its outputs on DVC's remote, then itself on Git's: one that is
    there is whole.

    Nothing is done where it is there already. Raises TrialError, or PassingError.
    """
    try:
        with clone(base.remote) as (folder, home):
            prepare(folder, home, base)
            if trial.name in base.finished():
                return
            experiment(trial, base, folder, home)
            push(trial, base, folder)
    except (DvcException, SweepError, OSError) as error:  # a remote, or a disk
        time.sleep(PAUSE)
        raise PassingError(f"{socket.gethostname()}: {brief(error)}") from None


def machine_folder() -> Path:
    """Where this machine keeps its clones, DVC's cache, saved trainings and logs."""
    return Path(os.environ.get(VARIABLE) or DEFAULT).expanduser().resolve()


@contextmanager
def clone(remote: str) -> Iterator[tuple[Path, Path]]:
    """A clone that nobody else uses meanwhile, maybe still to be made; and the folder of all clones
    of a remote."""
    home = machine_folder() / hashlib.sha256(remote.encode()).hexdigest()[:12]
    with ExitStack() as held:
        for number in count():
            try:
                held.enter_context(alone(home / f"{number}.lock", "runs a trial here"))
                break
            except OccupiedError:
                continue
        yield home / str(number), home


def prepare(folder: Path, home: Path, base: Base) -> None:
    """Let a clone be at the commit, with nothing of what a killed trial left in it."""
    if not (folder / ".git").is_dir():
        with written_whole(folder) as beside:
            git("clone", "--quiet", "--no-checkout", base.remote, str(beside))
    for lock in (folder / ".git").rglob("*.lock"):  # of a git that was killed: we are alone here
        lock.unlink()
    for reference in git("for-each-ref", "--format=%(refname)", "refs/exps", folder=folder).split():
        git("update-ref", "-d", reference, folder=folder)
    git("fetch", "--quiet", "origin", folder=folder)
    git("checkout", "--quiet", "--force", "--detach", base.commit, folder=folder)
    shutil.rmtree(folder / ".dvc/tmp/exps", ignore_errors=True)
    (folder / ".dvc/tmp/rwlock").unlink(missing_ok=True)  # torn where DVC was killed in it
    (folder / ".dvc/config.local").write_text(f"[cache]\n    dir = {home / 'cache'}\n")


def experiment(trial: Trial, base: Base, folder: Path, home: Path) -> None:
    """Run it by DVC in a clone. Raises TrialError, or PassingError where another process still runs
    the same training."""
    log = home / "logs" / f"{trial.name}.log"
    log.parent.mkdir(exist_ok=True)
    words = ["dvc", "exp", "run", "--temp", "--pull", "--name", trial.name]
    words += [word for override in trial.overrides for word in ("-S", override)]
    own = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    saved = {"POSENET_CHECKPOINTS": str(home / "checkpoints")}
    more = {"PATH": own, "TQDM_DISABLE": "1"} | dict(base.environment)
    with log.open("w") as file:
        done = subprocess.run(
            [sys.executable, "-c", LEASH, *words],
            cwd=folder,
            env=saved | os.environ | more,
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=subprocess.STDOUT,
            check=False,
        )
    said = log.read_text(errors="replace")
    why = next((line for line in said.splitlines() if line.startswith("error: ")), "")
    if done.returncode:
        kind = PassingError if OCCUPIED in why else TrialError
        what = brief(why.removeprefix("error: ")) or "dvc failed"
        raise kind(f"{what} (log: {socket.gethostname()}:{log})")


def push(trial: Trial, base: Base, folder: Path) -> None:
    """Outputs and run cache first, the experiment last: DVC's own way round, an experiment whose
    outputs failed to follow would look finished."""
    reference = base.reference(trial.name)
    commit = git("rev-parse", "--verify", reference, folder=folder)
    with Repo(str(folder)) as repo:
        repo.push(revs=[commit], workspace=False, run_cache=True)
    git("push", "--quiet", "origin", f"{reference}:{reference}", folder=folder)
