"""The file of a trained network: safetensors, with the settings that made it."""

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import nn
from torch.nn.modules.module import register_module_parameter_registration_hook

from pipeline import paths
from pipeline.errors import PipelineError, brief
from pipeline.files import digest, written_whole
from pipeline.geometry import Geometry
from pipeline.networks.generator import Generator
from pipeline.settings import Cache, Model

# What version 0.2 did not yet write into its weights' settings.
BEFORE_ENCODERS = {"encoder": "hourglass", "pretrained": False}

# A backbone is made more than once, and with more levels, before it is what it shall be.
SPARE, WITHIN = 10**7, 2  # weights; weights a byte of a file, of four bytes a weight

Network = TypeVar("Network", bound=nn.Module)


class WeightsError(PipelineError):
    """A file of weights cannot be read, or was not made by this pipeline."""


def save(path: Path, network: nn.Module, settings: dict) -> None:
    """Write a network's weights, with the settings' groups that made them.

    Equal weights and settings give equal bytes: the settings are one sorted metadata value, since
    safetensors writes several in random order.
    """
    tensors = {
        name: tensor.detach().cpu().contiguous() for name, tensor in network.state_dict().items()
    }
    metadata = {"settings": json.dumps(settings, sort_keys=True)}
    with written_whole(path) as beside:
        save_file(tensors, beside, metadata=metadata)


def read_settings(path: Path) -> dict:
    """The settings' groups that made the weights. Raises WeightsError."""
    try:
        with safe_open(path, framework="pt") as file:
            return json.loads((file.metadata() or {})["settings"])
    except FileNotFoundError:
        raise WeightsError(
            f"{path}: no weights there; the committed ones lie in pretrained/, and"
            f" `dvc pull {paths.WEIGHTS} {paths.FINDER}` brings them into {paths.WEIGHTS.parent}/"
        ) from None
    except (SafetensorError, KeyError, ValueError, RecursionError, OSError) as error:
        raise WeightsError(f"{path}: not weights of this pipeline: {brief(error)}") from None


def load(path: Path) -> tuple[Generator, Geometry, dict]:
    """The generator, ready for inference on the CPU, its geometry, and the settings' groups that
    made it.

    Raises WeightsError.
    """

    def build(settings: dict) -> Generator:
        model = Model(**BEFORE_ENCODERS | settings["model"])
        return Generator(model, Cache(**settings["cache"]).geometry)

    generator, settings = restored(path, build)
    return generator, Cache(**settings["cache"]).geometry, settings


def restored(path: Path, build: Callable[[dict], Network]) -> tuple[Network, dict]:
    """A network, ready for inference on the CPU, as `build` makes it of the settings' groups in a
    file, with the file's weights; and these groups.

    Raises WeightsError.
    """
    settings = read_settings(path)
    try:
        with _at_most(SPARE + WITHIN * path.stat().st_size):
            network = build(settings)
        network.load_state_dict(load_file(path))
        if not all(tensor.isfinite().all() for tensor in network.state_dict().values()):
            raise ValueError("there are weights that are not finite")
    except (KeyError, TypeError, ValueError, RuntimeError, PipelineError) as error:
        # Another version's or program's, or of another network.
        raise WeightsError(
            f"{path}: its settings and weights do not make a network of this version:"
            f" {brief(error)}"
        ) from None
    return network.eval(), settings


def origin(path: Path) -> dict[str, str]:
    """What a file of weights to begin with is: its name, SHA-256, and the data that it was made of;
    nothing where it holds no tensors. Raises WeightsError."""
    settings = read_settings(path)
    with safe_open(path, framework="pt") as file:
        if not file.keys():
            return {}
    known = {"file": path.name, "sha256": digest(path)}
    return known | {"data": settings["data"]["name"]} if "data" in settings else known


def begin(network: nn.Module, path: Path, asked: Mapping[str, Mapping]) -> None:
    """Give a network the weights of a file, as a beginning.

    asked: the settings, by group, that decide the network's shape. Raises WeightsError, naming
    those that differ, where the weights are another network's.
    """
    made_by, tensors, own = read_settings(path), load_file(path), network.state_dict()
    unlike = sorted(
        name
        for name in own.keys() | tensors.keys()
        if name not in own or name not in tensors or own[name].shape != tensors[name].shape
    )
    if unlike:
        differing = [
            f"{group}.{key} = {brief(made_by[group][key])}, here {brief(value)}"
            for group, values in asked.items()
            for key, value in values.items()
            if key in made_by.get(group, {}) and made_by[group][key] != value
        ]
        raise WeightsError(
            f"{path}: weights of another network, expected that of params.yaml;"
            f" {'; '.join(differing) or f'{len(unlike)} tensors differ, as {brief(unlike[0])}'}"
        )
    if not all(tensor.isfinite().all() for tensor in tensors.values()):
        raise WeightsError(f"{path}: there are weights that are not finite")
    network.load_state_dict(tensors)


@contextmanager
def _at_most(numbers: int) -> Iterator[None]:
    """Build no network of more weights than this. Raises ValueError where one is begun: what a
    file's settings ask for may be more than any memory holds."""
    left = numbers

    def count(module: nn.Module, name: str, parameter: nn.Parameter | None) -> None:
        nonlocal left
        left -= parameter.numel() if parameter is not None else 0
        if left < 0:
            raise ValueError("its settings ask for far more weights than it has")

    hook = register_module_parameter_registration_hook(count)
    try:
        yield
    finally:
        hook.remove()
