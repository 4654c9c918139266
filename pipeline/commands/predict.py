"""The joints of people in your own photographs and films.

    python -m pipeline predict PATH... --out FOLDER

A PATH is a photograph, a film or a folder of them. For each photograph, FOLDER gets a JSON file of
its people and the photograph with their joints drawn over it; joints.csv holds them all. For each
film it gets the film with their joints, and a table of its own. People are found by themselves; in
photographs also in the boxes that --box and --boxes name.
"""

import argparse
import csv
import json
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from hashlib import sha256
from io import StringIO
from pathlib import Path
from tempfile import gettempdir
from typing import NamedTuple

import cv2
import numpy as np
from tqdm import tqdm

from pipeline.commands import boxes, coco, film, joints
from pipeline.commands.gathering import OVERLAYS, File, gathered, of_other_kinds
from pipeline.commands.options import add_weights, local
from pipeline.drawing.overlay import draw_people
from pipeline.errors import PipelineError
from pipeline.files import written_whole
from pipeline.film.reading import FilmError
from pipeline.photographs.estimator import PRECISIONS, PoseEstimator
from pipeline.photographs.people import Box, BoxError, Person, described
from pipeline.processes import alone
from pipeline.reading import MOST_PIXELS, PhotographError, read

OVERLAY = OVERLAYS[0]  # after a photograph's name
FORMATS = ("json", "coco")
TOGETHER = (
    32  # photographs in memory at once, and no more pixels than the largest single one may have
)


class Job(NamedTuple):
    """A photograph to look at."""

    file: File
    boxes: list[Box] | None  # of its people; None: they are looked for


class Answered(NamedTuple):
    """A photograph that was looked at."""

    file: Path
    size: tuple[int, int]  # width and height
    people: list[Person]


def batches(
    wanted: Sequence[Job], failed: dict[Path, str]
) -> Iterator[list[tuple[Job, np.ndarray]]]:
    """Photographs, some at a time; those that cannot be read are named in `failed` instead."""
    batch: list[tuple[Job, np.ndarray]] = []
    pixels = 0
    for job in wanted:
        try:
            image = read(job.file.path)
            for box in job.boxes or ():
                box.check(image)
        except (PhotographError, BoxError) as error:
            failed[job.file.path] = str(error)
            continue
        size = image.shape[0] * image.shape[1]
        if batch and (len(batch) == TOGETHER or pixels + size > MOST_PIXELS):
            yield batch
            batch, pixels = [], 0
        batch.append((job, image))
        pixels += size
    if batch:
        yield batch


def save(folder: Path, job: Job, image: np.ndarray, answered: Answered, plain: bool) -> None:
    """Write the picture of a photograph's people and, if `plain`, their JSON file."""
    target = folder / job.file.name
    if plain:
        said = {"image": str(job.file.path)} | described(answered.size, answered.people)
        write(target.with_name(f"{target.name}.json"), as_json(said))
    quality = [cv2.IMWRITE_JPEG_QUALITY, 92]
    picture = draw_people(image, answered.people)
    _, jpeg = cv2.imencode(".jpg", cv2.cvtColor(picture, cv2.COLOR_RGB2BGR), quality)
    write(target.with_name(target.name + OVERLAY), jpeg.tobytes())


def write(path: Path, content: bytes) -> None:
    """Write a file that is whole or not there, in a folder that is made where it is missing."""
    with written_whole(path) as beside:
        beside.write_bytes(content)


def as_json(value: object) -> bytes:
    """A value as a file of JSON."""
    return json.dumps(value, indent=2).encode() + b"\n"


def table(answered: Sequence[Answered]) -> bytes:
    """joints.csv: a row a photograph, person and joint; people count from 1. Bytes of a file's
    name that are no UTF-8 are written out, as in \\udce9."""
    text = StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(("image", *joints.COLUMNS))
    for file, _, people in answered:
        for number, person in enumerate(people, 1):
            writer.writerows((file, *row) for row in joints.rows(number, person))
    return text.getvalue().encode(errors="backslashreplace")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What the command is told."""
    parser.add_argument(
        "paths",
        type=local,
        nargs="+",
        metavar="PATH",
        help="a photograph, a film or a folder of them",
    )
    parser.add_argument(
        "--out", type=local, required=True, metavar="FOLDER", help="for the results"
    )
    box = parser.add_mutually_exclusive_group()
    box.add_argument(
        "--box",
        type=float,
        nargs=4,
        metavar=("X", "Y", "WIDTH", "HEIGHT"),
        help="px, around the person's joints; the same in every photograph",
    )
    box.add_argument(
        "--boxes",
        type=local,
        metavar="CSV",
        help="columns image, x, y, width, height, a row a person; in photographs that it does not"
        " name people are looked for",
    )
    parser.add_argument(
        "--min-score",
        type=float,
        metavar="SCORE",
        help="leave out people who are less sure, 0 to 1; default: what was best on validation",
    )
    parser.add_argument(
        "--format",
        choices=FORMATS,
        default="json",
        help="json: a file a photograph; coco: one coco.json of COCO's keypoints for all",
    )
    add_weights(parser, ".safetensors, or .onnx as `export` writes it")
    parser.add_argument(
        "--precision",
        choices=PRECISIONS,
        default="auto",
        help="auto: bf16 where the hardware multiplies it, else fp32",
    )


def look_at(
    wanted: Sequence[Job],
    estimator: PoseEstimator,
    options: argparse.Namespace,
    failed: dict[Path, str],
) -> None:
    """Find the people of photographs and write their results; those that cannot be read are named
    in `failed` instead."""
    answered: list[Answered] = []
    unread = 0
    with tqdm(total=len(wanted), desc="predict", unit=" images") as bar:
        for batch in batches(wanted, failed):
            found = estimator.find(
                [image for _, image in batch], [job.boxes for job, _ in batch], options.min_score
            )
            for (job, image), people in zip(batch, found, strict=True):
                answered.append(Answered(job.file.path, image.shape[1::-1], people))
                save(options.out, job, image, answered[-1], options.format == "json")
            bar.update(len(batch) + len(failed) - unread)
            unread = len(failed)
        bar.update(len(failed) - unread)
    if options.format == "coco":
        said = coco.document((str(file), size, people) for file, size, people in answered)
        write(options.out / "coco.json", as_json(said))
    write(options.out / "joints.csv", table(answered))
    count = sum(len(each.people) for each in answered)
    print(f"{len(answered)} of {len(wanted)} photographs, {count} people: {options.out}")


def run(options: argparse.Namespace) -> int:
    """Exit status: 0, or 1 where a photograph or a film could not be read."""
    if options.min_score is not None and not 0 <= options.min_score <= 1:
        raise PipelineError(f"--min-score {options.min_score}: expected a number from 0 to 1")
    files, left_out = gathered(options.paths)
    told = boxes_given(options, files)
    films = [file for file in files if file.is_film]
    photographs = [Job(file, told.boxes.get(file.path)) for file in files if not file.is_film]
    if any(file.path in told.boxes for file in films):
        raise PipelineError(
            "--box and --boxes are for photographs: in a film people are looked for"
        )
    estimator = PoseEstimator.load(options.weights, options.precision)
    failed: dict[Path, str] = {}
    with alone_in(options.out):
        if photographs:
            look_at(photographs, estimator, options, failed)
        for path, name in films:
            try:
                frames = film.predict_film(path, options.out, name, estimator, options.min_score)
                print(f"{path}, {frames} frames: {options.out / name}{film.OVERLAY}")
            except FilmError as error:
                failed[path] = str(error)
    if left_out:
        print(of_other_kinds(left_out))
    wrong = [f"{path}: {reason}" for path, reason in failed.items()] + told.unmatched
    for each in wrong:
        print(f"error: {each}", file=sys.stderr)
    return 1 if wrong else 0


def alone_in(folder: Path) -> AbstractContextManager[None]:
    """Keeps other predictions out of a folder for results. Raises OccupiedError where one is in."""
    # Elsewhere, so that nothing is left among the results.
    name = sha256(os.fsencode(folder.resolve())).hexdigest()[:16]
    lock = Path(gettempdir()) / f"adversarial-posenet-{name}.lock"
    return alone(lock, f"writes predictions to {folder}")


def boxes_given(options: argparse.Namespace, files: Sequence[File]) -> boxes.Given:
    """The boxes that --box or --boxes gives these files. Raises PipelineError."""
    if options.boxes:
        return boxes.given(options.boxes, boxes.read(options.boxes), files)
    box = [Box.of(options.box)] if options.box else None
    return boxes.Given({file.path: box for file in files} if box else {}, [])
