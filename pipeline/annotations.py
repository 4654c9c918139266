"""Annotations of the Leeds Sports Pose sets, and of data/dataset, which is laid out as LSPet is.

LSPet: S. Johnson, M. Everingham, "Learning Effective Human Pose Estimation from Inaccurate
Annotation", CVPR 2011. LSP: by the same, "Clustered Pose and Nonlinear Appearance Models", BMVC
2010.
"""

import csv
import io
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from pipeline.errors import PipelineError

FARTHEST = 20_000  # px; OpenCV's places end at 32,767
PEOPLE = "people.csv"  # beside joints.mat, of a user's own photographs
TEST = "test"


class AnnotationError(PipelineError):
    """A file of annotations is not what LSPet or LSP hold."""


class Annotations(NamedTuple):
    """Where the joints of N people are, as annotators say."""

    points: np.ndarray  # (N, 14, 2) float64, px, NaN where not annotated
    annotated: np.ndarray  # (N, 14) bool
    occluded: np.ndarray  # (N, 14) bool


def load_annotations(path: Path | str) -> Annotations:
    """Read joints.mat of LSPet, (14, 3, N), or of LSP, (3, 14, N).

    The third row means opposite things: LSPet's 1 is "annotated", and what is 0 has no place (a
    sentinel outside the image, or one of 112 unexplained points: neither is used); LSP's 1 is
    "occluded", and every joint has a place. A file in LSPet's layout may hold one variable more,
    `occluded` (14, N): 1 where a joint is hidden and has a place. Raises AnnotationError.
    """
    from scipy.io import (
        loadmat,
    )  # takes 0.13 s, which those who only want image_paths need not wait for

    try:
        variables = loadmat(path)
        joints = np.asarray(variables["joints"])
        if joints.dtype.kind not in "iuf":
            raise ValueError(f"its numbers are of the type {joints.dtype}, expected real ones")
        joints = joints.astype(np.float64)
    except Exception as error:  # of a damaged file SciPy raises almost any
        raise AnnotationError(
            f"{path}: expected a MATLAB file with the variable 'joints': {error}"
        ) from error
    if joints.ndim == 3 and joints.shape[:2] == (14, 3):
        x, y, flag = joints.transpose(1, 2, 0)
        annotated = flag == 1
        occluded = _hidden(path, variables.get("occluded"), annotated)
    elif joints.ndim == 3 and joints.shape[:2] == (3, 14):
        x, y, flag = joints.transpose(0, 2, 1)
        annotated, occluded = np.ones(flag.shape, dtype=bool), flag == 1
    else:
        raise AnnotationError(
            f"{path}: 'joints' is {joints.shape}; expected (14, 3, N) as in LSPet or (3, 14, N)"
            " as in LSP"
        )
    if not np.isin(flag, (0, 1)).all():
        raise AnnotationError(f"{path}: the third row of 'joints' must hold 0 and 1 only")
    points = np.stack([x, y], axis=-1)
    points[~annotated] = np.nan
    if not np.isfinite(points[annotated]).all():
        raise AnnotationError(f"{path}: a joint that is flagged as annotated has no place")
    far = np.flatnonzero((np.abs(np.nan_to_num(points)) > FARTHEST).any(axis=(1, 2)))
    if len(far):
        raise AnnotationError(
            f"{path}: of person {far[0] + 1} a joint lies more than {FARTHEST:,} px from the origin"
            f" ({len(far)} such people)"
        )
    return Annotations(points, annotated, occluded)


def _hidden(path: Path | str, variable: object, annotated: np.ndarray) -> np.ndarray:
    """The variable `occluded` as (N, 14) bool; nobody's joint where there is none."""
    if variable is None:
        return np.zeros(annotated.shape, dtype=bool)
    hidden = np.asarray(variable).T
    if hidden.shape != annotated.shape or not np.isin(hidden, (0, 1)).all():
        raise AnnotationError(
            f"{path}: expected 'occluded' to be (14, N), of 0 and 1; it is {hidden.T.shape}"
        )
    return (hidden == 1) & annotated


def save_joints(
    path: Path, joints: Sequence[np.ndarray], occluded: Sequence[np.ndarray] | None = None
) -> None:
    """Write (14, 3, N) float64 `joints`, of each person's (14, 3), with a header that bears no
    date; and (14, N) `occluded`, of each person's (14,) bool, where it is known."""
    from scipy.io import savemat

    variables = {"joints": np.stack(joints, axis=2).astype(np.float64)}
    if occluded is not None:
        variables["occluded"] = np.stack(occluded, axis=1).astype(np.uint8)
    buffer = io.BytesIO()
    savemat(buffer, variables)  # type: ignore[arg-type]
    content = buffer.getvalue()
    path.write_bytes(b"MATLAB 5.0 MAT-file".ljust(116) + content[116:])


class Known(NamedTuple):
    """What is known of N people's photographs beside the joints; "" is nothing."""

    photographs: Sequence[str]  # where each comes from: people of one photograph have the same
    groups: Sequence[str]  # photographs of one stay on one side of the split
    test: Sequence[bool]  # is published as one of a test part


def load_known(dataset: Path, names: Sequence[str]) -> Known:
    """What people.csv of a data set says of its photographs, by their names; nothing where there is
    no such file. Raises AnnotationError where it names other photographs."""
    path = dataset / PEOPLE
    if not path.exists():
        return Known([""] * len(names), [""] * len(names), [False] * len(names))
    with path.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    if [row["image"] for row in rows] != list(names):
        raise AnnotationError(f"{path}: expected a row for each photograph in images/, in order")
    return Known(
        photographs=[row["photograph"] for row in rows],
        groups=[row["group"] for row in rows],
        test=[row["part"] == TEST for row in rows],
    )


def image_paths(folder: Path) -> list[Path]:
    """The photographs of a folder in LSPet's layout, in the order of its annotations: by number,
    im100000.jpg after im99999.jpg."""
    return sorted((folder / "images").glob("im*.jpg"), key=lambda path: (len(path.name), path))
