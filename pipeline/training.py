"""Algorithm 1: the game between the generator and its two discriminators, its state, and its one loop."""

import functools
import hashlib
import json
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from tqdm import tqdm

from pipeline import PipelineError, augmentation, heatmaps, inference, losses, weights
from pipeline.augmentation import People
from pipeline.cache import Crops, Heatmaps, input_points, stride, to_heatmap
from pipeline.device import autocast, upload
from pipeline.discriminators import ConfidenceDiscriminator, PoseDiscriminator
from pipeline.generator import Generator
from pipeline.metrics import summary
from pipeline.optimisation import optimiser, schedule
from pipeline.settings import Settings, Train

SAVE_EVERY = 100  # steps between two saves of the state
# Observers: they change nothing.
Report = Callable[[int, dict[str, float]], None]  # (step, metrics) -> None, at each point of the curve
Show = Callable[["TrainingState"], None]  # at each measurement of the validation part


class TrainingError(PipelineError):
    """Training cannot go on."""


@dataclass(frozen=True)
class Photographs:
    """What training reads: crops, their targets at rest, and which of them train and validate."""

    crops: Crops
    targets: Heatmaps
    train: np.ndarray  # indices
    validation: np.ndarray  # indices
    device: torch.device

    @functools.cached_property
    def stored(self) -> People:
        """All crops (N, S, S, 3) uint8 with their joints: in a GPU's memory, or the memory-mapped file itself."""
        crops = self.crops
        tensors = map(torch.from_numpy, (crops.images, crops.points, crops.occluded))
        return People(*(each.to(self.device) for each in tensors))


class Batch(NamedTuple):
    """Input and targets of a step."""

    images: Tensor  # (B, 3, S, S), normalised
    points: Tensor  # (B, 14, 2), heatmap px, NaN for what does not count
    pose: Tensor  # (B, 14, h, h)
    occlusion: Tensor  # (B, 14, h, h)
    mask: Tensor  # (B, 14), 1 for the joints that count


class TrainingState:
    """Everything that a training is at one moment; saved and restored exactly.

    The random numbers and the order of the photographs are functions of the seed and the step alone
    (`augmentation.generator`, `order`), so the step stands for the random generators and for the position
    in the epoch.
    """

    def __init__(self, settings: Settings, device: torch.device):
        train, model, cache = settings.train, settings.model, settings.cache
        torch.manual_seed(train.seed)
        layout = {"device": device, "memory_format": torch.channels_last}
        self.generator = weights.build(model, cache).to(**layout)
        game = {"features": train.discriminator_features, "occlusion": model.occlusion}
        self.pose = PoseDiscriminator(stride=stride(cache), **game).to(**layout)
        self.confidence = ConfidenceDiscriminator(**game).to(**layout)
        # The averaged weights are what is validated, evaluated and kept.
        self.averaged = AveragedModel(
            self.generator, multi_avg_fn=get_ema_multi_avg_fn(train.ema), use_buffers=True
        ).eval()
        kind = "adamw" if train.optimiser == "muon" else train.optimiser  # Muon is for the generator
        rate, decay = train.discriminator_learning_rate, train.weight_decay
        self.optimisers = {
            "generator": optimiser(train.optimiser, self.generator, train.learning_rate, decay),
            "pose": optimiser(kind, self.pose, rate, decay),
            "confidence": optimiser(kind, self.confidence, rate, decay),
        }
        self.step = 0
        self.history: list[dict[str, float]] = []

    def _parts(self) -> dict:
        return {
            "generator": self.generator,
            "pose": self.pose,
            "confidence": self.confidence,
            "averaged": self.averaged,
        } | {f"optimiser_{name}": each for name, each in self.optimisers.items()}

    def save(self, path: Path) -> None:
        """Write the state beside `path`, then rename it: the file there is whole at any moment."""
        path.parent.mkdir(parents=True, exist_ok=True)
        beside = path.with_suffix(".part")  # a killed save is overwritten by the next
        parts = {name: part.state_dict() for name, part in self._parts().items()}
        torch.save(parts | {"step": self.step, "history": self.history}, beside)
        os.replace(beside, path)

    def restore(self, path: Path) -> None:
        """Go on from a saved state. Raises TrainingError where the file is none."""
        try:
            saved = torch.load(path, map_location="cpu", weights_only=True)
            for name, part in self._parts().items():
                part.load_state_dict(saved[name])
            self.step, self.history = saved["step"], saved["history"]
        except Exception as error:
            reason = str(error).partition("\n")[0]
            raise TrainingError(
                f"{path}: not a saved training; delete it to start anew ({reason})"
            ) from error


def fingerprint(settings: dict, data: list[Path]) -> str:
    """What a saved state belongs to: the settings, the bytes of the data and of the library's code.

    A training that was killed goes on only where all three are the same.
    """
    digest = hashlib.sha256(json.dumps(settings, sort_keys=True).encode())
    observers = {"tracking.py", "drawing.py"}
    code = [path for path in sorted(Path(__file__).parent.glob("*.py")) if path.name not in observers]
    for path in [*code, *data]:
        with path.open("rb") as file:
            digest.update(hashlib.file_digest(file, "sha256").digest())
    return digest.hexdigest()[:16]


def input_size(step: int, train: Train) -> int:
    """Side of the network's input, px: it grows during training, an equal share of the steps each."""
    return train.input_sizes[step * len(train.input_sizes) // train.steps]


def order(step: int, indices: np.ndarray, train: Train) -> np.ndarray:
    """The photographs of a step (B,): each epoch a new permutation, cut into whole batches."""
    batch = min(train.batch, len(indices))
    epoch, position = divmod(step, len(indices) // batch)
    rng = augmentation.generator(train.seed, 1, epoch)
    return indices[
        torch.randperm(len(indices), generator=rng).numpy()[position * batch : (position + 1) * batch]
    ]


def training_batch(step: int, photographs: Photographs, settings: Settings) -> Batch:
    """The photographs of a step, augmented where that is asked for."""
    if settings.augment.enabled:
        return augmented_batch(step, photographs, settings)
    return plain_batch(order(step, photographs.train, settings.train), photographs, settings)


def augmented_batch(step: int, photographs: Photographs, settings: Settings) -> Batch:
    """The augmented photographs of a step, with targets re-rendered from the moved joints."""
    cache, augment, device = settings.cache, settings.augment, photographs.device
    some = order(step, photographs.train, settings.train)
    size = input_size(step, settings.train)
    rng = augmentation.generator(settings.train.seed, 2, step)
    warps = augmentation.draw_warps(rng, len(some), augment)
    colours = augmentation.draw_colours(rng, len(some), augment)

    chosen = upload(torch.from_numpy(some), device)
    people = augmentation.warp(*(each[chosen] for each in photographs.stored), warps, cache.input_size, size)
    people = people._replace(images=augmentation.recolour(people.images, upload(colours, device)))
    annotated = ~people.points.isnan().any(-1)
    occluders = augmentation.draw_occluders(rng, annotated, augment.occluders, augment.occluder_size)
    people = augmentation.occlude(people, people.images.roll(1, 0), occluders)

    side = size // stride(cache)
    placed = to_heatmap(people.points, stride(cache))
    inside = ((placed > -0.5) & (placed < side - 0.5)).all(-1, keepdim=True)
    placed = torch.where(inside, placed, torch.nan)
    return _batch(people.images, placed, heatmaps.render(placed, side, cache.sigma), people.occluded)


def plain_batch(some: np.ndarray, photographs: Photographs, settings: Settings) -> Batch:
    """Photographs as they are, with the cached targets."""
    crops, targets, cache, device = photographs.crops, photographs.targets, settings.cache, photographs.device
    points = to_heatmap(input_points(crops, cache)[some], stride(cache))
    arrays = (points, targets.x[some], targets.y[some], crops.occluded[some])
    placed, x, y, occluded = (upload(torch.from_numpy(each), device) for each in arrays)
    images = upload(inference.inputs(crops, some, cache), device)
    return _batch(images, placed, heatmaps.expand(x.float(), y.float()), occluded)


def _batch(images: Tensor, points: Tensor, pose: Tensor, occluded: Tensor) -> Batch:
    images = augmentation.normalise(images).contiguous(memory_format=torch.channels_last)
    mask = (~points.isnan().any(-1)).float()
    return Batch(images, points, pose, pose * occluded[..., None, None], mask)


def train(
    state: TrainingState,
    photographs: Photographs,
    settings: Settings,
    checkpoint: Path,
    report: Report,
    show: Show = lambda _: None,
    save_every: int = SAVE_EVERY,
) -> None:
    """Play from the state's step to the last one; the state then holds the result."""
    for part in ("train", "validation"):
        if not len(getattr(photographs, part)):
            raise TrainingError(
                f"the {part} part of data/split.csv is empty: too few photographs for its share"
            )
    config = settings.train
    if config.compile is True or (config.compile == "auto" and photographs.device.type == "cuda"):
        for network in (state.generator, state.pose, state.confidence):
            network.compile()
    since, seen, recent, saved = time.perf_counter(), 0, [], state.step

    bar = tqdm(
        range(state.step, config.steps), initial=state.step, total=config.steps, desc="train", unit=" steps"
    )
    for step in bar:
        rate = config.learning_rate * schedule(step, config)
        for group in state.optimisers["generator"].param_groups:
            group["lr"] = rate
        batch = training_batch(step, photographs, settings)
        logged = (step + 1) % config.log_every == 0 or step + 1 == config.steps
        recent.append(iteration(state, batch, settings, with_ratio=logged))
        seen += len(batch.images)

        if logged:
            row = _means(recent)
            if not np.isfinite(row["train/loss"]):
                raise TrainingError(
                    f"the loss is {row['train/loss']} at step {state.step}: lower train.learning_rate (now"
                    f" {config.learning_rate}) or train.clip (now {config.clip})"
                )
            row["train/learning_rate"] = rate
            speed = seen / (time.perf_counter() - since)
            bar.set_postfix_str(f"loss {row['train/loss']:.3f}, {speed:.0f} images/s")
            if state.step % config.validate_every == 0 or state.step == config.steps:
                row |= validate(state.averaged.module, photographs, settings)
                pck = row.get("val/pck_0.2/mean", float("nan"))
                tqdm.write(f"step {state.step}: validation PCK@0.2 {pck:.3f}")
                show(state)
            state.history.append({"step": state.step} | row)
            report(state.step, row | {"train/images_per_second": speed})
            since, seen, recent = time.perf_counter(), 0, []
            # Here, where a point of the curve is complete: a resumed curve is then the same too.
            if state.step - saved >= save_every or state.step == config.steps:
                state.save(checkpoint)
                saved = state.step


def iteration(
    state: TrainingState, batch: Batch, settings: Settings, with_ratio: bool = False
) -> dict[str, Tensor]:
    """One iteration of Algorithm 1; returns its losses and how the players did, without waiting for them.

    One forward pass of G serves all updates of an iteration: those of P and C on its detached maps, then
    its own on Eq. 4 through the updated P and C. The paper's Algorithm 1 first takes a separate step of G
    on L_G alone; here that step is part of Eq. 4, which contains L_G, at half the cost.

    with_ratio: also how large the adversarial gradient is beside the reconstruction's.
    """
    config, generator = settings.train, state.generator.train()
    images, points, true_pose, true_occlusion, mask = batch
    reconstruct = losses.RECONSTRUCTION[settings.model.reconstruction]
    precision = functools.partial(autocast, config.precision, images.device)

    with precision():
        outputs = generator(images)
    reconstruction = loss = reconstruct(outputs, true_pose, true_occlusion, mask)
    values = {"train/reconstruction": reconstruction.detach()}

    if config.adversarial and state.step >= config.game_start * config.steps:
        # What is not annotated must not give the game away: blank in real and fake maps alike.
        pose, occlusion = generator.heatmaps(outputs[-1])
        shown = mask[..., None, None]
        fake = [None if maps is None else maps * shown for maps in (pose, occlusion)]
        real = [true_pose * shown, None if occlusion is None else true_occlusion * shown]
        both = [None if f is None else torch.cat([r, f.detach()]) for r, f in zip(real, fake, strict=True)]
        with torch.no_grad():
            labels = {
                "pose": losses.pose_labels(pose, points, config.delta),
                "confidence": losses.confidence_labels(fake[0], real[0], config.epsilon),
            }

        # P and C, on real maps and on G's.
        for name, player, context in (("pose", state.pose, [images]), ("confidence", state.confidence, [])):
            with precision():
                answers = player(*context, *both).float()
            on_real, on_fake = answers.chunk(2)
            player_loss = losses.discriminator_loss(on_real, on_fake, labels[name], mask)
            state.optimisers[name].zero_grad()
            player_loss.backward()
            state.optimisers[name].step()
            values |= {f"{name}/loss": player_loss.detach()}
            values |= _answers(name, on_real.detach(), on_fake.detach(), labels[name], mask)

        # G, through the updated P and C, which do not learn from this.
        for player in (state.pose, state.confidence):
            player.requires_grad_(False)
        with precision():
            fooled = state.pose(images, *fake).float(), state.confidence(*fake).float()
        l_p, l_c = (losses.adversarial_loss(answers, mask) for answers in fooled)
        loss = losses.generator_loss(reconstruction, l_c, l_p, config.alpha, config.beta)
        values |= {"train/adversarial_pose": l_p.detach(), "train/adversarial_confidence": l_c.detach()}
        if with_ratio:
            values["train/gradient_ratio"] = _gradient_ratio(reconstruction, loss, outputs[-1].pose)

    state.optimisers["generator"].zero_grad()
    loss.backward()
    norm = torch.nn.utils.clip_grad_norm_(generator.parameters(), config.clip)
    state.optimisers["generator"].step()
    for player in (state.pose, state.confidence):
        player.requires_grad_(True)
    state.averaged.update_parameters(generator)
    state.step += 1
    return values | {"train/loss": loss.detach(), "train/gradient_norm": norm}


def _answers(name: str, on_real: Tensor, on_fake: Tensor, labels: Tensor, mask: Tensor) -> dict[str, Tensor]:
    """How a discriminator does, as shares of the joints that count."""
    return {
        f"{name}/accuracy_real": losses.masked_mean((on_real > 0).float(), mask),
        f"{name}/accuracy_fake": losses.masked_mean(((on_fake > 0) == (labels > 0)).float(), mask),
        f"{name}/share_true": losses.masked_mean(labels, mask),
    }


def _gradient_ratio(reconstruction: Tensor, loss: Tensor, maps: Tensor) -> Tensor:
    """Norm of the adversarial gradient over that of the reconstruction's, at the last stack's pose maps."""
    (of_loss,) = torch.autograd.grad(loss, maps, retain_graph=True)
    (of_reconstruction,) = torch.autograd.grad(reconstruction, maps, retain_graph=True)
    return (of_loss - of_reconstruction).norm() / of_reconstruction.norm().clamp_min(1e-12)


def _means(rows: list[dict[str, Tensor]]) -> dict[str, float]:
    """Mean of each value over the steps that have it; the device is waited for once."""
    names = list(dict.fromkeys(name for row in rows for name in row))
    means = [torch.stack([row[name] for row in rows if name in row]).mean() for name in names]
    return dict(zip(names, torch.stack(means).tolist(), strict=True))


@torch.inference_mode()
def validate(generator: Generator, photographs: Photographs, settings: Settings) -> dict[str, float]:
    """PCK of the validation part during training: without the flip test, in the precision of training."""
    generator.eval()
    crops, some = photographs.crops, photographs.validation
    reconstruct = losses.RECONSTRUCTION[settings.model.reconstruction]
    error, points = 0.0, []
    for part in inference.batches(some, 64):
        batch = plain_batch(part, photographs, settings)
        with autocast(settings.train.precision, photographs.device):
            outputs = generator(batch.images)
        error += reconstruct(outputs, batch.pose, batch.occlusion, batch.mask) * len(part)
        found = inference.locate(*generator.heatmaps(outputs[-1]), crops.affines[part], settings.cache)
        points.append(found.points)
    measured = summary(np.concatenate(points), crops.originals[some], crops.annotated[some])
    return {"val/reconstruction": float(error) / len(some)} | {
        f"val/{measure}/{group}": value
        for measure, values in measured.items()
        for group, value in values.items()
        if not np.isnan(value)
    }
