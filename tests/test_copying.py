"""A change of home: a store's runs and models copied into a real MLflow server, each once."""

import json
from collections.abc import Callable
from pathlib import Path

import mlflow
import numpy as np
import pytest
from mlflow.exceptions import MlflowException
from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository

import servers
import untrained
from conftest import ROOT
from pipeline.__main__ import main
from pipeline.networks import checkpoint
from pipeline.settings import load
from pipeline.tracking import registry
from pipeline.tracking.copying import FROM
from pipeline.tracking.delivery import crown
from pipeline.tracking.recording import training_run
from pipeline.tracking.store import tag_experiment

SETTINGS = load(ROOT / "params.yaml")
NAME = "adversarial-posenet-lspet"


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    """With the same experiment, in which somebody else has a run and a champion of score 0.6."""
    folder = tmp_path_factory.mktemp("server")
    words = ("server", "--workers", "1", "--backend-store-uri", f"sqlite:///{folder}/mlflow.db")
    places = ("--artifacts-destination", str(folder / "kept"))
    with servers.running(*words, *places, folder=folder, log=folder / "log", ready="/health") as (
        address,
        _,
    ):
        yield address


def trained(folder: Path, name: str, score: float) -> str:
    """A training with a curve, a text, data, and a model that is registered."""
    with training_run(SETTINGS, tags={"fingerprint": name}, resumed=False) as run:
        for step in range(10, 60, 10):
            run.log(step, {"train/loss": 1 / step, "val/pck_0.2/mean": step / 100})
        run.text("hello", "notes/100 %/hello.txt")
        run.image(np.zeros((8, 8, 3), np.uint8), "validation", 10)
        run.dataset("lspet", "a" * 64, "somewhere", "training")
        path = folder / "generator.safetensors"
        measured = {"pck_0.2": {"mean": score}}
        registry.keep(run, path, checkpoint.read_settings(path), measured, np.zeros((3, 14, 2)))
        result = {"data": "lspet-test", "digest": "c" * 32, "source": "here", "context": "test"}
        run.card("about", f"card of {name}", 50, [result | {"metrics": {"test/pck": score}}])
    return run.id


@pytest.fixture(scope="module")
def home(tmp_path_factory, server):
    """A repository with two trainings, of which the first is the champion, one that failed and one
    that goes on; all copied once. Their ids."""
    folder = tmp_path_factory.mktemp("home")
    with untrained.repository(folder):
        with pytest.MonkeyPatch.context() as theirs:
            theirs.setenv("MLFLOW_TRACKING_URI", server)
            trained(folder, "theirs", 0.6)
        ids = [trained(folder, "a", 0.7), trained(folder, "b", 0.5)]
        with (
            pytest.raises(ValueError),
            training_run(SETTINGS, tags={"fingerprint": "c"}, resumed=False) as failed,
        ):
            raise ValueError("a loss that is no number")
        local = mlflow.MlflowClient(f"sqlite:///{folder}/mlflow.db")
        local.set_registered_model_alias(NAME, "second", "2")
        place = local.get_experiment_by_name(NAME).experiment_id
        goes_on = local.create_run(place, run_name="goes on").info.run_id
        yield folder, local, [*ids, failed.id], goes_on


@pytest.fixture(scope="module")
def copied(home, server):
    """What the command said, exit status and lines; and the server's client."""
    assert main(["track", "--to", server]) == 1  # a run goes on
    client = mlflow.MlflowClient(server)
    place = client.get_experiment_by_name(NAME).experiment_id
    found = client.search_runs([place])
    return client, {run.data.tags[FROM]: run for run in found if FROM in run.data.tags}, found


def points(client, run) -> set:
    return {
        (name, each.step, each.timestamp, repr(each.value))
        for name in run.data.metrics
        for each in client.get_metric_history(run.info.run_id, name)
    }


def files(client: mlflow.MlflowClient, place: str, folder: Path) -> dict[str, bytes]:
    """Every file below an address, but for those that say a model's ids."""
    folder.mkdir()
    repository = get_artifact_repository(place, tracking_uri=client.tracking_uri)
    root = Path(repository.download_artifacts("", str(folder)))
    return {
        str(path.relative_to(root)): path.read_bytes()
        for path in root.rglob("*")
        if path.is_file() and path.name != "MLmodel"
    }


def test_runs_are_there_with_all_that_they_were_told(home, copied, tmp_path):
    _, local, ids, _ = home
    client, copies, _ = copied
    assert set(copies) == set(ids)
    for number, old in enumerate(ids):
        run, copy = local.get_run(old), client.get_run(copies[old].info.run_id)
        assert copy.data.params == run.data.params and copy.data.params
        assert copy.data.tags == run.data.tags | {FROM: old}
        assert copy.inputs.to_dictionary() == run.inputs.to_dictionary()
        for name in ("status", "start_time", "end_time", "run_name"):
            assert getattr(copy.info, name) == getattr(run.info, name)
        assert points(client, copy) == points(local, run)
        there = files(client, copy.info.artifact_uri, tmp_path / f"new-{number}")
        assert there == files(local, run.info.artifact_uri, tmp_path / f"old-{number}")
        assert "params.yaml" in there
    assert client.get_run(copies[ids[2]].info.run_id).info.status == "FAILED"


def test_models_are_there_with_their_files_and_answer(home, copied, tmp_path, monkeypatch):
    _, local, ids, _ = home
    client, copies, _ = copied
    for number, old in enumerate(ids[:2]):
        (was,) = local.get_run(old).outputs.model_outputs
        (now,) = client.get_run(copies[old].info.run_id).outputs.model_outputs
        before, model = local.get_logged_model(was.model_id), client.get_logged_model(now.model_id)
        assert model.status == "READY" and model.source_run_id == copies[old].info.run_id
        there = files(client, model.artifact_location, tmp_path / f"new-{number}")
        assert there == files(local, before.artifact_location, tmp_path / f"old-{number}")
        assert len(there) > 10
        assert model.params == before.params and "model.features" in model.params
        for each in (before, model):
            (measured,) = each.metrics
            assert (measured.key, measured.dataset_name) == ("test/pck", "lspet-test")
            assert measured.value == [0.7, 0.5][number] and measured.step == 50
    monkeypatch.setenv("MLFLOW_TRACKING_URI", client.tracking_uri)  # which the next line sets too
    mlflow.set_tracking_uri(client.tracking_uri)
    loaded = mlflow.pyfunc.load_model(f"models:/{NAME}@champion")
    assert loaded.metadata.run_id == copies[ids[0]].info.run_id
    (answer,) = loaded.predict(loaded.input_example)
    assert answer["people"]


def test_versions_keep_their_order_and_aliases_and_the_best_is_the_champion(home, copied):
    ids = home[2]
    client, copies, _ = copied
    versions = client.search_model_versions(f"name = '{NAME}'", order_by=["version_number ASC"])
    assert [int(each.version) for each in versions] == [1, 2, 3]
    assert [each.run_id for each in versions[1:]] == [copies[old].info.run_id for old in ids[:2]]
    assert [each.tags["score"] for each in versions] == ["0.6", "0.7", "0.5"]
    aliases = client.get_registered_model(NAME).aliases
    assert {name: int(number) for name, number in aliases.items()} == {"champion": 2, "second": 3}
    assert [each.description for each in versions] == [
        f"card of {name}" for name in ("theirs", "a", "b")
    ]
    for each in versions:
        model = client.get_logged_model(each.source.removeprefix("models:/"))
        (named,) = json.loads(model.tags["mlflow.modelVersions"])
        assert named["name"] == NAME and str(named["version"]) == str(each.version)


def test_a_second_time_nothing_is_copied(home, copied, server, capsys):
    client, _, found = copied
    models = client.search_logged_models([found[0].info.experiment_id])
    assert main(["track", "--to", server]) == 1
    assert "3 runs there already" in capsys.readouterr().out
    place = found[0].info.experiment_id
    assert {run.info.run_id for run in client.search_runs([place])} == {
        run.info.run_id for run in found
    }
    assert len(client.search_logged_models([place])) == len(models) == 3
    assert len(client.search_model_versions(f"name = '{NAME}'")) == 3


def test_what_a_run_learns_later_and_what_was_cut_short_is_brought(home, copied, server, capsys):
    _, local, ids, goes_on = home
    client, copies, _ = copied
    local.log_metric(ids[1], "test/pck_0.2/mean", 0.4, step=100)
    local.set_terminated(goes_on)
    cut = client.search_runs([copies[ids[0]].info.experiment_id], f"tags.`{FROM}` = '{ids[0]}'")[0]
    client.update_run(cut.info.run_id, status="RUNNING")
    client.delete_tag(cut.info.run_id, "fingerprint")
    assert main(["track", "--to", server]) == 0
    said = capsys.readouterr().out.splitlines()
    assert {"3 runs copied", "1 runs there already"} <= set(said)
    for old in [*ids, goes_on]:
        run = local.get_run(old)
        (copy,) = client.search_runs([cut.info.experiment_id], f"tags.`{FROM}` = '{old}'")
        assert copy.info.status == run.info.status
        assert points(client, copy) == points(local, run)
        assert copy.data.tags == run.data.tags | {FROM: old}
        assert len(copy.outputs.model_outputs) == (1 if old in ids[:2] else 0)
    assert len(client.search_model_versions(f"name = '{NAME}'")) == 3


def test_what_is_no_server_is_refused(home, capsys):
    assert main(["track", "--to", "sqlite:///other.db"]) == 1
    assert "no server" in capsys.readouterr().err
    assert main(["track", "--to", f"http://me:secret@127.0.0.1:{servers.free_port()}"]) == 1
    said = capsys.readouterr().err
    assert "cannot track at http://127.0.0.1" in said and "secret" not in said


def test_a_store_without_runs_is_copied_too(server, tmp_path, capsys):
    with untrained.repository(tmp_path):
        assert main(["track", "--to", server]) == 0
    assert "copied" not in capsys.readouterr().out


class Late(mlflow.MlflowClient):
    """A client that is slow: just before it first sets an alias, another does all of its own."""

    def __init__(self, uri: str, other: Callable[[], None]) -> None:
        super().__init__(uri)
        self.others = [other]

    def set_registered_model_alias(self, *words: str) -> None:
        while self.others:
            self.others.pop()()
        super().set_registered_model_alias(*words)


@pytest.mark.parametrize(("late", "champion"), [(0.6, 2), (0.8, 1)])
def test_of_two_that_crown_theirs_at_once_the_better_is_the_champion(server, late, champion):
    client, name = mlflow.MlflowClient(server), f"race-{late}"
    client.create_registered_model(name)

    def version(score: float):
        tags = {"score": str(score), "protocol": "p"}
        return client.create_model_version(name, "s3://nowhere/model", tags=tags)

    mine = version(late)
    crown(Late(server, lambda: crown(client, name, version(0.7))), name, mine)
    assert int(client.get_model_version_by_alias(name, "champion").version) == champion


class Refused(mlflow.MlflowClient):
    """Whose first tag another sets at once: the database refuses it, as PostgreSQL does."""

    refused = False

    def set_experiment_tag(self, experiment_id: str, key: str, value: str) -> None:
        if self.refused:
            return super().set_experiment_tag(experiment_id, key, value)
        self.refused = True
        super().set_experiment_tag(experiment_id, key, "theirs")
        raise MlflowException("duplicate key value violates unique constraint")


def test_of_two_that_set_a_tag_at_once_neither_fails(server):
    client = Refused(server)
    place = client.create_experiment("tagged at once")
    tag_experiment(client, place, "view", "ours")
    assert client.get_experiment(place).tags["view"] == "ours"


def test_a_version_that_was_passed_over_on_purpose_stays_so(server):
    client, name = mlflow.MlflowClient(server), "chosen"
    client.create_registered_model(name)
    tags = [{"score": score, "protocol": "p"} for score in ("0.7", "0.5")]
    best, chosen = (
        client.create_model_version(name, "s3://nowhere/model", tags=each) for each in tags
    )
    crown(client, name, chosen, aside=[str(best.version)])
    assert client.get_model_version_by_alias(name, "champion").version == chosen.version
