"""What a network's weights were before it was taught here."""

from collections.abc import Mapping
from pathlib import Path

from pipeline.networks import checkpoint, encoder
from pipeline.settings import Finder, Model


def beginnings(network: Model | Finder, start: str) -> dict[str, dict[str, str]]:
    """Where its weights come from, by kind, as far as they come from anywhere.

    `pretrained`: a backbone's ImageNet weights; `start`: a file of weights. Raises EncoderError and
    WeightsError.
    """
    known = {
        "pretrained": encoder.provenance(network.encoder) if network.pretrained else {},
        "start": checkpoint.origin(Path(start)),
    }
    return {kind: values for kind, values in known.items() if values}


def flat(groups: Mapping[str, Mapping[str, str]]) -> dict[str, str]:
    """The same as a run's tags: `kind.key`."""
    return {f"{kind}.{key}": value for kind, of in groups.items() for key, value in of.items()}
