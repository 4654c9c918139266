"""`python -m pipeline predict` as people use it, on weights that nobody trained: where, not how
well."""

import json
import os
import subprocess
import sys
from contextlib import redirect_stderr, redirect_stdout
from io import StringIO
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest
from PIL import Image

import untrained
from conftest import ROOT
from pipeline.__main__ import main
from pipeline.annotations import load_annotations
from pipeline.commands.predict import alone_in
from pipeline.data import storage
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


def predict(model: Path, *words: object, status: int = 0) -> str:
    """What the command says. In this process: importing torch takes most of its time."""
    said = StringIO()
    with redirect_stdout(said), redirect_stderr(said):
        ended = main(["predict", *map(str, words), "--weights", str(model)])
    assert ended == status, said.getvalue()
    return said.getvalue()


def program(model: Path, *words: object, status: int = 0) -> str:
    """The same, from a program of its own."""
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
    program(model, dataset / "images", "--out", tmp_path / "out", *boxes, *exactly)

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
    assert (one["width"], one["height"]) == Image.open(paths[3]).size
    (person,) = one["people"]
    assert person["box_given"] and [each["name"] for each in person["joints"]] == list(JOINTS)
    np.testing.assert_allclose([[each["x"], each["y"]] for each in person["joints"]], found[3])
    drawn = cv2.imread(str(tmp_path / f"out/{paths[3].name}.overlay.jpg"))
    assert drawn.shape[1::-1] == Image.open(paths[3]).size


@pytest.fixture(scope="module")
def photographs(dataset) -> list[Path]:
    return sorted((dataset / "images").glob("*.jpg"))[:3]


@pytest.fixture(scope="module")
def boxes(photographs, tmp_path_factory) -> Path:
    """Two people in the first photograph, by its name and by its path, and one in the second."""
    path = tmp_path_factory.mktemp("boxes") / "boxes.csv"
    rows = [
        "image,x,y,width,height",
        f"{photographs[0].name},50.5,40,60,80",
        f"{photographs[1]},20,30,70,60",
        f"{photographs[0]},10,20,90,100",
    ]
    path.write_text("\n".join(rows) + "\n")
    return path


@pytest.fixture(scope="module")
def mixed(model, photographs, boxes, tmp_path_factory) -> Path:
    """The results for three photographs, boxes given for two of them."""
    out = tmp_path_factory.mktemp("mixed") / "out"
    exactly = "--precision", "fp32"
    said = predict(model, *photographs, "--out", out, "--boxes", boxes, *exactly)
    people = pd.read_csv(out / "joints.csv").groupby("image").person.max().sum()
    assert f"3 of 3 photographs, {people} people: {out}" in said
    return out


def read(out: Path, photograph: Path) -> dict:
    return json.loads((out / f"{photograph.name}.json").read_text())


def test_every_photographs_file_is_what_the_library_says(model, mixed, photographs):
    given = [[(50.5, 40, 60, 80), (10, 20, 90, 100)], [(20, 30, 70, 60)], None]
    people = PoseEstimator.load(model, "fp32").find(photographs, given)
    assert [len(each) for each in people[:2]] == [2, 1] and len(people[2]) > 5
    for photograph, found in zip(photographs, people, strict=True):
        said = read(mixed, photograph)
        assert list(said) == ["image", "format", "width", "height", "people"]
        assert said["image"] == str(photograph) and said["format"] == 2
        assert (said["width"], said["height"]) == Image.open(photograph).size
        for each, person in zip(said["people"], found, strict=True):
            wanted = person.description()
            assert each["box_given"] == wanted["box_given"]
            assert each["score"] == pytest.approx(wanted["score"], abs=2e-4)
            assert each["box"] == pytest.approx(wanted["box"], abs=0.02)
            for joint, other in zip(each["joints"], wanted["joints"], strict=True):
                assert joint == pytest.approx(other, abs=0.05)
    first = read(mixed, photographs[0])["people"]
    assert first[0]["box"] == {"x": 50.5, "y": 40, "width": 60, "height": 80}
    assert [each["box_given"] for each in first] == [True, True]
    scores = [each["score"] for each in read(mixed, photographs[2])["people"]]
    assert scores == sorted(scores, reverse=True)


def test_the_table_has_a_row_a_photograph_person_and_joint(mixed, photographs):
    table = pd.read_csv(mixed / "joints.csv")
    assert table.columns.tolist() == [
        "image", "person", "person_score", "joint", "x", "y", "score", "hidden", "outside"
    ]  # fmt: skip
    rows = [
        [str(photograph), number, person["score"], *joint.values()]
        for photograph in photographs
        for number, person in enumerate(read(mixed, photograph)["people"], 1)
        for joint in person["joints"]
    ]
    assert table.values.tolist() == rows and len(rows) % 14 == 0
    assert table.outside.any() and not table.outside.all()
    people = table.groupby("image").person.unique().map(list)
    assert people[str(photographs[0])] == [1, 2] and people[str(photographs[1])] == [1]


def test_joints_beyond_the_picture_are_outside(mixed, photographs):
    table = pd.read_csv(mixed / "joints.csv").set_index("image")
    beyond = 0
    for photograph in photographs:
        width, height = Image.open(photograph).size
        of_one = table.loc[str(photograph)]
        away = ~(of_one.x.between(-0.5, width - 0.5) & of_one.y.between(-0.5, height - 0.5))
        np.testing.assert_array_equal(of_one.outside, away)  # whatever the peak: the threshold is 0
        beyond += away.sum()
    assert beyond > 10


def test_of_people_who_are_found_the_unsure_are_left_out(model, mixed, photographs, tmp_path):
    everybody = [read(mixed, photograph)["people"] for photograph in photographs]
    least = everybody[2][3]["score"] - 1e-5  # of the fourth, but for rounding
    boxes = tmp_path / "boxes.csv"
    boxes.write_text(f"image,x,y,width,height\n{photographs[0].name},50.5,40,60,80\n")
    words = "--boxes", boxes, "--min-score", least, "--precision", "fp32"
    predict(model, photographs[0], photographs[2], "--out", tmp_path / "out", *words)
    kept = read(tmp_path / "out", photographs[2])["people"]
    assert [each["score"] for each in kept] == [
        each["score"] for each in everybody[2] if each["score"] > least
    ]
    assert 4 <= len(kept) < len(everybody[2])
    (given,) = read(tmp_path / "out", photographs[0])["people"]  # whose box is given stays
    assert given["score"] < least and given["score"] == everybody[0][0]["score"]


def test_where_nobody_is_found_the_results_say_so(model, photographs, tmp_path):
    words = photographs[0], "--out", tmp_path / "out", "--min-score", "1"
    assert "1 of 1 photographs, 0 people" in predict(model, *words)
    assert read(tmp_path / "out", photographs[0])["people"] == []
    assert (tmp_path / "out/joints.csv").read_text().count("\n") == 1
    picture = np.asarray(Image.open(tmp_path / f"out/{photographs[0].name}.overlay.jpg"), int)
    assert np.abs(picture - np.asarray(Image.open(photographs[0]), int)).mean() < 5


@pytest.mark.parametrize("score", ["-0.1", "1.5", "nan"])
def test_a_least_score_that_is_none_is_refused(photographs, tmp_path, score):
    words = photographs[0], "--out", tmp_path / "out", "--min-score", score
    (tmp_path / "none.safetensors").write_bytes(b"")  # is not read
    said = predict(tmp_path / "none.safetensors", *words, status=1)
    assert said == f"error: --min-score {float(score)}: expected a number from 0 to 1\n"
    assert not (tmp_path / "out").exists()


def test_one_file_of_coco_stands_for_the_photographs_own(
    model, mixed, photographs, boxes, tmp_path
):
    words = "--boxes", boxes, "--format", "coco", "--precision", "fp32"
    (tmp_path / "broken.png").write_text("no photograph")
    predict(
        model,
        *photographs,
        tmp_path / "broken.png",
        "--out",
        tmp_path / "out",
        *words,
        status=1,
    )
    written = sorted(path.name for path in (tmp_path / "out").iterdir())
    overlays = [f"{photograph.name}.overlay.jpg" for photograph in photographs]
    assert written == sorted([*overlays, "coco.json", "joints.csv"])
    said = json.loads((tmp_path / "out/coco.json").read_text())
    assert [each["file_name"] for each in said["images"]] == [str(each) for each in photographs]
    assert [(each["width"], each["height"]) for each in said["images"]] == [
        Image.open(each).size for each in photographs
    ]
    for image, photograph in zip(said["images"], photographs, strict=True):
        of_one = [each for each in said["annotations"] if each["image_id"] == image["id"]]
        for annotation, person in zip(of_one, read(mixed, photograph)["people"], strict=True):
            assert annotation["bbox"] == list(person["box"].values())
            assert annotation["score"] == person["score"]
            for k, joint in enumerate(person["joints"]):
                x, y, seen = annotation["keypoints"][3 * k : 3 * k + 3]
                assert (seen == 0) == joint["outside"]
                assert joint["outside"] or (x, y) == (joint["x"], joint["y"])
    table, own = (pd.read_csv(out / "joints.csv") for out in (tmp_path / "out", mixed))
    pd.testing.assert_frame_equal(table, own)


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
    assert "16 of 20 photographs, " in said and said.count("error: ") == 4
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


def test_of_many_rows_of_nobodys_some_are_named_and_none_at_length(model, tmp_path):
    Image.new("RGB", (20, 20)).save(tmp_path / "a.png")
    rows = ["a.png,1,2,9,9", "x" * 5000 + ",1,2,3,4", "b\x1b[2J.png,1,2,3,4"]
    rows += ["none.png,1,2,3,4"] * 3000
    (tmp_path / "boxes.csv").write_text("\n".join(["image,x,y,width,height", *rows]))
    words = tmp_path / "a.png", "--out", tmp_path / "out", "--boxes", tmp_path / "boxes.csv"
    said = predict(model, *words, status=1)
    errors = [line for line in said.splitlines() if line.startswith("error: ")]
    assert len(errors) == 11 and errors[-1].endswith("nor are 2,992 more rows'")
    assert all(len(line) < 600 and line.isprintable() for line in errors)
    assert (tmp_path / "out/a.png.json").exists()


def test_a_photograph_too_long_to_be_drawn_costs_its_neighbours_nothing(model, tmp_path):
    folder = tmp_path / "mine"
    folder.mkdir()
    for name, size in (("a.png", (20, 20)), ("b.png", (2, 66_000)), ("c.png", (20, 20))):
        Image.new("RGB", size).save(folder / name)
    Image.new("1", (10_000, 10_000)).save(folder / "d.png")  # of which Pillow warns
    (folder / "no suffix").write_bytes(b"P6 8p 80 255 ")  # over which Pillow stumbles
    said = program(model, folder, "--out", tmp_path / "out", status=1)
    assert (
        "2 of 4 photographs" in said
        and "Warning" not in said
        and "left out, neither photographs nor films: 1 " in said
    )
    assert "b.png: 2 x 66000 pixels; at most 65,500 in a row or a column are read" in said


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


def test_a_name_that_is_no_utf_8_a_missing_end_marker_and_a_row_of_nobodys(model, tmp_path):
    folder = tmp_path / "mine"
    folder.mkdir()
    noise = np.random.default_rng(0).integers(0, 256, (60, 40, 3), dtype=np.uint8)
    Image.fromarray(noise).save(folder / "whole.jpg")
    content = (folder / "whole.jpg").read_bytes()
    odd = os.fsdecode(b"caf\xe9.jpg")
    try:
        (folder / odd).write_bytes(content)
    except OSError:
        pytest.skip("a file system of UTF-8 names alone")
    (folder / "no_end.jpg").write_bytes(content[:-2])
    (folder / "cut.jpg").write_bytes(content[:-200])
    (folder / "read.me").write_text("no photograph")
    rows = [f"{each},5,5,30,50" for each in ("whole.jpg", "no_end.jpg", "hole.jpg")]
    (tmp_path / "boxes.csv").write_text("\n".join(["image,x,y,width,height", *rows]))
    words = folder, "--out", tmp_path / "out", "--boxes", tmp_path / "boxes.csv"
    said = program(model, *words, "--min-score", "0", status=1)
    assert "3 of 4 photographs, " in said
    assert "boxes.csv, line 4: hole.jpg is none of the 4 photographs" in said
    assert "left out, neither photographs nor films: 1 .me" in said
    assert "no_end.jpg: a JPEG without its end marker; every pixel is there" in said
    assert "cut.jpg: cannot be read: image file is truncated" in said
    table = pd.read_csv(tmp_path / "out/joints.csv").set_index("image")[["x", "y"]]
    np.testing.assert_allclose(
        table.loc[str(folder / "no_end.jpg")], table.loc[str(folder / "whole.jpg")]
    )
    assert (tmp_path / "out" / f"{odd}.json").exists()


def test_one_prediction_at_a_time_writes_to_a_folder(model, tmp_path):
    Image.new("RGB", (20, 20)).save(tmp_path / "a.png")
    words = tmp_path / "a.png", "--out", tmp_path / "out"
    with alone_in(tmp_path / "out"):
        assert "writes predictions to" in predict(model, *words, status=1)
    assert not (tmp_path / "out").exists()
    predict(model, *words)
    assert sorted(each.name for each in (tmp_path / "out").iterdir()) == [
        "a.png.json",
        "a.png.overlay.jpg",
        "joints.csv",
    ]


def test_a_folder_without_photographs_and_results_that_would_collide(model, tmp_path):
    for name in ("one", "other", "none"):
        (tmp_path / name).mkdir()
    for name in ("one", "other"):
        Image.new("RGB", (20, 20)).save(tmp_path / name / "a.png")
    assert "no photographs or films in this folder" in predict(
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


@pytest.mark.parametrize(
    ("file", "said"),
    [
        ("finder.safetensors", "no weights there; the committed ones"),
        ("judgement.json", "no such file; it belongs beside the weights"),
    ],
)
def test_what_is_missing_beside_the_weights_is_one_sentence(model, tmp_path, file, said):
    Image.new("RGB", (20, 20)).save(tmp_path / "a.png")
    for beside in ("generator.safetensors", "finder.safetensors", "judgement.json"):
        if beside != file:
            (tmp_path / beside).write_bytes((model.parent / beside).read_bytes())
    words = tmp_path / "a.png", "--out", tmp_path / "out"
    told = program(tmp_path / "generator.safetensors", *words, status=1)
    assert told.startswith(f"error: {tmp_path / file}: {said}") and len(told.splitlines()) == 1
    assert not (tmp_path / "out").exists()
