"""Crops and target heatmaps at rest.

Every photograph is decoded once, into a square crop around its person, with the margin that augmentation
needs. Crops are stored uncompressed and memory-mapped, heatmaps as the two factors of each peak.
"""

import os
import shutil
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from tqdm import tqdm

from pipeline import PipelineError, heatmaps
from pipeline.lspet import image_paths, load_annotations
from pipeline.settings import Cache
from pipeline.split import HASH_BITS, difference_hash

CHUNK = 50  # photographs a task of a worker


class CacheError(PipelineError):
    """The data set cannot be cached; the message lists everything that is wrong with it."""


@dataclass(frozen=True)
class Crops:
    """The stored crops of N people, their joints, and the way back to the photographs."""

    images: np.ndarray  # (N, S, S, 3) uint8, memory-mapped
    points: np.ndarray  # (N, 14, 2) float32, crop px, NaN where not annotated
    annotated: np.ndarray  # (N, 14) bool
    occluded: np.ndarray  # (N, 14) bool, known to be hidden and to have a place
    originals: np.ndarray  # (N, 14, 2) float64, px of the photograph, NaN where not annotated
    affines: np.ndarray  # (N, 2, 3) float64, from crop px to px of the photograph


@dataclass(frozen=True)
class Heatmaps:
    """The target heatmaps of N people without augmentation, factored."""

    x: np.ndarray  # (N, 14, h) float16, column vectors
    y: np.ndarray  # (N, 14, h) float16, row vectors
    occluded: np.ndarray  # (N, 14) bool

    def expand(self, indices) -> tuple[torch.Tensor, torch.Tensor]:
        """Pose and occlusion heatmaps of some people, each (B, 14, h, h) float32; 1 at the peaks."""
        x, y = (torch.from_numpy(factor[indices]).float() for factor in (self.x, self.y))
        pose = heatmaps.expand(x, y)
        return pose, pose * torch.from_numpy(self.occluded[indices])[..., None, None]


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


def crop_affine(centre: np.ndarray, side: np.ndarray, size: int) -> np.ndarray:
    """Maps (N, 2, 3) from crop px to px of the photograph, of crops of `size` px over boxes of `side` px."""
    scale = side / size
    # Pixel centres are integers: the crop's first pixel covers [-0.5, 0.5], and so does the photograph's.
    offset = centre - side[:, None] / 2 + scale[:, None] / 2
    affine = np.zeros((len(side), 2, 3))
    affine[:, 0, 0] = affine[:, 1, 1] = scale
    affine[:, :, 2] = offset
    return affine


def transform(affine: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Points (N, J, 2) mapped by affines (N, 2, 3)."""
    return np.einsum("nij,nkj->nki", affine[:, :, :2], points) + affine[:, None, :, 2]


def invert(affine: np.ndarray) -> np.ndarray:
    """The inverses (N, 2, 3) of affines (N, 2, 3)."""
    linear = np.linalg.inv(affine[:, :, :2])
    return np.concatenate([linear, -linear @ affine[:, :, 2:]], axis=-1)


def crop(image: Image.Image, affine: np.ndarray, size: int) -> np.ndarray:
    """The crop (size, size, 3) uint8 that the affine (2, 3) maps to; black beyond the photograph.

    Bilinear, and averaged over the source pixels where the photograph is the finer one.
    """
    scale = affine[0, 0]
    left, top = affine[:, 2] - scale / 2 + 0.5  # edges, counted from the photograph's edge
    reach = scale * size
    outer = (int(left) - 2, int(top) - 2, int(left + reach) + 3, int(top + reach) + 3)
    box = (left - outer[0], top - outer[1], left - outer[0] + reach, top - outer[1] + reach)
    window = image.convert("RGB").crop(outer)
    return np.asarray(window.resize((size, size), Image.Resampling.BILINEAR, box=box))


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
    centre, side = person_box(points, cache.box)
    affines = crop_affine(centre, side * size / cache.input_size, size)

    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    images_file = folder / "crops.npy"
    np.lib.format.open_memmap(images_file, "w+", np.uint8, (len(paths), size, size, 3)).flush()
    hashes = np.empty((len(paths), HASH_BITS), dtype=bool)
    unreadable = []
    with tqdm(total=len(paths), desc="cache", unit=" photographs") as bar:
        for start, bits, errors in _cropped(paths, affines, images_file, workers):
            hashes[start : start + len(bits)] = bits
            unreadable += errors
            bar.update(len(bits))
    if unreadable:
        shutil.rmtree(folder)
        raise CacheError("\n".join([f"{len(unreadable)} unreadable photographs:", *sorted(unreadable)]))
    np.savez(
        folder / "people.npz",
        points=transform(invert(affines), points).astype(np.float32),
        annotated=annotated,
        occluded=occluded,
        originals=points,
        affines=affines,
    )
    return hashes


def _cropped(
    paths: list[Path], affines: np.ndarray, images_file: Path, workers: int | None
) -> Iterator[tuple[int, np.ndarray, list[str]]]:
    starts = range(0, len(paths), CHUNK)
    with ProcessPoolExecutor(workers or os.cpu_count()) as pool:
        tasks = [
            pool.submit(_crop_some, paths[i : i + CHUNK], affines[i : i + CHUNK], images_file, i)
            for i in starts
        ]
        for task in tasks:
            yield task.result()


def _crop_some(
    paths: list[Path], affines: np.ndarray, images_file: Path, start: int
) -> tuple[int, np.ndarray, list[str]]:
    images = np.lib.format.open_memmap(images_file, "r+")
    hashes = np.zeros((len(paths), HASH_BITS), dtype=bool)
    errors = []
    for i, (path, affine) in enumerate(zip(paths, affines, strict=True)):
        try:
            with Image.open(path) as image:
                images[start + i] = crop(image, affine, images.shape[1])
                hashes[i] = difference_hash(image)
        except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
            errors.append(f"{path}: {error}")
    return start, hashes, errors


def load(folder: Path) -> Crops:
    """The crops that `build` wrote; images stay on disk until they are read."""
    with np.load(folder / "people.npz") as people:
        return Crops(images=np.load(folder / "crops.npy", mmap_mode="r"), **people)


def input_points(crops: Crops, cache: Cache) -> np.ndarray:
    """Joints (N, 14, 2), px of the network's input: the middle of the stored crop."""
    return crops.points - (stored_size(cache) - cache.input_size) / 2


def to_heatmap(points, stride: int):
    """Heatmap px of input px: heatmap pixel k covers the input pixels from k * stride on."""
    return (points + 0.5) / stride - 0.5


def to_input(points, stride: int):
    """Input px of heatmap px."""
    return (points + 0.5) * stride - 0.5


def save_heatmaps(path: Path, crops: Crops, cache: Cache) -> None:
    """Write the target heatmaps of all crops without augmentation, factored, to a .npz file."""
    points = torch.from_numpy(to_heatmap(input_points(crops, cache), stride(cache)))
    x, y = heatmaps.factors(points, cache.heatmap_size, cache.sigma)
    np.savez(path, x=x.half().numpy(), y=y.half().numpy(), occluded=crops.occluded)


def load_heatmaps(path: Path) -> Heatmaps:
    """The target heatmaps that `save_heatmaps` wrote."""
    with np.load(path) as file:
        return Heatmaps(**file)
