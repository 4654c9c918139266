"""The finder's training: scenes made ahead on the CPU, and one loop."""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import cast

import numpy as np
import torch
from torch import Tensor
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from tqdm import tqdm

from pipeline.device import autocast, upload
from pipeline.finder_training.losses import centre_loss, edge_loss, true_maps
from pipeline.finding.finder import Finder
from pipeline.mosaics.album import Album
from pipeline.mosaics.composition import compose
from pipeline.networks import checkpoint
from pipeline.networks.layers import normalise
from pipeline.rates import rate_groups, schedule, set_rate
from pipeline.settings import Finder as Settings

Report = Callable[[int, dict[str, float]], None]  # (step, metrics) -> None: changes nothing


def train(
    album: Album,
    settings: Settings,
    device: torch.device,
    report: Report = lambda *_: None,
    start: Path | None = None,
) -> Finder:
    """A finder taught on an album's scenes: the averaged weights.

    start: weights to begin with. Raises EncoderError, WeightsError.
    """
    torch.manual_seed(settings.seed)
    finder = Finder(settings)
    if settings.pretrained:
        finder.encoder.load_pretrained()
    if start:
        shape = settings.model_dump(include={"encoder", "pretrained", "features"})
        checkpoint.begin(finder, start, {"finder": shape})
    finder.encoder.freeze(settings.encoder_frozen)
    finder.to(device).to(memory_format=torch.channels_last)
    averaged = AveragedModel(
        finder, multi_avg_fn=get_ema_multi_avg_fn(settings.ema), use_buffers=True
    )
    groups = rate_groups(dict(finder.named_parameters()), settings.encoder_rate)
    optimiser = torch.optim.AdamW(groups, weight_decay=settings.weight_decay, fused=True)

    batches = scenes(album, settings)
    for step in tqdm(range(settings.steps), "finder", unit=" steps"):
        set_rate(optimiser, settings.learning_rate * schedule(step, settings))
        images, centres, edges = (upload(each, device) for each in next(batches))
        with autocast(settings.precision, device):
            said_centres, said_edges = finder.train()(images)
        of_centres = centre_loss(said_centres, centres)
        of_edges = edge_loss(said_edges, edges, centres)
        loss = of_centres + settings.edges * of_edges
        optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(finder.parameters(), settings.clip)
        optimiser.step()
        averaged.update_parameters(finder)
        if (step + 1) % settings.log_every == 0 or step + 1 == settings.steps:
            report(
                step + 1,
                {"finder/centres": of_centres.item(), "finder/edges": of_edges.item()},
            )
    return cast(Finder, averaged.module).eval()


def scenes(album: Album, settings: Settings) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
    """Images (B, 3, S, S), normalised, with true centres and edges, a step; the next ones are made
    meanwhile. Each scene depends on the seed, the step and its place in the batch alone."""

    def one(step: int, place: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        rng = np.random.default_rng([settings.seed, 1, step, place])
        scene = compose(rng, album, settings.input_size)
        return scene.pixels, *true_maps(scene)

    with ThreadPoolExecutor(2) as pool:
        ahead = [
            [pool.submit(one, step, place) for place in range(settings.batch)] for step in range(2)
        ]
        for step in range(settings.steps):
            done = [each.result() for each in ahead.pop(0)]
            if step + 2 < settings.steps:
                ahead.append([pool.submit(one, step + 2, place) for place in range(settings.batch)])
            pixels, centres, edges = (np.stack(each) for each in zip(*done, strict=True))
            images = torch.from_numpy(pixels).permute(0, 3, 1, 2).float() / 255
            images = normalise(images).contiguous(memory_format=torch.channels_last)
            yield images, torch.from_numpy(centres), torch.from_numpy(edges)
