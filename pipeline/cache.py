"""Crops and target heatmaps at rest.

Every photograph is decoded once, into a square crop around its person, with the margin that augmentation
needs. Crops are stored uncompressed and memory-mapped, heatmaps as the two factors of each peak. No torch
here: the stage that fills the cache waits for no import of it.
"""

import os
import shutil
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import simplejpeg
from tqdm import tqdm

from pipeline import PipelineError
from pipeline.lspet import image_paths, load_annotations
from pipeline.settings import Cache
from pipeline.split import HASH_BITS, difference_hash

CHUNK = 50  # photographs a task of a thread


class CacheError(PipelineError):
    """The data set cannot be cached; the message lists everything that is wrong with it."""


@dataclass(frozen=True)
class Crops:
    """The stored crops of N people, their joints, and the way back to the photographs."""

    images: np.ndarray  # (N, S, S, 3) uint8, memory-mapped, copied on write: the file stays as it is
    points: np.ndarray  # (N, 14, 2) float32, crop px, NaN where not annotated
    annotated: np.ndarray  # (N, 14) bool
    occluded: np.ndarray  # (N, 14) bool, known to be hidden and to have a place
    originals: np.ndarray  # (N, 14, 2) float64, px of the photograph, NaN where not annotated
    affines: np.ndarray  # (N, 2, 3) float64, from crop px to px of the photograph


@dataclass(frozen=True)
class Heatmaps:
    """The target heatmaps of N people without augmentation, factored; `pipeline.heatmaps.expand` takes them."""

    x: np.ndarray  # (N, 14, h) float16, column vectors
    y: np.ndarray  # (N, 14, h) float16, row vectors


def stored_size(cache: Cache) -> int:
    """Side of a crop at rest, px: that of the input and an equal, whole margin on both sides."""
    return cache.input_size + 2 * round(cache.input_size * (cache.margin - 1) / 2)


def stride(cache: Cache) -> int:
    """Input px a heatmap px."""
    return cache.input_size // cache.heatmap_size


def person_box(points: np.ndarray, scale: float) -> tuple[np.ndarray, np.ndarray]:
    """Centres (N, 2) and sides (N,), px, of the square boxes around points (N, 14, 2), NaN left out.

    The side is `scale` times the larger extent of the joints, and at least 8 px.
    """
    low, high = np.nanmin(points, axis=1), np.nanmax(points, axis=1)
    return (low + high) / 2, np.maximum(scale * (high - low).max(axis=-1), 8.0)


def pixel_box(points: np.ndarray, cache: Cache) -> tuple[np.ndarray, np.ndarray]:
    """First pixels (N, 2) and sides (N,), both whole px, of what the stored crops of points (N, 14, 2) show.

    The person box with the margin around it, moved to the nearest pixels: a crop is then a plain resize.
    """
    centre, side = person_box(points, cache.box)
    side = np.rint(side * stored_size(cache) / cache.input_size).astype(int)
    return np.rint(centre - (side[:, None] - 1) / 2).astype(int), side


def crop_affine(corner: np.ndarray, side: np.ndarray, size: int) -> np.ndarray:
    """Maps (N, 2, 3) from crop px to px of the photograph, of crops of `size` px over boxes of pixels."""
    scale = side / size
    affine = np.zeros((len(side), 2, 3))
    affine[:, 0, 0] = affine[:, 1, 1] = scale
    # Pixel centres are integers: the crop's first pixel covers [-0.5, 0.5], and so does the photograph's.
    affine[:, :, 2] = corner - 0.5 + scale[:, None] / 2
    return affine


def transform(affine: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Points (N, J, 2) mapped by affines (N, 2, 3)."""
    return np.einsum("nij,nkj->nki", affine[:, :, :2], points) + affine[:, None, :, 2]


def invert(affine: np.ndarray) -> np.ndarray:
    """The inverses (N, 2, 3) of affines (N, 2, 3)."""
    linear = np.linalg.inv(affine[:, :, :2])
    return np.concatenate([linear, -linear @ affine[:, :, 2:]], axis=-1)


def crop(image: np.ndarray, corner: np.ndarray, side: int, size: int) -> np.ndarray:
    """The crop (size, size, 3) of the box of pixels of a photograph (H, W, 3) uint8; black beyond its edges.

    Bilinear; averaged over the source pixels where the photograph is more than twice as fine.
    """
    (left, top), (height, width) = corner, image.shape[:2]
    seen = image[max(top, 0) : max(top + side, 0), max(left, 0) : max(left + side, 0)]
    if not seen.size:
        return np.zeros((size, size, 3), dtype=np.uint8)
    beyond = [max(-top, 0), max(top + side - height, 0), max(-left, 0), max(left + side - width, 0)]
    window = cv2.copyMakeBorder(seen, *beyond, cv2.BORDER_CONSTANT) if any(beyond) else seen
    fine = cv2.INTER_AREA if side > 2 * size else cv2.INTER_LINEAR
    return cv2.resize(window, (size, size), interpolation=fine)


def build(dataset: Path, folder: Path, cache: Cache, workers: int | None = None) -> np.ndarray:
    """Write the crops of a data set in LSPet's layout to `folder`: crops.npy and people.npz.

    Returns the photographs' difference hashes (N, 256) bool. The bytes do not depend on the number of
    workers. Raises CacheError listing all unreadable photographs, or that their number is not the
    annotations'; nothing is left behind then.
    """
    points, annotated, occluded = load_annotations(dataset / "joints.mat")
    paths = image_paths(dataset)
    if len(paths) != len(points):
        raise CacheError(
            f"{dataset}: {len(paths)} photographs in images/, but joints.mat annotates {len(points)}"
        )
    bare = np.flatnonzero(~annotated.any(axis=1))
    if len(bare):
        raise CacheError(f"{dataset}: no joint is annotated in {', '.join(paths[i].name for i in bare)}")
    size = stored_size(cache)
    corners, sides = pixel_box(points, cache)
    affines = crop_affine(corners, sides, size)

    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    crops = folder / "crops.npy"
    # Mapped here for its header only: bytes are written faster to a new file than into a map of it.
    images = np.lib.format.open_memmap(crops, "w+", np.uint8, shape=(len(paths), size, size, 3))
    hashes = np.empty((len(paths), HASH_BITS), dtype=bool)

    def work(start: int) -> list[str]:
        """Fill crops and hashes of a few photographs; what is wrong with them, if anything."""
        errors = []
        with crops.open("r+b") as file:
            for i in range(start, min(start + CHUNK, len(paths))):
                try:
                    image = simplejpeg.decode_jpeg(paths[i].read_bytes())
                except (OSError, ValueError) as error:
                    errors.append(f"{paths[i]}: {error}")
                    continue
                hashes[i] = difference_hash(image)
                file.seek(images.offset + i * images[i].nbytes)
                file.write(crop(image, corners[i], sides[i], size))
        return errors

    unreadable = []
    # Threads: decoding and resizing do not hold the interpreter's lock.
    with (
        ThreadPoolExecutor(workers or os.cpu_count()) as pool,
        tqdm(total=len(paths), desc="cache", unit=" photographs") as bar,
    ):
        for errors in pool.map(work, range(0, len(paths), CHUNK)):
            unreadable += errors
            bar.update(min(CHUNK, len(paths) - bar.n))
    if unreadable:
        shutil.rmtree(folder)
        raise CacheError("\n".join([f"{len(unreadable)} unreadable photographs:", *unreadable]))
    np.savez(
        folder / "people.npz",
        points=transform(invert(affines), points).astype(np.float32),
        annotated=annotated,
        occluded=occluded,
        originals=points,
        affines=affines,
    )
    return hashes


def load(folder: Path) -> Crops:
    """The crops that `build` wrote; images stay on disk until they are read."""
    with np.load(folder / "people.npz") as people:
        return Crops(images=np.load(folder / "crops.npy", mmap_mode="c"), **people)


def input_points(crops: Crops, cache: Cache) -> np.ndarray:
    """Joints (N, 14, 2), px of the network's input: the middle of the stored crop."""
    return crops.points - (stored_size(cache) - cache.input_size) / 2


def to_heatmap(points, stride: int):
    """Heatmap px of input px: heatmap pixel k covers the input pixels from k * stride on."""
    return (points + 0.5) / stride - 0.5


def to_input(points, stride: int):
    """Input px of heatmap px."""
    return (points + 0.5) * stride - 0.5


def factors(points: np.ndarray, size: int, sigma: float) -> tuple[np.ndarray, np.ndarray]:
    """Column and row vectors, each (..., J, size), of the Gaussian peaks at points (..., J, 2), heatmap px.

    A two-dimensional Gaussian is the outer product of two one-dimensional ones: 2 S numbers instead of S^2.
    Both are all zero where the point is NaN: a joint without a place has no peak.
    """
    offset = points[..., None] - np.arange(size, dtype=points.dtype)
    both = np.exp(offset * offset / (-2 * sigma**2))
    # Also what half precision could only hold as a subnormal number: rounding to these takes 10 times longer.
    both = np.where(both >= np.finfo(np.float16).tiny, both, np.float32(0))
    return both[..., 0, :], both[..., 1, :]


def target_heatmaps(crops: Crops, cache: Cache) -> Heatmaps:
    """The target heatmaps of all crops without augmentation, factored."""
    points = to_heatmap(input_points(crops, cache), stride(cache))
    x, y = factors(points, cache.heatmap_size, cache.sigma)
    return Heatmaps(x.astype(np.float16), y.astype(np.float16))


def save_heatmaps(path: Path, targets: Heatmaps) -> None:
    """Write factored heatmaps to a .npz file."""
    np.savez(path, x=targets.x, y=targets.y)


def load_heatmaps(path: Path) -> Heatmaps:
    """The target heatmaps that `save_heatmaps` wrote."""
    with np.load(path) as file:
        return Heatmaps(**file)
