"""Photographs without annotations: which they are, that nobody looks at their joints, and what they
teach."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch.testing import assert_close

from conftest import CPU
from pipeline.distributed.ranks import Ranks
from pipeline.networks.estimator import CropEstimator
from pipeline.networks.layers import MEAN, SCALE
from pipeline.settings import SettingsError
from pipeline.training.batches import training_batch
from pipeline.training.loop import iteration
from pipeline.training.state import TrainingState
from pipeline.training.unlabelled import parted, unlabelled_batch, with_unlabelled
from test_training import photographs, run, tasks, tiny  # noqa: F401  a fixture

pytestmark = pytest.mark.usefixtures("one_thread")
KINDS = ("game", "teacher", "both")


def shared_out(photographs, config):  # noqa: F811
    labelled, others = parted(photographs.train, config.train)
    return replace(photographs, train=labelled, unlabelled=others)


def half(kind: str, **changes):
    """Settings of a training to which half of the photographs come without annotations."""
    return tiny(train__labelled=0.5, train__unlabelled=kind, **changes)


def test_a_share_is_labelled_and_a_smaller_one_is_part_of_it():
    indices = np.arange(10, 110)
    parts = {share: parted(indices, tiny(train__labelled=share).train) for share in (0.05, 0.5, 1)}
    assert [len(labelled) for labelled, _ in parts.values()] == [5, 50, 100]
    for labelled, others in parts.values():
        assert sorted([*labelled, *others]) == [*indices]
    few, many = parts[0.05][0], parts[0.5][0]
    assert set(few) < set(many) and few.tolist() == sorted(few)
    others = parted(indices, tiny(train__labelled=0.5, train__seed=1).train)[0]
    assert others.tolist() != many.tolist()


def test_at_least_one_photograph_is_labelled():
    assert len(parted(np.arange(4), tiny(train__labelled=0.01).train)[0]) == 1


@pytest.mark.parametrize("kind", KINDS)
def test_annotations_of_photographs_that_come_without_are_not_looked_at(photographs, kind):  # noqa: F811
    config = half(kind, augment__occluders=1)
    seen = shared_out(photographs, config)
    blind = seen.crops.points.copy()
    blind[seen.unlabelled] = np.nan
    without = replace(seen, crops=replace(seen.crops, points=blind))
    first, second = (
        unlabelled_batch(TrainingState(config, CPU), each, config) for each in (seen, without)
    )
    for one, other in zip(first, second, strict=True):
        assert torch.equal(one.nan_to_num(-1), other.nan_to_num(-1))


def test_the_teacher_says_where_joints_are_before_they_are_covered(photographs):  # noqa: F811
    # Small ones: an untrained G puts all joints of a photograph near each other.
    config = half("teacher", augment__occluders=1, augment__occluder_size=[0.1, 0.1])
    seen, state = shared_out(photographs, config), TrainingState(config, CPU)
    calm = half("teacher", augment__occluders=0)
    covered, uncovered = (unlabelled_batch(state, seen, each) for each in (config, calm))
    assert not torch.equal(covered.images, uncovered.images)
    pose, hidden = tasks(covered.maps)
    assert torch.equal(pose, tasks(uncovered.maps)[0])
    teacher = CropEstimator(state.averaged_generator, seen.crops.geometry, {}, CPU)
    assert_close(pose, tasks(teacher.heatmaps(uncovered.images * SCALE + MEAN))[0])
    which = hidden.sum((-2, -1)) > 0
    assert which.any() and not which.all()
    assert torch.equal(hidden[which], pose[which])
    assert tasks(uncovered.maps)[1].abs().max() == 0


@pytest.mark.parametrize("kind", KINDS)
def test_what_counts_and_who_plays(photographs, kind):  # noqa: F811
    config = half(kind)
    seen, state = shared_out(photographs, config), TrainingState(config, CPU)
    labelled = training_batch(0, seen, config)
    batch = with_unlabelled(labelled, state, seen, config)
    known, added = len(labelled.images), len(batch.images) - len(labelled.images)
    assert added == 3
    assert torch.equal(batch.mask[:known], labelled.mask) and batch.mask[known:].sum() == 0
    assert torch.equal(batch.counts[:known], labelled.counts)
    teaches = {"game": {0.0}, "teacher": {1.0}, "both": {0.0, 1.0}}[kind]
    assert set(batch.counts[known:].unique().tolist()) <= teaches
    played = labelled.mask if kind == "teacher" else torch.ones_like(labelled.mask)
    assert torch.equal(batch.played[:known], played)
    assert (batch.played[known:] == (kind != "teacher")).all()


def test_joints_that_nobody_annotated_play_where_all_photographs_are_labelled(photographs):  # noqa: F811
    config = tiny(train__unlabelled="game")
    labelled = training_batch(0, photographs, config)
    batch = with_unlabelled(labelled, TrainingState(config, CPU), photographs, config)
    assert len(batch.images) == len(labelled.images)
    assert (labelled.mask == 0).any() and (batch.played == 1).all()
    assert torch.equal(batch.mask, labelled.mask) and torch.equal(batch.counts, labelled.counts)


def test_p_chooses_what_counts(photographs):  # noqa: F811
    config = half("both")
    seen, state = shared_out(photographs, config), TrainingState(config, CPU)
    answers = []
    state.pose.register_forward_hook(lambda _, __, answer: answers.append(answer))
    batch = unlabelled_batch(state, seen, config)
    assert torch.equal(batch.counts, (answers[0] > 0).float())


@pytest.mark.parametrize("kind", KINDS)
def test_they_move_g_and_not_p_and_c(photographs, kind):  # noqa: F811
    """P and C learn from annotated joints alone; G from what is asked of the others too."""
    config = half(kind)
    seen = shared_out(photographs, config)
    states = [TrainingState(config, CPU) for _ in range(2)]
    labelled = training_batch(0, seen, config)
    torch.nn.init.constant_(states[0].pose.maps[-1].bias, 1.0)  # P takes some for true
    states[1].pose.load_state_dict(states[0].pose.state_dict())
    for state in states:  # so that a batch's other rows change nothing but what they teach
        state.generator.eval()
        state.generator.train = lambda *_, network=state.generator: network
    iteration(states[0], labelled, config)
    iteration(states[1], with_unlabelled(labelled, states[1], seen, config), config)
    for name in ("pose", "confidence"):
        for one, other in zip(*(getattr(each, name).parameters() for each in states), strict=True):
            assert_close(one, other, rtol=1e-4, atol=1e-6)
    moved = zip(*(each.generator.parameters() for each in states), strict=True)
    assert any(not torch.allclose(one, other, atol=1e-5) for one, other in moved)


@pytest.mark.parametrize("kind", KINDS)
def test_a_training_with_them_is_the_same_again_and_begins_with_the_game(
    photographs,  # noqa: F811
    tmp_path,
    kind,
):
    config = half(kind, train__game_start=0.5)
    seen = shared_out(photographs, config)
    first, again = (run(seen, config, tmp_path / f"{k}.pt") for k in range(2))
    alone = run(replace(seen, unlabelled=seen.unlabelled[:0]), config, tmp_path / "alone.pt")
    assert [row["train/loss"] for row in first.history] == [
        row["train/loss"] for row in again.history
    ]
    losses = [[row["train/reconstruction"] for row in each.history] for each in (first, alone)]
    assert losses[0][:2] == losses[1][:2]
    assert losses[0][2:] != losses[1][2:]


def test_processes_share_them_out(photographs):  # noqa: F811
    config = half("teacher", augment__occluders=1)
    seen, state = shared_out(photographs, config), TrainingState(config, CPU)
    whole = unlabelled_batch(state, seen, config)
    parts = [unlabelled_batch(state, seen, config, Ranks(rank, 2)) for rank in range(2)]
    for name, rows in whole._asdict().items():
        sliced = torch.cat([getattr(part, name) for part in parts])
        assert_close(sliced.nan_to_num(-1), rows.nan_to_num(-1), msg=name)


@pytest.mark.parametrize(
    "changes, said",
    [
        (
            {"train__unlabelled": "game", "train__adversarial": False},
            "tiny: train: unlabelled game needs adversarial true: P and C judge",
        ),
        (
            {"train__unlabelled": "teacher", "augment__enabled": False},
            "tiny: train.unlabelled teacher needs augment.enabled true: what is found in",
        ),
        (
            {"train__labelled": 0},
            "tiny: train.labelled = 0: should be greater than 0",
        ),
    ],
)
def test_what_makes_no_sense_is_refused(changes, said):
    with pytest.raises(SettingsError) as refused:
        tiny(**changes)
    assert str(refused.value).startswith(said)
