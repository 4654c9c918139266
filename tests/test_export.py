"""The ONNX files, run by onnxruntime: the same joints, and the same people, of any number of
images."""

import json
import shutil
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from onnx import TensorProto, helper

import oracle
import untrained
from conftest import CPU
from pipeline.__main__ import main
from pipeline.commands import export
from pipeline.finding.estimator import PeopleFinder
from pipeline.finding.finder import Finder
from pipeline.finding.views import find, view
from pipeline.networks import checkpoint
from pipeline.networks.estimator import CropEstimator
from pipeline.photographs.onnx_file import OnnxError, OnnxEstimator, OnnxFinder
from pipeline.skeleton import JOINTS

SIDE = -1  # stands for that of a network's input


def command(folder: Path, onnx: str) -> int:
    """The command, in a folder without a cache, in this process: importing torch takes most of its
    time."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        return main(["export", "--onnx", onnx, "--weights", "generator.safetensors"])


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """Of weights, and what was exported of them."""
    folder = tmp_path_factory.mktemp("export")
    untrained.write(folder, stacks=2)
    untrained.write_finder(folder)
    assert command(folder, "there/joints.onnx") == 0
    return folder


def session(path: Path) -> onnxruntime.InferenceSession:
    return onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])


def assert_same_joints(path: Path, estimator: CropEstimator) -> None:
    opened = session(path)
    for count in (1, 5):
        images = torch.rand(count, 3, 32, 32)
        points, scores, hidden = opened.run(None, {"images": images.numpy()})
        assert points.shape == (count, 14, 2) and scores.shape == hidden.shape == (count, 14)
        with torch.inference_mode():
            expected = estimator.joints(images)
        for found, wanted in zip((points, scores, hidden), expected, strict=True):
            np.testing.assert_allclose(found, wanted.numpy(), atol=1e-3)


def test_the_command_writes_what_finds_the_joints_that_the_pipeline_finds(folder):
    path = folder / "there/joints.onnx"
    assert_same_joints(path, CropEstimator(*checkpoint.load(folder / "generator.safetensors"), CPU))
    facts = session(path).get_modelmeta().custom_metadata_map
    assert json.loads(facts["joints"]) == list(JOINTS)
    assert json.loads(facts["settings"])["cache"]["input_size"] == 32
    assert json.loads(facts["judgement"]) == asdict(untrained.JUDGEMENT)
    assert OnnxEstimator(path).judgement == untrained.JUDGEMENT
    assert sorted(each.name for each in path.parent.iterdir()) == ["finder.onnx", "joints.onnx"]


def test_the_finder_beside_it_finds_the_people_that_the_pipeline_finds(folder):
    path = folder / "there/finder.onnx"
    finder, exported = PeopleFinder.load(folder / "finder.safetensors"), OnnxFinder(path)
    assert exported.input_size == 64 and exported.settings == finder.settings
    images = list(oracle.album(5).images)
    for some in (images[:1], images):
        views = np.stack([view(image, 64) for image in some])
        centres, edges = exported.maps(views)
        assert centres.shape == (len(some), 8, 8) and edges.shape == (len(some), 4, 8, 8)
        for found, wanted in zip((centres, edges), finder.maps(views), strict=True):
            np.testing.assert_allclose(found, wanted, atol=1e-4)
        plain = views.transpose(0, 3, 1, 2).astype(np.float32) / 255  # RGB in [0, 1]
        np.testing.assert_allclose(session(path).run(None, {"images": plain})[0], centres)
    people = 0
    for one, other in zip(find(exported, images), finder.find(images), strict=True):
        np.testing.assert_allclose(one.boxes, other.boxes, atol=0.05)
        np.testing.assert_allclose(one.scores, other.scores, atol=1e-4)
        people += len(one.scores)
    assert people > 10


@pytest.mark.parametrize(
    "changes",
    [
        {"occlusion": False},
        {"reconstruction": "mse", "block": "bottleneck", "stem": "paper", "stacks": 2},
    ],
    ids=["single task", "paper"],
)
def test_other_networks_find_the_same_joints_too(tmp_path, changes):
    estimator = CropEstimator(*checkpoint.load(untrained.write(tmp_path, **changes)), CPU)
    export.export(estimator, untrained.JUDGEMENT, tmp_path / "joints.onnx")
    assert_same_joints(tmp_path / "joints.onnx", estimator)


def test_a_difference_is_measured_in_px_of_the_input(folder):
    finder = PeopleFinder.load(folder / "finder.safetensors")
    path = folder / "there/finder.onnx"
    assert export.finder_difference(finder, path) < 0.01
    another = Finder(untrained.FINDER).eval().to(finder.device)
    another.load_state_dict(finder.finder.state_dict())
    with torch.no_grad():
        another.head[-1].bias[1] += 0.1  # of the left edges, before the logistic function
    # Its slope is at most 1/4, and that is reached where an edge is at half of the side.
    off = export.finder_difference(replace(finder, finder=another), path)
    assert off == pytest.approx(64 * 0.1 / 4, rel=0.05)


@pytest.mark.parametrize(
    ("same", "said"),
    [
        (["judgement.json"], "there/joints.onnx not written: its joints are up to"),
        (
            ["judgement.json", "generator.safetensors"],
            "there/finder.onnx not written: its boxes are up to",
        ),
    ],
    ids=["joints", "boxes"],
)
def test_files_that_differ_are_not_left_and_what_was_there_stays(
    folder, monkeypatch, tmp_path, capsys, same, said
):
    """The files of the folder's weights, in place of those of other ones."""
    made = {"export": folder / "there/joints.onnx", "export_finder": folder / "there/finder.onnx"}
    for name, file in made.items():
        monkeypatch.setattr(export, name, lambda *words, file=file: shutil.copy(file, words[-1]))
    untrained.write(tmp_path)
    for name in same:
        shutil.copy(folder / name, tmp_path / name)
    (tmp_path / "there").mkdir()
    (tmp_path / "there/finder.onnx").write_bytes(b"of an earlier call")
    assert command(tmp_path, "there/joints.onnx") == 1
    (told,) = capsys.readouterr().err.splitlines()
    assert told.startswith(f"error: {said} ") and told.endswith(" px from PyTorch's")
    assert [each.name for each in (tmp_path / "there").iterdir()] == ["finder.onnx"]
    assert (tmp_path / "there/finder.onnx").read_bytes() == b"of an earlier call"


def test_the_generator_is_not_given_the_finders_name(tmp_path, capsys):
    untrained.write(tmp_path)
    assert command(tmp_path, "there/finder.onnx") == 1
    said = capsys.readouterr().err
    assert said == "error: --onnx there/finder.onnx: that is the finder's name; take another\n"
    assert not (tmp_path / "there").exists()


def test_what_is_missing_beside_the_weights_is_named(tmp_path, capsys):
    untrained.write(tmp_path)
    (tmp_path / "finder.safetensors").unlink()
    assert command(tmp_path, "there/joints.onnx") == 1
    (said,) = capsys.readouterr().err.splitlines()
    assert said.startswith("error: finder.safetensors: no weights there")
    assert not (tmp_path / "there").exists()


def other_network(path: Path, shape: list, kind: int = TensorProto.FLOAT) -> None:
    """In place of an exported file: one that says it is ours, but hands on what it is given."""
    exported = onnx.load(path)
    outputs = [each.name for each in exported.graph.output]
    graph = helper.make_graph(
        [helper.make_node("Identity", ["images"], [each]) for each in outputs],
        "other",
        [helper.make_tensor_value_info("images", kind, shape)],
        [helper.make_tensor_value_info(each, kind, None) for each in outputs],
    )
    version = [helper.make_opsetid("", 18)]
    other = helper.make_model(graph, opset_imports=version, ir_version=9)
    other.metadata_props.extend(exported.metadata_props)
    onnx.save(other, path)


@pytest.mark.parametrize(
    ("shape", "kind", "said"),
    [
        (["batch", 3, SIDE, SIDE], TensorProto.FLOAT, "its {} are not finite numbers of shape"),
        ([1, 3, SIDE, SIDE], TensorProto.FLOAT, "it does not run: "),
        (["batch", 3, SIDE, SIDE], TensorProto.UINT8, r"it takes .*\(uint8\).*; expected "),
        (["batch", 3, 48, 48], TensorProto.FLOAT, r"it takes .* 48, 48.*; expected "),
        (["batch"], TensorProto.FLOAT, "it takes "),
    ],
)
@pytest.mark.parametrize(
    ("name", "kind_of", "first", "side"),
    [
        ("joints.onnx", OnnxEstimator, "points", 32),
        ("finder.onnx", OnnxFinder, "centres", 64),
    ],
)
def test_a_network_of_other_inputs_or_outputs_is_refused_where_it_is_opened(
    folder, tmp_path, shape, kind, said, name, kind_of, first, side
):
    path = Path(shutil.copy(folder / "there" / name, tmp_path))
    kind_of(path)
    other_network(path, [side if each == SIDE else each for each in shape], kind)
    with pytest.raises(OnnxError, match=f"{name}: not a .* of this pipeline: {said.format(first)}"):
        kind_of(path)


@pytest.mark.parametrize(
    ("said", "name"),
    [
        ({"cache": {"box": 1e9}}, "box"),
        ({"cache": {"margin": float("nan")}}, "margin"),
        ({"cache": {"box": "1.25"}}, "not supported between"),
        ({"cache": {"input_size": 10**400}}, "it takes"),
        ({"cache": None}, "not subscriptable"),
        ("[" * 5000, "maximum recursion depth"),
    ],
)
def test_an_exported_network_that_says_other_things_of_itself_is_refused(
    folder, tmp_path, said, name
):
    path = Path(shutil.copy(folder / "there/joints.onnx", tmp_path))
    model = onnx.load(path)
    (fact,) = (each for each in model.metadata_props if each.key == "settings")
    if isinstance(said, dict):
        settings = json.loads(fact.value)
        group = said["cache"]
        said = json.dumps(settings | {"cache": group and settings["cache"] | group})
    fact.value = said
    onnx.save(model, path)
    with pytest.raises(OnnxError, match=f"joints.onnx: not a generator .*{name}") as error:
        OnnxEstimator(path)
    assert len(str(error.value)) < 600
