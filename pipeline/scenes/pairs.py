"""Photographs of one scene: pairs that show the same place, found by local features.

LSPet holds series: one jump frame by frame, one gymnast after another before the same wall, the
same photograph with a caption. Their difference hashes differ, so `split.near_duplicates` does not
find them; features of the things behind the people agree. `find` takes minutes: what it found in
LSPet is committed beside this file.

D. G. Lowe, "Distinctive Image Features from Scale-Invariant Keypoints", IJCV 2004; M. Muja and
D. G. Lowe, "Fast Approximate Nearest Neighbors with Automatic Algorithm Configuration", VISAPP
2009; M. A. Fischler and R. C. Bolles, "Random Sample Consensus", CACM 1981.
"""

import csv
import os
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple, TypeVar

import cv2
import numpy as np
import simplejpeg
from tqdm import tqdm

from pipeline.errors import PipelineError

SIDE = 256  # px that a photograph's longer side is shrunk to where it is longer
FEATURES = 300  # the strongest of each photograph
RATIO = 0.8  # of the distances to the nearest and to another feature: Lowe's test
NEIGHBOURS = 16  # of each feature among all photographs': more than a long series holds frames
VOTES = 4  # features of two photographs that are neighbours, from which on both are compared
REACH = 4.0  # px between a feature's place and where the other photograph's says that it is
INLIERS = 15  # places that agree, from which on two photographs show one scene
SPREAD = 0.05  # share of each photograph that those enclose: a sponsor's board is no scene
BLOCK = 10_000  # features a task of a thread

Item = TypeVar("Item")
Result = TypeVar("Result")


class SceneError(PipelineError):
    """A list of pairs, or a photograph, that cannot be used."""


class Features(NamedTuple):
    """F features of a photograph."""

    places: np.ndarray  # (F, 2) float32, px of the photograph as shrunk
    descriptors: np.ndarray  # (F, 128) uint8
    area: int  # px^2 of the photograph as shrunk


class Pair(NamedTuple):
    """Two photographs of one scene, by name; `image` comes first in the data set."""

    image: str
    other: str
    inliers: int


def same_scene(name: str) -> Path:
    """The committed list of the pairs of a data set."""
    return Path(__file__).with_name(f"{name}.csv")


def features(grey: np.ndarray) -> Features:
    """SIFT features of a photograph (H, W) uint8, shrunk to SIDE: FEATURES of them, or fewer."""
    scale = min(1.0, SIDE / max(grey.shape))
    size = [max(1, round(side * scale)) for side in grey.shape]
    if scale < 1:
        grey = cv2.resize(grey, size[::-1], interpolation=cv2.INTER_AREA)
    sift = cv2.SIFT.create(FEATURES, 3, 0.04, 10, 1.6, cv2.CV_8U)  # but for the type, the defaults
    points, descriptors = sift.detectAndCompute(grey, None)
    if descriptors is None:
        descriptors = np.empty((0, 128), dtype=np.uint8)
    places = np.array([point.pt for point in points], dtype=np.float32).reshape(-1, 2)
    return Features(places, descriptors, size[0] * size[1])


def candidates(descriptors: Sequence[np.ndarray], workers: int | None = None) -> np.ndarray:
    """Pairs (M, 2), sorted, of N photographs by descriptors (F, 128) uint8 of each: those that may
    share a scene.

    All descriptors go into one forest of k-d trees. A feature votes for the photographs of its
    nearest neighbours that are clearly nearer than the last of its NEIGHBOURS, which stands for
    what is near by chance; VOTES of them make a pair.
    """
    count = len(descriptors)
    owner = np.repeat(np.arange(count), [len(each) for each in descriptors])
    points = np.concatenate(descriptors, dtype=np.float32)
    if len(points) < 2:
        return np.empty((0, 2), dtype=np.intp)
    cv2.setRNGSeed(0)  # which dimensions the trees divide
    forest = cv2.flann.Index(points, {"algorithm": 1, "trees": 4})  # 1: k-d trees
    neighbours = min(NEIGHBOURS, len(points))

    def votes(start: int) -> np.ndarray:
        """For a block of features: first x N + second photograph of each vote."""
        block = points[start : start + BLOCK]
        found, squares = forest.knnSearch(block, neighbours, params={"checks": 64})
        near = (found >= 0) & (squares < RATIO**2 * squares[:, -1:])
        feature, column = np.nonzero(near)
        own, others = owner[start + feature], owner[found[feature, column]]
        pairs = np.minimum(own, others) * count + np.maximum(own, others)
        # A feature has one vote for a photograph, however many of that one's are near.
        once = np.unique(np.stack([pairs, feature])[:, own != others], axis=1)
        return once[0]

    cast = _each(votes, range(0, len(points), BLOCK), workers, "neighbours", f" x {BLOCK:,}")
    voted, number = np.unique(np.concatenate(cast), return_counts=True)
    return np.stack(np.divmod(voted[number >= VOTES], count), axis=1)


def inliers(one: Features, other: Features) -> int:
    """Places of two photographs' features that agree: the same descriptor where one turn, scaling
    and shift says.

    0 where they enclose less than SPREAD of either photograph: there a caption, a watermark or a
    sponsor's board agrees, which others have as well.
    """
    if len(one.descriptors) < 2 or len(other.descriptors) < 2:
        return 0
    first, second = _matches(one.descriptors, other.descriptors)
    if len(first) < INLIERS:
        return 0
    from_, to = one.places[first], other.places[second]
    cv2.setRNGSeed(0)
    _, agree = cv2.estimateAffinePartial2D(
        from_, to, method=cv2.RANSAC, ransacReprojThreshold=REACH, maxIters=2000, confidence=0.999
    )
    kept = agree.ravel().astype(bool)
    if (
        not kept.any()
        or min(_enclosed(from_[kept]) / one.area, _enclosed(to[kept]) / other.area) < SPREAD
    ):
        return 0
    # A place with two directions has two features, and is one witness.
    return min(len(np.unique(places[kept], axis=0)) for places in (from_, to))


def _matches(one: np.ndarray, other: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Indices (M,) into descriptors (F, 128) and (G, 128) of the matches that pass Lowe's test; no
    index twice."""
    a, b = one.astype(np.float32), other.astype(np.float32)
    # Sums of whole numbers below 2^24: exact, in whatever order a machine adds them.
    squares = (a * a).sum(axis=1)[:, None] + (b * b).sum(axis=1) - 2 * (a @ b.T)
    nearest = np.argmin(squares, axis=1)
    rows = np.arange(len(a))
    least = squares[rows, nearest]
    squares[rows, nearest] = np.inf
    passed = np.flatnonzero(least < RATIO**2 * squares.min(axis=1))
    # Of those that want the same, the nearest has it: the first of each in order of distance.
    passed = passed[np.argsort(least[passed], kind="stable")]
    second, first = np.unique(nearest[passed], return_index=True)
    return passed[first], second


def _enclosed(places: np.ndarray) -> float:
    """Area, px^2, of the convex hull of places (N, 2) float32."""
    return cv2.contourArea(cv2.convexHull(places))


def find(paths: Sequence[Path], workers: int | None = None) -> list[Pair]:
    """All pairs of one scene among photographs in JPEG, in their order.

    The result does not depend on the number of workers. Takes about 0.1 s of a core a photograph,
    and for 10,000 of them 4.5 GB. Raises SceneError at an unreadable photograph.
    """

    def described(path: Path) -> Features:
        try:
            return features(simplejpeg.decode_jpeg(path.read_bytes(), colorspace="GRAY")[..., 0])
        except (OSError, ValueError) as error:
            raise SceneError(f"{path}: {error}") from error

    all_ = _each(described, paths, workers, "features", " photographs")
    pairs = candidates([each.descriptors for each in all_], workers).tolist()

    def compared(pair: tuple[int, int]) -> int:
        return inliers(all_[pair[0]], all_[pair[1]])

    agreeing = _each(compared, pairs, workers, "pairs", " pairs")
    return [
        Pair(paths[i].name, paths[j].name, number)
        for (i, j), number in zip(pairs, agreeing, strict=True)
        if number >= INLIERS
    ]


def write(path: Path, pairs: Iterable[Pair]) -> None:
    """Write a list of pairs, as `read` reads it."""
    with path.open("w", newline="") as file:
        rows = csv.writer(file, lineterminator="\n")
        rows.writerow(Pair._fields)
        rows.writerows(pairs)


def read(path: Path) -> list[Pair]:
    """The pairs of a list, or none where there is no list: a data set may have none.

    Raises SceneError at the first line that is not a pair's.
    """
    if not path.exists():
        return []
    with path.open(newline="") as file:
        rows = list(csv.reader(file))
    if rows[:1] != [list(Pair._fields)]:
        raise SceneError(f"{path}: expected the columns {','.join(Pair._fields)} in the first line")
    pairs = []
    for line, row in enumerate(rows[1:], start=2):
        if len(row) != len(Pair._fields) or not row[2].isdecimal():
            raise SceneError(
                f"{path}, line {line}: expected two photographs and a number, got {','.join(row)!r}"
            )
        pairs.append(Pair(row[0], row[1], int(row[2])))
    return pairs


def numbered(pairs: Sequence[Pair], names: Sequence[str]) -> np.ndarray:
    """Indices (M, 2) of pairs' photographs in the data set's names.

    Raises SceneError naming the photographs that the data set does not hold.
    """
    places = {name: i for i, name in enumerate(names)}
    if unknown := sorted({name for pair in pairs for name in pair[:2]} - places.keys()):
        raise SceneError(
            f"the list of pairs of one scene names {', '.join(unknown)}, of which the data set's"
            f" {len(names):,} photographs hold none"
        )
    indices = [(places[pair.image], places[pair.other]) for pair in pairs]
    return np.array(indices, dtype=np.intp).reshape(-1, 2)


def _each(
    work: Callable[[Item], Result], items: Sequence[Item], workers: int | None, said: str, unit: str
) -> list[Result]:
    """The results of work on each item, in order, by threads, before a progress bar."""
    # Threads: OpenCV does not hold the interpreter's lock.
    with ThreadPoolExecutor(workers or os.cpu_count()) as pool:
        return list(tqdm(pool.map(work, items), said, total=len(items), unit=unit))
