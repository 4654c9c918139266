"""A repository of its own with this code, whose params.yaml asks for a tiny pipeline on drawn
people: all six stages in half a minute."""

import os
import shutil
import signal
import subprocess
import time
from pathlib import Path

import yaml

from conftest import ROOT, environment, git

TINY = {
    "data": {"name": "figures", "count": 40},
    "cache": {"input_size": 32, "heatmap_size": 8},
    "model": {
        "encoder": "hourglass", "pretrained": False, "block": "basic", "features": [8, 16],
    },
    "split": {"scenes": False},
    "augment": {"cut": 0},
    "train": {
        "optimiser": "muon", "learning_rate": 0.003, "game_start": 0.75, "precision": "auto",
        "input_sizes": [32], "steps": 60, "batch": 8, "warmup": 2, "ema": 0.9, "log_every": 5,
        "validate_every": 20,
    },
    "finder": {
        "input_size": 64, "features": [8, 16], "steps": 6, "batch": 4, "warmup": 2, "ema": 0.5,
        "log_every": 2,
    },
}  # fmt: skip


def repository(folder: Path) -> Path:
    """Make it in a folder that is not there yet, everything committed, nothing run."""
    command = ["git", "ls-files", "-co", "--exclude-standard"]
    listed = subprocess.check_output(command, cwd=ROOT, text=True)
    for name in listed.splitlines():
        if (ROOT / name).is_file() and not name.startswith(("tests/", "metrics/", "weights/")):
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, folder / name)
    (folder / "dvc.lock").unlink(missing_ok=True)
    values = yaml.safe_load((folder / "params.yaml").read_text())
    for group, changes in TINY.items():
        values[group] |= changes
    (folder / "params.yaml").write_text(yaml.safe_dump(values))
    git(folder, "init", "-q", "-b", "main")
    git(folder, "add", "-A")
    git(folder, "commit", "-qm", "start")
    return folder


def kill_once_saved(clone: Path, checkpoints: Path, *command: str) -> None:
    """Start a training, and kill all of it as soon as it has saved its state for the first time."""
    process = subprocess.Popen(
        command,
        cwd=clone,
        env=environment(),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    waited = time.monotonic() + 300
    while not list(checkpoints.glob("*.pt")):
        assert process.poll() is None and time.monotonic() < waited, (
            "training ended before it could be killed"
        )
        time.sleep(0.05)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
