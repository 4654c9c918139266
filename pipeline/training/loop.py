"""Algorithm 1: the game between the generator and its two discriminators, in its one loop."""

import functools
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from pipeline.data.crops import batches
from pipeline.device import autocast
from pipeline.distributed.ranks import ALONE, Ranks
from pipeline.evaluation.metrics import summary
from pipeline.networks import estimator
from pipeline.networks.generator import Generator
from pipeline.rates import schedule, set_rate
from pipeline.settings import Settings, Train
from pipeline.training import losses, probes
from pipeline.training.batches import Batch, Photographs, plain_batch, training_batch
from pipeline.training.state import TrainingError, TrainingState
from pipeline.training.unlabelled import with_unlabelled

SAVE_EVERY = 100  # steps between two saves of the state
# Observers: they change nothing.
Report = Callable[
    [int, dict[str, float]], None
]  # (step, metrics) -> None, at each point of the curve
Show = Callable[[TrainingState], None]  # at each measurement of the validation part


def train(
    state: TrainingState,
    photographs: Photographs,
    settings: Settings,
    checkpoint: Path,
    report: Report,
    show: Show = lambda _: None,
    stopped: Callable[[], bool] = lambda: False,
    save_every: int = SAVE_EVERY,
    ranks: Ranks = ALONE,
) -> None:
    """Play from the state's step to the last one; the state then holds the result.

    Where `stopped` says so before a step, in any process, the state is saved, and KeyboardInterrupt
    raised. Of several processes each has the whole state, and calls `report`; the first saves it,
    shows it, and measures the validation part.
    """
    for part in ("train", "validation"):
        if not len(getattr(photographs, part)):
            raise TrainingError(
                f"the {part} part of data/split.csv is empty: too few photographs for its share"
            )
    config = settings.train
    batch_size = min(config.batch, len(photographs.train))
    if ranks.size > batch_size:
        raise TrainingError(f"{ranks.size} processes for {batch_size} photographs in a batch")
    if config.compile is True or (config.compile == "auto" and photographs.device.type == "cuda"):
        for network in (state.generator, state.pose, state.confidence):
            network.compile()
    since, seen, saved = time.perf_counter(), 0, state.step

    bar = tqdm(
        range(state.step, config.steps),
        initial=state.step,
        total=config.steps,
        desc="train",
        unit=" steps",
    )
    for step in bar:
        if ranks.any(stopped()):
            if ranks.first:
                state.save(checkpoint)
            raise KeyboardInterrupt(
                f"stopped, and saved, at step {step} of {config.steps}: the same command goes on"
            )
        rate = config.learning_rate * schedule(step, config)
        set_rate(state.optimisers["generator"], rate)
        batch = training_batch(step, photographs, settings, ranks)
        if config.unlabelled != "none" and config.plays(step):
            batch = with_unlabelled(batch, state, photographs, settings, ranks)
        logged = (step + 1) % config.log_every == 0 or step + 1 == config.steps
        state.recent.append(iteration(state, batch, settings, ranks, with_probes=logged))
        seen += batch_size

        if logged:
            row = _means(state.recent)
            if not np.isfinite(row["train/loss"]):
                advice = _advice(state.recent, config)
                said = f"the loss is {row['train/loss']} at step {state.step}"
                raise TrainingError(f"{said}: {advice}")
            row["train/learning_rate"] = rate
            speed = seen / (time.perf_counter() - since)
            bar.set_postfix_str(f"loss {row['train/loss']:.3f}, {speed:.0f} images/s")
            if state.step % config.validate_every == 0 or state.step == config.steps:
                row |= ranks.of_first(
                    lambda: validate(state.averaged_generator, photographs, settings)
                )
                pck = row.get("val/pck_0.2/mean", float("nan"))
                tqdm.write(f"step {state.step}: validation PCK@0.2 {pck:.3f}")
                if ranks.first:
                    show(state)
            state.history.append({"step": state.step} | row)
            report(state.step, row | {"train/images_per_second": speed})
            since, seen, state.recent = time.perf_counter(), 0, []
            if state.step - saved >= save_every or state.step == config.steps:
                if ranks.first:
                    state.save(checkpoint)
                saved = state.step


def iteration(
    state: TrainingState,
    batch: Batch,
    settings: Settings,
    ranks: Ranks = ALONE,
    with_probes: bool = False,
) -> dict[str, Tensor]:
    """One iteration of Algorithm 1; returns its losses and how the players did, without waiting for
    them.

    One forward pass of G serves all updates of an iteration: those of P and C on its detached maps,
    then its own on Eq. 4 through the updated P and C. The paper's Algorithm 1 first takes a
    separate step of G on L_G alone; here that step is part of Eq. 4, which contains L_G, at half
    the cost.

    with_probes: also how large the adversarial gradient is beside the reconstruction's, and what P
    knows. Of several processes each has its rows of the batch; what is returned is that of all
    rows.
    """
    config, generator = settings.train, state.generator.train()
    images, points, truth, mask, counts, played = batch
    joints, tasks = mask.shape[1], truth.shape[1] // mask.shape[1]
    by_counts, by_mask, by_played = ranks.weighing(counts, mask, played)
    reconstruct = losses.RECONSTRUCTION[settings.model.reconstruction]
    precision = functools.partial(autocast, config.precision, images.device)

    with precision():
        outputs = ranks.joint(generator)(images)
    reconstruction = loss = by_counts(reconstruct(outputs, truth, counts))
    values = {"train/reconstruction": reconstruction.detach()}

    if config.adversarial and config.plays(state.step):
        # What is not annotated must not give the game away: blank in real and fake maps alike.
        shown, judged = (each.repeat(1, tasks)[..., None, None] for each in (mask, played))
        maps = generator.heatmaps(outputs[-1])
        real, fake = truth * shown, maps * shown
        both = torch.cat([real, fake.detach()])
        with torch.no_grad():
            real_pose, fake_pose = real[:, :joints], fake[:, :joints]
            labels = {
                "pose": losses.pose_labels(fake_pose, points, config.delta),
                "confidence": losses.confidence_labels(fake_pose, real_pose, config.epsilon),
            }

        # P and C, on real maps and on G's.
        for name, player, context in (
            ("pose", state.pose, [images]),
            ("confidence", state.confidence, []),
        ):
            with precision():
                answers = ranks.joint(player)(*context, both).float()
            on_real, on_fake = answers.chunk(2)
            player_loss = by_mask(losses.discriminator_loss(on_real, on_fake, labels[name], mask))
            state.optimisers[name].zero_grad()
            player_loss.backward()
            state.optimisers[name].step()
            values |= {f"{name}/loss": player_loss.detach()}
            shares = _answers(name, on_real.detach(), on_fake.detach(), labels[name], mask)
            values |= {key: by_mask(share) for key, share in shares.items()}
            if with_probes:
                values[f"{name}/auc"] = probes.auc(on_fake.detach(), labels[name], mask)

        # G, through the updated P and C, which do not learn from this: their own gradients are
        # nobody's, so they are not joint here.
        for player in (state.pose, state.confidence):
            player.requires_grad_(False)
        with precision():
            maps = maps * judged
            fooled = state.pose(images, maps).float(), state.confidence(maps).float()
        l_p, l_c = (by_played(losses.adversarial_loss(answers, played)) for answers in fooled)
        loss = losses.generator_loss(reconstruction, l_c, l_p, config.alpha, config.beta)
        values |= {
            "train/adversarial_pose": l_p.detach(),
            "train/adversarial_confidence": l_c.detach(),
        }
        if with_probes:
            ratio = _gradient_ratio(reconstruction, loss, outputs[-1], joints, ranks)
            values["train/gradient_ratio"] = ratio
            with precision():
                known = probes.knowledge(state.pose, images, real, points, mask)
            values |= {key: by_mask(share) for key, share in known.items()}

    state.optimisers["generator"].zero_grad()
    loss.backward()
    norm = torch.nn.utils.clip_grad_norm_(generator.parameters(), config.clip)
    state.optimisers["generator"].step()
    for player in (state.pose, state.confidence):
        player.requires_grad_(True)
    ranks.settle(generator, state.pose, state.confidence)
    state.averaged.update_parameters(generator)
    state.step += 1
    return ranks.mean(values | {"train/loss": loss.detach(), "train/gradient_norm": norm})


def _advice(rows: list[dict[str, Tensor]], config: Train) -> str:
    """Whose learning rate to lower: of who was the first to leave all numbers."""
    lost = (row for row in rows if not all(value.isfinite() for value in row.values()))
    row = next(lost, rows[-1])
    game = [row[name] for name in row if "adversarial" in name]
    if row["train/reconstruction"].isfinite() and not all(value.isfinite() for value in game):
        rate = config.discriminator_learning_rate
        return f"lower train.discriminator_learning_rate (now {rate})"
    rate = config.learning_rate
    return f"lower train.learning_rate (now {rate}) or train.clip (now {config.clip})"


def _answers(
    name: str, on_real: Tensor, on_fake: Tensor, labels: Tensor, mask: Tensor
) -> dict[str, Tensor]:
    """How a discriminator does, as shares of the joints that count."""
    return {
        f"{name}/accuracy_real": losses.masked_mean((on_real > 0).float(), mask),
        f"{name}/accuracy_fake": losses.masked_mean(((on_fake > 0) == (labels > 0)).float(), mask),
        f"{name}/share_true": losses.masked_mean(labels, mask),
    }


def _gradient_ratio(
    reconstruction: Tensor, loss: Tensor, output: Tensor, joints: int, ranks: Ranks
) -> Tensor:
    """Norm of the adversarial gradient over the reconstruction's, at the last stack's pose maps."""
    of_loss, of_reconstruction = (
        torch.autograd.grad(each, output, retain_graph=True)[0][:, :joints].contiguous()
        for each in (loss, reconstruction)
    )
    of_game = ranks.norm(of_loss - of_reconstruction)
    return of_game / ranks.norm(of_reconstruction).clamp_min(1e-12)


def _means(rows: list[dict[str, Tensor]]) -> dict[str, float]:
    """Mean of each value over the steps that have it; the device is waited for once."""
    names = list(dict.fromkeys(name for row in rows for name in row))
    means = [torch.stack([row[name] for row in rows if name in row]).mean() for name in names]
    return dict(zip(names, torch.stack(means).tolist(), strict=True))


@torch.inference_mode()
def validate(
    generator: Generator, photographs: Photographs, settings: Settings
) -> dict[str, float]:
    """PCK of the validation part during training, as all curves have it: without flip test, in
    training's precision, of the peaks alone (reach sigma)."""
    generator.eval()
    crops, indices = photographs.crops, photographs.validation
    reconstruct = losses.RECONSTRUCTION[settings.model.reconstruction]
    errors, points = [], []
    for part in batches(indices, 64):
        batch = plain_batch(part, photographs, settings.model.occlusion)
        with autocast(settings.train.precision, photographs.device):
            outputs = generator(batch.images)
        errors.append(reconstruct(outputs, batch.maps, batch.mask) * len(part))
        maps = generator.heatmaps(outputs[-1])
        decoded = estimator.decode(maps, crops.geometry, crops.geometry.sigma)
        points.append(crops.predictions(part, *(each.cpu().numpy() for each in decoded)).points)
    measured = summary(np.concatenate(points), crops.originals[indices], crops.annotated[indices])
    return {"val/reconstruction": float(sum(errors)) / len(indices)} | {
        f"val/{measure}/{group}": value
        for measure, values in measured.items()
        for group, value in values.items()
        if not np.isnan(value)
    }
