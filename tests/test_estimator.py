"""PoseEstimator as a library's user calls it, on weights that nobody trained: from PyTorch's files
and, without PyTorch, from the ONNX files."""

import json
import subprocess
import sys
from dataclasses import replace
from itertools import chain
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import pipeline
import untrained
from conftest import CPU, ROOT
from pipeline import PipelineError
from pipeline.commands import export
from pipeline.data.crops import Predictions
from pipeline.figures import drawn_people
from pipeline.finding.estimator import PeopleFinder
from pipeline.finding.finder import Finder
from pipeline.networks import checkpoint
from pipeline.networks.checkpoint import WeightsError
from pipeline.networks.estimator import CropEstimator
from pipeline.photographs.estimator import BATCH, PoseEstimator
from pipeline.photographs.judgement import JudgementError
from pipeline.photographs.onnx_file import OnnxError
from pipeline.photographs.people import Box, BoxError, Joint, Person, described
from pipeline.reading import PhotographError
from pipeline.skeleton import JOINTS

BOXES = [(40.0, 30.0, 70.0, 110.0), (12.5, 20.25, 90.0, 60.0), (60.0, 40.0, 50.0, 100.0)]
# Some of what the tiny networks find is left out, hidden, or said to be outside, and some is not.
JUDGEMENT = replace(untrained.JUDGEMENT, least=0.35, hidden=4.7e-4, outside=0.13)
# What a machine that only predicts need not have: the extra `train` of pyproject.toml.
TRAINING = (
    "array_api_compat", "dvc", "huggingface_hub", "jinja2", "matplotlib", "mlflow",
    "onnx", "onnxscript", "pandas", "psutil", "pydantic", "pynvml", "ruamel",
    "safetensors", "scipy", "sklearn", "timm", "torch", "yaml",
)  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """Of generator.safetensors and what belongs beside it, the same as joints.onnx and finder.onnx,
    and three photographs."""
    folder = tmp_path_factory.mktemp("estimator")
    weights = untrained.write(folder)
    untrained.write_finder(folder)
    JUDGEMENT.save(folder / "judgement.json")
    network = CropEstimator(*checkpoint.load(weights), CPU)
    export.export(network, JUDGEMENT, folder / "joints.onnx")
    finder = PeopleFinder.load(folder / "finder.safetensors")
    finder = replace(finder, finder=finder.finder.to(CPU), device=CPU)
    export.export_finder(finder, folder / "finder.onnx")
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


def assert_same(people: list[Person], others: list[Person]) -> None:
    """The same people of one photograph, in the same order."""
    for person, other in zip(people, others, strict=True):
        assert (person.size, person.box_given) == (other.size, other.box_given)
        np.testing.assert_allclose(person.box, other.box, atol=1e-2)
        np.testing.assert_allclose(person.score, other.score, atol=1e-4)
        np.testing.assert_allclose(person.points, other.points, atol=1e-2)
        np.testing.assert_allclose(person.scores, other.scores, atol=1e-4)
        np.testing.assert_array_equal(person.hidden, other.hidden)
        np.testing.assert_array_equal(person.outside, other.outside)


def assert_all_same(photographs: list[list[Person]], others: list[list[Person]]) -> None:
    for people, same in zip(photographs, others, strict=True):
        assert_same(people, same)


def test_the_package_hands_it_out():
    from pipeline import PoseEstimator as handed

    assert handed is PoseEstimator
    with pytest.raises(AttributeError, match="no attribute 'PoseEstimators'"):
        pipeline.PoseEstimators  # noqa: B018


def test_pixels_and_files_by_path_or_name_are_the_same_photographs(estimator, files, images):
    found = estimator.find(images)
    assert [{person.size for person in people} for people in found] == [
        {Image.open(file).size} for file in files
    ]
    assert_all_same(found, estimator.find(files))
    assert_all_same(found, estimator.find([images[0], files[1], str(files[2])]))
    assert estimator.find([]) == []


def test_everybody_sure_enough_is_told_of_the_surest_first(estimator, images):
    everybody = estimator.find(images, least=0.0)
    assert all(len(people) >= 4 for people in everybody)
    for people in everybody:
        scores = [person.score for person in people]
        assert scores == sorted(scores, reverse=True) and 0 < scores[-1] < scores[0] < 1
        assert not any(person.box_given for person in people)
    for least in (0.3, 0.5):
        sure = [[each for each in people if each.score >= least] for people in everybody]
        assert sum(map(len, sure)) < sum(map(len, everybody))
        assert_all_same(estimator.find(images, least=least), sure)
    # Without a word the judgement's own; and a person whose score is the least itself stays.
    by_judgement = estimator.find(images)
    assert_all_same(by_judgement, estimator.find(images, least=JUDGEMENT.least))
    assert 0 < sum(map(len, by_judgement)) < sum(map(len, everybody))
    exactly = everybody[0][1].score
    assert len(estimator.find(images[:1], least=exactly)[0]) == 2
    assert estimator.find(images, least=1.0) == [[], [], []]


def test_a_finder_without_peaks_finds_nobody(estimator, images):
    """As it starts: a peak of 1 / (1 + e^4) = 0.018 everywhere."""
    finder = PeopleFinder(Finder(untrained.FINDER).eval(), 64, {}, CPU)
    blind = replace(estimator, finder=finder)
    assert blind.find(images, least=0.0) == [[], [], []]
    (given,) = blind.find(images[:1], [BOXES[:1]])
    assert len(given) == 1
    # What is measured of a photograph with nobody is said of all of it. Hand-worked: of a side of
    # 60 px, 59 between the first and the last pixel, the box is 59 / 1.25 = 47.2.
    pixels = [images[0][:60, :40], images[1][:33, :90]]
    whole = np.array([[(3.9, 5.9), (35.1, 53.1)], [(8.9, 3.2), (80.1, 28.8)]])
    candidates = blind.candidates(pixels)
    assert [len(each.scores) for each in candidates] == [0, 0]
    best = blind.best(pixels, candidates)
    np.testing.assert_allclose(best.points, estimator.predict(pixels, whole).points, atol=1e-2)


def test_the_best_of_each_photograph_is_its_surest_person_however_unsure(estimator, images):
    found = estimator.candidates(images)
    best = estimator.best(images, found)
    first = [people[0].points for people in estimator.find(images, least=0.0)]
    np.testing.assert_allclose(best.points, first, atol=1e-9)
    nobody = found[1]._replace(
        boxes=found[1].boxes[:0],
        centres=found[1].centres[:0],
        predictions=Predictions.nobody(),
        scores=found[1].scores[:0],
    )
    best = estimator.best(images, [found[0], nobody, found[2]])
    np.testing.assert_allclose(best.points[[0, 2]], [first[0], first[2]], atol=1e-9)
    assert best.points.shape == (3, 14, 2) and np.abs(best.points[1] - first[1]).max() > 1
    assert len(estimator.best([], []).points) == 0 and estimator.candidates([]) == []


def test_given_boxes_are_answered_in_their_order_beside_photographs_without(estimator, images):
    own = estimator.find(images)
    given = estimator.find(images, [BOXES, BOXES[:1], []])
    assert [[person.box for person in people] for people in given] == [
        [Box(*box) for box in BOXES],
        [Box(*BOXES[0])],
        [],
    ]
    assert all(person.box_given for people in given for person in people)
    assert_all_same(own, estimator.find(images, [None] * 3))
    mixed = estimator.find(images, [None, BOXES[:1], None])
    assert_all_same(mixed, [own[0], given[1], own[2]])
    mixed = estimator.find(images, [np.array(BOXES), None, []])
    assert_all_same(mixed, [given[0], own[1], []])
    (turned,) = estimator.find(images[:1], [[Box(*BOXES[2]), BOXES[0], list(BOXES[1])]])
    assert_same(turned, [given[0][2], given[0][0], given[0][1]])


def test_who_is_in_a_given_box_is_told_of_however_unsure_and_scored_by_the_joints(
    estimator, images
):
    (people,) = estimator.find(images[:1], [BOXES], least=1.0)
    assert len(people) == 3
    for person in people:
        assert person.score == pytest.approx(person.scores.mean(), abs=1e-6)


def test_more_people_than_are_looked_at_at_once_keep_their_order(estimator, images):
    boxes = [(10.0 + k, 20.0, 60.0 + k, 90.0) for k in range(BATCH + 3)]
    (people,) = estimator.find(images[:1], [boxes])
    assert [person.box for person in people] == [Box(*box) for box in boxes]
    for k in (0, BATCH - 1, BATCH, BATCH + 2):
        ([alone],) = estimator.find(images[:1], [boxes[k : k + 1]])
        np.testing.assert_allclose(people[k].points, alone.points, atol=1e-2)


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


def test_an_unknown_precision_is_refused_and_bf16_of_an_exported_model(tmp_path):
    with pytest.raises(PipelineError, match="precision 'fp64': expected auto, bf16, fp32"):
        PoseEstimator.load(tmp_path / "generator.safetensors", precision="fp64")
    with pytest.raises(PipelineError, match="exported model computes in fp32 alone"):
        PoseEstimator.load(tmp_path / "generator.onnx", precision="bf16")


def test_a_found_box_is_one_that_can_be_given(estimator, images):
    own = estimator.find(images)
    again = estimator.find(images, [[person.box for person in people] for people in own])
    for people, others in zip(own, again, strict=True):
        for person, other in zip(people, others, strict=True):
            assert other.box_given and not person.box_given
            np.testing.assert_allclose(other.box, person.box)


def test_places_are_the_whole_photographs(estimator, images):
    """Black on the left and above, as beyond a photograph: everything moves, and nothing else."""
    ([person],) = estimator.find(images[:1], [BOXES[:1]])
    x, y, *size = BOXES[0]
    moved = np.pad(images[0], ((4, 0), (6, 0), (0, 0)))
    ([other],) = estimator.find([moved], [[(x + 6, y + 4, *size)]])
    np.testing.assert_allclose(other.points, person.points + [6, 4])
    np.testing.assert_array_equal(other.scores, person.scores)
    assert other.size == (person.size[0] + 6, person.size[1] + 4)


class Told:
    """A network that finds in every box the joints that it was told, in any photograph."""

    geometry, settings = untrained.CACHE.geometry, {}

    def __init__(self, points, scores, hidden):
        self.answer = Predictions(*(np.array(each)[None] for each in (points, scores, hidden)))

    def predict(self, crops, indices):
        return Predictions.concatenated([self.answer] * len(indices))


def test_what_is_hidden_and_what_is_outside_the_picture():
    """Hand-worked: the pixels of a photograph of 100 x 80 px end at -0.5, and at 99.5 and 79.5."""
    points = np.full((14, 2), 40.0)
    scores, hidden = np.full(14, 0.6, np.float32), np.full(14, 0.2, np.float32)
    points[:7] = (-0.5, -0.5), (99.5, 79.5), (-0.6, 9), (9, -0.6), (99.6, 9), (9, 79.6), (-70, 300)
    scores[7:9] = 0.25, 0.26  # on the threshold, and above
    hidden[7:10] = 0.9, 0.5, 0.49  # above the other threshold; on it; and below
    hidden[2] = 0.9
    judgement = replace(JUDGEMENT, hidden=0.5, outside=0.25)
    estimator = PoseEstimator(Told(points, scores, hidden), judgement)
    ([person],) = estimator.find([np.zeros((80, 100, 3), np.uint8)], [[(1, 2, 30, 40)]])
    assert np.flatnonzero(person.outside).tolist() == [2, 3, 4, 5, 6, 7]
    assert np.flatnonzero(person.hidden).tolist() == [8]  # of what is outside nobody says so
    assert person.score == pytest.approx((0.6 * 12 + 0.25 + 0.26) / 14)
    assert person.joints["right_hip"] == Joint(-0.6, 9.0, pytest.approx(0.6), False, True)
    assert person.joints["right_shoulder"] == Joint(40.0, 40.0, pytest.approx(0.26), True, False)


def test_joints_are_told_by_their_names(estimator, images):
    people = estimator.find(images[:1])[0]
    (found,) = estimator.candidates(images[:1])
    hidden = outside = 0
    for k, person in enumerate(people):
        assert tuple(person.joints) == JOINTS
        for joint, name in enumerate(JOINTS):
            (x, y), score = found.predictions.points[k, joint], found.predictions.scores[k, joint]
            beyond = not (-0.5 <= x <= person.size[0] - 0.5 and -0.5 <= y <= person.size[1] - 0.5)
            away = bool(beyond or score <= JUDGEMENT.outside)
            covered = bool(found.predictions.hidden[k, joint] >= JUDGEMENT.hidden) and not away
            assert person.joints[name] == Joint(x, y, score, covered, away)
            hidden, outside = hidden + covered, outside + away
    assert 0 < hidden < 14 * len(people) and 0 < outside < 14 * len(people)


def test_people_are_described_in_plain_values(estimator, images):
    people = estimator.find(images[:1])[0]
    said = described(people[0].size, people)
    assert json.loads(json.dumps(said)) == said
    assert said["format"] == 2 and (said["width"], said["height"]) == people[0].size
    person, of_person = people[0], said["people"][0]
    assert len(said["people"]) == len(people) > 1
    assert of_person["score"] == round(person.score, 4) and of_person["box_given"] is False
    assert of_person["box"] == {
        "x": round(person.box.x, 2),
        "y": round(person.box.y, 2),
        "width": round(person.box.width, 2),
        "height": round(person.box.height, 2),
    }
    neck = person.joints["neck"]
    assert [each["name"] for each in of_person["joints"]] == list(JOINTS)
    assert of_person["joints"][JOINTS.index("neck")] == {
        "name": "neck",
        "x": round(neck.x, 2),
        "y": round(neck.y, 2),
        "score": round(neck.score, 4),
        "hidden": neck.hidden,
        "outside": neck.outside,
    }
    assert described((30, 20), []) == {"format": 2, "width": 30, "height": 20, "people": []}


@pytest.mark.parametrize(
    ("box", "said"),
    [
        ((1, 2, 3), r"box: expected x, y, width, height; found \(1, 2, 3\)"),
        ((1, 2, 3, 4, 5), "box: expected x, y, width, height"),
        (("a", "b", "c", "d"), "box: expected x, y, width, height"),
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
        estimator.find(images[:2], [BOXES[:1], [BOXES[0], box]])
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    "boxes",
    [
        BOXES[0],
        list(BOXES[0]),
        Box(*BOXES[0]),
        np.array(BOXES[0]),
        "here",
        ["here"],
        40.0,
        [[BOXES[0]]],
        [[[1, 2], [3]]],
        np.ones((2, 3, 4)),
    ],
    ids=[
        "numbers",
        "list",
        "box",
        "array",
        "word",
        "words",
        "number",
        "lists of lists",
        "uneven lists",
        "array of arrays",
    ],
)
def test_what_is_no_list_of_boxes_is_refused_in_one_sentence(estimator, images, boxes):
    with pytest.raises(BoxError, match="expected a list of them, ..x, y, width, height., ...") as e:
        estimator.find(images[:2], [None, boxes])
    assert "\n" not in str(e.value)


def test_a_box_and_its_corners():
    box = Box.of(("1.5", 2, 3, 4))
    assert box == Box(1.5, 2.0, 3.0, 4.0) and str(box) == "box 1.5, 2, 3, 4"
    np.testing.assert_array_equal(box.corners, [[1.5, 2], [4.5, 6]])
    assert Box.around(box.corners) == box and isinstance(Box.around(box.corners).x, float)
    # On the last pixel's edge, or far beyond the photograph on all sides, it may still be.
    photograph = np.zeros((6, 4, 3), np.uint8)
    for here in (Box(4, 6, 1, 1), Box(-1, -1, 1, 1), Box(-9, -9, 24, 24)):
        assert here.check(photograph) is here
    for beyond in (Box(4.1, 0, 1, 1), Box(-1, -1.1, 1, 1), Box(-9, -9, 24.1, 24)):
        with pytest.raises(BoxError):
            beyond.check(photograph)


def test_boxes_are_those_of_each_photograph(estimator, images):
    with pytest.raises(BoxError, match="boxes of 2 of 3 photographs: expected each's"):
        estimator.find(images, [BOXES[:1], None])


def test_a_file_that_is_no_photograph_is_said_to_be_none(estimator, folder):
    with pytest.raises(PhotographError, match="no such file"):
        estimator.find([folder / "none.png"])
    with pytest.raises(PhotographError, match="not a photograph"):
        estimator.find([folder / "generator.safetensors"])


def test_without_a_finder_boxes_are_asked_for(estimator, images):
    alone = PoseEstimator(estimator.network, estimator.judgement)
    assert_all_same(alone.find(images[:1], [BOXES]), estimator.find(images[:1], [BOXES]))
    with pytest.raises(PipelineError, match="without finder: expected the boxes of the people"):
        alone.find(images[:2], [BOXES, None])


@pytest.fixture
def moved(folder, tmp_path):
    """Copies of a few of the folder's files, under their own or other names."""

    def move(**files: str) -> Path:
        for name, source in files.items():
            target = name.replace("_", ".")
            (tmp_path / target).write_bytes((folder / source).read_bytes())
        return tmp_path

    return move


GENERATOR, FINDER = "generator.safetensors", "finder.safetensors"


@pytest.mark.parametrize(
    ("files", "kind", "said"),
    [
        (
            {"judgement_json": "judgement.json"},
            WeightsError,
            "finder.safetensors: no weights there; the committed ones",
        ),
        (
            {"judgement_json": "judgement.json", "finder_safetensors": GENERATOR},
            WeightsError,
            "finder.safetensors: its settings and weights do not make a network",
        ),
        (
            {"finder_safetensors": FINDER},
            JudgementError,
            "judgement.json: no such file; it belongs beside the weights",
        ),
        (
            {"judgement_json": FINDER, "finder_safetensors": FINDER},
            JudgementError,
            "judgement.json: no judgement of people: ",
        ),
    ],
    ids=["no finder", "another finder", "no judgement", "another judgement"],
)
def test_what_is_missing_beside_the_weights_is_one_sentence(moved, files, kind, said):
    folder = moved(generator_safetensors=GENERATOR, **files)
    with pytest.raises(kind, match=said) as error:
        PoseEstimator.load(folder / GENERATOR)
    assert str(folder) in str(error.value) and "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("files", "said"),
    [
        (
            {"joints_onnx": "joints.onnx"},
            "finder.onnx: no such file; `python -m pipeline export --onnx FILE` makes",
        ),
        (
            {"joints_onnx": "joints.onnx", "finder_onnx": "joints.onnx"},
            "finder.onnx: not a finder of this pipeline",
        ),
        ({"joints_onnx": "finder.onnx"}, "joints.onnx: not a generator of this pipeline"),
    ],
    ids=["no finder", "another finder", "another generator"],
)
def test_what_is_missing_beside_an_exported_generator_is_one_sentence(moved, files, said):
    folder = moved(**files)
    with pytest.raises(OnnxError, match=said) as error:
        PoseEstimator.load(folder / "joints.onnx")
    assert str(folder) in str(error.value) and "\n" not in str(error.value)


def test_the_exported_files_find_the_same_people(estimator, exported, files):
    geometry = estimator.network.geometry
    assert exported.network.geometry == geometry
    assert exported.network.settings == estimator.network.settings
    assert exported.judgement == estimator.judgement
    assert exported.finder.settings == estimator.finder.settings
    said = []
    for boxes in (None, [BOXES, BOXES[:1], []], [BOXES[:2], None, None]):
        found, others = (each.find(files, boxes, 0.0) for each in (estimator, exported))
        for person, other in zip(chain(*found), chain(*others), strict=True):
            assert (person.size, person.box_given) == (other.size, other.box_given)
            np.testing.assert_allclose(person.box, other.box, atol=0.05)
            _, (side,) = geometry.pixel_boxes(person.box.corners[None])
            scale = side / geometry.stored_size  # px of the photograph a px of the input
            distances = np.linalg.norm(person.points - other.points, axis=1)
            assert distances.max() < 0.05 * scale
            np.testing.assert_allclose(person.scores, other.scores, atol=1e-3)
            assert person.score == pytest.approx(other.score, abs=1e-3)
            said += [(person.hidden == other.hidden), (person.outside == other.outside)]
    assert (
        len(said) > 30 and np.mean(said) > 0.98
    )  # a peak beside a threshold may be on either side


@pytest.mark.parametrize("content", [None, b"", b"no model"])
def test_a_file_that_is_no_exported_generator_is_refused_in_one_sentence(tmp_path, content):
    path = tmp_path / "joints.onnx"
    if content is not None:
        path.write_bytes(content)
    said = "no such file; `python -m pipeline export" if content is None else "not a network"
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


def test_the_exported_files_need_no_pytorch(exported, folder, files):
    code = """
import json
from pipeline import PoseEstimator
found = PoseEstimator.load(sys.argv[1]).find(sys.argv[2:], [None, [(12.5, 20.25, 90, 60)], []])
print(json.dumps([[person.description() for person in people] for people in found]))
"""
    printed = json.loads(without_training(code, folder / "joints.onnx", *files))
    expected = exported.find(files, [None, BOXES[1:2], []])
    assert [len(people) for people in printed] == [len(people) for people in expected]
    assert len(printed[0]) >= 1
    for found, person in zip(chain(*printed), chain(*expected), strict=True):
        assert found["box_given"] == person.box_given
        for joint, (name, wanted) in zip(found["joints"], person.joints.items(), strict=True):
            assert joint["name"] == name
            assert (joint["hidden"], joint["outside"]) == (wanted.hidden, wanted.outside)
            assert joint["x"] == pytest.approx(wanted.x, abs=0.02)
            assert joint["y"] == pytest.approx(wanted.y, abs=0.02)


COMMAND = "from pipeline.__main__ import main; print('status', main(sys.argv[1:]))"


def test_the_command_predict_by_the_exported_files_needs_no_pytorch(folder, files, tmp_path):
    (tmp_path / "boxes.csv").write_text("image,x,y,width,height\n1.png,12.5,20.25,90,60\n")
    weights = "--weights", folder / "joints.onnx"
    words = "predict", *files, "--out", tmp_path / "out", *weights
    said = without_training(COMMAND, *words, "--boxes", tmp_path / "boxes.csv")
    people = [
        json.loads((tmp_path / f"out/{k}.png.json").read_text())["people"]
        for k in range(len(files))
    ]
    count = sum(map(len, people))
    assert f"3 of 3 photographs, {count} people: {tmp_path / 'out'}" in said and "status 0" in said
    assert len(list((tmp_path / "out").iterdir())) == 2 * 3 + 1
    assert [person["box_given"] for person in people[1]] == [True]
    assert count > 2 and not any(person["box_given"] for person in people[0] + people[2])


@pytest.mark.parametrize(
    "words",
    [
        (
            "predict",
            "0.png",
            "--out",
            "none",
            "--weights",
            ROOT / "pretrained/generator.safetensors",
        ),
        ("export", "--onnx", "none/joints.onnx"),
        ("lsp", "none"),
        ("compare",),
    ],
    ids=lambda words: words[0],
)
def test_what_needs_pytorch_says_how_to_get_it(words):
    said = without_training(COMMAND, *words)
    assert "pip install '.[train]'" in said and "status 1" in said
    assert len(said.splitlines()) == 2 and not (ROOT / "none").exists()
