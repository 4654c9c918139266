"""People of MPII Human Pose: its `annolist` in MATLAB's format, and the JSON of those who train
stacked hourglasses on it.

M. Andriluka, L. Pishchulin, P. Gehler, B. Schiele, "2D Human Pose Estimation: New Benchmark and
State of the Art Analysis", CVPR 2014. The JSON has two forms: `joint_self` (S.-E. Wei et al.,
"Convolutional Pose Machines", CVPR 2016; A. Newell et al., "Stacked Hourglass Networks", ECCV 2016)
and `joints` with `joints_vis` (B. Xiao et al., "Simple Baselines", ECCV 2018).
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from pipeline.own.people import ABSENT, HIDDEN, SEEN, Collected

POINTS = 16
# By number of the 14 joints, that of MPII's 16: right ankle to left ankle, right to left wrist,
# upper neck, head top; pelvis (6) and thorax (7) are no joints here.
OF_MPII = (0, 1, 2, 3, 4, 5, 10, 11, 12, 13, 14, 15, 8, 9)


def is_json(document: object) -> bool:
    """Is it a list of people in one of the two forms?"""
    first = document[0] if isinstance(document, list) and document else None
    return isinstance(first, Mapping) and bool({"joint_self", "joints_vis"} & first.keys())


def read_json(document: Sequence[Any], collected: Collected) -> None:
    """Collect the people of a JSON.

    The others around somebody (`joint_others`) have entries of their own. `isValidation` marks a
    test part; an entry may have a `group`.
    """
    for number, entry in enumerate(document):
        index = f"[{number}]"
        try:
            points = _joint_self(entry) if "joint_self" in entry else _joints_vis(entry)
            name = entry["img_paths"] if "img_paths" in entry else entry["image"]
            test = float(entry.get("isValidation") or 0) > 0
        except (KeyError, TypeError, ValueError) as error:
            said = f"{error} is missing" if isinstance(error, KeyError) else error
            collected.mistake(index, said)
            continue
        collected.add(index, str(name), points[list(OF_MPII)], group=entry.get("group"), test=test)


def _joint_self(entry: Mapping[str, Any]) -> np.ndarray:
    """(16, 3): visibility 1 is seen, 0 hidden, 2 without a place; so is (0, 0)."""
    points = _numbers(entry["joint_self"], (POINTS, 3), "joint_self")
    visible = points[:, 2].copy()
    if not np.isin(visible, (0, 1, 2)).all():
        raise ValueError("a visibility in joint_self is none of 0, 1 and 2")
    nowhere = (points[:, :2] <= 0).all(axis=1) | (visible == 2)
    points[:, 2] = np.where(nowhere, ABSENT, np.where(visible == 1, SEEN, HIDDEN))
    return points


def _joints_vis(entry: Mapping[str, Any]) -> np.ndarray:
    """(16, 3): what is not visible has no place."""
    places = _numbers(entry["joints"], (POINTS, 2), "joints")
    visible = _numbers(entry["joints_vis"], (POINTS,), "joints_vis")
    return np.column_stack([places, np.where(visible > 0, SEEN, ABSENT)])


def _numbers(values: Any, shape: tuple[int, ...], name: str) -> np.ndarray:
    wanted = " x ".join(map(str, shape))
    try:
        array = np.array(values, dtype=np.float64)
    except (TypeError, ValueError):
        raise ValueError(f"{name} is expected to hold {wanted} numbers") from None
    if array.shape != shape:
        found = " x ".join(map(str, array.shape)) or "no"
        raise ValueError(f"{name} holds {found} numbers, expected {wanted}")
    return array


def read_annolist(release: Mapping[str, Any], collected: Collected) -> None:
    """Collect the people of RELEASE, as `scipy.io.loadmat(simplify_cells=True)` gives it.

    Left out is who has no annopoints, as all of MPII's own test photographs. Photographs of one
    film (`vididx`) are a group.
    """
    for number, image in enumerate(_several(release["annolist"])):
        try:
            name, people = str(image["image"]["name"]), _several(image.get("annorect"))
        except (KeyError, TypeError, AttributeError):
            collected.mistake(f"annolist({number + 1})", "expected image.name and annorect")
            continue
        film = image.get("vididx")
        group = f"film {film}" if np.size(film) else None
        for place, person in enumerate(people):
            index = f"annolist({number + 1}).annorect({place + 1})"
            points = person.get("annopoints") if isinstance(person, Mapping) else None
            if not isinstance(points, Mapping):
                collected.left_out["of whom no joint is annotated"] += 1
                continue
            try:
                joints = _annopoints(points)
            except (KeyError, TypeError, ValueError) as error:
                said = f"{error} is missing" if isinstance(error, KeyError) else error
                collected.mistake(index, said)
                continue
            collected.add(index, name, joints[list(OF_MPII)], group=group)


def _annopoints(points: Mapping[str, Any]) -> np.ndarray:
    """(16, 3) of a person's points; where nothing is said of one's visibility it is seen."""
    joints = np.zeros((POINTS, 3))
    joints[:, 2] = ABSENT
    for point in _several(points["point"]):
        number = int(point["id"])
        if not 0 <= number < POINTS:
            raise ValueError(f"a point's id is {number}, expected 0 to {POINTS - 1}")
        visible = point.get("is_visible", 1)
        hidden = np.size(visible) and int(visible) == 0  # some are numbers, some text, some empty
        joints[number] = float(point["x"]), float(point["y"]), HIDDEN if hidden else SEEN
    return joints


def _several(value: Any) -> Iterator[Any]:
    """The elements of one of MATLAB's arrays of structures, of which SciPy makes one where there is
    one, and an empty array where there is none."""
    return iter([value] if isinstance(value, Mapping) else np.atleast_1d(value).tolist())
