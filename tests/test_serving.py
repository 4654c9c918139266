"""The registered model behind a real `mlflow models serve`: right answers to many, one sentence to
the rest."""

import base64
import json
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import mlflow
import numpy as np
import psutil
import pytest
import requests
import torch
from PIL import Image

import served
from conftest import ROOT
from pipeline.commands.serving import EXPECTED
from pipeline.figures import drawn_people
from pipeline.networks import checkpoint
from pipeline.photographs.estimator import PoseEstimator
from pipeline.photographs.people import described
from pipeline.reading import read
from pipeline.settings import load
from pipeline.tracking import registry
from pipeline.tracking.outbox import Refused
from pipeline.tracking.recording import evaluation_run, training_run
from pipeline.tracking.run import PACKAGE
from served import NAME, PEOPLE, ask, encoded, keep


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    with served.store(tmp_path_factory.mktemp("store")) as store:
        yield store


def champion() -> int:
    return int(mlflow.MlflowClient().get_model_version_by_alias(NAME, "champion").version)


def test_the_champion_is_beaten_only_on_the_same_photographs(store):
    assert champion() == 1
    keep(store, 0.4)
    keep(store, 0.5)
    keep(store, None)  # nothing counted
    keep(store, 0.9, originals=PEOPLE + 1)
    assert champion() == 1
    keep(store, 0.6)
    assert champion() == 6
    measured = {"pck_0.2": {"mean": 0.99}}
    path = store / "generator.safetensors"
    made_by = checkpoint.read_settings(path)
    with evaluation_run(made_by, path, store / "none.csv") as again:
        registry.keep(again, path, made_by, measured, PEOPLE)  # it has one
    assert champion() == 6
    assert len(mlflow.MlflowClient().search_model_versions(f"name='{NAME}'")) == 6


def test_a_model_that_was_cut_short_is_made_anew(store):
    settings, path = load(ROOT / "params.yaml"), store / "generator.safetensors"
    with training_run(settings, tags={"fingerprint": "b"}, resumed=False) as run:
        with pytest.raises(Refused, match="No such artifact"):
            run._delivery(
                {
                    "kind": "model",
                    "code": "commands/serving.py",
                    "package": str(PACKAGE),
                    "artifacts": {"weights": "gone.safetensors"},
                    "example": None,
                    "packages": [],
                    "registered": {"name": "none", "score": 0.0, "protocol": ""},
                }
            )
        registry.keep(run, path, checkpoint.read_settings(path), {"pck_0.2": {"mean": 0.1}}, PEOPLE)
    (kept,) = mlflow.MlflowClient().search_model_versions(f"run_id = '{run.id}'")
    assert mlflow.pyfunc.load_model(f"models:/{NAME}/{kept.version}").metadata.run_id == run.id


def test_a_model_is_kept_without_a_warning(store, caplog):
    keep(store, 0.1)
    assert not [record.message for record in caplog.records if record.levelname == "WARNING"]


def test_a_registered_model_says_what_it_takes_and_needs_and_holds_no_pickle(store):
    info = mlflow.models.get_model_info(f"models:/{NAME}/1")
    assert "image: string (required)" in str(info.signature)
    assert "boxes: Array(Array(double)) (optional)" in str(info.signature)
    people = info.signature.outputs.to_dict()[0]["properties"]["people"]
    joints = people["items"]["properties"]["joints"]
    assert joints["items"]["properties"]["hidden"]["type"] == "boolean"
    folder = Path(mlflow.artifacts.download_artifacts(f"models:/{NAME}/1"))
    needed = (folder / "requirements.txt").read_text().splitlines()
    assert f"torch=={torch.__version__.partition('+')[0]}" in needed
    assert all("==" in line for line in needed)
    names = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    code = {
        f"code/pipeline/{name}.py"
        for name in ("networks/generator", "finding/finder", "photographs/estimator")
    }
    files = ("generator.safetensors", "finder.safetensors", "judgement.json")
    assert {"input_example.json", *(f"artifacts/{name}" for name in files)} | code <= names
    assert not any(name.endswith((".pkl", ".pickle", ".pt")) for name in names)
    model = mlflow.pyfunc.load_model(f"models:/{NAME}/1")
    (answer,) = model.predict(model.input_example)
    assert len(answer["people"]) > 1
    assert all(len(person["joints"]) == 14 for person in answer["people"])


@pytest.fixture(scope="module")
def serving(store):
    with served.serving(store) as running:
        yield running


@pytest.fixture(scope="module")
def server(serving) -> str:
    return serving[0]


def test_200_requests_from_8_clients_have_the_right_joints(server, store):
    images = [drawn_people.draw(seed=1, index=index)[0] for index in range(8)]
    texts = [encoded(image) for image in images]
    given = [[10.0, 20.0, 90.0, 120.0], [30.0, 40.0, 50.0, 60.0]]
    boxes = [None, given, given[1:], []] * 2
    estimator = PoseEstimator.load(store / "generator.safetensors")
    pixels = [read(base64.b64decode(text)) for text in texts]
    expected = [  # one by one, as the server: in bf16 a batch's size shows in the last bits
        described(image.shape[1::-1], estimator.find([image], [of_one])[0])
        for image, of_one in zip(pixels, boxes, strict=True)
    ]
    assert all(len(each["people"]) > 1 for each in expected[::4])

    def client(number: int) -> None:
        for turn in range(25):
            which = (number + turn) % 8
            asked = {"image": texts[which]}
            asked |= {} if boxes[which] is None else {"boxes": boxes[which]}
            answer = ask(server, asked)
            assert answer.status_code == 200, answer.text
            (said,) = answer.json()["predictions"]
            wanted = expected[which]
            assert {**said, "people": 0} == {**wanted, "people": 0} and said["format"] == 2
            for person, other in zip(said["people"], wanted["people"], strict=True):
                assert person["box_given"] == other["box_given"] == (boxes[which] is not None)
                assert person["score"] == pytest.approx(other["score"], abs=1e-3)
                assert person["box"] == pytest.approx(other["box"], abs=0.05)
                for found, joint in zip(person["joints"], other["joints"], strict=True):
                    assert found["name"] == joint["name"]
                    assert abs(found["x"] - joint["x"]) < 0.05
                    assert abs(found["y"] - joint["y"]) < 0.05

    with ThreadPoolExecutor(8) as clients:
        list(clients.map(client, range(8)))


def test_what_is_malformed_gets_a_sentence_or_is_refused_and_the_server_lives(server):
    good, right = {"image": encoded(drawn_people.draw(seed=1, index=0)[0])}, [1.0, 2.0, 30.0, 50.0]
    sentences = {
        "not base64": {"image": "no base64 at all!"},
        "not base64: ": {"image": "größe"},
        "not a photograph": {"image": base64.b64encode(b"text").decode()},
        "cannot be read": {"image": good["image"][: len(good["image"]) // 8 * 4]},
        "at most 50,000,000 pixels": {"image": encoded(Image.new("1", (10_000, 5_001)))},
        "more than 30,000,000 bytes": {"image": "A" * 40_000_008},
        "image: Field required": {"boxes": [right]},
        "image: Input should be a valid string": {"image": 5},
        "boxes: Input should be a valid list": good | {"boxes": "x"},
        "boxes.1: Input should be a valid list": good | {"boxes": [right, 5.0]},
        "box: Extra inputs are not permitted": good | {"box": right},  # as it was of one person
        "expected x, y, width, height": good | {"boxes": [[1.0, 2.0]]},
        "width and height above 0": good | {"boxes": [right, [1.0, 2.0, 0.0, 5.0]]},
        "beyond the photograph": good | {"boxes": [[9999.0, 2.0, 5.0, 5.0], right]},
        "4 times": good | {"boxes": [[0.0, 0.0, 1e9, 5.0]]},
    }
    for said, asked in sentences.items():
        answer = ask(server, asked, good)  # its neighbour is answered
        assert answer.status_code == 200, (said, answer.text[:300])
        bad, neighbour = answer.json()["predictions"]
        assert said in bad["error"] and "\n" not in bad["error"], bad
        assert len(neighbour["people"]) > 1
    rng = np.random.default_rng(0)
    bodies = [rng.bytes(300) for _ in range(30)]
    bodies += [
        b"",
        b"{}",
        b"[]",
        b"null",
        b'{"inputs": 5}',
        b'{"inputs": [5]}',
        b'{"inputs": [[]]}',
        json.dumps({"inputs": [good["image"]]}).encode(),
        json.dumps({"inputs": good}).encode(),
        json.dumps({"instances": [good]}).encode(),
    ]
    bodies += [
        b'{"dataframe_split": {"columns": ["a"], "data": [[1]]}}',
        b'{"inputs": ' + b"[" * 500,
        b"[" * 100_000,
        b'{"a":' * 3000,
        b'{"inputs": 1' + b"0" * 5000 + b"}",
    ]
    kinds: list[str | None] = ["application/json"] * len(bodies)
    kinds += ["text/csv", "application/vnd.apache.parquet", None]
    for body, kind in zip([*bodies, b'a,b\n"', b"PAR1", b""], kinds, strict=True):
        headers = {"Content-Type": kind}
        answer = requests.post(f"{server}/invocations", data=body, headers=headers, timeout=60)
        assert 400 <= answer.status_code < 500, (body, answer.status_code, answer.text[:300])
        assert answer.json()["message"] == EXPECTED and len(answer.text) < 400
    assert len(ask(server, good).json()["predictions"][0]["people"]) > 1


def test_base64_of_browsers_and_mails_and_addresses_and_boxes_as_they_are_given_out(server):
    content = base64.b64decode(encoded(drawn_people.draw(seed=1, index=0)[0]))
    plain = base64.b64encode(content).decode()
    forms = [
        plain,
        base64.encodebytes(content).decode(),
        f"data:image/png;base64,{plain}",
        base64.urlsafe_b64encode(content).decode(),
        plain.rstrip("="),
        f" {plain}\n",
    ]
    first, *others = ask(server, *({"image": form} for form in forms)).json()["predictions"]
    assert len(first["people"]) > 1 and all(other == first for other in others)
    boxes = [person["box"] for person in first["people"]]
    (named,) = ask(server, {"image": plain, "boxes": boxes}).json()["predictions"]
    listed = [list(box.values()) for box in boxes]
    assert [named] == ask(server, {"image": plain, "boxes": listed}).json()["predictions"]
    assert all(person["box_given"] for person in named["people"])


def most_memory(process: subprocess.Popen) -> float:
    """Bytes that the server's processes held at their worst moments (Linux)."""
    parent = psutil.Process(process.pid)
    return sum(
        1024 * int(Path(f"/proc/{each.pid}/status").read_text().split("VmHWM:")[1].split()[0])
        for each in [parent, *parent.children(recursive=True)]
    )


@pytest.mark.skipif(sys.platform != "linux", reason="Linux alone tells a process's worst moment")
def test_100_requests_at_once_take_the_memory_of_one(serving):
    """Each of a picture that is small as a file and large in memory."""
    server, process = serving
    large = {"image": encoded(Image.new("L", (7000, 7000), 128))}
    assert len(large["image"]) < 100_000
    ask(server, large)
    before = most_memory(process)
    with ThreadPoolExecutor(100) as clients:
        answers = list(clients.map(lambda _: ask(server, large, timeout=600), range(100)))
    assert {answer.status_code for answer in answers} <= {200, 504}, answers
    assert most_memory(process) - before < 500e6
