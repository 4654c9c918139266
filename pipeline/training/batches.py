"""What training sees: the photographs of each step, augmented, with their true maps."""

from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from math import prod
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from pipeline.data.crops import Crops, batches
from pipeline.data.targets import Targets
from pipeline.device import room, upload
from pipeline.distributed.ranks import ALONE, Ranks
from pipeline.evaluation.occluders import Occluders, People, draw_occluders, occlude
from pipeline.networks import estimator, heatmaps
from pipeline.networks.layers import normalise
from pipeline.seeding import seeded
from pipeline.settings import Settings, Train
from pipeline.training import augmentation
from pipeline.training.augmentation import Window

AT_ONCE = 500  # crops, brought into a GPU's memory


class Stored(NamedTuple):
    """Some crops on the device, as they are at rest."""

    images: Tensor  # (B, S, S, 3) uint8
    points: Tensor  # (B, 14, 2), crop px, NaN where not annotated
    occluded: Tensor  # (B, 14) bool


@dataclass(frozen=True)
class Photographs:
    """What training reads: crops, their targets at rest, and which of them train and validate."""

    crops: Crops
    targets: Targets
    train: np.ndarray  # indices
    validation: np.ndarray  # indices
    device: torch.device
    unlabelled: np.ndarray = field(default_factory=lambda: np.empty(0, dtype=int))  # seen alone

    def stored(self, indices: np.ndarray) -> Stored:
        """Some crops."""
        points, occluded = (
            upload(torch.from_numpy(each[indices]), self.device)
            for each in (self.crops.points, self.crops.occluded)
        )
        return Stored(self._images(indices), points, occluded)

    def _images(self, indices: np.ndarray) -> Tensor:
        held, places = self._held
        here = places[indices] >= 0
        if here.all():
            return held[self._upload(places[indices])]
        read = upload(self._read(indices[~here]), self.device)
        if not here.any():
            return read
        images = read.new_empty(len(indices), *read.shape[1:])
        images[self._upload(np.flatnonzero(~here))] = read
        images[self._upload(np.flatnonzero(here))] = held[self._upload(places[indices[here]])]
        return images

    @cached_property
    def _held(self) -> tuple[Tensor, np.ndarray]:
        """As many crops that train as a GPU has room for, (K, S, S, 3), and the place of each of
        the N crops among them, -1 where it has none: that one is read for each batch."""
        shape = self.crops.images.shape[1:]
        held, places = self.train[: room(self.device) // prod(shape)], np.full(len(self.crops), -1)
        places[held] = np.arange(len(held))
        images = torch.empty(len(held), *shape, dtype=torch.uint8, device=self.device)
        for some in batches(held, AT_ONCE):
            images[self._upload(places[some])] = upload(self._read(some), self.device)
        return images, places

    def _read(self, indices: np.ndarray) -> Tensor:
        """The images of some crops, from their files; where a GPU takes them, into pinned memory,
        from which its queue does not wait for them."""
        shape = (len(indices), *self.crops.images.shape[1:])
        images = torch.empty(shape, dtype=torch.uint8, pin_memory=self.device.type == "cuda")
        for row, index in zip(images.numpy(), indices, strict=True):
            row[:] = self.crops.images[index]
        return images

    def _upload(self, numbers: np.ndarray) -> Tensor:
        return upload(torch.from_numpy(numbers), self.device)


class Batch(NamedTuple):
    """Input and targets of a step; T tasks, as of `pipeline.networks.heatmaps`."""

    images: Tensor  # (B, 3, S, S), normalised
    points: Tensor  # (B, 14, 2), heatmap px, NaN for what does not count
    maps: Tensor  # (B, T 14, h, h); empty for what lies outside
    mask: Tensor  # (B, 14), 1 for the joints whose place is known, on which P and C learn
    counts: Tensor  # (B, 14), 1 for these and for joints that are known to lie outside
    played: Tensor  # (B, 14), 1 for the joints of G's that P and C judge


def input_size(step: int, train: Train) -> int:
    """Side of the network's input, px; it grows: each side has an equal share of the steps."""
    return train.input_sizes[step * len(train.input_sizes) // train.steps]


def order(step: int, indices: np.ndarray, train: Train) -> np.ndarray:
    """The photographs of a step (B,): each epoch a new permutation, cut into whole batches."""
    batch = min(train.batch, len(indices))
    epoch, position = divmod(step, len(indices) // batch)
    shuffled = _permutation(train.seed, epoch, len(indices))
    return indices[shuffled[position * batch : (position + 1) * batch]]


@lru_cache(maxsize=2)  # a step asks for those of the step before, but at the end of an epoch
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


class Draw(NamedTuple):
    """Which photographs a step shows, how large, and the random numbers that change them."""

    indices: np.ndarray  # (B,)
    size: int  # side of the network's input, px
    rng: torch.Generator
    cuts: torch.Generator | None  # None: nobody is cut off

    @classmethod
    def of(cls, step: int, indices: np.ndarray, settings: Settings) -> "Draw":
        """That of a step of the photographs with these indices."""
        seed = settings.train.seed
        cuts = seeded(seed, 4, step) if settings.augment.cut else None
        chosen = order(step, indices, settings.train)
        return cls(chosen, input_size(step, settings.train), seeded(seed, 2, step), cuts)


def augmented_batch(
    step: int, photographs: Photographs, settings: Settings, ranks: Ranks = ALONE
) -> Batch:
    """The augmented photographs of a step, with targets re-rendered from the moved joints.

    The random numbers are those of the whole batch, of which a process takes its rows: a row is the
    same, whoever has it.
    """
    geometry, draw = photographs.crops.geometry, Draw.of(step, photographs.train, settings)
    people, donors = moved(draw, photographs, settings, ranks)
    annotated = ~people.points.isnan().any(-1)
    people = covered(draw, people, donors, settings, ranks)

    side = draw.size // geometry.stride
    points = geometry.input_to_heatmap(people.points)
    inside = ((points > -0.5) & (points < side - 0.5)).all(-1, keepdim=True)
    points = torch.where(inside, points, torch.nan)
    pose = heatmaps.render(points, side, geometry.sigma)
    batch = batch_of(
        people.images, points, pose, people.occluded if settings.model.occlusion else None
    )
    return batch._replace(counts=annotated.float()) if draw.cuts else batch


def moved(
    draw: Draw, photographs: Photographs, settings: Settings, ranks: Ranks = ALONE
) -> tuple[People, Tensor]:
    """This process's people, turned, sized, mirrored, cut off and recoloured; and for each the
    image (B, 3, S, S) that may cover them."""
    geometry, augment, device = photographs.crops.geometry, settings.augment, photographs.device
    indices, whole = draw.indices, len(draw.indices)
    warps = augmentation.draw_warps(draw.rng, whole, augment)
    colours = augmentation.draw_colours(draw.rng, whole, augment)
    window = Window.middle(whole, geometry.stored_size, geometry.input_size)
    if draw.cuts:
        points = torch.from_numpy(photographs.crops.points[indices])
        seen, window = augmentation.draw_cuts(draw.cuts, points, augment.cut, window)

    # A row is covered with patches of the one before, so the last needed here stands before the
    # first; of a whole batch that is its own last.
    own = ranks.rows(whole)
    needed = [*own] if len(own) == whole else [*own, own.start - 1]
    stored = photographs.stored(indices[needed])
    if draw.cuts:
        black = augmentation.cut_off(stored.images, upload(seen[needed], device))
        stored = stored._replace(images=black)
    matrix, flip = (each[needed] for each in warps)
    window = Window(*(each[needed] for each in window))
    people = augmentation.warp(*stored, (matrix, flip), window, draw.size)
    recoloured = augmentation.recolour(people.images, upload(colours[needed], device))
    donors = recoloured.roll(1, 0)[: len(own)]
    return People(*(each[: len(own)] for each in people._replace(images=recoloured))), donors


def covered(
    draw: Draw, people: People, donors: Tensor, settings: Settings, ranks: Ranks = ALONE
) -> People:
    """People with occluders over some of the joints that have a place."""
    whole, augment = len(draw.indices), settings.augment
    own, placed = ranks.rows(whole), ~people.points.isnan().any(-1)
    # Only its own joints decide where a row's occluders are: those of others may be left out.
    everyone = placed.new_zeros(whole, placed.shape[1])
    everyone[own.start : own.stop] = placed
    drawn = draw_occluders(draw.rng, everyone, augment.occluders, augment.occluder_size)
    return occlude(people, donors, Occluders(*(each[own.start : own.stop] for each in drawn)))


def plain_batch(indices: np.ndarray, photographs: Photographs, occlusion: bool) -> Batch:
    """Photographs as they are, with the cached targets; with the occlusion task, or without."""
    crops, targets, device = photographs.crops, photographs.targets, photographs.device
    points = crops.geometry.input_to_heatmap(crops.input_points[indices])
    arrays = (points, targets.x[indices], targets.y[indices], crops.occluded[indices])
    placed, x, y, occluded = (upload(torch.from_numpy(each), device) for each in arrays)
    images = upload(estimator.inputs(crops, indices), device)
    pose = heatmaps.expand(x.float(), y.float())
    return batch_of(images, placed, pose, occluded if occlusion else None)


def batch_of(images: Tensor, points: Tensor, pose: Tensor, occluded: Tensor | None) -> Batch:
    """That of images (B, 3, S, S) in [0, 1], points (B, 14, 2), heatmap px, and pose maps (B, 14,
    h, h). occluded: (B, 14) bool, or None without that task."""
    images = normalise(images).contiguous(memory_format=torch.channels_last)
    mask = (~points.isnan().any(-1)).float()
    tasks = [pose] if occluded is None else [pose, pose * occluded[..., None, None]]
    return Batch(images, points, torch.cat(tasks, dim=1), mask, counts=mask, played=mask)
