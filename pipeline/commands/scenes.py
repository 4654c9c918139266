"""Photographs of one scene in LSPet, which the split keeps on one side: looked for anew.

    python -m pipeline scenes

Says how the pairs that are found compare with the committed list; --write replaces that. Takes
10 minutes of one core, shared by all that there are, and 4.5 GB of memory.
"""

import argparse

from pipeline import paths
from pipeline.annotations import image_paths
from pipeline.errors import PipelineError
from pipeline.scenes import pairs as scenes
from pipeline.sources.lspet import DESCRIPTION

NAME = "lspet"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What the command is told."""
    parser.add_argument("--write", action="store_true", help="write what is found into the list")


def run(options: argparse.Namespace) -> int:
    """Find the pairs, compare, and write the list where that is wanted."""
    said = paths.DATASET / "README.txt"
    if not (said.is_file() and said.read_bytes() == DESCRIPTION.read_bytes()):
        raise PipelineError(f"{paths.DATASET} does not hold LSPet: `dvc repro download` brings it")
    photographs = image_paths(paths.DATASET)
    path = scenes.same_scene(NAME)
    known, found = scenes.read(path), scenes.find(photographs)
    print(compared(known, found))
    if options.write:
        scenes.write(path, found)
        print(f"{len(found):,} pairs: {path}")
    return 0


def compared(known: list[scenes.Pair], found: list[scenes.Pair]) -> str:
    """How many pairs of the list are found again, how many are new and gone; which ones, by line.

    A pair is the same whatever the number of inliers.
    """
    old, new = {pair[:2]: pair for pair in known}, {pair[:2]: pair for pair in found}
    said = {"new": sorted(new.keys() - old.keys()), "gone": sorted(old.keys() - new.keys())}
    lines = [
        f"{len(new.keys() & old.keys()):,} same, "
        + ", ".join(f"{len(names):,} {word}" for word, names in said.items())
    ]
    for word, names in said.items():
        pairs = new if word == "new" else old
        lines += [
            f"  {word}: {one} {other}, {pairs[one, other].inliers} inliers" for one, other in names
        ]
    return "\n".join(lines)
