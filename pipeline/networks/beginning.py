"""What a network's weights were before it was taught here."""

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
