"""What photographs without annotations teach: by the joints that G's averaged self finds in them,
and by what the discriminators say of those that G finds.

The box around the person is taken as known, its joints are not looked at.
"""

import numpy as np
import torch
from torch import Tensor

from pipeline.distributed.ranks import ALONE, Ranks
from pipeline.evaluation.occluders import People
from pipeline.networks import heatmaps
from pipeline.networks.generator import Generator
from pipeline.networks.layers import normalise
from pipeline.seeding import seeded
from pipeline.settings import Settings, Train
from pipeline.training.batches import (
    Batch,
    Draw,
    Photographs,
    covered,
    input_size,
    moved,
    order,
)
from pipeline.training.state import TrainingState


def parted(indices: np.ndarray, train: Train) -> tuple[np.ndarray, np.ndarray]:
    """The photographs whose annotations teach, and the others. With one seed a smaller share is a
    part of a larger one."""
    shuffled = torch.randperm(len(indices), generator=seeded(train.seed, 6)).numpy()
    labelled = np.sort(shuffled[: max(round(train.labelled * len(indices)), 1)])
    return indices[labelled], np.delete(indices, labelled)


def with_unlabelled(
    batch: Batch,
    state: TrainingState,
    photographs: Photographs,
    settings: Settings,
    ranks: Ranks = ALONE,
) -> Batch:
    """A step's batch and as many photographs without annotations. Where these play, G is judged by
    P and C on all joints, annotated or not."""
    if settings.train.unlabelled != "teacher":
        batch = batch._replace(played=torch.ones_like(batch.mask))
    if not len(photographs.unlabelled):
        return batch
    added = unlabelled_batch(state, photographs, settings, ranks)
    return Batch(*(torch.cat(both) for both in zip(batch, added, strict=True)))


@torch.no_grad()
def unlabelled_batch(
    state: TrainingState, photographs: Photographs, settings: Settings, ranks: Ranks = ALONE
) -> Batch:
    """The augmented photographs of a step that have no annotations; their maps are those of the
    averaged G in two looks, before occluders are put over some of the joints that it finds.

    Of them count (`train.unlabelled`) all joints (teacher), none (game), or those that P takes for
    true (both).
    """
    config, geometry = settings.train, photographs.crops.geometry
    draw = Draw(
        order(state.step, photographs.unlabelled, config),
        input_size(state.step, config),
        seeded(config.seed, 5, state.step),
        cuts=None,
    )
    people, donors = moved(draw, photographs, settings, ranks)
    open_images = _input(people.images)
    maps = two_looks(state.averaged_generator, open_images)
    pose = maps[:, : state.averaged_generator.joints]
    points = geometry.heatmap_to_input(heatmaps.decode(heatmaps.smooth(pose, geometry.sigma))[0])
    nothing = torch.zeros_like(points[..., 0])
    people = covered(draw, People(people.images, points, nothing.bool()), donors, settings, ranks)
    tasks = [pose, pose * people.occluded[..., None, None]] if settings.model.occlusion else [pose]
    everything = torch.ones_like(nothing)
    if config.unlabelled == "both":
        counts = (state.pose(open_images, maps) > 0).to(nothing.dtype)
    else:
        counts = everything if config.unlabelled == "teacher" else nothing
    return Batch(
        images=_input(people.images),
        points=torch.full_like(points, torch.nan),
        maps=torch.cat(tasks, dim=1),
        mask=nothing,
        counts=counts,
        played=nothing if config.unlabelled == "teacher" else everything,
    )


def two_looks(generator: Generator, images: Tensor) -> Tensor:
    """A generator's maps (B, T J, h, h) of images, normalised, and of their mirrored selves."""
    maps, mirrored = (generator.heatmaps(generator(each)[-1]) for each in (images, images.flip(-1)))
    return (maps + heatmaps.flip_maps(mirrored)) / 2


def _input(images: Tensor) -> Tensor:
    return normalise(images).contiguous(memory_format=torch.channels_last)
