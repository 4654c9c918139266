"""The joints of people in your own photographs.

    python -m pipeline.predict PATH... --out FOLDER

A PATH is a photograph or a folder of them. For each, FOLDER gets a JSON file and the photograph with the
joints drawn over it; joints.csv holds them all. Without a box the model looks twice: at the whole photograph,
then at the box around the joints it found.
"""

import argparse
import json
import os
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
import pandas as pd
from tqdm import tqdm

from pipeline import PipelineError, people, weights
from pipeline.device import default_device
from pipeline.overlay import overlay
from pipeline.photograph import MOST_PIXELS, SUFFIXES, PhotographError, read
from pipeline.settings import Cache

OVERLAY = ".overlay.jpg"  # after a photograph's name
TOGETHER = 32  # photographs in memory at once, and no more pixels than the largest single one may have


class Job(NamedTuple):
    """A photograph to look at."""

    file: Path
    name: Path  # of its results, below the folder for them
    box: np.ndarray | None  # (2, 2), first and last corner, px


def jobs(paths: Sequence[Path], box: np.ndarray | None, boxes: dict[str, np.ndarray] | None) -> list[Job]:
    """The photographs at paths, those of a folder in the order of their names; overlays of an earlier call are
    none. Raises PipelineError."""
    found = {}
    for path in paths:
        if path.is_dir():
            files = sorted(
                each
                for each in path.rglob("*")
                if each.suffix.lower() in SUFFIXES and not each.name.endswith(OVERLAY)
            )
            if not files:
                raise PipelineError(f"{path}: no photographs in this folder ({', '.join(sorted(SUFFIXES))})")
            named = [(file, file.relative_to(path)) for file in files]
        else:
            named = [(path, Path(path.name))]
        for file, name in named:
            if found.setdefault(name, file) != file:
                raise PipelineError(
                    f"{found[name]} and {file} would have the same results, {name}: ask for one"
                )
    if boxes is None:
        return [Job(file, name, box) for name, file in found.items()]
    result = [Job(file, name, boxes.get(str(file), boxes.get(file.name))) for name, file in found.items()]
    if all(job.box is None for job in result):
        raise PipelineError(f"the boxes' column image names none of the {len(result)} photographs")
    return result


def read_boxes(path: Path) -> dict[str, np.ndarray]:
    """Boxes (2, 2) by the photograph's name, from a CSV file with the columns image, x, y, width and height, px.

    Raises PipelineError.
    """
    try:
        table = pd.read_csv(path, dtype={"image": str})
    except (OSError, ValueError) as error:
        raise PipelineError(f"{path}: cannot be read as CSV: {error}") from None
    needed = ["image", *people.BOX]
    missing = [name for name in needed if name not in table]
    if missing:
        raise PipelineError(f"{path}: no column {', '.join(missing)}; expected {', '.join(needed)}")
    twice = table.image[table.image.duplicated()]
    if len(twice):
        raise PipelineError(
            f"{path}: {twice.iloc[0]} has several boxes; one person a photograph is looked at"
        )
    boxes = {}
    for line, (image, *numbers) in enumerate(table[needed].itertuples(index=False), start=2):
        try:
            boxes[image] = people.corners(*map(float, numbers))
        except (ValueError, people.BoxError):
            raise PipelineError(
                f"{path}, line {line}: expected numbers, width and height above 0; found {', '.join(map(str, numbers))}"
            ) from None
    return boxes


def together(wanted: Sequence[Job], failed: dict[Path, str]) -> Iterator[list[tuple[Job, np.ndarray]]]:
    """Photographs, some at a time; those that cannot be read are named in `failed` instead."""
    some, pixels = [], 0
    for job in wanted:
        try:
            image = read(job.file)
            if job.box is not None:
                people.check(job.box, image)
        except (PhotographError, people.BoxError) as error:
            failed[job.file] = str(error)
            continue
        size = image.shape[0] * image.shape[1]
        if some and (len(some) == TOGETHER or pixels + size > MOST_PIXELS):
            yield some
            some, pixels = [], 0
        some.append((job, image))
        pixels += size
    if some:
        yield some


def write(path: Path, content: bytes) -> None:
    """Write a file that is whole or not there, in a folder that is made where it is missing."""
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(path.name + ".part")
    beside.write_bytes(content)
    os.replace(beside, path)


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m pipeline.predict",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "paths", type=Path, nargs="+", metavar="PATH", help="a photograph or a folder of them"
    )
    parser.add_argument("--out", type=Path, required=True, metavar="FOLDER", help="for the results")
    box = parser.add_mutually_exclusive_group()
    box.add_argument(
        "--box",
        type=float,
        nargs=4,
        metavar=("X", "Y", "WIDTH", "HEIGHT"),
        help="px, tight around the person's joints; the same in every photograph",
    )
    box.add_argument(
        "--boxes",
        type=Path,
        metavar="CSV",
        help="columns image, x, y, width, height; photographs that it does not name are looked at twice",
    )
    parser.add_argument(
        "--weights", type=Path, default=weights.PATH, metavar="FILE", help=f"default: {weights.PATH}"
    )
    parser.add_argument(
        "--precision",
        choices=("auto", "bf16", "fp32"),
        default="auto",
        help="auto: bf16 where the hardware multiplies it, else fp32",
    )
    return parser.parse_args()


def main() -> int:
    """Exit status: 0, or 1 where a photograph could not be read."""
    options = arguments()
    box = people.corners(*options.box) if options.box else None
    boxes = read_boxes(options.boxes) if options.boxes else None
    wanted = jobs(options.paths, box, boxes)
    generator, made_by = weights.load(options.weights)
    generator, cache = generator.to(default_device()), Cache(**made_by["cache"])
    failed, rows, unread = {}, [], 0
    with tqdm(total=len(wanted), desc="predict", unit=" images") as bar:
        for some in together(wanted, failed):
            images = [image for _, image in some]
            found = people.find(generator, images, [job.box for job, _ in some], cache, options.precision)
            for (job, image), person in zip(some, found, strict=True):
                said = {"image": str(job.file)} | people.description(person, image)
                picture = cv2.cvtColor(overlay(image, person.points, person.hidden), cv2.COLOR_RGB2BGR)
                _, jpeg = cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, 92])
                target = options.out / job.name
                write(target.with_name(job.name.name + ".json"), json.dumps(said, indent=2).encode() + b"\n")
                write(target.with_name(job.name.name + OVERLAY), jpeg.tobytes())
                rows += [{"image": said["image"]} | joint for joint in said["joints"]]
            bar.update(len(some) + len(failed) - unread)
            unread = len(failed)
        bar.update(len(failed) - unread)
    columns = ["image", "name", "x", "y", "score", "hidden"]
    joints = pd.DataFrame(rows, columns=columns).rename(columns={"name": "joint"})
    write(options.out / "joints.csv", joints.to_csv(index=False).encode())
    print(f"{len(wanted) - len(failed)} of {len(wanted)} photographs: {options.out}")
    for file, reason in failed.items():
        print(f"error: {file}: {reason}", file=sys.stderr)
    return 1 if failed else 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except (PipelineError, OSError) as error:
        sys.exit(f"error: {error}")
