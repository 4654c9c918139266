"""The ONNX file, run by onnxruntime: the same joints, of any number of images."""

import json

import numpy as np
import onnxruntime
import pytest
import torch

import untrained
from conftest import CPU
from pipeline.__main__ import main
from pipeline.commands import export
from pipeline.networks import checkpoint
from pipeline.networks.estimator import CropEstimator
from pipeline.skeleton import JOINTS


def run(monkeypatch, folder, weights):
    """The command, in a folder without a cache, in this process: importing torch takes most of its
    time."""
    monkeypatch.chdir(folder)
    return main(["export", "--onnx", "there/joints.onnx", "--weights", str(weights)])


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"occlusion": False},
        {"reconstruction": "mse", "block": "bottleneck", "stem": "paper"},
    ],
    ids=["default", "single task", "paper"],
)
def test_the_file_finds_the_joints_that_the_pipeline_finds(monkeypatch, tmp_path, capsys, changes):
    path = untrained.write(tmp_path, stacks=2, **changes)
    assert run(monkeypatch, tmp_path, path) == 0
    assert "of PyTorch's on 32 drawn people" in capsys.readouterr().out
    session = onnxruntime.InferenceSession(
        tmp_path / "there/joints.onnx", providers=["CPUExecutionProvider"]
    )
    estimator = CropEstimator(*checkpoint.load(path), CPU)
    for count in (1, 5):
        images = torch.rand(count, 3, 32, 32)
        points, scores, hidden = session.run(None, {"images": images.numpy()})
        assert points.shape == (count, 14, 2) and scores.shape == hidden.shape == (count, 14)
        with torch.inference_mode():
            expected = estimator.joints(images)
        for found, wanted in zip((points, scores, hidden), expected, strict=True):
            np.testing.assert_allclose(found, wanted.numpy(), atol=1e-3)
    facts = session.get_modelmeta().custom_metadata_map
    assert json.loads(facts["joints"]) == list(JOINTS)
    assert json.loads(facts["settings"])["cache"]["input_size"] == 32


def test_a_file_that_differs_is_not_left(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(export, "difference", lambda *_: float("nan"))
    weights = untrained.write(tmp_path)
    assert run(monkeypatch, tmp_path, weights) == 1
    said = capsys.readouterr().err
    assert said.startswith("error: there/joints.onnx not written: its joints are up to nan px")
    assert not list((tmp_path / "there").iterdir())
