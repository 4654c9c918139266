"""PoseEstimator as a library's user calls it, on weights that nobody trained: from PyTorch's file
and, without PyTorch, from the ONNX file."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import pipeline
import untrained
from conftest import CPU, ROOT
from pipeline import PipelineError
from pipeline.commands import export
from pipeline.figures import drawn_people
from pipeline.networks import checkpoint
from pipeline.networks.estimator import CropEstimator
from pipeline.photographs.estimator import PoseEstimator
from pipeline.photographs.onnx_file import OnnxError
from pipeline.photographs.people import HIDDEN, Box, BoxError, Joint
from pipeline.photographs.reading import PhotographError
from pipeline.skeleton import JOINTS

BOXES = [(40.0, 30.0, 70.0, 110.0), (12.5, 20.25, 90.0, 60.0), (60.0, 40.0, 50.0, 100.0)]
# What a machine that only predicts need not have: the extra `train` of pyproject.toml.
TRAINING = (
    "array_api_compat", "dvc", "filelock", "jinja2", "matplotlib", "mlflow", "onnx", "onnxscript",
    "pandas", "psutil", "pydantic", "pynvml", "requests", "safetensors", "scipy", "simplejpeg",
    "torch", "yaml",
)  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """Of generator.safetensors, the same as joints.onnx, and three photographs."""
    folder = tmp_path_factory.mktemp("estimator")
    weights = untrained.write(folder)
    export.export(CropEstimator(*checkpoint.load(weights), CPU), folder / "joints.onnx")
    for index in range(3):
        drawn_people.draw(seed=2, index=index)[0].save(folder / f"{index}.png")
    return folder


@pytest.fixture(scope="module")
def estimator(folder) -> PoseEstimator:
    return PoseEstimator.load(folder / "generator.safetensors", "fp32")


@pytest.fixture(scope="module")
def exported(folder) -> PoseEstimator:
    return PoseEstimator.load(str(folder / "joints.onnx"))


@pytest.fixture(scope="module")
def files(folder) -> list[Path]:
    return sorted(folder.glob("*.png"))


@pytest.fixture(scope="module")
def images(files) -> list[np.ndarray]:
    return [np.asarray(Image.open(file)) for file in files]


def assert_same(people, others) -> None:
    for person, other in zip(people, others, strict=True):
        assert (person.size, person.box_given) == (other.size, other.box_given)
        np.testing.assert_allclose(person.box, other.box, atol=1e-2)
        np.testing.assert_allclose(person.points, other.points, atol=1e-2)
        np.testing.assert_allclose(person.scores, other.scores, atol=1e-4)
        np.testing.assert_array_equal(person.hidden, other.hidden)


def test_the_package_hands_it_out():
    from pipeline import PoseEstimator as handed

    assert handed is PoseEstimator
    with pytest.raises(AttributeError, match="no attribute 'PoseEstimators'"):
        pipeline.PoseEstimators  # noqa: B018


def test_pixels_and_files_by_path_or_name_are_the_same_photographs(estimator, files, images):
    people = estimator.find(images)
    assert [person.size for person in people] == [Image.open(file).size for file in files]
    assert_same(people, estimator.find(files))
    assert_same(people, estimator.find([images[0], files[1], str(files[2])]))
    assert estimator.find([]) == []


def test_photographs_with_boxes_and_without_are_answered_in_their_order(estimator, images):
    given, own = estimator.find(images, BOXES), estimator.find(images)
    assert [person.box for person in given] == [Box(*box) for box in BOXES]
    assert all(person.box_given for person in given) and not any(each.box_given for each in own)
    assert_same(own, estimator.find(images, [None] * 3))
    assert_same(
        [given[0], own[1], given[2]], estimator.find(images, [BOXES[0], None, Box(*BOXES[2])])
    )
    assert_same(
        [own[0], given[1], own[2]], estimator.find(images, [None, np.array(BOXES[1]), None])
    )


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda image: image / 255, "float64: expected .height, width, 3., uint8, RGB"),
        (lambda image: image[..., 0], "expected .height, width, 3., uint8, RGB"),
        (lambda image: np.dstack([image, image[..., :1]]), "expected .height, width, 3."),
        (lambda image: image[:0], "expected .height, width, 3."),
    ],
    ids=["floats", "grey", "four channels", "empty"],
)
def test_pixels_of_another_kind_are_refused_in_one_sentence(estimator, images, spoil, said):
    with pytest.raises(PhotographError, match=said) as error:
        estimator.find([images[0], spoil(images[1])])
    assert "\n" not in str(error.value)


def test_one_photograph_in_place_of_a_list_is_refused(estimator, images, files):
    for one in (images[0], files[0], str(files[0])):
        with pytest.raises(PhotographError, match="expected a list of photographs"):
            estimator.find(one)


def test_a_file_that_cannot_be_read_is_named(estimator, files, tmp_path):
    with pytest.raises(PhotographError, match="missing.jpg: no such file"):
        estimator.find([files[0], tmp_path / "missing.jpg"])


def test_there_is_one_box_a_photograph(estimator, images):
    with pytest.raises(BoxError, match="2 boxes of 3 photographs: expected one each"):
        estimator.find(images, BOXES[:2])
    with pytest.raises(BoxError, match="box: expected x, y, width, height; found here"):
        estimator.find(images[:1], ["here"])


def test_an_unknown_precision_is_refused_and_bf16_of_an_exported_model(tmp_path):
    with pytest.raises(PipelineError, match="precision 'fp64': expected auto, bf16, fp32"):
        PoseEstimator.load(tmp_path / "generator.safetensors", precision="fp64")
    with pytest.raises(PipelineError, match="exported model computes in fp32 alone"):
        PoseEstimator.load(tmp_path / "generator.onnx", precision="bf16")


def test_a_found_box_is_one_that_can_be_given(estimator, images):
    own = estimator.find(images)
    for person, again in zip(own, estimator.find(images, [each.box for each in own]), strict=True):
        assert again.box_given
        np.testing.assert_allclose(again.points, person.points, atol=1e-2)


def test_places_are_the_whole_photographs(estimator, images):
    """Black on the left and above, as beyond a photograph: everything moves, and nothing else."""
    (person,) = estimator.find(images[:1], [BOXES[0]])
    x, y, *size = BOXES[0]
    moved = np.pad(images[0], ((4, 0), (6, 0), (0, 0)))
    (other,) = estimator.find([moved], [(x + 6, y + 4, *size)])
    np.testing.assert_allclose(other.points, person.points + [6, 4])
    np.testing.assert_array_equal(other.scores, person.scores)
    assert other.size == (person.size[0] + 6, person.size[1] + 4)


def test_joints_are_told_by_their_names(estimator, images):
    (person,) = estimator.find(images[:1])
    predictions, _ = estimator.predict_without_boxes(images[:1])
    assert tuple(person.joints) == JOINTS
    for name, index in {"right_ankle": 0, "left_wrist": 11, "neck": 12, "head_top": 13}.items():
        x, y = predictions.points[0, index]
        score, hidden = predictions.scores[0, index], predictions.hidden[0, index] > HIDDEN
        assert person.joints[name] == Joint(x, y, score, hidden)
    described = {each.pop("name"): each for each in person.description()["joints"]}
    assert described["neck"] == {
        "x": round(person.joints["neck"].x, 2),
        "y": round(person.joints["neck"].y, 2),
        "score": round(person.joints["neck"].score, 4),
        "hidden": person.joints["neck"].hidden,
    }
    assert json.loads(json.dumps(person.description())) == person.description()


@pytest.mark.parametrize(
    ("box", "said"),
    [
        ((1, 2, 3), r"box: expected x, y, width, height; found \(1, 2, 3\)"),
        ((1, 2, 3, 4, 5), "box: expected x, y, width, height"),
        ((float("nan"), 2, 3, 4), "box nan, 2, 3, 4: expected numbers, width and height above 0"),
        ((1, 2, float("inf"), 4), "box 1, 2, inf, 4: expected numbers"),
        ((1, 2, 0, 4), "box 1, 2, 0, 4: expected numbers, width and height above 0, px"),
        ((5000, 2, 30, 40), r"box 5000, 2, 30, 40 of a photograph of \d+ x \d+ px: it lies beyond"),
        ((-90, 2, 30, 40), "it lies beyond the photograph"),
        ((0, 0, 5000, 40), "its sides may be 4 times the photograph's longer one at most"),
    ],
)
def test_a_wrong_box_is_refused_in_one_sentence(estimator, images, box, said):
    with pytest.raises(BoxError, match=said) as error:
        estimator.find(images[:2], [BOXES[0], box])
    assert "\n" not in str(error.value)


def test_a_file_that_is_no_photograph_is_said_to_be_none(estimator, folder):
    with pytest.raises(PhotographError, match="no such file"):
        estimator.find([folder / "none.png"])
    with pytest.raises(PhotographError, match="not a photograph"):
        estimator.find([folder / "generator.safetensors"])


def test_the_exported_file_finds_the_same_joints(estimator, exported, files):
    geometry = estimator.network.geometry
    assert exported.network.geometry == geometry
    assert exported.network.settings == estimator.network.settings
    for boxes in (BOXES, None, [BOXES[0], None, None]):
        people, others = (each.find(files, boxes) for each in (estimator, exported))
        for person, other in zip(people, others, strict=True):
            _, (side,) = geometry.pixel_boxes(person.box.corners[None])
            scale = side / geometry.stored_size  # px of the photograph a px of the input
            distances = np.linalg.norm(person.points - other.points, axis=1)
            assert distances.max() < 0.05 * scale
            np.testing.assert_allclose(person.scores, other.scores, atol=1e-3)
            np.testing.assert_array_equal(person.hidden, other.hidden)
            assert (person.size, person.box_given) == (other.size, other.box_given)


@pytest.mark.parametrize("content", [None, b"", b"no model"])
def test_a_file_that_is_no_exported_generator_is_refused_in_one_sentence(tmp_path, content):
    path = tmp_path / "joints.onnx"
    if content is not None:
        path.write_bytes(content)
    said = "no such file; `python -m pipeline export" if content is None else "not a generator"
    with pytest.raises(OnnxError, match=said) as error:
        PoseEstimator.load(path)
    assert str(path) in str(error.value) and "\n" not in str(error.value)


def test_another_onnx_model_is_refused(folder, tmp_path):
    import onnx

    model = onnx.load(folder / "joints.onnx")
    del model.metadata_props[:]
    onnx.save(model, tmp_path / "other.onnx")
    with pytest.raises(OnnxError, match="other.onnx: not a generator of this pipeline"):
        PoseEstimator.load(tmp_path / "other.onnx")


def without_training(code: str, *words: object) -> str:
    """What Python prints where nothing that training needs can be imported."""
    blocked = f"import sys; sys.modules |= dict.fromkeys({TRAINING!r})\n"
    done = subprocess.run(
        [sys.executable, "-c", blocked + code, *map(str, words)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0 and "Traceback" not in done.stderr, done.stderr
    return done.stdout + done.stderr


def test_the_exported_file_needs_no_pytorch(exported, folder, files):
    code = """
import json
from pipeline import PoseEstimator
people = PoseEstimator.load(sys.argv[1]).find(sys.argv[2:], [None, (12.5, 20.25, 90, 60), None])
print(json.dumps([person.description() for person in people]))
"""
    printed = without_training(code, folder / "joints.onnx", *files)
    people = exported.find(files, [None, BOXES[1], None])
    for found, person in zip(json.loads(printed), people, strict=True):
        assert found["box_given"] == person.box_given
        for joint, (name, wanted) in zip(found["joints"], person.joints.items(), strict=True):
            assert joint["name"] == name and joint["hidden"] == wanted.hidden
            assert joint["x"] == pytest.approx(wanted.x, abs=0.02)
            assert joint["y"] == pytest.approx(wanted.y, abs=0.02)


COMMAND = "from pipeline.__main__ import main; print('status', main(sys.argv[1:]))"


def test_the_command_predict_by_the_exported_file_needs_no_pytorch(folder, files, tmp_path):
    (tmp_path / "boxes.csv").write_text("image,x,y,width,height\n1.png,12.5,20.25,90,60\n")
    weights = "--weights", folder / "joints.onnx"
    words = "predict", *files, "--out", tmp_path / "out", *weights
    said = without_training(COMMAND, *words, "--boxes", tmp_path / "boxes.csv")
    assert f"3 of 3 photographs: {tmp_path / 'out'}" in said and "status 0" in said
    assert len(list((tmp_path / "out").iterdir())) == 2 * 3 + 1
    told = json.loads((tmp_path / "out/1.png.json").read_text())
    assert told["box_given"] and len(told["joints"]) == 14


@pytest.mark.parametrize(
    "words",
    [
        ("predict", "0.png", "--out", "none", "--weights", "generator.safetensors"),
        ("export", "--onnx", "none/joints.onnx"),
        ("lsp", "none"),
        ("ablation",),
    ],
    ids=lambda words: words[0],
)
def test_what_needs_pytorch_says_how_to_get_it(words):
    said = without_training(COMMAND, *words)
    assert "pip install '.[train]'" in said and "status 1" in said
    assert len(said.splitlines()) == 2 and not (ROOT / "none").exists()
