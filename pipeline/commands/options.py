"""What several commands are told."""

import argparse
from pathlib import Path

from pipeline import paths
from pipeline.errors import PipelineError, brief
from pipeline.photographs.fetched import ADDRESS, located


def add_weights(parser: argparse.ArgumentParser, kinds: str = ".safetensors") -> None:
    """The option --weights: a file of one of these kinds, or an address that is fetched."""

    def weights(text: str) -> Path:
        path = located(text)
        if not path.is_file():
            raise PipelineError(
                f"{text}: no weights there; expected a file, {kinds}. The committed ones are taken"
                f" without --weights: `dvc pull {paths.WEIGHTS} {paths.FINDER}` brings them"
            )
        return path

    parser.add_argument(
        "--weights",
        type=weights,
        default=paths.WEIGHTS,
        metavar="FILE",
        help=f"{kinds}, or https://.../FOLDER#sha256=DIGEST; default: {paths.WEIGHTS}",
    )


def local(text: str) -> Path:
    """A path that a command is told. Raises PipelineError for an address, which as a path would
    lose a slash."""
    if ADDRESS.match(text):
        said = f"{brief(text)}: an address; expected a path on this machine, as nothing is fetched"
        raise PipelineError(said)
    return Path(text)
