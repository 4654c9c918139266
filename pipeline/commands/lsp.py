"""The trained generator measured on LSP's test images, the second half of its 2,000.

    python -m pipeline lsp FOLDER

FOLDER holds LSP's images/ and joints.mat; its photographs are taken as they are stored, whatever
orientation EXIF says.
"""

import argparse
import tempfile
from pathlib import Path

import numpy as np

from pipeline.commands.options import add_weights, local
from pipeline.data import storage
from pipeline.evaluation import protocol, results
from pipeline.networks.estimator import CropEstimator

FIRST = 1000  # of the test part


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What the command is told."""
    parser.add_argument("folder", type=local, metavar="FOLDER", help="with images/ and joints.mat")
    add_weights(parser)


def run(options: argparse.Namespace) -> int:
    """Print the table; nothing is written."""
    estimator = CropEstimator.load(options.weights)
    with tempfile.TemporaryDirectory() as scratch:
        storage.build(options.folder, Path(scratch), estimator.geometry)
        crops = storage.load(Path(scratch), estimator.geometry)
        evaluation = protocol.evaluate(estimator, crops, np.arange(FIRST, len(crops)))
        print(f"LSP test\n{results.table(protocol.measure(evaluation))}")
    return 0
