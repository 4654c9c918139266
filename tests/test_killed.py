"""A training under DVC that is killed, in a real repository."""

import shutil

import pandas as pd

from conftest import git, sh
from test_pipeline import runs
from tiny import kill_once_saved, repository


def test_a_training_that_is_killed_goes_on_to_the_same_weights(tmp_path):
    project = repository(tmp_path / "main")
    sh(project, "dvc", "repro", "cache")
    git(project, "add", "-A")
    git(project, "commit", "-qm", "data")
    # Longer, so that it is still at it when the signal comes; the first save is after 100 steps.
    steps = ("dvc", "exp", "run", "-S", "train.steps=250", "train")
    kill_once_saved(project, project / "checkpoints", *steps)
    assert pd.read_csv(project / "metrics/learning_curve.csv")["step"].max() >= 100
    shutil.rmtree(project / ".dvc/tmp/rwlock", ignore_errors=True)
    weights = project / "models/generator.safetensors"
    assert not weights.exists()

    printed = sh(project, "dvc", "repro", "train")
    assert "going on from step" in printed
    assert len(runs(project)) == 1 and runs(project).iloc[0].status == "FINISHED"
    resumed = weights.read_bytes()
    assert not list((project / "checkpoints").glob("*.pt"))
    sh(project, "dvc", "repro", "--force", "--single-item", "train")
    assert weights.read_bytes() == resumed
