"""Input that is wrong: 600 files, folders and requests, each given to the program that reads it.

What is right: the program works, or ends with a sentence that says what is wrong and where; it ends
soon, takes little memory, and leaves what was there.
"""

import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
from tqdm import tqdm

from faults import given_to_predict, given_to_server, given_to_stages
from faults.programs import forks
from faults.table import Lost, Table

COUNTS = {
    "params.yaml": 100, "archives": 80, "joints.mat": 80, "photographs": 100, "boxes": 60,
    "weights": 60, "checkpoints": 40, "HTTP bodies": 80,
}  # fmt: skip


def run(table: Table, folder: Path, share: float, rng: np.random.Generator) -> None:
    """All of them in a folder that is not there yet, a row of the table a kind."""
    folder.mkdir()
    streams = dict(zip(COUNTS, rng.spawn(len(COUNTS)), strict=True))
    with forks(folder) as programs:
        rows = {
            "params.yaml": given_to_stages.of_params,
            "archives": given_to_stages.of_archives,
            "joints.mat": given_to_stages.of_annotations,
            "photographs": partial(given_to_predict.of_photographs, programs),
            "boxes": partial(given_to_predict.of_boxes, programs),
            "weights": partial(given_to_predict.of_weights, programs),
            "checkpoints": partial(given_to_stages.of_checkpoints, programs),
            "HTTP bodies": given_to_server.of_bodies,
        }
        for kind, trials in rows.items():
            place, count = folder / kind.replace(" ", "_"), max(round(share * COUNTS[kind]), 1)
            place.mkdir()
            made = tqdm(trials(place, count, streams[kind]), kind, count)
            for number, (what, trial) in enumerate(made):
                table.attempt(kind, partial(told, f"{what}, {number}", trial))
            shutil.rmtree(place)


def told(what: str, trial: Callable[[], object]) -> None:
    """Raises Lost that also says which input was lost."""
    try:
        trial()
    except Lost as error:
        raise Lost(f"{what}: {error}") from None
