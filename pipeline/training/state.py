"""A training's state, saved and restored."""

import zipfile
from pathlib import Path
from pickle import UnpicklingError
from typing import cast

import torch
from torch import Tensor
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from pipeline.errors import PipelineError, brief
from pipeline.files import written_whole
from pipeline.networks import checkpoint
from pipeline.networks.discriminators import ConfidenceDiscriminator, PoseDiscriminator
from pipeline.networks.generator import Generator
from pipeline.settings import Settings
from pipeline.training.optimisation import optimiser

COUNTED = ("step", "history", "recent")  # what is saved beside networks and optimisers


class TrainingError(PipelineError):
    """Training cannot go on."""


class TrainingState:
    """Everything that a training is at one moment; saved and restored exactly.

    The random numbers and the order of the photographs are functions of the seed and the step alone
    (`pipeline.seeding`, `batches.order`), so the step stands for the random generators and for the
    position in the epoch.
    """

    def __init__(self, settings: Settings, device: torch.device):
        train, model, geometry = settings.train, settings.model, settings.cache.geometry
        torch.manual_seed(train.seed)
        features, occlusion = train.discriminator_features, model.occlusion
        self.generator = Generator(model, geometry)
        if encoder := self.generator.encoder:
            if model.pretrained:
                encoder.load_pretrained()
            encoder.freeze(train.encoder_frozen)
        self.pose = PoseDiscriminator(features, geometry.stride, occlusion)
        self.confidence = ConfidenceDiscriminator(features, occlusion)
        for network in (self.generator, self.pose, self.confidence):
            network.to(device).to(memory_format=torch.channels_last)
        # The averaged weights are what is validated, evaluated and kept.
        self.averaged = AveragedModel(
            self.generator, multi_avg_fn=get_ema_multi_avg_fn(train.ema), use_buffers=True
        ).eval()
        # Muon is for the generator.
        kind = "adamw" if train.optimiser == "muon" else train.optimiser
        rate, decay = train.discriminator_learning_rate, train.weight_decay
        self.optimisers = {
            "generator": optimiser(
                train.optimiser, self.generator, train.learning_rate, decay, train.encoder_rate
            ),
            "pose": optimiser(kind, self.pose, rate, decay),
            "confidence": optimiser(kind, self.confidence, rate, decay),
        }
        self.step = 0
        self.history: list[dict[str, float]] = []  # the learning curve
        self.recent: list[dict[str, Tensor]] = []  # what its next point is the mean of

    def begin(self, path: Path, settings: Settings) -> None:
        """Start from the weights of a file in place of new ones. Raises WeightsError."""
        asked = {"model": settings.model.model_dump()}
        for network in (self.generator, self.averaged_generator):
            checkpoint.begin(network, path, asked)

    @property
    def averaged_generator(self) -> Generator:
        """The generator with the averaged weights."""
        return cast(Generator, self.averaged.module)

    def _parts(self) -> dict:
        return {
            "generator": self.generator,
            "pose": self.pose,
            "confidence": self.confidence,
            "averaged": self.averaged,
        } | {f"optimiser_{name}": each for name, each in self.optimisers.items()}

    def save(self, path: Path) -> None:
        """Write the state; the file at `path` is whole at any moment."""
        parts = {name: part.state_dict() for name, part in self._parts().items()}
        with written_whole(path) as beside:
            torch.save(parts | {name: getattr(self, name) for name in COUNTED}, beside)

    def restore(self, path: Path, steps: int) -> None:
        """Go on from a saved state of a training of so many steps. Raises TrainingError where the
        file is none."""
        try:
            with zipfile.ZipFile(path) as archive:  # torch does not look at checksums
                if damaged := archive.testzip():
                    raise ValueError(f"{damaged} in it is damaged")
            saved = torch.load(path, map_location="cpu", weights_only=True)
            for name, part in self._parts().items():
                part.load_state_dict(saved[name])
            for name in COUNTED:
                setattr(self, name, saved[name])
            if type(self.step) is not int or not 0 <= self.step <= steps:
                raise ValueError(f"step {self.step!r} of {steps}")
            device = next(self.generator.parameters()).device
            self.history = [dict(row) for row in self.history]
            self.recent = [{k: v.to(device) for k, v in row.items()} for row in self.recent]
            for network in (self.generator, self.pose, self.confidence, self.averaged):
                if not all(tensor.isfinite().all() for tensor in network.state_dict().values()):
                    raise ValueError("there are weights that are not finite")
        except UnpicklingError:  # torch advises to run the code that is in it
            raise TrainingError(
                f"{path}: not a saved training; delete it to start anew (it holds other things than"
                " tensors and numbers)"
            ) from None
        except Exception as error:
            raise TrainingError(
                f"{path}: not a saved training; delete it to start anew ({brief(error)})"
            ) from error
