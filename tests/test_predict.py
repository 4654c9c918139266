"""`python -m pipeline predict` as people use it, on weights that nobody trained: where, not how
well."""

import json
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest
from PIL import Image

import untrained
from conftest import ROOT
from pipeline.data import storage
from pipeline.data.annotations import load_annotations
from pipeline.drawing.overlay import COLOURS, draw_skeleton
from pipeline.figures import drawn_people
from pipeline.networks.estimator import CropEstimator
from pipeline.photographs.estimator import PoseEstimator
from pipeline.skeleton import JOINTS


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> Path:
    return untrained.write(tmp_path_factory.mktemp("model"))


@pytest.fixture(scope="module")
def dataset(tmp_path_factory) -> Path:
    """Drawn people in LSPet's layout."""
    folder = tmp_path_factory.mktemp("drawn") / "set"
    drawn_people.write(folder, count=10, seed=0)
    return folder


def predict(model: Path, *words, status: int = 0) -> str:
    command = [sys.executable, "-m", "pipeline", "predict", *map(str, words)]
    command += ["--weights", str(model)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == status, f"{done.stdout}\n{done.stderr}"
    assert "Traceback" not in done.stderr
    return done.stdout + done.stderr


def test_in_the_annotated_boxes_it_finds_what_the_evaluation_finds(model, dataset, tmp_path):
    points, _, _ = load_annotations(dataset / "joints.mat")
    paths = sorted((dataset / "images").glob("*.jpg"))
    low, high = np.nanmin(points, axis=1), np.nanmax(points, axis=1)
    table = pd.DataFrame(np.hstack([low, high - low]), columns=["x", "y", "width", "height"])
    table.insert(0, "image", [path.name for path in paths])
    table.to_csv(tmp_path / "boxes.csv", index=False)
    exactly = "--precision", "fp32"
    boxes = "--boxes", tmp_path / "boxes.csv"
    predict(model, dataset / "images", "--out", tmp_path / "out", *boxes, *exactly)

    estimator = CropEstimator.load(model)
    storage.build(dataset, tmp_path / "cache", estimator.geometry)
    crops = storage.load(tmp_path / "cache", estimator.geometry)
    expected = estimator.predict(crops, np.arange(len(paths)))
    joints = pd.read_csv(tmp_path / "out/joints.csv")
    assert joints.joint.tolist() == list(JOINTS) * len(paths)
    found = joints[["x", "y"]].to_numpy().reshape(len(paths), len(JOINTS), 2)
    np.testing.assert_allclose(found, expected.points, atol=0.05)
    np.testing.assert_allclose(joints.score, expected.scores.ravel(), atol=1e-3)

    one = json.loads((tmp_path / f"out/{paths[3].name}.json").read_text())
    assert one["box_given"] and (one["width"], one["height"]) == Image.open(paths[3]).size
    assert [joint["name"] for joint in one["joints"]] == list(JOINTS)
    np.testing.assert_allclose([[each["x"], each["y"]] for each in one["joints"]], found[3])
    drawn = cv2.imread(str(tmp_path / f"out/{paths[3].name}.overlay.jpg"))
    assert drawn.shape[1::-1] == Image.open(paths[3]).size


def test_without_a_box_the_second_look_is_at_the_joints_of_the_first(model):
    estimator = PoseEstimator.load(model, "fp32")
    rng = np.random.default_rng(0)
    images = [rng.integers(0, 256, (*side, 3), dtype=np.uint8) for side in ((60, 40), (33, 90))]
    # Hand-worked: of a side of 60 px, 59 between the first and the last pixel, the box is
    # 59 / 1.25 = 47.2.
    whole = np.array([[(3.9, 5.9), (35.1, 53.1)], [(8.9, 3.2), (80.1, 28.8)]])
    first = estimator.predict(images, whole).points
    predictions, boxes = estimator.predict_without_boxes(images)
    np.testing.assert_allclose(boxes[:, 0], first.min(1))
    np.testing.assert_allclose(boxes[:, 1], first.max(1))
    np.testing.assert_array_equal(predictions.points, estimator.predict(images, boxes).points)


def test_twenty_files_of_mixed_and_broken_kinds(model, dataset, tmp_path):
    source = Image.open(dataset / "images/im00001.jpg")
    folder = tmp_path / "mine"
    (folder / "deeper").mkdir(parents=True)
    turned = Image.Exif()
    turned[0x0112] = 6
    for k in range(2):
        source.save(folder / f"plain{k}.jpg")
        source.save(folder / f"turned{k}.jpg", exif=turned)
        source.convert("L").save(folder / f"grey{k}.png")
        source.convert("P").save(folder / f"palette{k}.png")
        source.convert("CMYK").save(folder / f"ink{k}.jpg")
        source.convert("RGBA").save(folder / "deeper" / f"alpha{k}.png")
        deep = Image.fromarray(np.asarray(source.convert("L")).astype(np.uint16) * 257)
        deep.save(folder / f"deep{k}.png")
        source.save(folder / f"modern{k}.webp")
    (folder / "empty.jpg").write_bytes(b"")
    (folder / "text.png").write_text("no picture")
    (folder / "short.jpg").write_bytes((folder / "plain0.jpg").read_bytes()[:-900])
    (folder / "short.webp").write_bytes((folder / "modern0.webp").read_bytes()[:500])
    (folder / "notes.txt").write_text("not looked at")

    (folder / "plain0.jpg.overlay.jpg").write_text("of an earlier call")

    said = predict(model, folder, "--out", tmp_path / "out", status=1)
    assert "16 of 20 photographs" in said and said.count("error: ") == 4
    for name in ("empty.jpg", "text.png", "short.jpg", "short.webp"):
        assert f"{folder / name}: " in said
    written = {str(path.relative_to(tmp_path / "out")) for path in (tmp_path / "out").rglob("*.*")}
    assert len(written) == 2 * 16 + 1 and "deeper/alpha0.png.json" in written
    # The same picture, whatever the file: the same joints, where nothing was lost on the way.
    joints = pd.read_csv(tmp_path / "out/joints.csv").set_index("image")[["x", "y"]]
    places = {Path(name).name: joints.loc[name].to_numpy() for name in joints.index.unique()}
    np.testing.assert_allclose(places["deep0.png"], places["grey0.png"])
    np.testing.assert_allclose(places["plain0.jpg"], places["plain1.jpg"])
    turned = json.loads((tmp_path / "out/turned0.jpg.json").read_text())
    assert (turned["width"], turned["height"]) == source.size[::-1]


@pytest.mark.parametrize(
    ("table", "said"),
    [
        ("image,x,y\na.jpg,1,2\n", "no column width, height"),
        ("image,x,y,width,height\na.png,1,2,3,4\na.png,1,2,3,4\n", "a.png has several boxes"),
        ("image,x,y,width,height\nb.png,1,2,3,4\na.png,1,2,none,4\n", "line 3: expected numbers"),
        (
            "image,x,y,width,height\na.png,1,2,0,4\n",
            "line 2: expected numbers, width and height above 0",
        ),
        ("image,x,y,width,height\nother.png,1,2,3,4\n", "names none of the 1 photographs"),
        ("", "no column image, x, y, width, height"),
        ('image,x,y,width,height\n"a.png,1,2,3,4\n', "cannot be read as CSV"),
    ],
)
def test_boxes_that_cannot_be_used_are_refused_before_anything_is_written(
    model, tmp_path, table, said
):
    Image.new("RGB", (20, 20)).save(tmp_path / "a.png")
    (tmp_path / "boxes.csv").write_text(table)
    words = tmp_path / "a.png", "--out", tmp_path / "out", "--boxes", tmp_path / "boxes.csv"
    assert said in predict(model, *words, status=1)
    assert not (tmp_path / "out").exists()


def test_a_box_beyond_the_photograph_or_far_larger_is_a_failure_of_that_photograph(model, tmp_path):
    for name in ("a.png", "b.png", "c.png"):
        Image.new("RGB", (20, 30)).save(tmp_path / name)
    rows = "a.png,21,0,9,9", "b.png,-50,-50,121,60", "c.png,-5,-5,120,60"
    (tmp_path / "boxes.csv").write_text("\n".join(["image,x,y,width,height", *rows]))
    words = (
        *(tmp_path / f"{each}.png" for each in "abc"),
        "--out",
        tmp_path / "out",
        "--boxes",
        tmp_path / "boxes.csv",
    )
    said = predict(model, *words, status=1)
    assert "a.png: box 21, 0, 9, 9 of a photograph of 20 x 30 px: it lies beyond" in said
    assert (
        "b.png: box -50, -50, 121, 60 of a photograph of 20 x 30 px: its sides may be 4 times"
        in said
    )
    assert "1 of 3 photographs" in said and (tmp_path / "out/c.png.json").exists()
    for box in (("0", "0", "0", "9"), ("nan", "0", "9", "9")):
        words = tmp_path / "a.png", "--out", tmp_path / "none", "--box", *box
        assert "expected numbers, width and height above 0" in predict(model, *words, status=1)
        assert not (tmp_path / "none").exists()


def test_a_folder_without_photographs_and_results_that_would_collide(model, tmp_path):
    for name in ("one", "other", "none"):
        (tmp_path / name).mkdir()
    for name in ("one", "other"):
        Image.new("RGB", (20, 20)).save(tmp_path / name / "a.png")
    assert "no photographs in this folder" in predict(
        model, tmp_path / "none", "--out", tmp_path / "out", status=1
    )
    both = predict(model, tmp_path / "one", tmp_path / "other", "--out", tmp_path / "out", status=1)
    assert "would have the same results, a.png" in both
    assert not (tmp_path / "out").exists()


def test_weights_that_are_missing_are_named(tmp_path):
    Image.new("RGB", (20, 20)).save(tmp_path / "a.png")
    said = predict(
        tmp_path / "none.safetensors", tmp_path / "a.png", "--out", tmp_path / "out", status=1
    )
    assert "none.safetensors: no weights there" in said


def test_an_overlay_has_the_sides_in_their_colours_and_the_hidden_white():
    image = np.full((200, 200, 3), 128, dtype=np.uint8)
    points = np.stack([np.linspace(20, 180, 14), np.full(14, 100.0)], axis=1)
    points[[0, 5], 1] = 20, 180  # the ankles by themselves
    picture = draw_skeleton(image, points, np.arange(14) == 5)
    at = [tuple(picture[round(y), round(x)]) for x, y in points]
    assert at[0] == COLOURS["right"] and at[5] == (255, 255, 255)
    assert at[7] == COLOURS["right"] and at[10] == COLOURS["left"] and at[13] == COLOURS["trunk"]
    assert (image == 128).all() and (picture[0] == 128).all()
