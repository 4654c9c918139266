"""Joints of crops from a trained generator: flip test, decoding, and back to the photograph's pixels."""

from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from pipeline import augmentation, heatmaps
from pipeline.cache import Crops, stored_size, stride, to_input, transform
from pipeline.device import autocast
from pipeline.generator import Generator
from pipeline.settings import Cache


class Predictions(NamedTuple):
    """Joints found in N photographs."""

    points: np.ndarray  # (N, 14, 2) float64, px of the photograph
    scores: np.ndarray  # (N, 14) float32, height of the pose peak, in [0, 1]
    hidden: np.ndarray  # (N, 14) float32, height of the occlusion peak, in [0, 1]; 0 without that task


def inputs(crops: Crops, indices: np.ndarray, cache: Cache) -> Tensor:
    """The middle of some stored crops, (B, 3, S, S) in [0, 1]: what the network sees without augmentation."""
    margin = (stored_size(cache) - cache.input_size) // 2
    inner = slice(margin, margin + cache.input_size)
    return torch.from_numpy(crops.images[indices, inner, inner]).permute(0, 3, 1, 2).float() / 255


def maps(generator: Generator, images: Tensor, flip: bool, precision: str = "fp32") -> tuple[Tensor, Tensor]:
    """Pose and occlusion heatmaps (B, J, h, h) of images (B, 3, S, S) in [0, 1]; the latter 0 without that task.

    flip: averaged with those of the mirrored images, mirrored back (the flip test). precision: the generator's,
    as of `pipeline.device.autocast`.
    """
    x = augmentation.normalise(images).contiguous(memory_format=torch.channels_last)
    pose, occlusion = _heatmaps(generator, x, precision)
    if flip:
        mirrored = [augmentation.flip_maps(each) for each in _heatmaps(generator, x.flip(-1), precision)]
        pose, occlusion = (pose + mirrored[0]) / 2, (occlusion + mirrored[1]) / 2
    return pose, occlusion


def _heatmaps(generator: Generator, x: Tensor, precision: str) -> tuple[Tensor, Tensor]:
    with autocast(precision, x.device):
        output = generator(x)[-1]
    pose, occlusion = generator.heatmaps(output)
    return pose, torch.zeros_like(pose) if occlusion is None else occlusion


def joints(pose: Tensor, occlusion: Tensor | None, cache: Cache) -> tuple[Tensor, Tensor, Tensor]:
    """Places (B, J, 2), px of the input, scores (B, J) and hidden (B, J), as of `Predictions`, in pose and
    occlusion heatmaps (B, J, h, h)."""
    peaks, _ = heatmaps.decode(heatmaps.smooth(pose, cache.sigma))
    scores = pose.amax((-2, -1))
    hidden = torch.zeros_like(scores) if occlusion is None else occlusion.amax((-2, -1)).float()
    return to_input(peaks, stride(cache)), scores, hidden


def locate(pose: Tensor, occlusion: Tensor | None, affines: np.ndarray, cache: Cache) -> Predictions:
    """Joints in pose and occlusion heatmaps (B, J, h, h), in the photographs that the crops' affines (B, 2, 3)
    lead back to."""
    places, scores, hidden = (each.cpu().numpy() for each in joints(pose, occlusion, cache))
    margin = (stored_size(cache) - cache.input_size) / 2
    return Predictions(transform(affines, places.astype(np.float64) + margin), scores, hidden)


def batches(indices: np.ndarray, size: int) -> Iterator[np.ndarray]:
    """Indices in runs of at most `size`."""
    for start in range(0, len(indices), size):
        yield indices[start : start + size]


@torch.inference_mode()
def predict(
    generator: Generator,
    crops: Crops,
    indices: np.ndarray,
    cache: Cache,
    batch: int,
    flip: bool = True,
    view: Callable[[np.ndarray], Tensor] | None = None,
    progress: str | None = None,
    precision: str = "fp32",
) -> Predictions:
    """Find the joints in some of the crops.

    view: makes the images (B, 3, S, S) in [0, 1] of indices (B,); as a rule `inputs`, but evaluation covers
    parts of them. progress: the title of a progress bar; none without one. precision: as of `maps`.
    """
    device = next(generator.parameters()).device
    view = view or (lambda some: inputs(crops, some, cache))
    found = []
    runs = list(batches(indices, batch))
    for some in tqdm(runs, progress, unit=" batches") if progress else runs:
        pose, occlusion = maps(generator, view(some).to(device), flip, precision)
        found.append(locate(pose, occlusion, crops.affines[some], cache))
    return Predictions(*(np.concatenate(parts) for parts in zip(*found, strict=True)))
