"""What a pose discriminator knows: P's taught beside the finished G, which stays as it is.

    python -m benchmarks.probes [--steps 400] [--out FILE.csv]

Needs `dvc repro cache` and the weights. All P's are taught on the same batches of the training part
and asked on the validation part. A row each:

- `auc`: does its answer tell G's right joints from the wrong ones (PCK@0.2)? Beside it G's own
  peak, and how much of its map is near. `auc_another`: in another photograph; who does not look
  says the same.
- `real`, `another`, `exchanged`, `wrong`: shares of the joints that it takes for true, of true
  places, of true places in another photograph, of left and right exchanged, of places where G is
  wrong.
- `truth_right`, `truth_wrong`: the mean cosine, over joints that G has right and wrong, between the
  gradients of L_P and of the cross-entropy on G's outputs. Below 0 P pushes the wrong way.
  `entropy`: with the gradient of the map's entropy; at 1 P asks for a sharper map, wherever.

For comparison what a mirrored look asks (its own map as target), and two looks' peak, rendered.
"""

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from tqdm import tqdm

from pipeline import paths
from pipeline.data import storage, targets
from pipeline.data.crops import Crops, batches
from pipeline.evaluation.metrics import auc, normalised_distance, torso_size
from pipeline.networks import heatmaps
from pipeline.networks.discriminators import PoseDiscriminator
from pipeline.networks.estimator import CropEstimator, decode, inputs
from pipeline.networks.generator import Generator, position_log_softmax
from pipeline.networks.layers import normalise
from pipeline.settings import Settings, load
from pipeline.skeleton import FLIP, JOINTS
from pipeline.training.batches import Photographs, augmented_batch
from pipeline.training.losses import adversarial_loss, masked_mean

LIMBS = ((0, 1, 2), (6, 7, 8))  # of the right leg and the right arm
RIGHT = 0.2  # torsos
WIDTHS = (64, 96, 128)  # of the larger P's


class Looks(NamedTuple):
    """What is known of some photographs; maps of the pose alone, h px a side."""

    images: Tensor  # (B, 3, S, S), normalised
    features: Tensor  # (B, C, h / 2, h / 2), of G
    outputs: Tensor  # (B, 14, h, h), of G
    maps: Tensor  # (B, 14, h, h), of G
    found: Tensor  # (B, 14, 2), heatmap px
    near: Tensor  # (B, 14), how much of a map is near
    truth: Tensor  # (B, 14, 2), heatmap px, NaN for what does not count

    @property
    def mask(self) -> Tensor:
        """(B, 14), 1 for what counts."""
        return (~self.truth.isnan().any(-1)).float()

    def elsewhere(self) -> "Looks":
        """The same poses in other photographs."""
        return self._replace(images=self.images.roll(1, 0), features=self.features.roll(1, 0))


@dataclass(frozen=True)
class Player:
    """A P, what it sees, and what it is taught beside G's maps and true ones."""

    network: PoseDiscriminator
    optimiser: torch.optim.Optimizer
    features: bool  # G's features in place of the photograph
    rendered: bool  # G's maps as Gaussians at the places found: nothing but places to judge by
    taught: bool  # false poses by construction, and true ones in other photographs
    sigma: float

    def context(self, looks: Looks) -> Tensor:
        return looks.features if self.features else looks.images

    def answers(self, looks: Looks, maps: Tensor) -> Tensor:
        """Logits (B, 14) of maps (B, 14, h, h) in these photographs."""
        return self.network(self.context(looks), maps)

    def of_generator(self, looks: Looks) -> Tensor:
        """Logits of G's joints, which a gradient reaches through the maps, or through where an
        answer is read."""
        if not self.rendered:
            return self.answers(looks, looks.maps)
        seen = self.network.enter(self.drawn(looks.found, looks))
        return self.network.judge(seen + self.network.eye(self.context(looks)), looks.maps)

    def drawn(self, points: Tensor, looks: Looks) -> Tensor:
        return heatmaps.render(points, looks.maps.shape[-1], self.sigma)

    def lessons(
        self, looks: Looks, rng: np.random.Generator
    ) -> list[tuple[Tensor, Tensor, Tensor]]:
        """Answers, labels and masks (B, 14)."""
        mask, side = looks.mask, looks.maps.shape[-1]

        def lesson(points: Tensor, seen: Looks, maps: Tensor | None = None) -> tuple:
            counted = mask * (~points.isnan().any(-1)).float()
            drawn = self.drawn(points, looks) if maps is None else maps
            near = (points - seen.truth).norm(dim=-1) / (side / 10) < 0.5
            return self.answers(seen, drawn * counted[..., None, None]), near.float(), counted

        fake = self.drawn(looks.found, looks) if self.rendered else looks.maps
        given = [lesson(looks.truth, looks), lesson(looks.found, looks, fake)]
        if self.taught:
            given.append(lesson(implausible(looks.truth, rng), looks))
            other = looks.elsewhere()._replace(truth=looks.truth.roll(1, 0))
            given.append(lesson(looks.truth, other))
        return given

    def learn(self, looks: Looks, rng: np.random.Generator) -> None:
        losses = [
            masked_mean(F.binary_cross_entropy_with_logits(said, label, reduction="none"), counted)
            for said, label, counted in self.lessons(looks, rng)
        ]
        self.optimiser.zero_grad()
        torch.stack(losses).sum().backward()
        self.optimiser.step()


def players(settings: Settings) -> dict[str, Player]:
    """From the one of the pipeline, of the pose alone, to one of G's size that looks through G."""
    geometry, channels = settings.cache.geometry, settings.model.features[0]

    def player(features: bool, rendered: bool, taught: bool, widths: Sequence[int]) -> Player:
        network = PoseDiscriminator(widths, geometry.stride, occlusion=False)
        if features:
            network.eye = nn.Conv2d(channels, widths[0], 1)  # type: ignore[assignment]
        moved_by = torch.optim.AdamW(network.parameters(), 1e-3, weight_decay=0.05)
        return Player(network, moved_by, features, rendered, taught, geometry.sigma)

    small = settings.train.discriminator_features
    return {
        "P as it is": player(False, False, False, small),
        "places alone": player(False, True, False, small),
        "places, taught": player(False, True, True, small),
        "places, taught, G's features, larger": player(True, True, True, WIDTHS),
        "maps, G's features, larger": player(True, False, False, WIDTHS),
    }


def implausible(truth: Tensor, rng: np.random.Generator) -> Tensor:
    """Poses (B, 14, 2) that are false somewhere: a pair, a limb or all of left and right exchanged;
    a joint in another's place; another person's; joints moved."""
    points, flip = truth.clone(), list(FLIP)
    for row, kind in enumerate(rng.integers(6, size=len(truth))):
        if kind < 3:
            pair, limb = (int(rng.integers(12)),), LIMBS[rng.integers(2)]
            some = (pair, limb, tuple(range(12)))[kind]
            both = sorted({*some, *(flip[joint] for joint in some)})
            points[row, both] = truth[row, [flip[joint] for joint in both]]
        elif kind == 3:
            joint = rng.integers(12)
            points[row, joint] = truth[row, flip[joint]]
        elif kind == 4:
            points[row] = truth[row - 1]
        else:
            jolted = rng.choice(14, 4, replace=False)
            points[row, jolted] += torch.from_numpy(rng.normal(0, 5, (4, 2))).float()
    return points


class Eyes:
    """The finished G, and what it makes of photographs."""

    def __init__(self, estimator: CropEstimator):
        self.generator, self.geometry = estimator.generator, estimator.geometry
        self.generator.requires_grad_(False)
        self.generator.stem.register_forward_hook(self._keep)
        self._kept: list[Tensor] = []

    def _keep(self, _module: nn.Module, _given: object, features: Tensor) -> None:
        self._kept = [features]

    def __call__(self, images: Tensor, truth: Tensor) -> Looks:
        outputs = self.generator(images)[-1]
        maps = self.generator.heatmaps(outputs)[:, : len(JOINTS)]
        places, near, _ = decode(maps, self.geometry, self.geometry.reach)
        found = self.geometry.input_to_heatmap(places)
        features = F.avg_pool2d(self._kept[0], 2)
        return Looks(images, features, outputs[:, : len(JOINTS)], maps, found, near, truth)


def cosine(asked: Tensor, wanted: Tensor) -> Tensor:
    """Of two gradients (B, 14, h, h), a joint each (B, 14)."""
    return F.cosine_similarity(asked.flatten(2), wanted.flatten(2), dim=-1, eps=1e-20)


def ask(generator: Generator, player: Player, looks: Looks) -> dict[str, Tensor]:
    """All that a row is the mean of, of some photographs, (B, 14) each."""
    exchanged = looks.truth[:, list(FLIP)]
    drawn = player.drawn(looks.truth, looks)
    with torch.no_grad():
        said = {
            "answer": player.of_generator(looks),
            "answer_another": player.of_generator(looks.elsewhere()),
            "real": player.answers(looks, drawn) > 0,
            "another": player.answers(looks.elsewhere(), drawn) > 0,
            "exchanged": player.answers(looks, player.drawn(exchanged, looks)) > 0,
        }
    outputs = looks.outputs.detach().requires_grad_()
    maps = generator.heatmaps(outputs)
    loss = adversarial_loss(player.of_generator(looks._replace(maps=maps)), looks.mask)
    [asked] = torch.autograd.grad(loss, outputs)
    return said | gradients(asked, looks, player.sigma)


def gradients(asked: Tensor, looks: Looks, sigma: float) -> dict[str, Tensor]:
    """Cosines (B, 14) of what is asked of the outputs with what the truth and the entropy ask."""
    log = position_log_softmax(looks.outputs)
    probability = log.exp()
    entropy = -(probability * log).sum((-2, -1), keepdim=True)
    target = heatmaps.render(looks.truth, log.shape[-1], sigma)
    target = target / target.sum((-2, -1), keepdim=True).clamp_min(1e-6)
    return {
        "truth": cosine(asked, probability - target),
        "entropy": cosine(asked, -probability * (log + entropy)),
    }


def other_looks(looks: Looks, mirrored: Looks, sigma: float) -> dict[str, dict[str, Tensor]]:
    """What a second look asks of the outputs: its map as the target, or two looks' peak."""
    first = position_log_softmax(looks.outputs).exp()
    second = heatmaps.flip_maps(position_log_softmax(mirrored.outputs).exp())
    places, _ = heatmaps.decode(heatmaps.smooth((first + second) / 2, sigma))
    peak = heatmaps.render(places, first.shape[-1], sigma)
    peak = peak / peak.sum((-2, -1), keepdim=True)
    return {
        "the mirrored look's map": gradients(first - second, looks, sigma),
        "two looks' peak": gradients(first - peak, looks, sigma),
    }


def row(said: dict[str, np.ndarray], right: np.ndarray, counted: np.ndarray) -> dict[str, float]:
    """The means over joints (N, 14) that count."""

    def share(name: str, which: np.ndarray) -> float:
        return float(said[name][which].mean())

    is_wrong = counted & ~right
    given: dict[str, float] = {}
    if "answer" in said:
        for name, column in (("answer", "auc"), ("answer_another", "auc_another")):
            given[column] = auc(said[name][counted & right], said[name][is_wrong])
        given |= {name: share(name, counted) for name in ("real", "another", "exchanged")}
        given["wrong"] = float((said["answer"][is_wrong] > 0).mean())
    given["truth_right"], given["truth_wrong"] = (
        share("truth", counted & right),
        share("truth", is_wrong),
    )
    return given | {"entropy": share("entropy", counted)}


def probed(
    eyes: Eyes, known: dict[str, Player], crops: Crops, indices: np.ndarray, device: torch.device
) -> pd.DataFrame:
    """The table, of some crops as they are."""
    said: dict[str, list[dict[str, Tensor]]] = {}
    places, heights, near = [], [], []
    for some in tqdm(list(batches(indices, 32)), "ask", unit=" batches"):
        images = normalise(inputs(crops, some)).to(device)
        points = eyes.geometry.input_to_heatmap(crops.input_points[some])
        truth = torch.from_numpy(points).float().to(device)
        with torch.no_grad():
            looks, mirrored = eyes(images, truth), eyes(images.flip(-1), truth)
        for name, player in known.items():
            said.setdefault(name, []).append(ask(eyes.generator, player, looks))
        for name, asked in other_looks(looks, mirrored, eyes.geometry.sigma).items():
            said.setdefault(name, []).append(asked)
        found = (eyes.geometry.heatmap_to_input(looks.found), looks.near, looks.near * 0)
        predicted = crops.predictions(some, *(each.cpu().numpy() for each in found))
        places.append(predicted.points)
        heights.append(looks.maps.amax((-2, -1)).cpu().numpy())
        near.append(predicted.scores)
    truth, annotated = crops.originals[indices], crops.annotated[indices]
    sizes = torso_size(truth, annotated)
    distance = normalised_distance(np.concatenate(places), truth, annotated, sizes)
    counted, right = ~np.isnan(distance), distance < RIGHT
    rows = {
        name: {"auc": auc(each[counted & right], each[counted & ~right])}
        for name, each in (
            ("G's peak", np.concatenate(heights)),
            ("G's map near the place", np.concatenate(near)),
        )
    }
    for name, parts in said.items():
        whole = {key: torch.cat([part[key] for part in parts]).cpu().numpy() for key in parts[0]}
        rows[name] = row(whole, right, counted)
    return pd.DataFrame(rows).T


def main() -> None:
    """Teach, ask, print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=400, help="of 16 photographs (400)")
    parser.add_argument("--out", type=Path, help="a CSV file for the table")
    options = parser.parse_args()
    whole, estimator = load(), CropEstimator.load(paths.WEIGHTS)
    settings = whole.model_copy(update={"train": whole.train.model_copy(update={"batch": 16})})
    crops, split = storage.load(paths.CROPS, estimator.geometry), pd.read_csv(paths.SPLIT)
    seen = Photographs(
        crops,
        targets.load(paths.HEATMAPS),
        np.flatnonzero(split.part == "train"),
        np.flatnonzero(split.part == "validation"),
        estimator.device,
    )
    # The last steps of the training, whose input is as large as it gets.
    first = settings.train.steps - options.steps
    eyes, rng = Eyes(estimator), np.random.default_rng(0)
    torch.manual_seed(0)
    known = players(settings)
    for player in known.values():
        player.network.to(estimator.device)
    for step in tqdm(range(first, settings.train.steps), "teach", unit=" steps"):
        batch = augmented_batch(step, seen, settings)
        with torch.no_grad():
            looks = eyes(batch.images, batch.points)
        for player in known.values():
            player.learn(looks, rng)
    for player in known.values():
        player.network.requires_grad_(False).eval()
    table = probed(eyes, known, crops, seen.validation, estimator.device)
    print(table.round(3).to_string(na_rep=""))
    if options.out:
        table.round(4).to_csv(options.out, index_label="who")


if __name__ == "__main__":
    main()
