"""What several commands are told."""

import argparse
from pathlib import Path

from pipeline import paths


def add_weights(parser: argparse.ArgumentParser, kinds: str = ".safetensors") -> None:
    """The option --weights: a file of one of these kinds."""
    parser.add_argument(
        "--weights",
        type=Path,
        default=paths.WEIGHTS,
        metavar="FILE",
        help=f"{kinds}; default: {paths.WEIGHTS}",
    )
