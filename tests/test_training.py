"""The training: its data, the game, its schedule, and that it can be killed and repeated.

Run as a program, `python tests/test_training.py FOLDER`, it is the training that a test here kills.
"""

import os
import signal
import subprocess
import sys
import zipfile
from dataclasses import replace
from math import cos, pi
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml

from conftest import CPU, ROOT
from pipeline import settings
from pipeline.data import targets
from pipeline.data.crops import Crops
from pipeline.data.targets import Targets
from pipeline.networks import heatmaps
from pipeline.networks.checkpoint import save
from pipeline.networks.layers import MEAN, SCALE
from pipeline.rates import schedule
from pipeline.seeding import seeded
from pipeline.skeleton import JOINTS, NECK
from pipeline.training import losses
from pipeline.training.batches import (
    Batch,
    Photographs,
    augmented_batch,
    input_size,
    order,
    plain_batch,
)
from pipeline.training.loop import train
from pipeline.training.state import TrainingError, TrainingState

pytestmark = pytest.mark.usefixtures("one_thread")  # a killed training is compared with a whole one
TINY = {
    "cache.input_size": 32,
    "cache.heatmap_size": 8,
    "cache.sigma": 1.0,
    "cache.margin": 1.5,
    "model.encoder": "hourglass",
    "model.pretrained": False,
    "model.block": "basic",
    "model.stem": "patches",
    "model.stacks": 1,
    "model.features": [8, 16],
    "model.occlusion": True,
    "model.reconstruction": "cross_entropy",
    "augment.enabled": True,
    "augment.cut": 0,
    "train.adversarial": True,
    "train.game_start": 0.0,
    "train.alpha": 0.5,
    "train.beta": 0.5,
    "train.delta": 0.5,
    "train.epsilon": 0.5,
    "train.discriminator_features": [8, 8],
    "train.batch": 3,
    "train.steps": 4,
    "train.input_sizes": [16, 32],
    "train.optimiser": "adamw",
    "train.learning_rate": 0.01,
    "train.discriminator_learning_rate": 0.01,
    "train.weight_decay": 0.05,
    "train.clip": 5.0,
    "train.warmup": 0,
    "train.ema": 0.9,
    "train.precision": "fp32",
    "train.deterministic": False,
    "train.compile": False,
    "train.seed": 0,
    "train.log_every": 1,
    "train.validate_every": 2,
}
STILL = {
    "augment.rotation": 0,
    "augment.scale": [1, 1],
    "augment.shift": 0,
    "augment.flip": 0,
    "augment.colour": 0,
    "augment.occluders": 0,
    "train.input_sizes": [32],
}


def tiny(**changes) -> settings.Settings:
    """params.yaml made tiny; `train__steps=3` changes train.steps."""
    values = yaml.safe_load((ROOT / "params.yaml").read_text())
    changed = TINY | {key.replace("__", "."): value for key, value in changes.items()}
    for name, value in changed.items():
        group, key = name.split(".")
        assert key in values[group]
        values[group][key] = value
    return settings.check(values, "tiny")


def still(**changes) -> settings.Settings:
    """Settings whose augmentation is on but changes nothing."""
    return tiny(**STILL | changes)


@pytest.fixture
def photographs(tmp_path):
    return make_photographs(tmp_path)


def make_photographs(folder: Path) -> Photographs:
    """Twelve crops of noise; from torso to head all is annotated, some of the rest is not; a few
    are hidden."""
    rng = np.random.default_rng(0)
    points = rng.uniform(10, 38, (12, 14, 2)).astype(np.float32)
    missing = np.zeros((12, 14), dtype=bool)
    missing[np.arange(12), np.arange(12) % 6 + 3] = True
    missing[:, [2, 9, 12, 13]] = False
    missing[:, 0] = np.arange(12) % 2 == 0
    points[missing] = np.nan
    crops = Crops(
        geometry=tiny().cache.geometry,
        images=rng.integers(0, 256, (12, 48, 48, 3), dtype=np.uint8),
        points=points,
        annotated=~missing,
        occluded=~missing & (rng.random((12, 14)) < 0.2),
        originals=2.0 * points.astype(np.float64) + 5,
        affines=np.tile([[2.0, 0.0, 5.0], [0.0, 2.0, 5.0]], (12, 1, 1)),
    )
    return Photographs(
        crops,
        at_rest(crops, folder / "heatmaps.npz"),
        train=np.arange(8),
        validation=np.arange(8, 12),
        device=CPU,
    )


def at_rest(crops: Crops, path: Path) -> Targets:
    """The targets of crops, written and read."""
    targets.save(path, targets.targets_of(crops))
    return targets.load(path)


def tasks(maps: torch.Tensor) -> tuple[torch.Tensor, ...]:
    """Pose maps (B, 14, h, h), and occlusion maps where there are some, of maps (B, T 14, h, h)."""
    return maps.split(len(JOINTS), dim=1)


def pose_maps(batch: Batch) -> torch.Tensor:
    return tasks(batch.maps)[0]


def run(photographs, config, checkpoint: Path, report=None, state=None, save_every=1000):
    """A training to its end, and its state."""
    state, report = state or TrainingState(config, CPU), report or (lambda _step, _row: None)
    train(state, photographs, config, checkpoint, report, save_every=save_every)
    return state


def test_a_training_is_shown_where_its_validation_part_is_measured(photographs, tmp_path):
    config = tiny(train__steps=7, train__log_every=1, train__validate_every=3)
    shown, reported = [], {}
    state = TrainingState(config, CPU)
    train(
        state,
        photographs,
        config,
        tmp_path / "state.pt",
        lambda step, row: reported.update({step: row}),
        lambda state: shown.append(state.step),
    )
    measured = [step for step, row in reported.items() if "val/reconstruction" in row]
    assert shown == [3, 6, 7] == measured


@pytest.fixture
def play(photographs, tmp_path):
    """A tiny training with changed settings, from the start to its end, and its state."""
    return lambda **changes: run(photographs, tiny(**changes), tmp_path / "checkpoint.pt")


def same(one: torch.nn.Module, other: torch.nn.Module) -> bool:
    """Are all weights and statistics equal, bit for bit?"""
    ours, theirs = one.state_dict(), other.state_dict()
    return ours.keys() == theirs.keys() and all(
        torch.equal(ours[name], theirs[name]) for name in ours
    )


def rows(state: TrainingState, name: str) -> list[float]:
    return [row[name] for row in state.history if name in row]


# The game


@pytest.mark.parametrize(("alpha", "beta"), [(0.5, 0.0), (0.0, 0.5)])
def test_each_discriminator_moves_the_generator(play, alpha, beta):
    alone = play(train__adversarial=False)
    playing = play(train__alpha=alpha, train__beta=beta)
    assert not same(playing.generator, alone.generator)
    ratios = rows(playing, "train/gradient_ratio")
    assert len(ratios) == 4 and min(ratios) > 0
    for name in ("pose/auc", "confidence/auc", "pose/true_in_another", "pose/true_exchanged"):
        assert len(rows(playing, name)) == 4 and all(
            0 <= share <= 1 for share in rows(playing, name)
        )


def test_with_both_weights_at_zero_the_generator_learns_as_without_the_game(play):
    alone = play(train__adversarial=False)
    playing = play(train__alpha=0.0, train__beta=0.0)
    assert same(playing.generator, alone.generator)
    assert rows(playing, "train/gradient_ratio") == [0] * 4
    assert not rows(alone, "train/gradient_ratio") and not rows(alone, "pose/loss")
    for name in ("pose", "confidence"):  # the discriminators learnt all the same
        assert not same(getattr(playing, name), getattr(alone, name))


def test_the_discriminators_do_not_learn_from_the_loss_of_the_generator(play):
    one_step = {"train__steps": 1, "train__input_sizes": [32]}
    fooled, ignored = play(**one_step), play(**one_step, train__alpha=0.0, train__beta=0.0)
    assert not same(fooled.generator, ignored.generator)
    assert same(fooled.pose, ignored.pose) and same(fooled.confidence, ignored.confidence)
    assert all(
        each.requires_grad for each in (*fooled.pose.parameters(), *fooled.confidence.parameters())
    )


def test_the_game_starts_after_the_share_of_the_steps_that_is_asked_for(play):
    alone, late = play(train__adversarial=False), play(train__game_start=0.5)
    assert [row["step"] for row in late.history if "pose/loss" in row] == [3, 4]
    assert rows(late, "train/loss")[:2] == rows(alone, "train/loss")[:2]
    assert rows(late, "train/loss")[2:] != rows(alone, "train/loss")[2:]


def test_the_loss_is_equation_4_with_alpha_for_confidence_and_beta_for_pose(play):
    for row in play(train__alpha=0.3, train__beta=0.07).history:
        terms = row["train/adversarial_confidence"], row["train/adversarial_pose"]
        expected = row["train/reconstruction"] + 0.3 * terms[0] + 0.07 * terms[1]
        assert row["train/loss"] == pytest.approx(expected, rel=1e-5)


def seen_by(player: torch.nn.Module, seen: list) -> None:
    """Record what a discriminator is given."""
    player.register_forward_pre_hook(
        lambda _module, inputs: seen.append([each.detach() for each in inputs if each is not None])
    )


@pytest.mark.parametrize("occlusion", [True, False])
def test_a_joint_that_is_not_annotated_is_blank_in_real_and_fake_maps_and_has_no_label(
    photographs, tmp_path, monkeypatch, occlusion
):
    config = tiny(train__steps=1, train__input_sizes=[32], model__occlusion=occlusion)
    mask = augmented_batch(0, photographs, config).mask
    assert 0 < mask.mean() < 1
    state, seen, judged = TrainingState(config, CPU), {"pose": [], "confidence": []}, []
    loss = losses.discriminator_loss
    monkeypatch.setattr(
        losses, "discriminator_loss", lambda *given: judged.append(given) or loss(*given)
    )
    for name, inputs in seen.items():
        seen_by(getattr(state, name), inputs)
    run(photographs, config, tmp_path / "checkpoint.pt", state=state)

    for name, (learning, fooling, *_probes) in seen.items():
        kinds = [tasks(learning[-1]), tasks(fooling[-1])]
        assert len(kinds[0]) == len(kinds[1]) == 1 + occlusion
        assert len(learning) == len(fooling) == 1 + (name == "pose")  # P alone has the images
        for both, fake in zip(*kinds, strict=True):
            real, first_fake = both.chunk(2)
            assert torch.equal(first_fake, fake)
            for maps in (real, fake):
                assert torch.equal(maps[mask == 0], torch.zeros_like(maps[mask == 0]))
        # The rest is not blanked: the pose maps of what counts have peaks.
        assert (kinds[0][0].amax((-2, -1))[mask.repeat(2, 1) > 0] > 0).all()
    assert len(judged) == 2
    for _real, _fake, labels, counted in judged:
        assert torch.equal(counted, mask) and labels[mask == 0].sum() == 0


def test_a_joint_that_is_not_annotated_gives_the_generator_no_gradient(photographs, tmp_path):
    config = tiny(train__steps=1, train__input_sizes=[32])
    mask = augmented_batch(0, photographs, config).mask
    state, gradients = TrainingState(config, CPU), []

    def keep(_module, _inputs, outputs):
        outputs[-1].register_hook(lambda gradient: gradients.extend(tasks(gradient)))

    state.generator.register_forward_hook(keep)
    run(photographs, config, tmp_path / "checkpoint.pt", state=state)
    assert len(gradients) >= 2
    for gradient in gradients:
        assert torch.equal(gradient[mask == 0], torch.zeros_like(gradient[mask == 0]))
    assert all((gradient[mask > 0].abs().amax((-2, -1)) > 0).any() for gradient in gradients)


# The data of a step


def test_the_variants_of_the_ablation_see_the_same_images_occluders_and_schedule(photographs):
    variants = [
        tiny(model__occlusion=occlusion, train__adversarial=adversarial)
        for occlusion in (False, True)
        for adversarial in (False, True)
    ]
    for step in range(4):
        first, *others = (augmented_batch(step, photographs, each) for each in variants)
        alone, alike, *both = (tasks(each.maps) for each in (first, *others))
        assert len(alone) == len(alike) == 1 and [len(each) for each in both] == [2, 2]
        assert torch.equal(both[0][1], both[1][1])
        for other in others:
            for name in ("images", "points", "mask"):
                one, another = getattr(first, name), getattr(other, name)
                assert torch.equal(torch.nan_to_num(one, -1), torch.nan_to_num(another, -1))
            assert torch.equal(pose_maps(first), pose_maps(other))
        assert len({schedule(step, each.train) for each in variants}) == 1


def test_the_variants_of_the_ablation_start_from_the_same_weights():
    with_game, without = (
        TrainingState(tiny(train__adversarial=adversarial), CPU) for adversarial in (True, False)
    )
    assert same(with_game.generator, without.generator)
    single = TrainingState(tiny(model__occlusion=False), CPU)
    assert torch.equal(single.generator.stem[1].weight, with_game.generator.stem[1].weight)


def test_a_training_begins_with_given_weights(photographs, tmp_path):
    config, path = tiny(train__learning_rate=1e-9, train__weight_decay=0), tmp_path / "given"
    given = TrainingState(tiny(train__seed=5), CPU).generator
    save(path, given, {"model": config.model.model_dump()})
    state = TrainingState(config, CPU)
    before = next(state.generator.parameters()).clone()
    state.begin(path, config)
    for name, tensor in given.state_dict().items():
        assert torch.equal(state.generator.state_dict()[name], tensor), name
        assert torch.equal(state.averaged_generator.state_dict()[name], tensor), name
    run(photographs, config, tmp_path / "saved.pt", state=state)
    after = next(state.generator.parameters())  # learnt at hardly any rate
    torch.testing.assert_close(after, next(given.parameters()), rtol=0, atol=1e-4)
    assert (after - before).abs().max() > 0.01


def test_a_batch_without_augmentation_is_the_middle_of_the_crops_with_the_cached_heatmaps(
    photographs,
):
    marked = Targets(
        x=np.full((12, 14, 8), 0.5, np.float16),
        y=np.full((12, 14, 8), 0.25, np.float16),
    )
    points = photographs.crops.points.copy()
    points[5, 3] = [24, 12]
    photographs = replace(
        photographs, crops=replace(photographs.crops, points=points), targets=marked
    )
    batch = plain_batch(np.array([5, 2]), photographs, occlusion=True)

    assert batch.images.shape == (2, 3, 32, 32)
    assert batch.images[0, 1, 4, 9].item() == pytest.approx(
        (photographs.crops.images[5, 8 + 4, 8 + 9, 1] / 255 - MEAN) / SCALE
    )
    # Crop px 24 and 12 are input px 16 and 4; a heatmap px covers 4 of them.
    assert batch.points[0, 3].tolist() == [16.5 / 4 - 0.5, 4.5 / 4 - 0.5]
    pose, occlusion = tasks(batch.maps)
    assert (pose == 0.125).all()
    hidden = torch.from_numpy(photographs.crops.occluded[[5, 2]])
    assert (occlusion[hidden] == 0.125).all() and (occlusion[~hidden] == 0).all()
    assert torch.equal(batch.mask.bool(), torch.from_numpy(photographs.crops.annotated[[5, 2]]))


def test_augmentation_that_changes_nothing_gives_the_batch_without_augmentation(photographs):
    config = still()
    plain = plain_batch(order(0, photographs.train, config.train), photographs, occlusion=True)
    augmented = augmented_batch(0, photographs, config)
    assert torch.equal(augmented.mask, plain.mask)
    assert len(tasks(plain.maps)) == 2
    for name in ("images", "points", "maps"):
        one, other = getattr(augmented, name).nan_to_num(-1), getattr(plain, name).nan_to_num(-1)
        assert torch.allclose(one, other, atol=2e-3), name  # the cache keeps half precision


def test_a_joint_that_leaves_the_input_does_not_count(photographs):
    points = photographs.crops.points.copy()
    points[:, NECK] = [24, 4]  # in the stored crop, above the input
    points[:, NECK + 1] = [24, 9]
    photographs = replace(photographs, crops=replace(photographs.crops, points=points))
    batch = augmented_batch(0, photographs, still())
    assert batch.mask[:, NECK:].tolist() == [[0, 1]] * 3
    assert (pose_maps(batch)[:, NECK] == 0).all() and batch.points[:, NECK].isnan().all()
    assert (pose_maps(batch)[:, NECK + 1].amax((-2, -1)) > 0.5).all()


def test_targets_follow_the_moved_joints_and_sizes(photographs):
    config = tiny()
    for step, size in enumerate([16, 16, 32, 32]):
        batch = augmented_batch(step, photographs, config)
        assert batch.images.shape == (3, 3, size, size)
        expected = heatmaps.render(batch.points, size // 4, config.cache.sigma)
        assert torch.equal(pose_maps(batch), expected)
        assert torch.equal(batch.mask, (~batch.points.isnan().any(-1)).float())


def test_with_augmentation_off_the_crops_are_trained_on_as_they_are(photographs, tmp_path):
    config = tiny(augment__enabled=False, train__input_sizes=[32], train__validate_every=4)
    state, seen = TrainingState(config, CPU), []
    state.generator.register_forward_pre_hook(lambda _module, inputs: seen.append(inputs[0]))
    run(photographs, config, tmp_path / "checkpoint.pt", state=state)
    for step, images in enumerate(seen[:4]):
        indices = order(step, photographs.train, config.train)
        assert torch.equal(images, plain_batch(indices, photographs, True).images)


@pytest.mark.parametrize(
    ("step", "factor"),
    [
        (0, 0.1),
        (4, 0.5 * (1 + cos(0.04 * pi)) / 2),
        (9, (1 + cos(0.09 * pi)) / 2),
        (50, 0.5),
        (75, (1 - 0.5**0.5) / 2),
        (100, 0.0),
    ],
)
def test_the_learning_rate_warms_up_and_falls_to_zero_as_a_cosine(step, factor):
    config = tiny(train__steps=100, train__warmup=10).train
    assert schedule(step, config) == pytest.approx(factor, abs=1e-12)


def test_without_warm_up_the_learning_rate_starts_at_its_peak():
    assert schedule(0, tiny(train__steps=100, train__warmup=0).train) == 1


def test_the_generator_follows_the_schedule_and_the_discriminators_keep_their_rate(play):
    state = play(train__learning_rate=0.01, train__discriminator_learning_rate=0.002)
    last = (1 + cos(pi * 3 / 4)) / 2
    for name, rate in [("generator", 0.01 * last), ("pose", 0.002), ("confidence", 0.002)]:
        for group in state.optimisers[name].param_groups:
            assert group["lr"] == pytest.approx(rate)
    assert rows(state, "train/learning_rate")[0] == pytest.approx(0.01)


def test_the_input_grows_in_equal_shares_of_the_steps():
    sides = {"cache__input_size": 48, "cache__heatmap_size": 12, "train__input_sizes": [16, 32, 48]}
    config = tiny(train__steps=10, **sides).train
    assert [input_size(step, config) for step in range(10)] == [16] * 4 + [32] * 3 + [48] * 3


def test_an_epoch_shows_each_photograph_at_most_once_and_the_next_in_another_order():
    config, indices = tiny(train__batch=3).train, np.array([2, 3, 5, 7, 11, 13, 17, 19])
    epochs = [[order(2 * epoch + k, indices, config) for k in (0, 1)] for epoch in range(3)]
    shown = [np.concatenate(epoch).tolist() for epoch in epochs]
    for epoch in shown:
        assert len(epoch) == len(set(epoch)) == 6 and set(epoch) <= set(indices.tolist())
    assert shown[0] != shown[1] != shown[2] != shown[0]
    assert np.concatenate([order(k, indices, config) for k in (0, 1)]).tolist() == shown[0]
    other_seed = tiny(train__batch=3, train__seed=1).train
    assert order(0, indices, other_seed).tolist() != shown[0][:3]


def test_the_photographs_of_a_step_do_not_depend_on_the_steps_that_were_asked_for_before():
    config, indices = tiny(train__batch=3).train, np.arange(100, 120)
    other_seed, fewer = tiny(train__batch=3, train__seed=1).train, indices[:17]
    asked = [0, 5, 6, 0, 13, 5, 12, 11, 6]
    for step in asked:
        epoch, position = divmod(step, 6)
        whole = torch.randperm(20, generator=seeded(0, 1, epoch)).numpy()
        expected = indices[whole[3 * position : 3 * position + 3]]
        assert order(step, indices, config).tolist() == expected.tolist()
        order(step, indices, other_seed)[:] = 0  # what was given is the caller's own
        order(step, fewer, config)


def test_a_batch_larger_than_the_training_part_is_all_of_it():
    indices = np.arange(5)
    shown = order(3, indices, tiny(train__batch=32).train)
    assert sorted(shown.tolist()) == indices.tolist()


# The result, repeated and interrupted


def equal_files(one: TrainingState, other: TrainingState, folder: Path) -> bool:
    paths = folder / "one.safetensors", folder / "other.safetensors"
    for path, state in zip(paths, (one, other), strict=True):
        save(path, state.averaged.module, {"model": {}})
    return paths[0].read_bytes() == paths[1].read_bytes()


def test_two_trainings_give_the_same_weights_and_learning_curves(play, tmp_path):
    one = play()
    torch.manual_seed(123)  # what was drawn before does not matter
    other = play()
    assert same(one.generator, other.generator) and same(one.averaged, other.averaged)
    assert one.history == other.history
    assert equal_files(one, other, tmp_path)
    assert not equal_files(one, play(train__seed=1), tmp_path)


class Stopped(Exception):
    """What stops a training in a test."""


@pytest.mark.parametrize(("log_every", "saved"), [(1, 3), (2, 2)])
def test_a_training_that_was_stopped_goes_on_as_if_it_had_not_been(
    photographs, play, tmp_path, log_every, saved
):
    config, checkpoint = tiny(train__log_every=log_every), tmp_path / "stopped.pt"
    whole = play(train__log_every=log_every)
    state, images_seen = TrainingState(config, CPU), []

    def stop(_module, images):
        if len(images_seen) == 3:  # in the fourth step
            raise Stopped
        images_seen.append(images)

    state.generator.register_forward_pre_hook(stop)
    with pytest.raises(Stopped):
        run(photographs, config, checkpoint, state=state, save_every=1)

    state = TrainingState(config, CPU)
    state.restore(checkpoint, 100)
    assert state.step == saved and state.history == whole.history[: saved // log_every]
    run(photographs, config, checkpoint, state=state)
    for name in ("generator", "pose", "confidence", "averaged"):
        assert same(getattr(state, name), getattr(whole, name)), name
    assert state.history == whole.history
    assert equal_files(state, whole, tmp_path)


@pytest.mark.parametrize("step", [1, 2, 3])
def test_a_training_that_is_asked_to_stop_saves_at_that_step_and_goes_on_as_if_it_had_not_been(
    photographs, tmp_path, play, step
):
    config, checkpoint = tiny(train__log_every=2), tmp_path / "stopped.pt"
    whole, state = play(train__log_every=2), TrainingState(config, CPU)
    asked = (state.step >= step for _ in range(100))
    with pytest.raises(KeyboardInterrupt, match=f"saved, at step {step} of"):
        train(state, photographs, config, checkpoint, lambda *_: None, stopped=asked.__next__)

    state = TrainingState(config, CPU)
    state.restore(checkpoint, config.train.steps)
    assert state.step == step and len(state.recent) == step % 2
    run(photographs, config, checkpoint, state=state)
    assert state.history == whole.history
    assert equal_files(state, whole, tmp_path)


@pytest.mark.parametrize("step", ["x", -1, 101, 10**9, True, None])
def test_a_saved_training_at_a_step_that_there_is_not_is_refused(tmp_path, step):
    path, state = tmp_path / "saved.pt", TrainingState(tiny(), CPU)
    state.step = step
    state.save(path)
    with pytest.raises(TrainingError, match=r"saved\.pt: not a saved training.*step"):
        TrainingState(tiny(), CPU).restore(path, 100)


def test_a_training_that_fails_while_it_reports_leaves_the_last_saved_state(photographs, tmp_path):
    def fail(step, _row):
        if step == 3:
            raise Stopped

    checkpoint = tmp_path / "stopped.pt"
    with pytest.raises(Stopped):
        run(photographs, tiny(), checkpoint, fail, save_every=1)
    state = TrainingState(tiny(), CPU)
    state.restore(checkpoint, 100)
    assert state.step == 2 and [row["step"] for row in state.history] == [1, 2]


KILLED = {"train__steps": 30, "train__validate_every": 15}


def killed_training(folder: Path) -> None:
    """Train, or go on, saving every step and telling each; the first time, wait at step 20 to be
    killed."""
    torch.set_num_threads(1)
    config, checkpoint = tiny(**KILLED), folder / "checkpoint.pt"
    state = TrainingState(config, CPU)
    if checkpoint.exists():
        state.restore(checkpoint, 100)
    start = state.step
    print("from", start, flush=True)

    def tell(step, _row):
        print(step, flush=True)
        if start == 0 and step == 20:
            signal.pause()

    run(make_photographs(folder), config, checkpoint, tell, state, save_every=1)


def test_a_training_that_was_killed_goes_on_in_another_process_as_if_it_had_not_been(
    play, tmp_path
):
    whole = play(**KILLED)
    folder = tmp_path / "killed"
    folder.mkdir()
    command = [sys.executable, __file__, str(folder)]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    pipe = {
        "env": environment,
        "stdout": subprocess.PIPE,
        "stderr": subprocess.DEVNULL,
        "text": True,
    }
    with subprocess.Popen(command, **pipe) as process:
        for line in process.stdout:
            if line.strip() == "7":
                process.send_signal(signal.SIGKILL)
                break
    assert process.returncode == -signal.SIGKILL
    second = subprocess.run(command, check=True, **pipe).stdout.split()
    assert second[0] == "from" and 6 <= int(second[1]) < 20

    state = TrainingState(tiny(**KILLED), CPU)
    state.restore(folder / "checkpoint.pt", 100)
    assert state.step == 30
    for name in ("generator", "pose", "confidence", "averaged"):
        assert same(getattr(state, name), getattr(whole, name)), name
    assert state.history == whole.history
    assert equal_files(state, whole, tmp_path)


def test_a_file_that_is_no_saved_training_is_named_with_what_to_do(tmp_path):
    path = tmp_path / "garbage.pt"
    path.write_bytes(b"\x00garbage" * 100)
    with pytest.raises(TrainingError, match=r"(?s)garbage\.pt: not a saved training.*delete it"):
        TrainingState(tiny(), CPU).restore(path, 100)


@pytest.mark.parametrize("part", ["generator", "optimiser_pose", "step"])
def test_a_saved_training_with_a_part_missing_is_refused(tmp_path, part):
    path = tmp_path / "saved.pt"
    TrainingState(tiny(), CPU).save(path)
    saved = torch.load(path, weights_only=True)
    del saved[part]
    torch.save(saved, path)
    with pytest.raises(TrainingError, match=r"saved\.pt: not a saved training"):
        TrainingState(tiny(), CPU).restore(path, 100)


@pytest.fixture
def saved(tmp_path) -> Path:
    path = tmp_path / "saved.pt"
    TrainingState(tiny(), CPU).save(path)
    return path


def test_a_saved_training_of_which_a_bit_was_lost_is_refused(saved):
    """It would go on, to other weights."""
    with zipfile.ZipFile(saved) as archive:
        tensors = [each for each in archive.infolist() if "/data/" in each.filename]
        largest = archive.read(max(tensors, key=lambda each: each.file_size))
    content = bytearray(saved.read_bytes())
    content[content.index(largest) + len(largest) // 2] ^= 1
    saved.write_bytes(content)
    assert torch.load(saved, weights_only=True)  # which sees nothing
    with pytest.raises(TrainingError, match=r"saved\.pt: not a saved training.* is damaged"):
        TrainingState(tiny(), CPU).restore(saved, 100)


class Code:
    """What runs where it is unpickled."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self):
        return os.mkdir, (str(self.mark),)


def test_the_code_in_a_pickle_is_not_run_and_nobody_is_advised_to_run_it(saved, tmp_path):
    mark = tmp_path / "ran"
    torch.save(torch.load(saved, weights_only=True) | {"history": Code(mark)}, saved)
    with pytest.raises(TrainingError, match="holds other things than tensors and numbers") as error:
        TrainingState(tiny(), CPU).restore(saved, 100)
    assert not mark.exists() and "weights_only" not in str(error.value)


@pytest.mark.parametrize(
    "changes",
    [
        *({"history": each} for each in ({"step": 1}, [5], "text", None)),
        *({"recent": each} for each in ([5], [{"loss": "text"}])),
    ],
)
def test_a_saved_training_with_another_curve_is_refused(saved, changes):
    torch.save(torch.load(saved, weights_only=True) | changes, saved)
    with pytest.raises(TrainingError, match=r"saved\.pt: not a saved training"):
        TrainingState(tiny(), CPU).restore(saved, 100)


@pytest.mark.parametrize("network", ["generator", "pose", "confidence", "averaged"])
def test_a_saved_training_with_weights_that_are_not_finite_is_refused(saved, network):
    content = torch.load(saved, weights_only=True)
    next(each for each in content[network].values() if each.ndim == 4).fill_(float("nan"))
    torch.save(content, saved)
    with pytest.raises(TrainingError, match=r"saved\.pt: .*weights that are not finite"):
        TrainingState(tiny(), CPU).restore(saved, 100)


def test_the_saved_training_is_whole_at_any_moment(tmp_path, monkeypatch):
    path = tmp_path / "folder" / "saved.pt"
    state = TrainingState(tiny(), CPU)
    state.save(path)
    assert [each.name for each in path.parent.iterdir()] == ["saved.pt"]
    before = path.read_bytes()

    def half(_parts, to):
        Path(to).write_bytes(before[: len(before) // 2])
        raise OSError("disk full")

    monkeypatch.setattr(torch, "save", half)
    state.step = 5
    with pytest.raises(OSError, match="disk full"):
        state.save(path)
    assert [each.name for each in path.parent.iterdir()] == ["saved.pt"]
    assert path.read_bytes() == before


# What is told, and what is refused


def test_points_of_the_learning_curve_are_reported_and_kept_and_validated_in_their_rhythm(
    photographs, tmp_path
):
    told = []
    config = tiny(train__steps=7, train__log_every=2, train__validate_every=4)
    state = run(
        photographs, config, tmp_path / "checkpoint.pt", lambda step, row: told.append((step, row))
    )
    assert [step for step, _ in told] == [row["step"] for row in state.history] == [2, 4, 6, 7]
    assert [row["step"] for row in state.history if "val/pck_0.2/mean" in row] == [4, 7]
    for (_, row), kept in zip(told, state.history, strict=True):
        assert row.pop("train/images_per_second") > 0  # differs from run to run: reported only
        assert row == {name: value for name, value in kept.items() if name != "step"}


def test_a_point_of_the_learning_curve_is_the_mean_over_its_steps(play):
    each, pairs = play(), play(train__log_every=2)
    losses_of_steps = rows(each, "train/loss")
    expected = [(losses_of_steps[k] + losses_of_steps[k + 1]) / 2 for k in (0, 2)]
    assert rows(pairs, "train/loss") == pytest.approx(expected)


def test_a_loss_that_is_no_number_stops_the_training_with_advice(photographs, tmp_path):
    config, checkpoint = tiny(), tmp_path / "checkpoint.pt"
    state = TrainingState(config, CPU)
    with torch.no_grad():
        state.generator.stacks[0].heads[0].maps.bias.fill_(torch.nan)
    with pytest.raises(
        TrainingError, match=r"nan at step 1.*lower train\.learning_rate \(now 0\.01\)"
    ):
        run(photographs, config, checkpoint, state=state, save_every=1)
    assert not checkpoint.exists() and not state.history


@pytest.mark.parametrize("log_every", [1, 2])
def test_whose_rate_is_to_be_lowered_is_who_lost_the_numbers(photographs, tmp_path, log_every):
    config = tiny(train__discriminator_learning_rate=1e30, train__log_every=log_every)
    said = r"nan at step \d+: lower train\.discriminator_learning_rate \(now 1e\+30\)$"
    with pytest.raises(TrainingError, match=said):
        run(photographs, config, tmp_path / "checkpoint.pt")


@pytest.mark.parametrize("part", ["train", "validation"])
def test_an_empty_part_is_named(photographs, tmp_path, part):
    photographs = replace(photographs, **{part: np.arange(0)})
    with pytest.raises(TrainingError, match=f"the {part} part"):
        run(photographs, tiny(), tmp_path / "checkpoint.pt")


# The optimisation


@pytest.mark.parametrize(
    ("optimiser", "kinds"),
    [("rmsprop", {"RMSprop"}), ("adamw", {"AdamW"}), ("muon", {"Muon", "AdamW"})],
)
def test_the_optimiser_is_the_one_that_is_asked_for(play, optimiser, kinds):
    state = play(train__optimiser=optimiser)
    assert {type(each).__name__ for each in state.optimisers.values()} == kinds
    fresh = TrainingState(tiny(train__optimiser=optimiser), CPU)
    for name in ("generator", "pose", "confidence"):
        assert not same(getattr(state, name), getattr(fresh, name))
    assert all(np.isfinite(rows(state, "train/loss")))


def test_a_step_is_no_larger_than_the_clipped_gradient(photographs, tmp_path):
    config = tiny(
        train__optimiser="rmsprop", train__clip=1e-12, train__adversarial=False, train__steps=1,
        train__input_sizes=[32],
    )  # fmt: skip
    before = TrainingState(config, CPU).generator
    after = run(photographs, config, tmp_path / "checkpoint.pt").generator
    moved = [
        (a - b).abs().max() for a, b in zip(after.parameters(), before.parameters(), strict=True)
    ]
    # RMSprop divides by 0.1 |g| + 1e-8: a step of 0.01 would be ten times that without clipping.
    assert 0 < max(moved) < 1e-5


def test_the_averaged_weights_and_statistics_follow_with_the_decay_that_is_asked_for(
    photographs, tmp_path
):
    config, after = tiny(train__ema=0.9, train__steps=2), []
    state = TrainingState(config, CPU)

    def keep(_step, _row):
        after.append({name: each.clone() for name, each in state.generator.state_dict().items()})

    run(photographs, config, tmp_path / "checkpoint.pt", keep, state)
    averaged = state.averaged.module.state_dict()
    for name in ("stem.1.weight", "stem.2.branch.0.running_mean", "stacks.0.heads.0.maps.bias"):
        assert not torch.equal(after[0][name], after[1][name])
        expected = 0.9 * after[0][name] + 0.1 * after[1][name]
        assert torch.allclose(averaged[name], expected, rtol=1e-5, atol=1e-7), name


def test_training_goes_on_in_bf16(play):
    state = play(train__precision="bf16")
    assert len(state.history) == 4 and all(np.isfinite(rows(state, "train/loss")))
    assert all(each.dtype == torch.float32 for each in state.generator.parameters())


def test_a_tiny_generator_learns_eight_photographs_by_heart(photographs, tmp_path):
    # A bright dot of its own colour at each joint; what is learnt is measured on the same
    # photographs.
    rng = np.random.default_rng(1)
    points = rng.integers(10, 38, (12, 14, 2))
    images = np.zeros((12, 48, 48, 3), np.uint8)
    for joint in range(14):
        colour = [(joint + 1) * 17, 255 - joint * 17, 255 * (joint % 2)]
        for dx in (-1, 0, 1):
            for dy in (-1, 0, 1):
                images[np.arange(12), points[:, joint, 1] + dy, points[:, joint, 0] + dx] = colour
    crops = replace(
        photographs.crops,
        images=images,
        points=points.astype(np.float32),
        annotated=np.ones((12, 14), dtype=bool),
        occluded=np.zeros((12, 14), dtype=bool),
        originals=points.astype(np.float64),
        affines=np.tile([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]], (12, 1, 1)),
    )
    config = tiny(
        model__features=[32, 32], augment__enabled=False, train__adversarial=False, train__batch=8,
        train__steps=150, train__input_sizes=[32], train__log_every=150, train__validate_every=150,
        train__learning_rate=0.01,
    )  # fmt: skip
    truth = at_rest(crops, tmp_path / "dots.npz")
    dots = Photographs(crops, truth, np.arange(8), validation=np.arange(8), device=CPU)
    last = run(dots, config, tmp_path / "checkpoint.pt").history[-1]

    pose = heatmaps.expand(*(torch.from_numpy(each[:8]).float() for each in (truth.x, truth.y)))
    share = pose / pose.sum((-2, -1), keepdim=True)
    least = torch.special.entr(share).sum((-2, -1)).mean().item()  # no network's loss is below this
    assert least <= last["val/reconstruction"] < least + 0.15
    assert last["val/pck_0.2/mean"] > 0.9


def test_a_validation_part_without_a_torso_is_trained_on_all_the_same(photographs, tmp_path):
    photographs.crops.annotated[:, 9] = False
    photographs.crops.points[:, 9] = np.nan
    state = run(photographs, tiny(), tmp_path / "checkpoint.pt")
    assert (
        state.step == 4 and not rows(state, "val/pck_0.2/mean") and rows(state, "val/pckh_0.5/mean")
    )


if __name__ == "__main__":
    killed_training(Path(sys.argv[1]))
