"""People as a file of annotations says that they are, and all that is wrong with it."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import numpy as np

from pipeline.annotations import FARTHEST
from pipeline.errors import PipelineError, brief
from pipeline.reading import SUFFIXES
from pipeline.skeleton import JOINTS

ABSENT, HIDDEN, SEEN = 0, 1, 2  # COCO's visibility of a joint: no place; a place, but hidden; seen
MOST = 500  # mistakes that are written out


class OwnError(PipelineError):
    """A folder of photographs and annotations cannot be used; the message lists all mistakes."""


class Person(NamedTuple):
    """Somebody who is annotated in a photograph."""

    photograph: Path
    where: str  # in which file, and at which place in it
    points: np.ndarray  # (14, 2) float64, px, NaN where not annotated
    occluded: np.ndarray  # (14,) bool: hidden, with a place
    size: tuple[int, int] | None  # width and height of the photograph, px, where the file says so
    group: str  # of photographs that stay together; "" where nothing is said
    test: bool  # is published as one of a test part

    @property
    def annotated(self) -> np.ndarray:
        """(14,) bool."""
        return ~np.isnan(self.points).any(axis=-1)


class Folder:
    """The photographs below a folder, found by the names that annotations have for them."""

    def __init__(self, root: Path):
        self.root = root
        self._named: dict[str, list[Path]] | None = None

    def find(self, name: str, beside: Path) -> Path:
        """The photograph of a name: in the folder `beside`, in images/ there, else the only file of
        that name anywhere below. Raises OwnError."""
        named = Path(name)
        leaves = named.is_absolute() or ".." in named.parts  # as on the machine of the annotators
        for place in () if leaves else (beside, beside / "images", self.root):
            if (place / named).is_file():
                return place / named
        found = self._below().get(named.name, [])
        if len(found) != 1:
            said = f"the name of {len(found)} photographs" if found else "no photograph"
            raise OwnError(f"{brief(name)} is {said} below {self.root}")
        return found[0]

    def _below(self) -> dict[str, list[Path]]:
        if self._named is None:
            self._named = {}
            for path in sorted(self.root.rglob("*")):
                if path.suffix.lower() in SUFFIXES:
                    self._named.setdefault(path.name, []).append(path)
        return self._named


@dataclass
class Collected:
    """What is read of one file of annotations, person by person."""

    source: Path
    folder: Folder
    people: list[Person] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)  # file, index: what
    left_out: Counter[str] = field(default_factory=Counter)  # people, by the reason

    def mistake(self, index: str, said: object) -> None:
        """Note what is wrong, at a place in the file."""
        self.wrong.append(f"{self.source}, {index}: {said}")

    def add(
        self,
        index: str,
        photograph: str | Path,
        joints: np.ndarray,
        size: tuple[int, int] | None = None,
        group: object = None,
        test: bool = False,
    ) -> None:
        """Take somebody in, whose joints (14, 3) are x, y and ABSENT, HIDDEN or SEEN; or note what
        is wrong.

        photograph: a name, or the file itself. Somebody without any joint is left out.
        """
        points, flags = joints[:, :2].astype(np.float64), joints[:, 2]
        annotated = flags != ABSENT
        if not annotated.any():
            self.left_out["of whom no joint is annotated"] += 1
            return
        points[~annotated] = np.nan
        near = np.abs(points) <= FARTHEST
        for joint in np.flatnonzero(annotated & ~near.all(axis=1)):
            x, y = joints[joint, :2]
            self.mistake(
                index,
                f"{JOINTS[joint]} lies at ({x:g}, {y:g}), expected px of the photograph",
            )
        try:
            if isinstance(photograph, str):
                photograph = self.folder.find(photograph, self.source.parent)
        except OwnError as error:
            self.mistake(index, error)
            return
        where = f"{self.source}, {index}"
        named = "" if group is None or group == "" else f"{self.source.name} {group}"
        occluded = flags == HIDDEN
        self.people.append(Person(photograph, where, points, occluded, size, named, test))


def refuse(folder: Path, wrong: Iterable[str]) -> None:
    """Raise OwnError where anything is wrong, with the whole list."""
    lines = list(wrong)
    if lines:
        count = f"{len(lines):,} mistake{'s' * (len(lines) > 1)}"
        if len(lines) > MOST:
            lines[MOST:] = [f"and {len(lines) - MOST:,} more"]
        raise OwnError("\n".join([f"{folder} cannot be used, {count}:", *lines]))
