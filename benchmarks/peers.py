"""What others do, to compare with: the same work, written as public implementations write it."""

import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import simplejpeg
import torch

from pipeline.settings import Settings
from pipeline.training import losses
from pipeline.training.batches import Batch
from pipeline.training.state import TrainingState


def dense_heatmaps(points: np.ndarray, size: int, sigma: float) -> np.ndarray:
    """Every pixel of every map (B, J, size, size) by itself, of points (B, J, 2), heatmap px."""
    y, x = np.mgrid[:size, :size]
    distance = (x - points[..., 0, None, None]) ** 2 + (y - points[..., 1, None, None]) ** 2
    return np.exp(-distance / (2 * sigma**2))


def decode_all(paths: list[Path]) -> None:
    """Every JPEG through libjpeg-turbo on all cores, nothing else: the floor under their cache."""

    def decode(start: int) -> None:
        for path in paths[start : start + 50]:
            simplejpeg.decode_jpeg(path.read_bytes())

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        list(pool.map(decode, range(0, len(paths), 50)))


class PlainGame:
    """Algorithm 1 in plain eager fp32, NCHW, with a forward pass of its own for each loss."""

    def __init__(self, settings: Settings, device: torch.device):
        self.settings, self.state = settings, TrainingState(settings, device)
        for network in (self.state.generator, self.state.pose, self.state.confidence):
            network.to(memory_format=torch.contiguous_format).train()

    def step(self, batch: Batch) -> None:
        """One iteration: G on L_G; P on fake and real; C on fake and real; G on Eq. 4."""
        config, model, state = self.settings.train, self.settings.model, self.state
        generator, image, truth, mask = state.generator, batch.images, batch.maps, batch.mask
        joints = mask.shape[1]
        shown = mask.repeat(1, truth.shape[1] // joints)[..., None, None]
        reconstruct, real = losses.RECONSTRUCTION[model.reconstruction], truth * shown

        def fake() -> tuple[list[torch.Tensor], torch.Tensor]:
            outputs = generator(image)
            return outputs, generator.heatmaps(outputs[-1]) * shown

        def update(name: str, loss: torch.Tensor) -> None:
            state.optimisers[name].zero_grad()
            loss.backward()
            state.optimisers[name].step()

        update("generator", reconstruct(fake()[0], truth, mask))
        for name, player, context in (
            ("pose", state.pose, [image]),
            ("confidence", state.confidence, []),
        ):
            with torch.no_grad():
                _, maps = fake()
                pose = maps[:, :joints]
                labels = (
                    losses.pose_labels(pose, batch.points, config.delta)
                    if name == "pose"
                    else losses.confidence_labels(pose, real[:, :joints], config.epsilon)
                )
            on_real, on_fake = player(*context, real), player(*context, maps)
            update(name, losses.discriminator_loss(on_real, on_fake, labels, mask))
        outputs, maps = fake()
        l_p, l_c = (
            losses.adversarial_loss(answers, mask)
            for answers in (state.pose(image, maps), state.confidence(maps))
        )
        reconstruction = reconstruct(outputs, truth, mask)
        loss = losses.generator_loss(reconstruction, l_c, l_p, config.alpha, config.beta)
        update("generator", loss)
