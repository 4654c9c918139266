"""Where a result comes from: code, experiment and command."""

import json
import os
import re
import shlex
import subprocess
import time
from collections.abc import Mapping
from typing import NamedTuple

import yaml

from pipeline.paths import PARAMS, STAGES
from pipeline.settings import flat

CODE = ("pipeline", "stages", str(PARAMS), str(STAGES))


class Source(NamedTuple):
    """Where a result comes from; empty where that is not known."""

    commit: str = ""
    changed: bool = False  # the code was not as committed
    command: str = ""
    run: str = ""  # address of its page in MLflow
    show: str = ""  # the command that makes that page answer, where it is no server's


def origin() -> dict[str, str]:
    """Tags that say which code runs, as which experiment."""
    commit, changed = _git("rev-parse", "HEAD"), _git("status", "--porcelain", "--", *CODE)
    tags = {
        "git.commit": commit or "unknown",
        "git.dirty": "true" if changed or not commit else "false",
        "reproduce": command(),
    }
    experiment = os.environ.get("DVC_EXP_NAME")
    if experiment:  # a queued grid `--name sweep` is sweep-1, sweep-2, ...
        tags |= {"dvc.exp": experiment, "sweep": re.sub(r"-\d+$", "", experiment)}
    return tags


def part_of_a_sweep(tags: Mapping[str, str]) -> bool:
    """Whether a run of these tags is one of several: an experiment by itself is its own sweep."""
    return tags.get("sweep", "") != tags.get("dvc.exp", "")


def command() -> str:
    """What repeats a training at its commit: `dvc repro`, or `dvc exp run` with changed params."""
    texts = _git("show", f"HEAD:./{PARAMS}"), PARAMS.read_text() if PARAMS.is_file() else ""
    committed, now = (dict(flat(yaml.safe_load(text) or {})) for text in texts)
    changed = [
        f"-S {shlex.quote(f'{name}={json.dumps(value)}')}"
        for name, value in now.items()
        if committed.get(name) != value
    ]
    return " ".join(["dvc exp run", *changed]) if changed and committed else "dvc repro"


def run_name(data_name: str) -> str:
    """The experiment's name, or the data, the commit and the time."""
    commit = _git("rev-parse", "--short", "HEAD") or "uncommitted"
    return (
        os.environ.get("DVC_EXP_NAME") or f"{data_name}-{commit}-{time.strftime('%Y%m%d-%H%M%S')}"
    )


def _git(*words: str) -> str:
    """What a git command prints, or nothing where there is no git, no repository or no commit."""
    try:
        return subprocess.run(
            ["git", *words], capture_output=True, text=True, check=True
        ).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return ""
