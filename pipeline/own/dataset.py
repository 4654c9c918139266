"""A user's folder of photographs and annotations as a data set in LSPet's layout, checked whole.

One row a person: a photograph of three is there three times, as one file with three names. All
photographs become upright JPEGs; those that are already keep their bytes.
"""

import csv
import os
import shutil
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import NamedTuple

import numpy as np
import simplejpeg
from PIL import Image
from tqdm import tqdm

from pipeline.annotations import PEOPLE, TEST, save_joints
from pipeline.errors import PipelineError
from pipeline.files import linked, written_whole
from pipeline.geometry import within
from pipeline.own.layouts import collect
from pipeline.own.people import Folder, OwnError, Person, refuse
from pipeline.reading import read
from pipeline.skeleton import JOINTS

ORIENTATION = 0x0112  # EXIF's tag
AS_STORED = (0, 1)  # its values that turn nothing
QUALITY = 95  # of the JPEGs that are made of other kinds, and of turned ones
Keep = Callable[[int, bytes], object]
README = """Photographs and annotations of a user, brought by pipeline/own of Adversarial PoseNet
into the layout of LSPet.

images/im00001.jpg ... : a photograph for each person; that of several people is there for each.
joints.mat: joints, 14 x 3 x N: x, y, flag. Flag 1: annotated. Flag 0: not, x and y are no place.
            occluded, 14 x N: 1 where a joint is annotated and hidden.
people.csv: the photograph and the place in the annotations that each comes from; its group, whose
            photographs stay on one side of the split; and test, where it is published as such.
Joints: {joints}; left and right are the person's own.
"""


@dataclass(frozen=True)
class Own:
    """What a user's data set is, as params.yaml's group `data` says it."""

    folder: Path
    annotations: Sequence[str]  # files in it
    orientation: str  # upright or stored: what the joints' places are of
    published: bool  # keep published test parts


class Pixels(NamedTuple):
    """An upright photograph."""

    content: bytes  # JPEG
    size: tuple[int, int]  # width and height, px
    stored: tuple[int, int]  # before it was turned
    turned: int  # EXIF's orientation


@dataclass(frozen=True)
class Checked:
    """People of whom nothing is wrong, with places in upright photographs."""

    people: list[Person]
    sizes: dict[Path, tuple[int, int]]  # of all photographs, upright, width and height, px
    turned: int  # photographs that EXIF turns
    left_out: Counter[str]  # people, by the reason


def upright(path: Path) -> Pixels:
    """A photograph turned as EXIF says, as a JPEG that the cache stage reads.

    Raises OSError, ValueError or PipelineError where it cannot be read.
    """
    content = path.read_bytes()
    orientation = _orientation(content)
    if content.startswith(b"\xff\xd8") and orientation in AS_STORED:
        try:
            height, width, *_ = simplejpeg.decode_jpeg_header(content)
            simplejpeg.decode_jpeg(content)
            return Pixels(content, (width, height), (width, height), orientation)
        except ValueError:
            pass  # what is damaged a little, or of a rare kind, may still be read below
    pixels = read(path)
    height, width = pixels.shape[:2]
    turned = simplejpeg.encode_jpeg(np.ascontiguousarray(pixels), QUALITY, colorsubsampling="444")
    stored = (height, width) if orientation >= 5 else (width, height)
    return Pixels(turned, (width, height), stored, orientation)


def _orientation(content: bytes) -> int:
    try:
        with Image.open(BytesIO(content)) as image:
            return int(image.getexif().get(ORIENTATION, 1))
    except Exception:  # noqa: BLE001  of damaged EXIF Pillow raises almost any; `read` says it
        return 1


def turned_places(points: np.ndarray, size: tuple[int, int], orientation: int) -> np.ndarray:
    """Places (J, 2) in a stored photograph of this width and height, in the upright one.

    Raises ValueError for the orientations that mirror, which no camera writes: whose left and right
    the names are of is not known.
    """
    width, height = size
    x, y = points.T
    if orientation in AS_STORED:
        return points
    if orientation == 3:
        return np.column_stack([width - 1 - x, height - 1 - y])
    if orientation == 6:
        return np.column_stack([height - 1 - y, x])
    if orientation == 8:
        return np.column_stack([y, width - 1 - x])
    raise ValueError(
        f"EXIF's orientation {orientation} mirrors it; save it turned, and annotate it"
    )


def check(own: Own, keep: Keep = lambda number, content: None) -> Checked:
    """Read all annotations and all their photographs; each photograph's number and JPEG are given
    to `keep`.

    Raises OwnError that lists all that is wrong: file, index, what.
    """
    if not own.folder.is_dir():
        raise OwnError(f"{own.folder}: no such folder; data.folder names that of the photographs")
    wrong: list[str] = []
    people, left_out = _collected(own, wrong)
    found = _looked_at(list(dict.fromkeys(person.photograph for person in people)), keep, wrong)
    placed = []
    for person in people:
        if pixels := found.get(person.photograph):
            try:
                placed.append(_placed(person, pixels, own.orientation))
            except ValueError as error:
                wrong.append(f"{person.where}: {person.photograph.name}: {error}")
    if own.published and not any(person.test for person in people):
        wrong.append(
            "data.parts is published, but no file of annotations has a published test part"
        )
    if not people and not wrong:
        wrong.append(f"nobody is annotated in {', '.join(own.annotations)}")
    refuse(own.folder, wrong)
    turned = sum(pixels.turned not in AS_STORED for pixels in found.values())
    return Checked(placed, {path: each.size for path, each in found.items()}, turned, left_out)


def _collected(own: Own, wrong: list[str]) -> tuple[list[Person], Counter[str]]:
    """Everybody in all files of annotations, and how many are left out; what is wrong is added."""
    folder, people, left_out = Folder(own.folder), list[Person](), Counter[str]()
    for name in own.annotations:
        try:
            collected = collect(own.folder, name, folder)
        except (PipelineError, OSError) as error:
            wrong.append(str(error))
            continue
        people += collected.people
        wrong += collected.wrong
        left_out += collected.left_out
    return people, left_out


def _looked_at(photographs: Sequence[Path], keep: Keep, wrong: list[str]) -> dict[Path, Pixels]:
    """What is known of the photographs that can be read; their JPEGs are kept, not returned."""

    def look(number: int) -> Pixels | str:
        try:
            seen = upright(photographs[number])
        except (PipelineError, OSError, ValueError) as error:
            return f"{photographs[number]}: {error}"
        keep(number, seen.content)
        return seen._replace(content=b"")

    found: dict[Path, Pixels] = {}
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        seen = pool.map(look, range(len(photographs)))
        bar = tqdm(seen, "photographs", len(photographs), unit=" photographs")
        for path, pixels in zip(photographs, bar, strict=True):
            if isinstance(pixels, str):
                wrong.append(pixels)
            else:
                found[path] = pixels
    return found


def _placed(person: Person, pixels: Pixels, orientation: str) -> Person:
    """Somebody with places in the upright photograph. Raises ValueError where they cannot be."""
    said, others = (pixels.size, pixels.stored)[:: 1 if orientation == "upright" else -1]
    if person.size is not None and tuple(person.size) != said:
        width, height = person.size
        other = "stored" if orientation == "upright" else "upright"
        advice = f"; set data.orientation to {other}" if tuple(person.size) == others else ""
        raise ValueError(
            f"annotated as of {width} x {height} px, but it has {said[0]} x {said[1]}"
            f" {orientation}{advice}"
        )
    points = person.points
    if orientation == "stored":
        points = turned_places(points, pixels.stored, pixels.turned)
    if not within(points, pixels.size).any():
        raise ValueError(f"of {pixels.size[0]} x {pixels.size[1]} px, no joint lies in it")
    return person._replace(points=points)


def write(own: Own, target: Path) -> Checked:
    """Make the data set of a user's folder, whole or not at all; what is there is replaced.

    Raises OwnError that lists all that is wrong.
    """
    with written_whole(target) as part:
        images, loose = part / "images", part / "loose"
        images.mkdir(parents=True)
        loose.mkdir()
        checked = check(own, lambda number, content: _loose(loose, number).write_bytes(content))
        numbers = {path: number for number, path in enumerate(checked.sizes)}
        rows = []
        for number, person in enumerate(checked.people, start=1):
            image = images / f"im{number:05d}.jpg"
            linked(_loose(loose, numbers[person.photograph]), image)
            photograph = person.photograph.relative_to(own.folder).as_posix()
            where = person.where.removeprefix(f"{own.folder}/")
            part_of = TEST if own.published and person.test else ""
            rows.append([image.name, photograph, where, person.group, part_of])
        shutil.rmtree(loose)
        joints = [
            np.column_stack([np.nan_to_num(each.points), each.annotated]) for each in checked.people
        ]
        save_joints(part / "joints.mat", joints, [each.occluded for each in checked.people])
        with (part / PEOPLE).open("w", newline="", encoding="utf-8") as file:
            table = csv.writer(file, lineterminator="\n")
            table.writerow(["image", "photograph", "annotated", "group", "part"])
            table.writerows(rows)
        (part / "README.txt").write_text(README.format(joints=", ".join(JOINTS).replace("_", " ")))
    return checked


def _loose(folder: Path, number: int) -> Path:
    return folder / f"{number}.jpg"
