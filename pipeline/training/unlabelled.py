"""What photographs without annotations teach: by the joints that G's averaged self finds in them,
and by what the discriminators say of those that G finds.

The box around the person is taken as known, its joints are not looked at.
"""

import numpy as np
import torch

from pipeline.distributed.ranks import ALONE, Ranks
from pipeline.evaluation.occluders import People
from pipeline.networks.estimator import CropEstimator, decode
from pipeline.networks.layers import normalise
from pipeline.seeding import seeded
from pipeline.settings import Settings, Train
from pipeline.training.batches import (
    Batch,
    Draw,
    Photographs,
    batch_of,
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
    # In fp32, with flip test: as it is measured and kept.
    teacher = CropEstimator(state.averaged_generator, geometry, {}, photographs.device)
    maps = teacher.heatmaps(people.images)
    points, _, _ = decode(maps, geometry, geometry.sigma)
    taken = state.pose(normalise(people.images), maps) > 0 if config.unlabelled == "both" else None
    seen = People(people.images, points, torch.zeros_like(points[..., 0]).bool())
    people = covered(draw, seen, donors, settings, ranks)
    batch = batch_of(
        people.images,
        torch.full_like(points, torch.nan),  # of no joint is the place known
        maps[:, : points.shape[1]],
        people.occluded if settings.model.occlusion else None,
    )
    everything = torch.ones_like(batch.mask)
    if config.unlabelled == "teacher":
        return batch._replace(counts=everything)
    return batch._replace(
        counts=batch.mask if taken is None else taken.to(batch.mask.dtype), played=everything
    )
