"""Adversarial PoseNet: the library behind the stages and the commands.

From Python:

    from pipeline import PoseEstimator

    [people] = PoseEstimator.load("models/generator.safetensors").find(["photograph.jpg"])
"""

import os
from typing import TYPE_CHECKING

from pipeline.errors import PipelineError

# onnxruntime tells its makers of each use, unless this is set before it is loaded.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

if TYPE_CHECKING:
    from pipeline.photographs.estimator import PoseEstimator

__all__ = ["PipelineError", "PoseEstimator"]


def __getattr__(name: str) -> object:
    """PoseEstimator, imported when asked for: a stage that needs no network waits for none."""
    if name == "PoseEstimator":
        from importlib import import_module

        return import_module("pipeline.photographs.estimator").PoseEstimator
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
