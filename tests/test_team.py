"""Two people, two clones, one remote: what one has computed the other does not compute again."""

from pathlib import Path

import pytest

from conftest import git, sh
from pipeline.files import digest
from tiny import kill_once_saved, repository

WEIGHTS = "models/generator.safetensors"
SHORTER = ("-S", "train.steps=20", "-S", "train.game_start=0.5")


@pytest.fixture(scope="module")
def shared(tmp_path_factory) -> Path:
    """A bare Git repository, whose newest commit has a result."""
    folder = tmp_path_factory.mktemp("team")
    first = repository(folder / "first")
    sh(first, "dvc", "repro")
    sh(first, "dvc", "push", "train", "finder", "calibrate")
    git(first, "add", "-A")
    git(first, "commit", "-qm", "result")
    git(folder, "clone", "-q", "--bare", str(first), "shared.git")
    return folder / "shared.git"


@pytest.fixture(scope="module")
def ada(shared) -> Path:
    """Her clone, with a DVC remote of the team's, to which she moved the committed weights."""
    clone = cloned(shared, "ada")
    sh(clone, "dvc", "pull", "train", "finder", "calibrate")
    sh(clone, "dvc", "remote", "add", "team", str(shared.parent / "remote"))
    sh(clone, "dvc", "remote", "default", "team")
    sh(clone, "dvc", "push", "train", "finder", "calibrate")
    git(clone, "commit", "-qam", "a remote of the team's")
    git(clone, "push", "-q")
    return clone


@pytest.fixture(scope="module")
def experiment(ada) -> Path:
    """Hers, made and pushed: to Git, with all outputs and the run cache to the remote."""
    printed = sh(ada, "dvc", "exp", "run", "--name", "short", *SHORTER)
    assert "Running stage 'train'" in printed
    sh(ada, "dvc", "exp", "push", "--run-cache", "origin", "short")
    return ada


@pytest.fixture(scope="module")
def grace(shared, experiment) -> Path:
    """A clone on another machine, later."""
    return cloned(shared, "grace")


def cloned(shared: Path, name: str) -> Path:
    git(shared.parent, "clone", "-q", str(shared), name)
    return shared.parent / name


def test_committed_weights_are_pulled_from_the_remote_of_the_team(grace):
    sh(grace, "dvc", "pull", "models/generator.safetensors", "models/finder.safetensors")
    assert not git(grace, "status", "--porcelain")


def test_an_experiment_that_was_run_here_is_not_run_again(experiment):
    before = digest(experiment / WEIGHTS)
    sh(experiment, "git", "checkout", "--", ".")
    sh(experiment, "dvc", "checkout", "train", "finder", "calibrate")
    assert digest(experiment / WEIGHTS) != before
    printed = sh(experiment, "dvc", "exp", "run", "--name", "again", *SHORTER)
    for stage in ("train", "evaluate"):
        assert f"Stage '{stage}' is cached - skipping run" in printed
    assert "Running stage" not in printed and digest(experiment / WEIGHTS) == before


def test_an_experiment_that_was_run_elsewhere_is_not_run_again(grace):
    printed = sh(grace, "dvc", "exp", "run", "--pull", "--name", "mine", *SHORTER)
    assert "Running stage 'cache'" in printed  # of the photographs, which are not pushed
    for stage in ("train", "evaluate"):
        assert f"Stage '{stage}' is cached - skipping run" in printed
        assert f"Running stage '{stage}'" not in printed


def test_an_experiment_is_applied_in_another_clone(grace, experiment):
    git(grace, "checkout", "--", ".")
    sh(grace, "dvc", "exp", "pull", "origin", "short")
    sh(grace, "dvc", "exp", "apply", "short")
    assert digest(grace / WEIGHTS) == digest(experiment / WEIGHTS)
    assert "up to date" in sh(grace, "dvc", "status")


def test_what_one_changes_and_pushes_the_other_pulls(grace, experiment):
    git(experiment, "commit", "-qam", "shorter")
    git(experiment, "push", "-q")
    sh(experiment, "dvc", "push", "train", "finder", "calibrate")
    git(grace, "checkout", "--", ".")
    git(grace, "pull", "-q")
    sh(grace, "dvc", "pull", "train", "finder", "calibrate")
    assert digest(grace / WEIGHTS) == digest(experiment / WEIGHTS)


def test_a_training_that_dies_on_one_machine_goes_on_on_another(shared, tmp_path):
    saved = tmp_path / "saved"
    train = ("env", f"POSENET_CHECKPOINTS={saved}", "dvc", "exp", "run", "-S", "train.steps=250")
    for name in ("dies", "goes on"):
        sh(cloned(shared, name), "dvc", "repro", "download", "cache")
    kill_once_saved(shared.parent / "dies", saved, *train, "train")
    assert "going on from step" in sh(shared.parent / "goes on", *train, "train")
    assert not list(saved.glob("*.pt"))
