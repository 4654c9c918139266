"""What a saved training, and its MLflow run, belong to."""

import shutil

import pytest

from conftest import ROOT
from pipeline.inputs import InputsError, files, fingerprint

SETTINGS = {"train": {"steps": 1, "seed": 0}}


@pytest.fixture
def copy(tmp_path, monkeypatch):
    """A copy of the code, with data of a few bytes, as the current directory."""
    for name in ("pipeline", "stages", "benchmarks"):
        ignored = shutil.ignore_patterns("__pycache__", "results")
        shutil.copytree(ROOT / name, tmp_path / name, ignore=ignored)
    for name in ("dvc.yaml", "params.yaml", "examples/nothing.safetensors"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        shutil.copy(ROOT / name, tmp_path / name)
    for name in ("data/cache/00000.npy", "data/cache/people.npz", "data/heatmaps.npz"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(bytes(1000))
    (tmp_path / "data/split.csv").write_text("part\ntrain\n")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.usefixtures("copy")
def test_a_fingerprint_belongs_to_the_settings():
    before = fingerprint("train", SETTINGS)
    assert before == fingerprint("train", {"train": {"seed": 0, "steps": 1}})
    assert before != fingerprint("train", {"train": {"steps": 2, "seed": 0}})


@pytest.mark.parametrize(
    "name",
    [
        "data/cache/00000.npy",
        "data/cache/people.npz",
        "data/heatmaps.npz",
        "data/split.csv",
        "pipeline/geometry.py",
        "pipeline/data/crops.py",
        "pipeline/networks/generator.py",
        "pipeline/training/losses.py",
        "stages/train.py",
    ],
)
def test_a_fingerprint_belongs_to_every_byte_that_the_training_depends_on(copy, name):
    before, content = fingerprint("train", SETTINGS), (copy / name).read_bytes()
    (copy / name).write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    assert before != fingerprint("train", SETTINGS)
    (copy / name).write_bytes(content)
    assert before == fingerprint("train", SETTINGS)


def test_a_fingerprint_belongs_to_what_files_a_folder_holds_and_to_their_names(copy):
    before, new = fingerprint("train", SETTINGS), copy / "pipeline/networks/new/block.py"
    new.parent.mkdir()
    new.write_text("")
    with_new = fingerprint("train", SETTINGS)
    new.rename(new.with_name("unit.py"))
    assert len({before, with_new, fingerprint("train", SETTINGS)}) == 3
    shutil.rmtree(new.parent)
    assert before == fingerprint("train", SETTINGS)


def test_a_fingerprint_does_not_change_with_what_determines_no_training(copy):
    before, others = fingerprint("train", SETTINGS), sorted((copy / "benchmarks").rglob("*.py"))
    assert len(others) > 3
    others += [copy / f"pipeline/{name}.py" for name in ("tracking/report", "commands/predict")]
    for path in others:
        with path.open("a") as file:
            file.write("# a comment\n")
        assert before == fingerprint("train", SETTINGS), path


def test_a_fingerprint_does_not_change_with_what_python_compiles(copy):
    before = fingerprint("train", SETTINGS)
    for folder in ("pipeline", "pipeline/networks", "pipeline/training", "stages"):
        path = copy / folder / "__pycache__" / "generator.cpython-399.pyc"
        path.parent.mkdir()
        path.write_bytes(b"compiled")
    assert before == fingerprint("train", SETTINGS)


@pytest.mark.usefixtures("copy")
def test_the_training_depends_on_its_networks_and_not_on_what_observes_or_uses_them():
    found = {path.as_posix() for path in files("train")}
    assert {"pipeline/networks/generator.py", "pipeline/training/state.py"} <= found
    assert not {"pipeline/tracking/report.py", "pipeline/commands/predict.py"} & found
    assert not any("__pycache__" in name for name in found)


def test_a_dependency_that_is_missing_is_named(copy):
    shutil.rmtree(copy / "data/cache")
    with pytest.raises(InputsError, match=r"data/cache: no such file or folder, but dvc.yaml"):
        fingerprint("train", SETTINGS)
