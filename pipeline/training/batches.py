"""What training sees: the photographs of each step, augmented, with their true maps."""

from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from pipeline.data.crops import Crops
from pipeline.data.targets import Targets
from pipeline.device import upload
from pipeline.evaluation.occluders import Occluders, People, draw_occluders, occlude
from pipeline.networks import estimator, heatmaps
from pipeline.networks.layers import normalise
from pipeline.seeding import seeded
from pipeline.settings import Settings, Train
from pipeline.training import augmentation
from pipeline.training.augmentation import Window
from pipeline.training.ranks import ALONE, Ranks


class Stored(NamedTuple):
    """All crops on the device, as they are at rest."""

    images: Tensor  # (N, S, S, 3) uint8
    points: Tensor  # (N, 14, 2), crop px, NaN where not annotated
    occluded: Tensor  # (N, 14) bool


@dataclass(frozen=True)
class Photographs:
    """What training reads: crops, their targets at rest, and which of them train and validate."""

    crops: Crops
    targets: Targets
    train: np.ndarray  # indices
    validation: np.ndarray  # indices
    device: torch.device

    @cached_property
    def stored(self) -> Stored:
        """In a GPU's memory, or the memory-mapped file itself."""
        crops = self.crops
        tensors = map(torch.from_numpy, (crops.images, crops.points, crops.occluded))
        return Stored(*(each.to(self.device) for each in tensors))


class Batch(NamedTuple):
    """Input and targets of a step; T tasks, as of `pipeline.networks.heatmaps`."""

    images: Tensor  # (B, 3, S, S), normalised
    points: Tensor  # (B, 14, 2), heatmap px, NaN for what does not count
    maps: Tensor  # (B, T 14, h, h); empty for what lies outside
    mask: Tensor  # (B, 14), 1 for the joints that have a place, which the game is about
    counts: Tensor  # (B, 14), 1 for these and for joints that are known to lie outside


def input_size(step: int, train: Train) -> int:
    """Side of the network's input, px; it grows: each side has an equal share of the steps."""
    return train.input_sizes[step * len(train.input_sizes) // train.steps]


def order(step: int, indices: np.ndarray, train: Train) -> np.ndarray:
    """The photographs of a step (B,): each epoch a new permutation, cut into whole batches."""
    batch = min(train.batch, len(indices))
    epoch, position = divmod(step, len(indices) // batch)
    shuffled = _permutation(train.seed, epoch, len(indices))
    return indices[shuffled[position * batch : (position + 1) * batch]]


@lru_cache(maxsize=1)  # a step asks for that of the step before, but at the end of an epoch
def _permutation(seed: int, epoch: int, count: int) -> np.ndarray:
    """The places (count,) of an epoch."""
    return torch.randperm(count, generator=seeded(seed, 1, epoch)).numpy()


def training_batch(
    step: int, photographs: Photographs, settings: Settings, ranks: Ranks = ALONE
) -> Batch:
    """The photographs of a step, this process's rows of them, augmented where that is asked for."""
    if settings.augment.enabled:
        return augmented_batch(step, photographs, settings, ranks)
    indices = order(step, photographs.train, settings.train)
    own = ranks.rows(len(indices))
    return plain_batch(indices[own.start : own.stop], photographs, settings.model.occlusion)


def augmented_batch(
    step: int, photographs: Photographs, settings: Settings, ranks: Ranks = ALONE
) -> Batch:
    """The augmented photographs of a step, with targets re-rendered from the moved joints.

    The random numbers are those of the whole batch, of which a process takes its rows: a row is the
    same, whoever has it.
    """
    geometry, augment, device = photographs.crops.geometry, settings.augment, photographs.device
    indices = order(step, photographs.train, settings.train)
    size, whole = input_size(step, settings.train), len(indices)
    rng = seeded(settings.train.seed, 2, step)
    warps = augmentation.draw_warps(rng, whole, augment)
    colours = augmentation.draw_colours(rng, whole, augment)
    window = Window.middle(whole, geometry.stored_size, geometry.input_size)
    if augment.cut:
        cuts = seeded(settings.train.seed, 4, step)
        points = torch.from_numpy(photographs.crops.points[indices])
        seen, window = augmentation.draw_cuts(cuts, points, augment.cut, window)

    # A row is covered with patches of the one before, so the last needed here stands before the
    # first; of a whole batch that is its own last.
    own = ranks.rows(whole)
    needed = [*own] if len(own) == whole else [*own, own.start - 1]
    chosen = upload(torch.from_numpy(indices[needed]), device)
    stored = Stored(*(each[chosen] for each in photographs.stored))
    if augment.cut:
        black = augmentation.cut_off(stored.images, upload(seen[needed], device))
        stored = stored._replace(images=black)
    matrix, flip = (each[needed] for each in warps)
    window = Window(*(each[needed] for each in window))
    people = augmentation.warp(*stored, (matrix, flip), window, size)
    recoloured = augmentation.recolour(people.images, upload(colours[needed], device))
    donors = recoloured.roll(1, 0)[: len(own)]
    people = People(*(each[: len(own)] for each in people._replace(images=recoloured)))
    annotated = ~people.points.isnan().any(-1)
    # Only its own joints decide where a row's occluders are: those of others may be left out.
    everyone = annotated.new_zeros(whole, annotated.shape[1])
    everyone[own.start : own.stop] = annotated
    drawn = draw_occluders(rng, everyone, augment.occluders, augment.occluder_size)
    people = occlude(people, donors, Occluders(*(each[own.start : own.stop] for each in drawn)))

    side = size // geometry.stride
    points = geometry.input_to_heatmap(people.points)
    inside = ((points > -0.5) & (points < side - 0.5)).all(-1, keepdim=True)
    points = torch.where(inside, points, torch.nan)
    pose = heatmaps.render(points, side, geometry.sigma)
    batch = _batch(
        people.images, points, pose, people.occluded if settings.model.occlusion else None
    )
    return batch._replace(counts=annotated.float()) if augment.cut else batch


def plain_batch(indices: np.ndarray, photographs: Photographs, occlusion: bool) -> Batch:
    """Photographs as they are, with the cached targets; with the occlusion task, or without."""
    crops, targets, device = photographs.crops, photographs.targets, photographs.device
    points = crops.geometry.input_to_heatmap(crops.input_points[indices])
    arrays = (points, targets.x[indices], targets.y[indices], crops.occluded[indices])
    placed, x, y, occluded = (upload(torch.from_numpy(each), device) for each in arrays)
    images = upload(estimator.inputs(crops, indices), device)
    pose = heatmaps.expand(x.float(), y.float())
    return _batch(images, placed, pose, occluded if occlusion else None)


def _batch(images: Tensor, points: Tensor, pose: Tensor, occluded: Tensor | None) -> Batch:
    """occluded: (B, 14) bool, or None without that task."""
    images = normalise(images).contiguous(memory_format=torch.channels_last)
    mask = (~points.isnan().any(-1)).float()
    tasks = [pose] if occluded is None else [pose, pose * occluded[..., None, None]]
    return Batch(images, points, torch.cat(tasks, dim=1), mask, counts=mask)
