"""Clones that DVC copies, and those that it loses experiments of: a real git, a real dvc, a real
make."""

import shutil
from pathlib import Path

import pytest

from conftest import ROOT, git, sh
from pipeline.repository import RepositoryError, check_copied
from tiny import repository

EXPERIMENT = ("dvc", "exp", "run", "--temp", "-S", "data.count=41", "download")


@pytest.fixture(scope="module")
def origin(tmp_path_factory) -> Path:
    """A repository of two commits, so that a clone of the last one is shallow."""
    folder = repository(tmp_path_factory.mktemp("origin") / "main")
    git(folder, "commit", "-q", "--allow-empty", "-m", "more")
    return folder


def clone(origin: Path, folder: Path, *options: str) -> Path:
    git(origin, "clone", "-q", *options, origin.as_uri(), str(folder))
    for name, value in (("user.name", "test"), ("user.email", "test@example.org")):
        git(folder, "config", name, value)
    return folder


def experiments(folder: Path) -> list[str]:
    return git(folder, "for-each-ref", "--format=%(refname)", "refs/exps").split()


def test_an_experiment_in_a_copy_of_a_shallow_clone_ends_before_it_begins(origin, tmp_path):
    shallow = clone(origin, tmp_path / "shallow", "--depth", "1")
    said = sh(shallow, *EXPERIMENT, fails=True)
    assert f"error: {shallow}: a shallow clone" in said and "git fetch --unshallow" in said
    assert experiments(shallow) == [] and not (shallow / ".dvc" / "cache").exists()
    assert "Traceback" not in said

    sh(shallow, "dvc", "exp", "run", "--name", "here", "-S", "data.count=41", "download")
    assert any(name.endswith("/here") for name in experiments(shallow))

    git(shallow, "fetch", "-q", "--unshallow")
    sh(shallow, *EXPERIMENT, "--name", "copied", "--force")
    assert any(name.endswith("/copied") for name in experiments(shallow))


def test_an_experiment_that_dvc_would_lose_for_its_path_ends_before_it_begins(origin, tmp_path):
    folder = clone(origin, tmp_path / "50%41")
    said = sh(folder, *EXPERIMENT, fails=True)
    assert "whose path has '%'" in said and experiments(folder) == []
    sh(folder, "dvc", "repro", "download")


def test_a_stage_that_dvc_could_not_record_ends_before_it_begins(origin, tmp_path):
    folder = clone(origin, tmp_path / "{all}")
    sh(folder, "python", "-m", "stages.download")
    shutil.rmtree(folder / "data")
    said = sh(folder, "dvc", "repro", "download", fails=True)
    assert "whose path has a brace" in said and not (folder / "data" / "dataset").exists()


@pytest.mark.parametrize("name", ["josé", "日本", "a#b", "a?b", "50%", "{a", "two\nlines"])
def test_a_path_that_dvc_takes_for_something_else(name, tmp_path):
    with pytest.raises(RepositoryError, match="ASCII"):
        check_copied(tmp_path / name)


def test_paths_that_dvc_copies(tmp_path):
    for name in ("plain", "with space", "[1]", "it's (a) ~ & + ; @ , = ! $HOME", 'a"b|c<d>e^f`g'):
        check_copied(tmp_path / name)


def test_a_configuration_that_dvc_does_not_copy(origin, tmp_path):
    folder = clone(origin, tmp_path / "clone")
    check_copied(folder)
    git(folder, "config", "user.name", "José")
    with pytest.raises(RepositoryError, match="git config --global"):
        check_copied(folder)


@pytest.mark.skipif(shutil.which("make") is None, reason="no make")
def test_the_first_command_says_so_before_it_installs_anything(tmp_path):
    folder = tmp_path / "josé"
    shutil.copytree(ROOT / "pipeline", folder / "pipeline")
    shutil.copy(ROOT / "Makefile", folder)
    said = sh(folder, "make", "quickstart", fails=True)
    assert f"error: {folder}: DVC cannot copy a repository" in said and "'é'" in said
    assert not (folder / ".venv").exists()
