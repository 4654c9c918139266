"""The file of a trained generator: safetensors, with the settings that made it."""

import json
from pathlib import Path

from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file

from pipeline.errors import PipelineError
from pipeline.geometry import Geometry
from pipeline.networks.generator import Generator
from pipeline.settings import Cache, Model


class WeightsError(PipelineError):
    """A file of weights cannot be read, or was not made by this pipeline."""


def build(model: Model, geometry: Geometry) -> Generator:
    """A new generator as the settings want it."""
    return Generator(stride=geometry.stride, sigma=geometry.sigma, **model.model_dump())


def save(path: Path, generator: Generator, settings: dict) -> None:
    """Write the generator's weights, with the settings' groups that made them.

    Equal weights and settings give equal bytes: the settings are one sorted metadata value, since
    safetensors writes several in random order.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    tensors = {
        name: tensor.detach().cpu().contiguous() for name, tensor in generator.state_dict().items()
    }
    save_file(tensors, path, metadata={"settings": json.dumps(settings, sort_keys=True)})


def read_settings(path: Path) -> dict:
    """The settings' groups that made the weights. Raises WeightsError."""
    try:
        with safe_open(path, framework="pt") as file:
            return json.loads((file.metadata() or {})["settings"])
    except FileNotFoundError:
        raise WeightsError(
            f"{path}: no weights there; `dvc pull {path}` brings the committed ones"
        ) from None
    except (SafetensorError, KeyError, ValueError, OSError) as error:
        raise WeightsError(f"{path}: not weights of this pipeline: {error}") from None


def load(path: Path) -> tuple[Generator, Geometry, dict]:
    """The generator, ready for inference on the CPU, its geometry, and the settings' groups that
    made it.

    Raises WeightsError.
    """
    settings = read_settings(path)
    try:
        geometry = Cache(**settings["cache"]).geometry
        generator = build(Model(**settings["model"]), geometry)
        generator.load_state_dict(load_file(path))
    except (
        KeyError,
        TypeError,
        ValueError,
        RuntimeError,
    ) as error:  # another version's or program's
        reason = str(error).partition("\n")[0]
        raise WeightsError(
            f"{path}: its settings and weights do not make a generator of this version: {reason}"
        ) from None
    return generator.eval(), geometry, settings
