"""An experiment, or a sweep, with presets: `dvc exp run` with the parameters of presets/NAME.yaml.

    python -m pipeline run quickstart --temp --name quickstart
    python -m pipeline run quickstart --queue --name alpha -S train.alpha=0.001,0.02

Names of presets first, of which a later one's values count; then what `dvc exp run` takes, its -S
above all presets.
"""

import argparse
from itertools import takewhile

from pipeline import presets


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What the command is told."""
    parser.add_argument("preset", metavar="PRESET", help=f"of {', '.join(presets.names())}")
    parser.add_argument(
        "others", nargs=argparse.REMAINDER, metavar="...", help="presets, then dvc's words"
    )


def run(options: argparse.Namespace) -> int:
    """DVC's exit status."""
    from dvc.cli import main  # in this process, so that whoever stops it stops DVC

    more = list(takewhile(lambda word: not word.startswith("-"), options.others))
    words = [word for each in presets.overrides([options.preset, *more]) for word in ("-S", each)]
    return main(["exp", "run", *words, *options.others[len(more) :]])
