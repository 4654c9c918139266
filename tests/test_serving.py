"""The registered model behind a real `mlflow models serve`: right answers to many, one sentence to
the rest."""

import base64
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO
from pathlib import Path

import mlflow
import numpy as np
import pytest
import requests
import torch
from PIL import Image

import servers
import untrained
from conftest import ROOT
from pipeline.figures import drawn_people
from pipeline.networks import checkpoint
from pipeline.photographs.estimator import PoseEstimator
from pipeline.photographs.reading import read
from pipeline.settings import load
from pipeline.tracking import registry
from pipeline.tracking.run import Run, training_run

NAME = "adversarial-posenet-lspet"
PEOPLE = np.zeros((3, 14, 2))


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    """A store of its own with one registered model, in a folder that stages run in."""
    folder = tmp_path_factory.mktemp("store")
    (folder / "params.yaml").write_bytes((ROOT / "params.yaml").read_bytes())
    (folder / "data").mkdir()
    (folder / "data/split.csv").write_text("image,group,part\n")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.delenv("DVC_ROOT", raising=False)
        patch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{folder / 'mlflow.db'}")
        untrained.write(folder)
        keep(folder, 0.5)
        yield folder


def keep(folder: Path, score: float | None, originals: np.ndarray = PEOPLE) -> Run:
    settings, tags = load(ROOT / "params.yaml"), {"fingerprint": "a"}
    with training_run(settings, tags=tags, resumed=False) as run:
        measured = {"pck_0.2": {"mean": score}}
        path = folder / "generator.safetensors"
        registry.keep(run, path, checkpoint.read_settings(path), measured, originals)
    return run


def champion() -> int:
    return int(mlflow.MlflowClient().get_model_version_by_alias(NAME, "champion").version)


def test_the_champion_is_beaten_only_on_the_same_photographs(store):
    assert champion() == 1
    keep(store, 0.4)
    keep(store, 0.5)
    keep(store, None)  # nothing counted
    keep(store, 0.9, originals=PEOPLE + 1)
    assert champion() == 1
    run = keep(store, 0.6)
    assert champion() == 6
    measured = {"pck_0.2": {"mean": 0.99}}
    path = store / "generator.safetensors"
    registry.keep(run, path, checkpoint.read_settings(path), measured, PEOPLE)  # it has one
    assert champion() == 6
    assert len(mlflow.MlflowClient().search_model_versions(f"name='{NAME}'")) == 6


def test_a_registered_model_says_what_it_takes_and_needs_and_holds_no_pickle(store):
    info = mlflow.models.get_model_info(f"models:/{NAME}/1")
    assert "image: string (required)" in str(info.signature) and "box" in str(info.signature)
    folder = Path(mlflow.artifacts.download_artifacts(f"models:/{NAME}/1"))
    needed = (folder / "requirements.txt").read_text().splitlines()
    assert f"torch=={torch.__version__.partition('+')[0]}" in needed
    assert all("==" in line for line in needed)
    names = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    code = {"code/pipeline/networks/generator.py", "code/pipeline/photographs/estimator.py"}
    assert {"artifacts/generator.safetensors", "input_example.json"} | code <= names
    assert not any(name.endswith((".pkl", ".pickle", ".pt")) for name in names)
    model = mlflow.pyfunc.load_model(f"models:/{NAME}/1")
    (answer,) = model.predict(model.input_example)
    assert len(answer["joints"]) == 14


@pytest.fixture(scope="module")
def server(store):
    words = ("models", "serve", "-m", f"models:/{NAME}@champion", "--env-manager", "local")
    log = store / "server.log"
    with servers.running(*words, folder=store, log=log, ready="/ping") as (address, _):
        yield address


def encoded(image: Image.Image, kind: str = "PNG") -> str:
    file = BytesIO()
    image.save(file, kind)
    return base64.b64encode(file.getvalue()).decode()


def ask(server: str, *photographs: dict) -> requests.Response:
    return requests.post(f"{server}/invocations", json={"inputs": photographs}, timeout=60)


def test_200_requests_from_8_clients_have_the_right_joints(server, store):
    images = [drawn_people.draw(seed=1, index=index)[0] for index in range(8)]
    texts = [encoded(image) for image in images]
    boxes = [None, [10.0, 20.0, 90.0, 120.0]] * 4
    estimator = PoseEstimator.load(store / "generator.safetensors")
    pixels = [read(base64.b64decode(text)) for text in texts]
    expected = [  # one by one, as the server: in bf16 a batch's size shows in the last bits
        estimator.find([image], [box])[0].description()
        for image, box in zip(pixels, boxes, strict=True)
    ]

    def client(number: int) -> None:
        for turn in range(25):
            which = (number + turn) % 8
            asked = {"image": texts[which]} | ({"box": boxes[which]} if boxes[which] else {})
            answer = ask(server, asked)
            assert answer.status_code == 200, answer.text
            (said,) = answer.json()["predictions"]
            assert said["box_given"] == (boxes[which] is not None)
            for found, wanted in zip(said["joints"], expected[which]["joints"], strict=True):
                assert found["name"] == wanted["name"]
                assert abs(found["x"] - wanted["x"]) < 0.05
                assert abs(found["y"] - wanted["y"]) < 0.05

    with ThreadPoolExecutor(8) as clients:
        list(clients.map(client, range(8)))


def test_what_is_malformed_gets_a_sentence_or_is_refused_and_the_server_lives(server):
    good = {"image": encoded(drawn_people.draw(seed=1, index=0)[0])}
    sentences = {
        "not base64": {"image": "no base64 at all!"},
        "not base64: ": {"image": "größe"},
        "not a photograph": {"image": base64.b64encode(b"text").decode()},
        "cannot be read": {"image": good["image"][: len(good["image"]) // 8 * 4]},
        "at most 50,000,000 pixels": {"image": encoded(Image.new("1", (10_000, 5_001)))},
        "more than 30,000,000 bytes": {"image": "A" * 40_000_008},
        "expected x, y, width, height": good | {"box": [1.0, 2.0]},
        "width and height above 0": good | {"box": [1.0, 2.0, 0.0, 5.0]},
        "beyond the photograph": good | {"box": [9999.0, 2.0, 5.0, 5.0]},
        "4 times": good | {"box": [0.0, 0.0, 1e9, 5.0]},
    }
    for said, asked in sentences.items():
        answer = ask(server, asked, good)  # its neighbour is answered
        assert answer.status_code == 200, (said, answer.text[:300])
        bad, right = answer.json()["predictions"]
        assert said in bad["error"] and "\n" not in bad["error"], bad
        assert len(right["joints"]) == 14
    rng = np.random.default_rng(0)
    bodies = [rng.bytes(300) for _ in range(30)]
    bodies += [
        b"",
        b"{}",
        b"[]",
        b"null",
        b'{"inputs": 5}',
        b'{"inputs": [5]}',
        b'{"inputs": [{"box": [1]}]}',
    ]
    bodies += [
        b'{"inputs": [{"image": 5}]}',
        b'{"inputs": [{"image": "AA", "box": "x"}]}',
        b'{"inputs": [[]]}',
    ]
    bodies += [
        b'{"dataframe_split": {"columns": ["a"], "data": [[1]]}}',
        b'{"inputs": ' + b"[" * 500,
    ]
    for body in bodies:
        headers = {"Content-Type": "application/json"}
        answer = requests.post(f"{server}/invocations", data=body, headers=headers, timeout=60)
        assert 400 <= answer.status_code < 500, (body, answer.status_code, answer.text[:300])
        assert "/pipeline/" not in answer.text
    assert len(ask(server, good).json()["predictions"][0]["joints"]) == 14
