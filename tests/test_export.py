"""The ONNX file, run by onnxruntime: the same joints, of any number of images."""

import json
import sys

import numpy as np
import onnxruntime
import pytest
import torch

import untrained
from pipeline import PipelineError, export, inference, weights
from pipeline.lspet import JOINTS


def run(monkeypatch, folder, weights_file):
    """The command, in a folder without a cache, in this process: importing torch takes most of its time."""
    monkeypatch.chdir(folder)
    words = ["export", "--onnx", "there/joints.onnx", "--weights", str(weights_file)]
    monkeypatch.setattr(sys, "argv", words)
    export.main()


@pytest.mark.parametrize(
    "changes",
    [{}, {"occlusion": False}, {"reconstruction": "mse", "block": "bottleneck", "stem": "paper"}],
    ids=["default", "single task", "paper"],
)
def test_the_file_finds_the_joints_that_the_pipeline_finds(monkeypatch, tmp_path, capsys, changes):
    path = untrained.write(tmp_path, stacks=2, **changes)
    run(monkeypatch, tmp_path, path)
    assert "of PyTorch's on 32 drawn people" in capsys.readouterr().out
    session = onnxruntime.InferenceSession(tmp_path / "there/joints.onnx", providers=["CPUExecutionProvider"])
    generator, _ = weights.load(path)
    for count in (1, 5):
        images = torch.rand(count, 3, 32, 32)
        points, scores, hidden = session.run(None, {"images": images.numpy()})
        assert points.shape == (count, 14, 2) and scores.shape == hidden.shape == (count, 14)
        with torch.inference_mode():
            expected = inference.joints(*inference.maps(generator, images, flip=True), untrained.CACHE)
        for found, wanted in zip((points, scores, hidden), expected, strict=True):
            np.testing.assert_allclose(found, wanted.numpy(), atol=1e-3)
    facts = session.get_modelmeta().custom_metadata_map
    assert json.loads(facts["joints"]) == list(JOINTS)
    assert json.loads(facts["settings"])["cache"]["input_size"] == 32


def test_a_file_that_differs_is_not_left(monkeypatch, tmp_path):
    monkeypatch.setattr(export, "difference", lambda *_: float("nan"))
    with pytest.raises(PipelineError, match="joints.onnx not written: its joints are up to nan px"):
        run(monkeypatch, tmp_path, untrained.write(tmp_path))
    assert not list((tmp_path / "there").iterdir())
