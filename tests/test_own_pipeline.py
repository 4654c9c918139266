"""Own photographs through the real pipeline, and real photographs of LSPet in each layout."""

import json
import os
import shutil
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from PIL import Image
from safetensors import safe_open
from scipy.io import loadmat

import layouts
import untrained
from conftest import LSP, LSPET, sh
from layouts import Someone
from pipeline import presets
from pipeline.annotations import load_annotations
from pipeline.files import digest
from pipeline.networks import checkpoint
from pipeline.networks.generator import Generator
from pipeline.own.dataset import Own, check
from pipeline.skeleton import HEAD_TOP, NECK
from tiny import repository

COUNT = 300


@pytest.fixture(scope="module")
def project(tmp_path_factory) -> Path:
    """The tiny training on 30 drawn people of 29 photographs in COCO's layout, which has begun with
    the weights of start.safetensors."""
    folder = repository(tmp_path_factory.mktemp("own") / "main")
    own = folder / "photographs"
    people = layouts.drawn(own, 30)
    people[4] = people[4]._replace(photograph=people[3].photograph)
    sizes = {path.name: Image.open(path).size for path in (own / "images").iterdir()}
    layouts.in_coco(own, people, sizes)
    weights(folder / "start.safetensors", seed=0)
    changed(folder, data__name="own", data__folder="photographs", train__start="start.safetensors",
            train__steps=5, train__validate_every=5)  # fmt: skip
    sh(folder, "dvc", "repro", "train")
    return folder


def weights(path: Path, seed: int) -> None:
    """Those of an untrained generator as tests/tiny.py asks for."""
    torch.manual_seed(seed)
    generator = Generator(untrained.MODEL, untrained.CACHE.geometry)
    made_by = {"model": untrained.MODEL.model_dump(), "data": {"name": "figures"}}
    checkpoint.save(path, generator, made_by)


def changed(folder: Path, **changes) -> None:
    """Change params.yaml."""
    values = yaml.safe_load((folder / "params.yaml").read_text())
    for path, value in changes.items():
        group, key = path.split("__")
        assert key in values[group]
        values[group][key] = value
    (folder / "params.yaml").write_text(yaml.safe_dump(values))


def test_people_without_heads_are_trained_on_and_measured(project):
    measured = json.loads((project / "metrics/validation_details.json").read_text())
    assert measured["pck_0.2"]["mean"] is not None and measured["pck_0.2"]["head"] is None
    assert measured["pckh_0.5"]["mean"] is None
    assert measured["counted"]["joints_annotated"] == 3 * 12
    split = (project / "data/split.csv").read_text().splitlines()
    groups = {row.split(",")[0]: row.split(",")[1:] for row in split}
    assert groups["im00004.jpg"] == groups["im00005.jpg"]  # of one photograph
    assert len({tuple(group) for group in groups.values()}) > 20


def test_the_result_says_what_it_began_with(project):
    start = project / "start.safetensors"
    with safe_open(project / "models/generator.safetensors", "pt") as file:
        made_by = json.loads(file.metadata()["settings"])
    assert made_by["start"] == {"file": start.name, "sha256": digest(start), "data": "figures"}
    assert "start" not in made_by["train"]  # where it lay


def test_a_changed_annotation_and_a_changed_start_are_noticed(project):
    annotations = project / "photographs/annotations.json"
    written = json.loads(annotations.read_text())
    written["annotations"][0]["keypoints"][15] += 1
    annotations.write_text(json.dumps(written))
    weights(project / "start.safetensors", seed=1)
    noticed = json.loads(sh(project, "dvc", "status", "--json", "download", "train"))
    assert noticed["download"] == [{"changed deps": {"photographs": "modified"}}]
    assert noticed["train"] == [{"changed deps": {"start.safetensors": "modified"}}]


def test_the_preset_begins_with_the_committed_weights():
    preset = presets.read("finetune")
    assert preset["train"]["start"] == "pretrained/generator.safetensors"
    assert preset["finder"]["start"] == "pretrained/finder.safetensors"


# Real photographs


@pytest.fixture(scope="module")
def lspet(tmp_path_factory) -> tuple[Path, list[Someone]]:
    """Photographs of LSPet in images/, the first COUNT and the first COUNT with all 14 joints; and
    everybody."""
    if not LSPET.is_file():
        pytest.skip(f"{LSPET} is not there: LSPET_ARCHIVE names it")
    folder = tmp_path_factory.mktemp("lspet")
    (folder / "images").mkdir()
    with zipfile.ZipFile(LSPET) as archive:
        (folder / "joints.mat").write_bytes(archive.read("joints.mat"))
        points, annotated, _ = load_annotations(folder / "joints.mat")
        whole = np.flatnonzero(annotated.all(axis=1))[:COUNT]
        people = []
        for k in sorted({*range(COUNT), *whole.tolist()}):
            name = f"im{k + 1:05d}.jpg"
            (folder / "images" / name).write_bytes(archive.read(f"images/{name}"))
            hidden = np.zeros(14, dtype=bool)
            people.append(Someone(name, points[k], annotated[k], hidden))
    return folder, people


def same_people(which: Own, people: list[Someone], but=()) -> None:
    found = check(which).people
    assert len(found) == len(people)
    for one, other in zip(found, people, strict=True):
        known = other.annotated & ~np.isin(np.arange(14), but)
        np.testing.assert_array_equal(one.annotated, known)
        np.testing.assert_allclose(one.points[known], other.points[known], atol=1e-9)


def test_photographs_of_lspet_written_in_each_layout_bring_the_same_people(lspet, tmp_path):
    folder, people = lspet
    some = people[:COUNT]
    coco = layouts.copy_of(folder, tmp_path / "coco")
    layouts.in_coco(coco, some, {p.name: Image.open(p).size for p in folder.glob("images/*")})
    same_people(Own(coco, ["annotations.json"], "stored", False), some, but=(NECK, HEAD_TOP))
    layouts.in_mpii(coco, some)
    same_people(Own(coco, ["mpii.mat"], "stored", False), some)
    layouts.in_hourglass(coco, some)
    same_people(Own(coco, ["mpii_annotations.json"], "stored", False), some)
    whole = [person for person in people if person.annotated.all()][:COUNT]
    lsp = tmp_path / "lsp"
    (lsp / "images").mkdir(parents=True)
    for person in whole:
        shutil.copy(folder / "images" / person.photograph, lsp / "images")
    layouts.in_lsp(lsp, whole)
    assert len(whole) == COUNT
    same_people(Own(lsp, ["joints.mat"], "stored", False), whole)


def test_the_annotations_of_lsp_itself_are_read(tmp_path):
    """Beside grey photographs, since those of LSP are not here."""
    if not LSP.is_file():
        pytest.skip(f"{LSP} is not there")
    (tmp_path / "images").mkdir()
    Image.new("RGB", (640, 640)).save(tmp_path / "grey.jpg")
    for number in range(1, 2001):
        os.link(tmp_path / "grey.jpg", tmp_path / f"images/im{number:04d}.jpg")
    shutil.copy(LSP, tmp_path / "joints.mat")
    people = check(Own(tmp_path, ["joints.mat"], "stored", True)).people
    joints = loadmat(LSP)["joints"]
    np.testing.assert_array_equal([p.points.T for p in people], joints[:2].transpose(2, 0, 1))
    np.testing.assert_array_equal([p.occluded for p in people], joints[2].T == 1)
    assert [p.test for p in people] == [False] * 1000 + [True] * 1000
