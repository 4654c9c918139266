"""MediaPipe Pose beside our model on LSPet's test photographs. Run: make bench-peer

MediaPipe (V. Bazarevsky et al., BlazePose, 2020) is what one would install instead. It finds its
person by itself, so it gets the whole photograph, and also the box around the annotated joints that
ours gets. Ours is the exported model, as whoever only predicts has it.
"""

import argparse
import json
import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from importlib.metadata import version
from itertools import product
from pathlib import Path
from typing import Any

import cv2
import mediapipe
import numpy as np
import pandas as pd
from tqdm import tqdm

from benchmarks.machine import bf16, cpu
from pipeline.annotations import load_annotations
from pipeline.errors import PipelineError
from pipeline.evaluation import metrics
from pipeline.geometry import Geometry, extent
from pipeline.photographs.estimator import PoseEstimator
from pipeline.settings import load
from pipeline.skeleton import JOINTS

Pose = Any  # mediapipe.solutions.pose.Pose, which has no types
RESULT = Path("benchmarks/results/mediapipe.json")
MODELS = {"heavy": 2, "full": 1}  # MediaPipe's model_complexity
INPUTS = ("photograph", "box")
OURS = {
    "photograph": "predictions_without_box.csv",
    "box": "predictions.csv",
}  # of the evaluate stage
CONFIDENCES = (0.5, 0.1)  # least certainty of a detected person; 0.5 is MediaPipe's default
BODY = slice(0, 12)  # the joints that MediaPipe has too: JOINTS without neck and head top
LANDMARKS = [mediapipe.solutions.pose.PoseLandmark[joint.upper()] for joint in JOINTS[BODY]]


def crop(image: np.ndarray, corner: np.ndarray, side: int) -> np.ndarray:
    """The box of a photograph (H, W, 3), at the photograph's resolution; black beyond its edges."""
    shift = np.array([[1, 0, -corner[0]], [0, 1, -corner[1]]], dtype=np.float64)
    return cv2.warpAffine(image, shift, (int(side), int(side)), flags=cv2.INTER_NEAREST)


@contextmanager
def silence() -> Iterator[None]:
    """Nothing on standard error, from Python or the C++ below it, which has no switch for it."""
    sys.stderr.flush()
    kept, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 2)
    try:
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)


def open_pose(model: str, confidence: float, image: np.ndarray) -> Pose:
    """A MediaPipe Pose for single photographs, warmed up with one: the first call is slow."""
    with silence():
        pose = mediapipe.solutions.pose.Pose(
            static_image_mode=True,
            model_complexity=MODELS[model],
            min_detection_confidence=confidence,
        )
        pose.process(image)
    return pose


def find(pose: Pose, image: np.ndarray) -> tuple[np.ndarray, float]:
    """Joints (14, 2), px of the image (H, W, 3) RGB, NaN where none; seconds of the call alone."""
    start = time.perf_counter()
    landmarks = pose.process(image).pose_landmarks
    seconds = time.perf_counter() - start
    joints = np.full((len(JOINTS), 2), np.nan)
    if landmarks:
        # Shares of the image's sides, from its very edge; our pixel 0 has its centre at 0.
        shares = [(landmarks.landmark[i].x, landmarks.landmark[i].y) for i in LANDMARKS]
        joints[BODY] = np.array(shares) * image.shape[1::-1] - 0.5
    return joints, seconds


def read(path: Path) -> np.ndarray:
    """The photograph (H, W, 3) RGB, as it is stored: not turned by EXIF, as nothing of a data set
    is."""
    image = cv2.imread(str(path), cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION)
    if image is None:
        raise PipelineError(f"{path} cannot be read: run `dvc repro` first")
    return cv2.cvtColor(image, cv2.COLOR_BGR2RGB)


def seconds_of_ours(
    estimator: PoseEstimator, image: np.ndarray, points: np.ndarray
) -> dict[str, float]:
    """Seconds of a call for everybody in a photograph (H, W, 3) RGB, and for the person annotated
    by points (14, 2) in the box around them, by input."""
    low, high = extent(points)
    box = [*low, *np.maximum(high - low, 1)]
    seconds = {}
    for source, boxes in (("photograph", None), ("box", [[box]])):
        start = time.perf_counter()
        estimator.find([image], boxes)
        seconds[source] = time.perf_counter() - start
    return seconds


def measure(
    paths: list[Path], points: np.ndarray, geometry: Geometry, estimator: PoseEstimator
) -> tuple[list[dict], dict[str, float]]:
    """A row a variant of MediaPipe's, with a call's median time, and such times of ours by input;
    photographs annotated by points (N, 14, 2)."""
    first = read(paths[0])
    poses = {each: open_pose(*each, first) for each in product(MODELS, CONFIDENCES)}
    variants = list(product(MODELS, INPUTS, CONFIDENCES))
    found = {each: np.full(points.shape, np.nan) for each in variants}
    seconds = {each: np.empty(len(paths)) for each in variants}
    ours: dict[str, list[float]] = {source: [] for source in INPUTS}
    seconds_of_ours(estimator, first, points[0])  # the first call is slow here too
    corners, sides = replace(geometry, crop_scale=1.0).pixel_boxes(
        points
    )  # ours without the margin
    # All variants of a photograph in a row: what else the machine does then slows them all alike.
    for i, path in enumerate(tqdm(paths, desc="MediaPipe Pose", unit=" photographs")):
        image = read(path)
        views = {"photograph": (image, 0), "box": (crop(image, corners[i], sides[i]), corners[i])}
        for model, source, confidence in variants:
            view, offset = views[source]
            joints, spent = find(poses[model, confidence], view)
            found[model, source, confidence][i] = joints + offset
            seconds[model, source, confidence][i] = spent
        for source, spent in seconds_of_ours(estimator, image, points[i]).items():
            ours[source].append(spent)
    name = f"MediaPipe Pose {version('mediapipe')}"
    rows = [
        row(name, *each, found[each], points, 1e3 * float(np.median(seconds[each])))
        for each in variants
    ]
    return rows, {source: 1e3 * float(np.median(spent)) for source, spent in ours.items()}


def row(
    name: str,
    model: str,
    source: str,
    confidence: float | None,
    found: np.ndarray,
    points: np.ndarray,
    milliseconds: float,
) -> dict:
    """Joints found, NaN where nobody was, measured against annotated ones; both (N, 14, 2), px."""
    valid = ~np.isnan(points).any(axis=-1)
    torso, head = metrics.torso_size(points, valid), metrics.head_size(points, valid)
    return {
        "name": name,
        "model": model,
        "input": source,
        "confidence": confidence,
        "people_found": int((~np.isnan(found[:, BODY]).any(axis=(1, 2))).sum()),
        "pck_0.2": float(np.nanmean(metrics.pck(found, points, valid, torso, 0.2)[BODY])),
        "pckh_0.5": float(np.nanmean(metrics.pck(found, points, valid, head, 0.5)[BODY])),
        "ms_per_photograph": milliseconds,
    }


def our_joints(predictions: Path, images: list[str]) -> np.ndarray:
    """Joints (N, 14, 2), px, that the evaluate stage wrote for these photographs."""
    table = pd.read_csv(predictions).set_index(["image", "joint"])[["x", "y"]]
    if not set(images) <= set(table.index.get_level_values("image")):
        raise PipelineError(f"{predictions} belongs to another split: run `dvc repro` first")
    return table.loc[list(product(images, JOINTS))].to_numpy().reshape(len(images), len(JOINTS), 2)


def use_one_core() -> dict:
    """Hold this process and the threads that MediaPipe starts on one core; the machine in words."""
    cores = 1 if hasattr(os, "sched_setaffinity") else os.cpu_count()  # macOS cannot
    if cores == 1:
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    return {"cpu": cpu(), "bf16": bf16(), "cores": os.cpu_count(), "cores_used": cores}


def table(rows: list[dict]) -> str:
    """The rows, aligned; a dash where there is nothing to say."""
    shown = pd.DataFrame(rows).astype({"confidence": object})
    formats: dict[str | int, Callable] = {
        "pck_0.2": "{:.3f}".format,
        "pckh_0.5": "{:.3f}".format,
        "ms_per_photograph": "{:.1f}".format,
    }
    return shown.to_string(index=False, na_rep="-", formatters=formats)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--limit", type=int, metavar="N", help="only the first N test photographs")
    parser.add_argument(
        "--data", type=Path, default=Path("data"), metavar="FOLDER", help="default: data"
    )
    parser.add_argument("model", type=Path, metavar="ONNX", help="ours, as `export` writes it")
    options = parser.parse_args()
    if options.limit is not None and options.limit < 1:
        parser.error("--limit must be at least 1")
    data = options.data
    for needed in ("split.csv", "dataset/joints.mat", "dataset/images", *OURS.values()):
        if not (data / needed).exists():
            raise PipelineError(f"{data / needed} is missing: run `dvc repro` first")

    split = pd.read_csv(data / "split.csv")
    points = load_annotations(data / "dataset/joints.mat")[0]
    if len(split) != len(points):
        raise PipelineError(f"{data}/split.csv is not LSPet's: run `dvc repro` first")
    some = np.flatnonzero(split.part == "test")[: options.limit]
    images = list(split.image[some])
    geometry = load().cache.geometry
    machine = use_one_core()
    files = [data / "dataset/images" / image for image in images]
    peers, milliseconds = measure(files, points[some], geometry, PoseEstimator.load(options.model))
    rows = [
        row(
            "ours",
            "generator",
            source,
            None,
            our_joints(data / file, images),
            points[some],
            milliseconds[source],
        )
        for source, file in OURS.items()
    ] + peers
    RESULT.parent.mkdir(exist_ok=True)
    result = {"photographs": len(some), "machine": machine, "rows": rows}
    RESULT.write_text(json.dumps(result, indent=2) + "\n")
    print(
        f"{len(some)} test photographs, mean over {len(JOINTS[BODY])} joints;"
        f" {RESULT}\n{table(rows)}"
    )


if __name__ == "__main__":
    try:
        main()
    except PipelineError as error:
        sys.exit(str(error))
