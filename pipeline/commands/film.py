"""Joints of the people in a film: `predict` for a file that is one."""

import csv
from collections.abc import Iterable, Iterator
from dataclasses import replace
from itertools import islice
from pathlib import Path

import numpy as np
from tqdm import tqdm

from pipeline.commands import joints
from pipeline.commands.gathering import OVERLAYS
from pipeline.drawing.overlay import draw_people
from pipeline.files import written_whole
from pipeline.film.reading import opened
from pipeline.film.smoothing import Motion
from pipeline.film.tracking import Tracks
from pipeline.film.writing import written_film
from pipeline.photographs.estimator import PoseEstimator
from pipeline.photographs.people import Person

OVERLAY = OVERLAYS[1]  # after a film's name
TABLE = ".joints.csv"
TOGETHER = 8  # frames in memory at once
Look = tuple[np.ndarray, list[Person]]  # a frame (H, W, 3) uint8, and who is in it


def predict_film(
    file: Path, out: Path, name: Path, estimator: PoseEstimator, least: float | None
) -> int:
    """Write the film with the skeletons of all people, and a table of their joints, a row a frame,
    person and joint; the number of frames.

    The results are <out>/<name>.overlay.mp4, without sound, and <out>/<name>.joints.csv; each is
    whole or not there. Both tell of joints that are smoothed, and number people from 1. least: as
    of `PoseEstimator.find`. Raises FilmError for what is no film.
    """
    target, count = out / name, 0
    table, overlay = (target.with_name(target.name + suffix) for suffix in (TABLE, OVERLAY))
    with (
        opened(file) as film,
        written_whole(table) as beside,
        beside.open("w", newline="", encoding="utf-8") as lines,
        written_film(overlay, film.rate, film.size) as add,
        tqdm(total=film.count, desc=name.name, unit=" frames") as bar,
    ):
        rows = csv.writer(lines, lineterminator="\n")
        rows.writerow(("frame", "seconds", *joints.COLUMNS))
        found = looks(film.frames, estimator, least)
        for frame, people, numbers in followed(found, film.rate):
            add(draw_people(frame, people, numbers))
            seconds = round(count / film.rate, 3)
            for person, number in zip(people, numbers, strict=True):
                rows.writerows((count, seconds, *row) for row in joints.rows(number, person))
            count += 1
            bar.update()
    return count


def looks(
    frames: Iterator[np.ndarray], estimator: PoseEstimator, least: float | None
) -> Iterator[Look]:
    """Frames and the people in them, TOGETHER at once."""
    while batch := list(islice(frames, TOGETHER)):
        yield from zip(batch, estimator.find(batch, least=least), strict=True)


def followed(
    found: Iterable[Look], rate: float
) -> Iterator[tuple[np.ndarray, list[Person], list[int]]]:
    """The frames of a film with the same people, their joints smoothed, and their numbers; a joint
    that is outside stays where it was found. rate: frames a second."""
    tracks, motions = Tracks(), dict[int, Motion]()
    for count, (frame, people) in enumerate(found):
        boxes = np.array([person.box.corners for person in people]).reshape(-1, 2, 2)
        tracks, numbers = tracks.followed(count, boxes, rate)
        smoothed = []
        for person, number in zip(people, numbers, strict=True):
            seen, side = ~person.outside, max(person.box.width, person.box.height, 1.0)
            motion = motions.get(number) or Motion.unknown()
            motions[number] = motion.followed(count, person.points, seen, side, rate)
            points = np.where(seen[:, None], motions[number].points, person.points)
            smoothed.append(replace(person, points=points))
        yield frame, smoothed, numbers
