"""Runs in a real MLflow store: what is recorded, found again, resumed, and what fails quietly."""

import ast
import base64
import csv
import hashlib
import json
import logging
import os
import shlex
import shutil
import signal
import subprocess
import sys
import threading
import time
import zlib
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from importlib.metadata import packages_distributions
from math import isfinite, isnan
from pathlib import Path

import mlflow
import pytest
import yaml
from filelock import FileLock, Timeout
from matplotlib.figure import Figure

import servers
from conftest import ROOT, git
from pipeline import settings
from pipeline.__main__ import main
from pipeline.files import digest
from pipeline.tracking import pages, recording, registry
from pipeline.tracking.provenance import Source
from pipeline.tracking.recording import connection, evaluation_run, resend, training_run
from pipeline.tracking.run import Run, outboxes
from pipeline.tracking.store import (
    TrackingError,
    alone,
    artifacts_of,
    open_store,
    public,
    tracking_uri,
)

SETTINGS = settings.load(ROOT / "params.yaml")
EXPERIMENT = f"adversarial-posenet-{SETTINGS.data.name}"
VARIABLES = ("MLFLOW_TRACKING_URI", "DVC_ROOT", "DVC_EXP_NAME")


@pytest.fixture(scope="module")
def empty_database(tmp_path_factory):
    """MLflow needs seconds to make its tables: once, then each test has a copy."""
    path = tmp_path_factory.mktemp("mlflow") / "mlflow.db"
    mlflow.MlflowClient(tracking_uri=f"sqlite:///{path}").search_experiments()
    return path


@pytest.fixture
def root(tmp_path, monkeypatch, empty_database):
    """A main repository, with its database made, as the current directory."""
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("MLFLOW_SYSTEM_METRICS_SAMPLING_INTERVAL", "60")
    folder = tmp_path / "main"
    folder.mkdir()
    shutil.copy(ROOT / "params.yaml", folder)
    shutil.copy(empty_database, folder / "mlflow.db")
    monkeypatch.chdir(folder)
    return folder


def client(folder: Path) -> mlflow.MlflowClient:
    return mlflow.MlflowClient(tracking_uri=f"sqlite:///{folder / 'mlflow.db'}")


def runs(store: mlflow.MlflowClient) -> list:
    experiment = store.get_experiment_by_name(EXPERIMENT)
    return store.search_runs([experiment.experiment_id], order_by=["attributes.start_time ASC"])


def measured(run) -> dict[str, float]:
    """Metrics of a run that are numbers."""
    return {name: value for name, value in run.data.metrics.items() if isfinite(value)}


def train(
    resumed: bool = False, fingerprint: str = "abc", fail: BaseException | None = None
) -> str:
    with training_run(
        SETTINGS, tags={"fingerprint": fingerprint, "device": "cpu"}, resumed=resumed
    ) as run:
        run.log(50, {"train/loss": 2.0})
        if fail:
            raise fail
    return run.id


def curve(path: Path, rows: int, columns: int) -> None:
    """A learning curve whose value is step + column / 100, the last column measured at every tenth
    row."""
    names = [f"train/metric_{k}" for k in range(columns - 1)] + ["val/pck_0.2/mean"]
    with path.open("w", newline="") as file:
        table = csv.writer(file)
        table.writerow(["step", *names])
        for row in range(1, rows + 1):
            values = [50 * row + k / 100 for k in range(columns)]
            table.writerow([50 * row, *values[:-1], values[-1] if row % 10 == 0 else ""])


def test_a_training_is_recorded_whole(root, tmp_path):
    note = tmp_path / "weights.bin"
    note.write_bytes(b"weights")
    figure = Figure()
    figure.subplots().plot([0, 1])
    with training_run(SETTINGS, tags={"fingerprint": "abc", "device": "cpu"}, resumed=False) as run:
        run.log(50, {"train/loss": 2.5, "val/pck_0.2/mean": 0.25, "train/nothing": float("nan")})
        run.log(100, {"train/loss": 1.5, "train/infinite": float("inf")})
        run.tag("model.sha256", "123")
        run.text("hello", "notes/hello.txt")
        run.file(note, "model")
        run.figure(figure, "figures/line.png")
        assert runs(client(root))[0].info.status == "RUNNING"
    (found,) = runs(client(root))
    assert found.info.status == "FINISHED" and found.info.run_id == run.id
    assert measured(found) == {
        "accuracy/validation_pck": 0.25,
        "train/loss": 1.5,
        "val/pck_0.2/mean": 0.25,
    }
    history = client(root).get_metric_history(run.id, "train/loss")
    assert [(point.step, point.value) for point in history] == [(50, 2.5), (100, 1.5)]
    assert found.data.params["train.alpha"] == str(SETTINGS.train.alpha)
    assert found.data.params["augment.scale"] == str(list(SETTINGS.augment.scale))
    assert len(found.data.params) == sum(len(group) for group in SETTINGS.model_dump().values())
    assert {
        "fingerprint": "abc",
        "device": "cpu",
        "model.sha256": "123",
    }.items() <= found.data.tags.items()
    assert "resumed" not in found.data.tags and "dvc.exp" not in found.data.tags
    assert found.info.run_name.startswith("lspet-")
    artifacts = root / "mlartifacts" / EXPERIMENT / run.id / "artifacts"
    assert (artifacts / "params.yaml").read_text() == (ROOT / "params.yaml").read_text()
    assert (artifacts / "notes/hello.txt").read_text() == "hello"
    assert (artifacts / "model/weights.bin").read_bytes() == b"weights"
    assert (artifacts / "figures/line.png").read_bytes().startswith(b"\x89PNG")
    assert str(root / "mlflow.db") in run.hint and f"/runs/{run.id}" in run.hint


def test_a_new_experiment_has_a_view_of_what_runs_are_chosen_by(root):
    train()
    tags = client(root).get_experiment_by_name(EXPERIMENT).tags
    view = tags[pages.VIEW]
    assert json.loads(view)["name"] == "Results"
    assert state_of(view)["orderByKey"] == "metrics.`accuracy/validation_pck`"
    assert "params.`train.seed`" in columns(view)
    assert tags[pages.NOTE].startswith("Trainings of") and EXPERIMENT in tags[pages.NOTE]


def test_a_view_and_a_description_of_ours_follow_and_those_of_people_stay(root):
    train()
    store = client(root)
    place = store.get_experiment_by_name(EXPERIMENT)
    ours = dict(place.tags)
    for note, view, kept in (
        ("Trainings of old.", '{"name": "Old", "createdAt": 0, "updatedAt": 0}', False),
        ("My own words.", '{"name": "Mine", "createdAt": 0, "updatedAt": 17}', True),
    ):
        store.set_experiment_tag(place.experiment_id, pages.NOTE, note)
        store.set_experiment_tag(place.experiment_id, pages.VIEW, view)
        train(fingerprint=note)
        now = store.get_experiment_by_name(EXPERIMENT).tags
        assert (now[pages.NOTE] == note) == (now[pages.VIEW] == view) == kept
        assert kept or now == ours


def test_the_headline_comes_first_has_each_step_once_and_ends_as_it_is_measured(root):
    store = client(root)
    with training_run(SETTINGS, tags={"fingerprint": "abc"}, resumed=False) as run:
        (begun,) = runs(store)
        assert list(begun.data.metrics) == ["accuracy/validation_pck"]  # no number yet
        for step, value in ((10, 0.25), (20, 0.5), (20, 0.51)):
            run.log(step, {"train/loss": 1.0, "val/pck_0.2/mean": value})
        run.log(20, {"validation/pck_0.2/mean": 0.75})
    (found,) = runs(store)
    assert next(iter(found.data.metrics)) == "accuracy/validation_pck"
    assert found.data.metrics["accuracy/validation_pck"] == 0.75
    history = store.get_metric_history(run.id, "accuracy/validation_pck")
    assert [(each.step, each.value) for each in history[1:]] == [(10, 0.25), (20, 0.5), (20, 0.75)]
    assert history[0].step == 0 and isnan(history[0].value)


def test_a_trial_of_a_sweep_leads_to_all_of_them(root, monkeypatch):
    monkeypatch.setenv("DVC_EXP_NAME", "alpha-12")
    with training_run(SETTINGS, tags={"fingerprint": "abc"}, resumed=False) as run:
        pass
    place = client(root).get_experiment_by_name(EXPERIMENT)
    tag, view = pages.sweep_view(EXPERIMENT, "alpha")
    assert place.tags[tag] == view and json.loads(view)["name"] == "Sweep alpha"
    everything, sweep, this = run.hint.splitlines()[1:]
    page = f"http://127.0.0.1:5000/#/experiments/{place.experiment_id}/runs"
    shared = "workflowType=machine_learning&viewStateShareKey=results"
    assert everything.split() == ["all", "runs", f"{page}?{shared}"]
    assert sweep.split() == ["its", "sweep", f"{page}?{shared}-alpha"]
    assert this.split() == ["this", "run", f"{page}/{run.id}?workflowType=machine_learning"]
    monkeypatch.setenv("DVC_EXP_NAME", "alone")
    with training_run(SETTINGS, tags={"fingerprint": "abc"}, resumed=False) as run:
        pass
    assert "its sweep" not in run.hint
    assert len(client(root).get_experiment_by_name(EXPERIMENT).tags) == len(place.tags)


def state_of(view: str) -> dict:
    """Of a saved view, as MLflow's page reads it."""
    packed = json.loads(view)["state"].removeprefix("deflate;")
    return json.loads(zlib.decompress(base64.b64decode(packed)))


def columns(view: str) -> list[str]:
    """Of the table that a saved view shows."""
    return state_of(view)["selectedColumns"]


def test_the_view_of_a_sweep_has_the_parameters_in_which_its_trials_differ(root, monkeypatch):
    """But for one that a person has saved."""
    tag, view = pages.sweep_view(EXPERIMENT, "rate")
    usual = columns(view)
    rates, seeds = (0.001, 0.001, 0.003), (0, 1, 1)
    seen = []
    for number, (rate, seed) in enumerate(zip(rates, seeds, strict=True), 1):
        monkeypatch.setenv("DVC_EXP_NAME", f"rate-{number}")
        train = SETTINGS.train.model_copy(update={"learning_rate": rate, "seed": seed})
        settings = SETTINGS.model_copy(update={"train": train})
        with training_run(settings, tags={"fingerprint": str(number)}, resumed=False):
            pass
        place = client(root).get_experiment_by_name(EXPERIMENT)
        seen.append(columns(place.tags[tag]))
    assert seen[0] == usual
    metrics = [column for column in usual if column.startswith("metrics.")]
    assert seen[1] == [metrics[0], "params.`train.seed`", *metrics[1:]]
    assert set(seen[2]) - set(seen[1]) == {"params.`train.learning_rate`"}
    saved = json.dumps(json.loads(place.tags[tag]) | {"updatedAt": 1})
    client(root).set_experiment_tag(place.experiment_id, tag, saved)
    monkeypatch.setenv("DVC_EXP_NAME", "rate-4")
    with training_run(SETTINGS, tags={"fingerprint": "4"}, resumed=False):
        pass
    assert client(root).get_experiment_by_name(EXPERIMENT).tags[tag] == saved


def test_a_failed_training_says_why(root):
    with pytest.raises(ValueError, match="no such luck"):
        train(fail=ValueError("no such luck"))
    (found,) = runs(client(root))
    assert found.info.status == "FAILED"
    assert found.data.tags["error"] == "ValueError: no such luck"


def test_a_failed_training_says_no_password(root):
    with pytest.raises(ValueError):
        train(fail=ValueError("no answer from http://user:secret@example.org/store"))
    (found,) = runs(client(root))
    assert found.data.tags["error"] == "ValueError: no answer from http://example.org/store"


@pytest.mark.parametrize("interruption", [KeyboardInterrupt(), SystemExit(3)])
def test_an_interrupted_training_is_killed(root, interruption):
    with pytest.raises(type(interruption)):
        train(fail=interruption)
    (found,) = runs(client(root))
    assert found.info.status == "KILLED" and "error" not in found.data.tags


def test_a_resumed_training_continues_its_own_run(root):
    with pytest.raises(ValueError):
        train(fail=ValueError("first"))
    with pytest.raises(KeyboardInterrupt):
        train(fingerprint="other", fail=KeyboardInterrupt())
    first, other = (run.info.run_id for run in runs(client(root)))
    assert train(resumed=True) == first
    found = client(root).get_run(first)
    assert found.info.status == "FINISHED" and "error" not in found.data.tags
    assert client(root).get_run(other).info.status == "KILLED"
    # Finished now: resuming once more has nothing to continue.
    third = train(resumed=True)
    assert third not in (first, other)
    assert client(root).get_run(third).data.tags["resumed"] == "true"
    assert train(resumed=True, fingerprint="unseen") not in (first, other, third)


def test_a_run_left_running_is_continued_and_a_new_training_is_not(root):
    store = client(root)
    first = train()
    store.update_run(first, status="RUNNING")  # as after a power cut
    assert train(resumed=False) != first
    assert train(resumed=True) == first
    assert store.get_run(first).info.status == "FINISHED"


def test_system_metrics_go_on_where_they_stopped(root, monkeypatch):
    monkeypatch.setenv("MLFLOW_SYSTEM_METRICS_SAMPLING_INTERVAL", "0.1")
    store, name = client(root), "system/cpu_utilization_percentage"

    def points(run_id: str) -> list[int]:
        return [point.step for point in store.get_metric_history(run_id, name)]

    def watched(resumed: bool, enough: int) -> str:
        with training_run(SETTINGS, tags={"fingerprint": "abc"}, resumed=resumed) as run:
            deadline = time.monotonic() + 20
            while len(points(run.id)) < enough and time.monotonic() < deadline:
                time.sleep(0.1)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        watched(False, 1)
    (run,) = runs(store)
    before = points(run.info.run_id)
    with pytest.raises(KeyboardInterrupt):
        watched(True, len(before) + 1)
    after = points(run.info.run_id)
    assert len(runs(store)) == 1 and len(after) > len(before) >= 1
    assert after == list(range(len(after)))


def test_the_name_of_the_dvc_experiment_names_the_run(root, monkeypatch):
    for name, sweep in (("bushy-newt", "bushy-newt"), ("alpha-12", "alpha")):
        monkeypatch.setenv("DVC_EXP_NAME", name)
        run = client(root).get_run(train())
        assert (
            run.info.run_name == run.data.tags["dvc.exp"] == name
            and run.data.tags["sweep"] == sweep
        )


def test_the_commit_and_whether_the_code_differs_from_it(root):
    git(root, "init")
    git(root, "add", "params.yaml")
    git(root, "commit", "-m", "one")
    commit = git(root, "rev-parse", "HEAD").strip()
    (root / "notes.txt").write_text("not code")
    clean = client(root).get_run(train()).data.tags
    assert clean["git.commit"] == commit and clean["git.dirty"] == "false"
    (root / "stages").mkdir()
    (root / "stages" / "new.py").write_text("")
    dirty = client(root).get_run(train()).data.tags
    assert dirty["git.dirty"] == "true" and clean["reproduce"] == dirty["reproduce"] == "dvc repro"
    values = yaml.safe_load((root / "params.yaml").read_text())
    values["train"]["alpha"], values["augment"]["scale"] = 0.5, [0.5, 2.0]
    (root / "params.yaml").write_text(yaml.safe_dump(values, sort_keys=False))
    changed = client(root).get_run(train()).data.tags["reproduce"]
    assert changed == "dvc exp run -S 'augment.scale=[0.5, 2.0]' -S train.alpha=0.5"


def test_what_the_store_refuses_and_what_is_not_there_cost_a_warning_only(root, caplog):
    caplog.set_level(logging.WARNING)
    with training_run(SETTINGS, tags={"fingerprint": "abc"}, resumed=False) as run:
        run.file(root / "missing.bin")
        run.log(50, {"no @ allowed": 1.0})
        run.log(100, {"train/loss": 1.0})
    assert len([record for record in caplog.records if "not tracked" in record.message]) == 2
    (found,) = runs(client(root))
    assert measured(found) == {"train/loss": 1.0} and found.info.status == "FINISHED"
    assert found.data.tags["complete"] == "true"


def test_where_a_training_comes_from_is_known_of_its_run(root, tmp_path, monkeypatch, caplog):
    caplog.set_level(logging.WARNING)
    with training_run(SETTINGS, tags={"fingerprint": "abc"}, resumed=False) as run:
        page = pages.run(client(root).get_experiment_by_name(EXPERIMENT).experiment_id, run.id)
        show = "mlflow ui --backend-store-uri sqlite:///mlflow.db"
        from_here = Source("unknown", True, "dvc repro", f"http://127.0.0.1:5000{page}", show)
        assert run.source == from_here
    weights = tmp_path / "pose.safetensors"
    weights.write_bytes(b"from elsewhere")
    with evaluation_run(SETTINGS.model_dump(), weights, tmp_path / "none.csv") as run:
        assert run.source.run and not run.source.commit and not run.source.command
    assert not caplog.records
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://127.0.0.1:{servers.free_port()}")
    away = {"store": tracking_uri(), "data": "lspet", "network": "generator", "weights": "0" * 64}
    run = Run(away, connection)
    assert run.source == Source() and run.close() == 0
    (warned,) = [record for record in caplog.records if record.name == Run.__module__]
    assert "not tracked: AwayError: cannot track at" in warned.message


def test_an_evaluation_finds_the_training_of_its_weights(root, tmp_path):
    weights, other = tmp_path / "pose.safetensors", tmp_path / "other.safetensors"
    weights.write_bytes(b"some weights")
    other.write_bytes(b"other weights")
    assert digest(weights) == hashlib.sha256(b"some weights").hexdigest()
    trained = []
    for path in (weights, weights, other):
        with training_run(SETTINGS, tags={"fingerprint": "abc"}, resumed=False) as run:
            run.log(50, {"train/loss": 2.0})
            run.tag("model.sha256", digest(path))
        trained.append(run.id)
        time.sleep(0.01)
    ended = client(root).get_run(trained[1]).info.end_time
    with evaluation_run(SETTINGS.model_dump(), weights, tmp_path / "none.csv") as run:
        run.log(9500, {"test/pck_0.2/mean": 0.75})
        run.text("locked", "dvc.lock")
        assert client(root).get_run(run.id).info.status == "FINISHED"
    assert run.id == trained[1]  # the newest with these weights
    found = client(root).get_run(run.id)
    assert found.info.status == "FINISHED" and found.info.end_time == ended
    assert measured(found) == {"train/loss": 2.0, "test/pck_0.2/mean": 0.75}
    assert "imported" not in found.data.tags
    assert len(runs(client(root))) == 3


def test_weights_from_elsewhere_are_imported_once(root, tmp_path):
    weights, table = tmp_path / "pose.safetensors", tmp_path / "learning_curve.csv"
    weights.write_bytes(b"weights from elsewhere")
    curve(table, rows=200, columns=25)
    partial = {"data": {"name": "lspet"}, "train": {"alpha": 0.02, "input_sizes": [96, 128]}}
    start = time.monotonic()
    with evaluation_run(partial, weights, table) as run:
        run.log(10_000, {"test/pck_0.2/mean": 0.5})
    assert time.monotonic() - start < 10
    (found,) = runs(client(root))
    assert found.info.run_id == run.id and found.info.status == "FINISHED"
    assert found.data.tags["imported"] == "true"
    assert found.data.tags["model.sha256"] == digest(weights)
    assert found.data.params == {
        "data.name": "lspet",
        "train.alpha": "0.02",
        "train.input_sizes": "[96, 128]",
    }
    assert len(found.data.metrics) == 27
    history = client(root).get_metric_history(run.id, "train/metric_7")
    assert [(point.step, point.value) for point in history] == [
        (50 * k, 50 * k + 0.07) for k in range(1, 201)
    ]
    sparse = client(root).get_metric_history(run.id, "val/pck_0.2/mean")
    assert [point.step for point in sparse] == list(range(500, 10_001, 500))
    with pytest.raises(RuntimeError), evaluation_run(partial, weights, table) as again:
        raise RuntimeError
    assert again.id == run.id and len(runs(client(root))) == 1
    assert client(root).get_run(run.id).info.status == "FINISHED"
    assert len(client(root).get_metric_history(run.id, "train/metric_7")) == 200


def test_weights_without_a_curve_or_a_name_are_imported_too(root, tmp_path):
    weights = tmp_path / "pose.safetensors"
    weights.write_bytes(b"bare weights")
    with evaluation_run({"train": {"alpha": 0.5}}, weights, tmp_path / "none.csv") as run:
        pass
    found = client(root).get_run(run.id)
    assert found.data.params == {"train.alpha": "0.5"} and found.info.status == "FINISHED"


@pytest.mark.parametrize("uri", [None, "sqlite:///mlflow.db"])
def test_a_temporary_copy_tracks_in_the_main_repository(root, monkeypatch, uri):
    copy = root / ".dvc" / "tmp" / "exps" / "tmpabc"
    copy.mkdir(parents=True)
    shutil.copy(root / "params.yaml", copy)
    monkeypatch.chdir(copy)
    monkeypatch.setenv("DVC_ROOT", str(copy))
    if uri:
        monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    run_id = train()
    assert (
        not list(copy.rglob("*.db"))
        and not (copy / "mlartifacts").exists()
        and not (copy / "mlruns").exists()
    )
    shutil.rmtree(copy)  # as DVC does
    assert client(root).get_run(run_id).info.status == "FINISHED"
    assert (root / "mlartifacts" / EXPERIMENT / run_id / "artifacts" / "params.yaml").is_file()


def test_a_deleted_experiment_comes_back(root):
    train()
    experiment = client(root).get_experiment_by_name(EXPERIMENT)
    client(root).delete_experiment(experiment.experiment_id)
    train()
    assert client(root).get_experiment_by_name(EXPERIMENT).lifecycle_stage == "active"


BOTH = """
import sys
from pathlib import Path
from pipeline import settings
from pipeline.tracking.recording import training_run
assert "torch" not in sys.modules
Path(sys.argv[1]).touch()
while len(list(Path().glob("*.ready"))) < 2: pass
with training_run(settings.load(), tags={"fingerprint": sys.argv[1]}, resumed=False) as run:
    run.log(50, {"train/loss": 2.0})
assert "torch" not in sys.modules
"""


def test_two_processes_make_the_database_at_once_and_in_silence(root):
    (root / "mlflow.db").unlink()
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    # Not a test's environment: MLflow is stricter there.
    environment.pop("PYTEST_CURRENT_TEST", None)
    both = [
        subprocess.Popen(
            [sys.executable, "-c", BOTH, name],
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
        for name in ("one.ready", "two.ready")
    ]
    assert [
        (process.communicate(timeout=90)[0].decode(), process.returncode) for process in both
    ] == [("", 0)] * 2
    assert {run.data.tags["fingerprint"] for run in runs(client(root))} == {
        "one.ready",
        "two.ready",
    }
    assert all(run.info.status == "FINISHED" for run in runs(client(root)))


HALF = """
import os, signal
from sqlalchemy import event
from sqlalchemy.engine import Engine
from pipeline.tracking.store import open_store

@event.listens_for(Engine, "before_cursor_execute")
def stop(connection, cursor, statement, *_):
    if "CREATE TABLE params" in statement:
        os.kill(os.getpid(), signal.SIGKILL)

open_store("lspet")
"""


def test_a_process_that_is_killed_while_the_database_is_made_leaves_none(root):
    (root / "mlflow.db").unlink()
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-c", HALF], check=False, env=environment)
    assert done.returncode == -signal.SIGKILL and not (root / "mlflow.db").exists()
    run_id = train()
    assert client(root).get_run(run_id).info.status == "FINISHED"
    assert not list(root.glob(".mlflow.db*"))


def test_one_at_a_time_holds_the_lock_beside_a_local_database(root):
    other = FileLock(root / "mlflow.db.lock")
    with alone(tracking_uri()), pytest.raises(Timeout):
        other.acquire(timeout=0)
    with other, pytest.raises(Timeout):
        alone(tracking_uri()).acquire(timeout=0)
    with alone(tracking_uri()):
        pass
    with other, alone("sqlite:///:memory:"), alone("http://127.0.0.1"):
        assert [path.name for path in root.glob("*.lock")] == ["mlflow.db.lock"]


@pytest.mark.parametrize(
    "address", ["http://user:secret@127.0.0.1:{port}/pages", "gopher://me:secret@host"]
)
def test_an_address_that_can_never_be_a_store_is_refused_at_once(root, monkeypatch, address):
    """Another program's server, that knows no such page; and what MLflow has no client for."""
    answering = ThreadingHTTPServer(("127.0.0.1", 0), SimpleHTTPRequestHandler)
    threading.Thread(target=answering.serve_forever, daemon=True).start()
    port = answering.server_address[1]
    monkeypatch.setenv("MLFLOW_TRACKING_URI", address.format(port=port))
    with pytest.raises(TrackingError, match="MLFLOW_TRACKING_URI") as caught:
        train()
    answering.shutdown()
    assert "secret" not in str(caught.value) and not list(outboxes().glob("*"))


def test_a_server_that_is_away_when_training_begins_gets_all_when_it_is_back(
    root, server, monkeypatch, caplog
):
    uri, folder, process = server
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    monkeypatch.setattr(recording, "PATIENCE", 0.5)
    servers.stop(process)
    with training_run(SETTINGS, tags={"fingerprint": "abc"}, resumed=False) as run:
        run.log(1, {"train/loss": 2.0})
    assert "away, all is kept" in caplog.text and "track --resend" in caplog.text
    words = ("--backend-store-uri", f"sqlite:///{folder}/mlflow.db")
    words = ("server", "--workers", "1", *words, "--artifacts-destination", str(folder / "kept"))
    again = {"folder": folder, "log": folder / "log", "ready": "/health"}
    with servers.running(*words, **again, port=int(uri.rpartition(":")[2])):
        monkeypatch.setattr(recording, "PATIENCE", 60.0)
        assert resend(60.0)[0].endswith(": sent")
        (found,) = runs(mlflow.MlflowClient(tracking_uri=uri))
        assert found.info.status == "FINISHED" and measured(found) == {"train/loss": 2.0}
        assert found.data.params["train.seed"] == "0" and found.data.tags["fingerprint"] == "abc"


def test_a_training_that_was_killed_before_it_was_saved_goes_on_in_its_run(root):
    """From its first step: each step of a curve is there once."""
    with pytest.raises(KeyboardInterrupt):
        train(fail=KeyboardInterrupt())
    (killed,) = runs(client(root))
    before = points_of(client(root), killed.info.run_id)
    assert train() == killed.info.run_id
    found = client(root).get_run(killed.info.run_id)
    assert found.info.status == "FINISHED" and "resumed" not in found.data.tags
    assert points_of(client(root), found.info.run_id) == before != []


def test_what_is_measured_anew_replaces_what_was_measured(root, tmp_path):
    weights = tmp_path / "pose.safetensors"
    weights.write_bytes(b"some weights")
    for value in (0.5, 0.5, 0.75):
        with evaluation_run(SETTINGS.model_dump(), weights, tmp_path / "none.csv") as run:
            run.measured(100, {"test/pck_0.2/mean": value})
    (found,) = runs(client(root))
    assert measured(found) == {"test/pck_0.2/mean": 0.75}
    history = client(root).get_metric_history(found.info.run_id, "test/pck_0.2/mean")
    assert [point.value for point in history] == [0.5, 0.75]


@pytest.mark.parametrize(
    ("said", "shown"),
    [
        ("http://me:secret@host/x", "http://host/x"),
        ("https://me:sec@ret@host:5000/a", "https://host:5000/a"),
        ("https://me:sec/ret@host", "https://host"),
        ("http://secret@host/", "http://host/"),
        ("'http://me:secret@one' or http://me:secret@two", "'http://one' or http://two"),
        ("postgresql://me:1234secret@host/db", "postgresql://host/db"),
        ("sqlite:////home/me@work/mlflow.db", "sqlite:////home/me@work/mlflow.db"),
        ("http://host:5000/x@y", "http://host:5000/x@y"),
        ("mail to me@example.org", "mail to me@example.org"),
    ],
)
def test_no_password_is_shown_and_addresses_stay(said, shown):
    assert public(said) == shown and "secret" not in public(said)


def test_mlflows_own_warnings_show_no_password(root, capsys):
    open_store(SETTINGS.data.name)
    logging.getLogger("mlflow.tracking.client").warning("no %s", "http://me:secret@host")
    assert "secret" not in capsys.readouterr().err


def test_a_database_that_cannot_be_made_is_named_at_once(root, monkeypatch):
    (root / "file").write_text("")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "sqlite:///file/mlflow.db")
    start = time.monotonic()
    with pytest.raises(TrackingError, match="file/mlflow.db"):
        train()
    assert time.monotonic() - start < 5


def test_a_database_of_several_machines_needs_a_place_for_files_that_all_of_them_reach(
    root, monkeypatch
):
    shared = "postgresql+psycopg2://user:secret@host/runs"
    with pytest.raises(TrackingError, match="MLFLOW_DEFAULT_ARTIFACT_ROOT"):
        artifacts_of(shared, EXPERIMENT)
    monkeypatch.setenv("MLFLOW_DEFAULT_ARTIFACT_ROOT", "s3://bucket/runs/")
    assert artifacts_of(shared, EXPERIMENT) == f"s3://bucket/runs/{EXPERIMENT}"
    monkeypatch.delenv("MLFLOW_DEFAULT_ARTIFACT_ROOT")
    assert artifacts_of("sqlite:///runs.db", EXPERIMENT).startswith("file:///")
    assert artifacts_of("https://host", EXPERIMENT) is None


def test_a_folder_with_odd_signs_in_its_name(root, monkeypatch):
    odd = root.rename(root.with_name("a b#c%20d?e"))
    monkeypatch.chdir(odd)
    run_id = train()
    assert (odd / "mlartifacts" / EXPERIMENT / run_id / "artifacts" / "params.yaml").is_file()
    assert (
        mlflow.MlflowClient(tracking_uri=tracking_uri()).get_run(run_id).info.status == "FINISHED"
    )
    with evaluation_run(SETTINGS.model_dump(), odd / "params.yaml", odd / "none.csv") as run:
        run.text("hello", "report.html")
    assert Path(run.place("report.html")).read_text() == "hello"
    shown = shlex.split(run.hint.partition("\n")[0])
    assert shown == ["mlflow", "ui", "--backend-store-uri", tracking_uri()]


def packages_of(file: Path) -> set[str]:
    """What other than Python and this project a file of the project imports, and those that it
    imports."""
    packages, seen, files = set(), set(), {file}
    while files - seen:
        file = (files - seen).pop()
        seen.add(file)
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.Import):
                names = {alias.name for alias in node.names}
            elif isinstance(node, ast.ImportFrom):
                names = {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
            else:
                continue
            packages |= {name.partition(".")[0] for name in names}
            paths = {ROOT / (name.replace(".", "/") + ".py") for name in names}
            files |= {path for path in paths if path.is_file()}
    return packages - sys.stdlib_module_names - {"pipeline"}


def test_a_served_model_asks_for_the_packages_that_its_code_imports():
    # Its weights are no ONNX file, and need no ImageNet weights any more.
    packages = packages_of(registry.SERVING) - {"onnxruntime", "huggingface_hub"}
    known = packages_distributions()
    asked = {
        next((each for each in map(str.lower, known[name]) if each in registry.PACKAGES), name)
        for name in packages
    }
    assert asked == set(registry.PACKAGES) and "array-api-compat" in asked


@pytest.fixture
def server(root, tmp_path, empty_database):
    """A real MLflow server: its address, its folder and its process."""
    folder = tmp_path / "server"
    folder.mkdir()
    shutil.copy(empty_database, folder / "mlflow.db")
    places = (
        "--backend-store-uri",
        f"sqlite:///{folder}/mlflow.db",
        "--artifacts-destination",
        str(folder / "kept"),
    )
    words = ("server", "--workers", "1", *places)
    with servers.running(*words, folder=folder, log=folder / "log", ready="/health") as (
        address,
        process,
    ):
        yield address, folder, process


def test_a_server_takes_all(root, tmp_path, server, monkeypatch):
    uri, folder, _ = server
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    weights = tmp_path / "pose.safetensors"
    weights.write_bytes(b"served weights")
    with pytest.raises(KeyboardInterrupt):
        train(fail=KeyboardInterrupt())
    with training_run(SETTINGS, tags={"fingerprint": "abc"}, resumed=True) as run:
        run.tag("model.sha256", digest(weights))
        run.file(weights, "model")
    store = mlflow.MlflowClient(tracking_uri=uri)
    assert [found.info.run_id for found in runs(store)] == [run.id]
    assert [path.read_bytes() for path in (folder / "kept").rglob("pose.safetensors")] == [
        b"served weights"
    ]
    assert not (root / "mlartifacts").exists() and run.id in run.hint
    report = f"/runs/{run.id}/artifacts/report.html?workflowType=machine_learning"
    assert run.place("report.html").startswith(uri) and run.place("report.html").endswith(report)
    curve(tmp_path / "curve.csv", rows=100, columns=12)
    with evaluation_run(SETTINGS.model_dump(), weights, tmp_path / "curve.csv") as evaluation:
        evaluation.log(9500, {"test/pck_0.2/mean": 0.75})
    assert evaluation.id == run.id and store.get_run(run.id).info.status == "FINISHED"
    weights.write_bytes(b"unknown weights")
    with evaluation_run(SETTINGS.model_dump(), weights, tmp_path / "curve.csv") as evaluation:
        pass
    assert len(store.get_metric_history(evaluation.id, "train/metric_3")) == 100


def points_of(store: mlflow.MlflowClient, run_id: str) -> list[int]:
    return [point.step for point in store.get_metric_history(run_id, "train/loss")]


def test_a_server_that_hangs_costs_no_time_and_what_it_missed_comes_later(
    root, server, monkeypatch
):
    uri, _, process = server
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "1")
    with training_run(SETTINGS, tags={"fingerprint": "abc"}, resumed=False) as run:
        run.log(1, {"train/loss": 2.0})
        os.killpg(process.pid, signal.SIGSTOP)
        start = time.monotonic()
        for step in range(2, 40):
            run.log(step, {"train/loss": 2.0})
        run.text("hello", "notes/hello.txt")
        took = time.monotonic() - start
        time.sleep(3)  # it is asked, and does not answer
        os.killpg(process.pid, signal.SIGCONT)
    assert took < 0.5
    store = mlflow.MlflowClient(tracking_uri=uri)
    assert points_of(store, run.id) == list(range(1, 40))
    found = store.get_run(run.id)
    assert found.info.status == "FINISHED" and found.data.tags["complete"] == "true"
    assert [each.path for each in store.list_artifacts(run.id, "notes")] == ["notes/hello.txt"]


def test_what_a_server_missed_until_the_end_is_sent_by_a_command(
    root, server, monkeypatch, caplog, capsys
):
    uri, folder, process = server
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    monkeypatch.setattr(Run.close, "__defaults__", (0.5,))
    monkeypatch.setattr(recording, "PATIENCE", 0.5)
    with training_run(SETTINGS, tags={"fingerprint": "abc"}, resumed=False) as run:
        run.log(1, {"train/loss": 2.0})
        while run._outbox.sent < 2:  # params.yaml and the point
            time.sleep(0.05)
        servers.stop(process)
        run.log(2, {"train/loss": 1.0})
        run.text("hello", "notes/hello.txt")
    assert "`python -m pipeline track --resend` sends them" in caplog.text
    store = mlflow.MlflowClient(tracking_uri=uri)
    words = ("--backend-store-uri", f"sqlite:///{folder}/mlflow.db")
    words = ("server", "--workers", "1", *words, "--artifacts-destination", str(folder / "kept"))
    again = {"folder": folder, "log": folder / "log", "ready": "/health"}
    with servers.running(*words, **again, port=int(uri.rpartition(":")[2])):
        before = store.get_run(run.id)
        assert before.info.status == "RUNNING" and before.data.tags["complete"] == "false"
        monkeypatch.setattr(Run.close, "__defaults__", (60.0,))
        monkeypatch.setattr(recording, "PATIENCE", 60.0)
        assert main(["track"]) == 0 and "--resend" in capsys.readouterr().out
        assert main(["track", "--resend"]) == 0 and capsys.readouterr().out.endswith(": sent\n")
        assert main(["track", "--resend"]) == 0 and capsys.readouterr().out == "nothing waits\n"
        after = store.get_run(run.id)
        assert after.info.status == "FINISHED" and after.data.tags["complete"] == "true"
        assert points_of(store, run.id) == [1, 2]
        assert [each.path for each in store.list_artifacts(run.id, "notes")] == ["notes/hello.txt"]


KILLED = """
import os, signal, sys
from pipeline import settings
from pipeline.tracking.recording import training_run
with training_run(settings.load(), tags={"fingerprint": "killed"}, resumed=False) as run:
    for step in range(1, 30):
        run.log(step, {"train/loss": 2.0})
    os.kill(os.getpid(), signal.SIGKILL)
"""


def test_the_run_of_a_training_that_was_killed_is_completed_by_the_next(root):
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-c", KILLED], check=False, env=environment)
    assert done.returncode == -signal.SIGKILL
    (killed,) = runs(client(root))
    assert killed.info.status == "RUNNING" and killed.data.tags["complete"] == "false"
    train()
    found = client(root).get_run(killed.info.run_id)
    assert found.info.status == "KILLED" and found.data.tags["complete"] == "true"
    assert points_of(client(root), killed.info.run_id) == list(range(1, 30))
    assert not list(outboxes().iterdir())


EVALUATED = """
import os, signal, sys
from pathlib import Path
from pipeline.tracking.recording import evaluation_run
with evaluation_run({"data": {"name": "lspet"}}, Path(sys.argv[1]), Path("none.csv")) as run:
    run.measured(100, {"test/pck_0.2/mean": 0.75})
    os.kill(os.getpid(), signal.SIGKILL)
"""


def test_what_an_evaluation_that_was_killed_left_is_sent_by_the_next(root, tmp_path):
    weights = tmp_path / "pose.safetensors"
    weights.write_bytes(b"some weights")
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", EVALUATED, str(weights)]
    assert subprocess.run(command, check=False, env=environment).returncode == -signal.SIGKILL
    assert len(list(outboxes().iterdir())) == 1
    with evaluation_run({"data": {"name": "lspet"}}, weights, tmp_path / "none.csv") as run:
        run.measured(100, {"test/pck_0.2/mean": 0.75})
    assert not list(outboxes().iterdir())
    (found,) = runs(client(root))
    assert found.data.tags["complete"] == "true"
    history = client(root).get_metric_history(found.info.run_id, "test/pck_0.2/mean")
    assert [point.value for point in history] == [0.75]


def test_an_evaluation_while_the_store_is_away_is_tracked_when_it_is_back(
    root, tmp_path, monkeypatch, caplog
):
    weights = tmp_path / "pose.safetensors"
    weights.write_bytes(b"some weights")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://127.0.0.1:{servers.free_port()}")
    monkeypatch.setattr(Run.close, "__defaults__", (0.5,))
    with evaluation_run(SETTINGS.model_dump(), weights, tmp_path / "none.csv") as run:
        run.log(100, {"test/pck_0.2/mean": 0.75})
    assert "they are kept in" in caplog.text
    (left,) = outboxes().iterdir()
    about = json.loads((left / "about.json").read_text())
    (left / "about.json").write_text(json.dumps(about | {"store": "sqlite:///other.db"}))
    assert resend()[0].startswith(f"{left.name}: belongs to sqlite:///other.db")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{root}/mlflow.db")
    (left / "about.json").write_text(json.dumps(about | {"store": tracking_uri()}))
    assert resend() == [f"{left.name}: sent"]
    (found,) = runs(client(root))
    assert measured(found) == {"test/pck_0.2/mean": 0.75}
    assert found.data.tags["imported"] == found.data.tags["complete"] == "true"
