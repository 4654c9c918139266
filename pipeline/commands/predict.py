"""The joints of people in your own photographs.

    python -m pipeline predict PATH... --out FOLDER

A PATH is a photograph or a folder of them. For each, FOLDER gets a JSON file and the photograph
with the joints drawn over it; joints.csv holds them all. Without a box the model looks twice: at
the whole photograph, then at the box around the joints it found.
"""

import argparse
import csv
import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from io import StringIO
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
from tqdm import tqdm

from pipeline.commands.options import add_weights
from pipeline.drawing.overlay import draw_skeleton
from pipeline.errors import PipelineError
from pipeline.files import written_whole
from pipeline.photographs.estimator import PRECISIONS, PoseEstimator
from pipeline.photographs.people import Box, BoxError, Person
from pipeline.photographs.reading import MOST_PIXELS, SUFFIXES, PhotographError, read

OVERLAY = ".overlay.jpg"  # after a photograph's name
TOGETHER = (
    32  # photographs in memory at once, and no more pixels than the largest single one may have
)


class Job(NamedTuple):
    """A photograph to look at."""

    file: Path
    name: Path  # of its results, below the folder for them
    box: Box | None


def jobs(paths: Sequence[Path], box: Box | None, boxes: Mapping[str, Box] | None) -> list[Job]:
    """The photographs at paths, those of a folder in the order of their names; overlays of an
    earlier call are none. Raises PipelineError."""
    files: dict[Path, Path] = {}
    for path in paths:
        named = {path: Path(path.name)}
        if path.is_dir():
            named = {
                each: each.relative_to(path)
                for each in sorted(path.rglob("*"))
                if each.suffix.lower() in SUFFIXES and not each.name.endswith(OVERLAY)
            }
            if not named:
                kinds = ", ".join(sorted(SUFFIXES))
                raise PipelineError(f"{path}: no photographs in this folder ({kinds})")
        for file, name in named.items():
            if files.setdefault(name, file) != file:
                raise PipelineError(
                    f"{files[name]} and {file} would have the same results, {name}: ask for one"
                )
    if boxes is None:
        return [Job(file, name, box) for name, file in files.items()]
    result = [
        Job(file, name, boxes.get(str(file), boxes.get(file.name))) for name, file in files.items()
    ]
    if all(job.box is None for job in result):
        raise PipelineError(f"the boxes' column image names none of the {len(result)} photographs")
    return result


def read_boxes(path: Path) -> dict[str, Box]:
    """Boxes by the photograph's name, from a CSV file with the columns image, x, y, width and
    height, px.

    Raises PipelineError.
    """
    needed = ["image", *Box._fields]
    try:
        with path.open(newline="", encoding="utf-8-sig") as lines:
            table = csv.DictReader(lines, strict=True)
            missing = [name for name in needed if name not in (table.fieldnames or ())]
            if missing:
                raise PipelineError(
                    f"{path}: no column {', '.join(missing)}; expected {', '.join(needed)}"
                )
            rows = [(table.line_num, row) for row in table]
    except (OSError, ValueError, csv.Error) as error:
        raise PipelineError(f"{path}: cannot be read as CSV: {error}") from None
    boxes: dict[str, Box] = {}
    for line, row in rows:
        image, values = row["image"], [row[name] for name in Box._fields]
        if image in boxes:
            raise PipelineError(
                f"{path}: {image} has several boxes; one person a photograph is looked at"
            )
        try:
            boxes[image] = Box.of([float(value) for value in values])
        except (TypeError, ValueError, BoxError):
            found = ", ".join(str(value) for value in values)
            raise PipelineError(
                f"{path}, line {line}: expected numbers, width and height above 0; found {found}"
            ) from None
    return boxes


def batches(
    wanted: Sequence[Job], failed: dict[Path, str]
) -> Iterator[list[tuple[Job, np.ndarray]]]:
    """Photographs, some at a time; those that cannot be read are named in `failed` instead."""
    batch: list[tuple[Job, np.ndarray]] = []
    pixels = 0
    for job in wanted:
        try:
            image = read(job.file)
            if job.box is not None:
                job.box.check(image)
        except (PhotographError, BoxError) as error:
            failed[job.file] = str(error)
            continue
        size = image.shape[0] * image.shape[1]
        if batch and (len(batch) == TOGETHER or pixels + size > MOST_PIXELS):
            yield batch
            batch, pixels = [], 0
        batch.append((job, image))
        pixels += size
    if batch:
        yield batch


def save(folder: Path, job: Job, image: np.ndarray, person: Person) -> list[dict]:
    """Write a person's JSON file and the picture of the joints; the rows of joints.csv."""
    said = {"image": str(job.file)} | person.description()
    picture = draw_skeleton(image, person.points, person.hidden)
    quality = [cv2.IMWRITE_JPEG_QUALITY, 92]
    _, jpeg = cv2.imencode(".jpg", cv2.cvtColor(picture, cv2.COLOR_RGB2BGR), quality)
    target = folder / job.name
    write(target.with_name(f"{target.name}.json"), json.dumps(said, indent=2).encode() + b"\n")
    write(target.with_name(target.name + OVERLAY), jpeg.tobytes())
    return [{"image": said["image"]} | joint for joint in said["joints"]]


def write(path: Path, content: bytes) -> None:
    """Write a file that is whole or not there, in a folder that is made where it is missing."""
    with written_whole(path) as beside:
        beside.write_bytes(content)


def table(rows: Sequence[Mapping]) -> bytes:
    """joints.csv: a row a photograph and joint."""
    text = StringIO()
    columns = {
        "image": "image",
        "name": "joint",
        "x": "x",
        "y": "y",
        "score": "score",
        "hidden": "hidden",
    }
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(columns.values())
    writer.writerows([row[name] for name in columns] for row in rows)
    return text.getvalue().encode()


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What the command is told."""
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
        help="columns image, x, y, width, height; photographs that it does not name: two looks",
    )
    add_weights(parser, ".safetensors, or .onnx as `export` writes it")
    parser.add_argument(
        "--precision",
        choices=PRECISIONS,
        default="auto",
        help="auto: bf16 where the hardware multiplies it, else fp32",
    )


def run(options: argparse.Namespace) -> int:
    """Exit status: 0, or 1 where a photograph could not be read."""
    box = Box.of(options.box) if options.box else None
    boxes = read_boxes(options.boxes) if options.boxes else None
    wanted = jobs(options.paths, box, boxes)
    estimator = PoseEstimator.load(options.weights, options.precision)
    failed: dict[Path, str] = {}
    rows: list[dict] = []
    unread = 0
    with tqdm(total=len(wanted), desc="predict", unit=" images") as bar:
        for batch in batches(wanted, failed):
            people = estimator.find([image for _, image in batch], [job.box for job, _ in batch])
            for (job, image), person in zip(batch, people, strict=True):
                rows += save(options.out, job, image, person)
            bar.update(len(batch) + len(failed) - unread)
            unread = len(failed)
        bar.update(len(failed) - unread)
    write(options.out / "joints.csv", table(rows))
    print(f"{len(wanted) - len(failed)} of {len(wanted)} photographs: {options.out}")
    for file, reason in failed.items():
        print(f"error: {file}: {reason}", file=sys.stderr)
    return 1 if failed else 0
