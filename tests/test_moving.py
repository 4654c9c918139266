"""A repository that is renamed with its own MLflow store in it: a real store, a real model."""

import json
import logging
import shutil
from pathlib import Path

import mlflow
import numpy as np
import pytest

import servers
import untrained
from conftest import ROOT
from pipeline.__main__ import main
from pipeline.networks import checkpoint
from pipeline.settings import load
from pipeline.tracking import registry
from pipeline.tracking import run as tracking_run
from pipeline.tracking.recording import evaluation_run, resend, training_run
from pipeline.tracking.run import Run
from pipeline.tracking.store import known_as, tracking_uri

SETTINGS = load(ROOT / "params.yaml")
NAME = "adversarial-posenet-lspet"
OLD, NEW = "old é [1]", "new #2 é [2]"


def train(folder: Path, score: float) -> Run:
    """A training whose model is registered, with a text among its artifacts."""
    with training_run(SETTINGS, tags={"fingerprint": "a"}, resumed=False) as run:
        run.text("hello", "notes/hello.txt")
        path = folder / "generator.safetensors"
        measured = {"pck_0.2": {"mean": score}}
        registry.keep(run, path, checkpoint.read_settings(path), measured, np.zeros((3, 14, 2)))
    return run


@pytest.fixture(scope="module")
def template(tmp_path_factory):
    """A repository with one run and its model, made under the name that it loses."""
    folder = tmp_path_factory.mktemp("before") / OLD
    folder.mkdir()
    with untrained.repository(folder):
        run = train(folder, 0.5)
        yield folder, run.id


@pytest.fixture
def moved(template, tmp_path, monkeypatch):
    """That repository, renamed, as the current folder; the old folder; the run's id."""
    folder, run_id = template
    new = tmp_path / NEW
    kept = tmp_path / "kept"
    shutil.copytree(folder, kept)
    folder.rename(new)
    for name in ("MLFLOW_TRACKING_URI", "DVC_ROOT", "DVC_EXP_NAME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(new)
    yield new, folder, run_id
    shutil.rmtree(folder, ignore_errors=True)
    kept.rename(folder)


def client() -> mlflow.MlflowClient:
    mlflow.set_tracking_uri(tracking_uri())
    return mlflow.MlflowClient()


def test_a_moved_repository_has_its_artifacts_and_its_champion(moved, caplog, capsys):
    new, old, run_id = moved
    assert main(["track"]) == 0
    said = [each.message for each in caplog.records if "was moved" in each.message]
    assert said == [
        f"{old}/mlartifacts was moved to {new}/mlartifacts: the store's addresses follow"
    ]
    note = client().download_artifacts(run_id, "notes/hello.txt")
    assert Path(note).read_text() == "hello"
    model = mlflow.pyfunc.load_model(f"models:/{NAME}@champion")
    (answer,) = model.predict(model.input_example)
    assert answer["people"]
    assert main(["track"]) == 0
    assert len([each for each in caplog.records if "was moved" in each.message]) == 1  # once


def test_a_new_run_in_a_moved_repository_makes_no_old_path(moved):
    new, old, _ = moved
    run = train(new, 0.9)
    assert not old.exists()
    assert (new / "mlartifacts" / NAME / run.id / "artifacts/notes/hello.txt").is_file()
    version = client().get_model_version_by_alias(NAME, "champion")
    assert int(version.version) == 2 and version.run_id == run.id
    model = version.source.removeprefix("models:/")
    location = client().get_logged_model(model).artifact_location
    assert location.startswith((new / "mlartifacts").as_uri())


def test_a_copy_beside_what_it_was_copied_from_keeps_its_addresses(moved, caplog):
    new, old, run_id = moved
    shutil.copytree(new, old)
    assert main(["track"]) == 0 and not caplog.records
    assert client().get_run(run_id).info.artifact_uri.startswith(old.as_uri())


def test_other_addresses_and_other_stores_stay(moved, monkeypatch, caplog, tmp_path):
    new, old, run_id = moved
    elsewhere = (tmp_path / "elsewhere").as_uri()
    longer = f"{old.as_uri()}-more/mlartifacts/theirs"
    for name, place in (("elsewhere", elsewhere), ("theirs", longer)):
        client().create_experiment(name, artifact_location=place)
    shutil.copy(new / "mlflow.db", new / "other.db")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "sqlite:///other.db")
    assert main(["track"]) == 0 and not caplog.records
    assert client().get_run(run_id).info.artifact_uri.startswith(old.as_uri())
    monkeypatch.delenv("MLFLOW_TRACKING_URI")
    assert main(["track"]) == 0
    assert client().get_experiment_by_name("elsewhere").artifact_location == elsewhere
    assert client().get_run(run_id).info.artifact_uri.startswith(new.as_uri())


def test_what_waited_before_the_move_is_sent_after_it(moved, monkeypatch, tmp_path, caplog):
    caplog.set_level(logging.ERROR)
    new, _, _ = moved
    weights = tmp_path / "pose.safetensors"
    weights.write_bytes(b"some weights")
    before = new.rename(tmp_path / "before")
    monkeypatch.chdir(before)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://127.0.0.1:{servers.free_port()}")
    monkeypatch.setattr(tracking_run.Run.close, "__defaults__", (0.5,))
    with evaluation_run(SETTINGS.model_dump(), weights, tmp_path / "none.csv") as run:
        run.log(100, {"test/pck_0.2/mean": 0.75})
    monkeypatch.delenv("MLFLOW_TRACKING_URI")
    (left,) = tracking_run.outboxes().iterdir()
    about = json.loads((left / "about.json").read_text())
    about |= {"store": known_as(tracking_uri())}  # as if its own store had been away
    (left / "about.json").write_text(json.dumps(about))
    before.rename(new)
    monkeypatch.chdir(new)
    assert resend() == [f"{left.name}: sent"]
