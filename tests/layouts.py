"""People written as the published sets are laid out, for tests to read them again: COCO's keypoints
JSON, LSP's and LSPet's joints.mat, MPII's RELEASE, and the two JSONs of stacked hourglasses."""

import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from scipy.io import savemat

from pipeline.figures import drawn_people
from pipeline.skeleton import JOINTS

COCO = [  # of annotations/person_keypoints_train2017.json
    "nose", "left_eye", "right_eye", "left_ear", "right_ear", "left_shoulder", "right_shoulder",
    "left_elbow", "right_elbow", "left_wrist", "right_wrist", "left_hip", "right_hip",
    "left_knee", "right_knee", "left_ankle", "right_ankle",
]  # fmt: skip
MPII = [  # by id, of the annotation's description
    "right_ankle", "right_knee", "right_hip", "left_hip", "left_knee", "left_ankle", "pelvis",
    "thorax", "neck", "head_top", "right_wrist", "right_elbow", "right_shoulder",
    "left_shoulder", "left_elbow", "left_wrist",
]  # fmt: skip


class Someone(NamedTuple):
    """A person in a photograph."""

    photograph: str
    points: np.ndarray  # (14, 2), px
    annotated: np.ndarray  # (14,) bool
    occluded: np.ndarray  # (14,) bool


def drawn(folder: Path, count: int, seed: int = 5) -> list[Someone]:
    """Drawn people, one a photograph, photographs in folder/images; hidden joints have a place."""
    (folder / "images").mkdir(parents=True)
    people = []
    for index in range(count):
        image, joints, unseen = drawn_people.draw(seed, index)
        name = f"figure-{index}.jpg"
        image.save(folder / "images" / name, quality=92)
        people.append(Someone(name, joints, np.ones(14, bool), unseen))
    return people


def in_lspet(folder: Path, people: Sequence[Someone]) -> None:
    """images/im00001.jpg and joints.mat (14, 3, N): flag 1 is annotated."""
    _numbered(folder, people, "im{:05d}.jpg")
    flags = [np.column_stack([np.nan_to_num(p.points), p.annotated]) for p in people]
    savemat(folder / "joints.mat", {"joints": np.stack(flags, axis=2)})


def in_lsp(folder: Path, people: Sequence[Someone]) -> None:
    """images/im0001.jpg and joints.mat (3, 14, N): flag 1 is occluded, every joint has a place."""
    _numbered(folder, people, "im{:04d}.jpg")
    flags = [np.column_stack([p.points, p.occluded]).T for p in people]
    savemat(folder / "joints.mat", {"joints": np.stack(flags, axis=2)})


def _numbered(folder: Path, people: Sequence[Someone], form: str) -> None:
    for number, person in enumerate(people, start=1):
        (folder / "images" / person.photograph).rename(folder / "images" / form.format(number))


def in_coco(folder: Path, people: Sequence[Someone], sizes: dict[str, tuple[int, int]]) -> dict:
    """annotations.json with COCO's 17 keypoints, and what else an annotation holds there."""
    names = list(dict.fromkeys(person.photograph for person in people))
    images = [
        {
            "license": 1, "file_name": name, "coco_url": "", "height": sizes[name][1],
            "width": sizes[name][0], "date_captured": "2013-11-14 11:18:45", "id": 391895 + k,
        }
        for k, name in enumerate(names)
    ]  # fmt: skip
    annotations = []
    for number, person in enumerate(people):
        keypoints: list[float] = []
        for name in COCO:
            k = JOINTS.index(name) if name in JOINTS else None
            if k is None or not person.annotated[k]:
                keypoints += [0, 0, 0]
            else:
                keypoints += [*person.points[k].tolist(), 1 if person.occluded[k] else 2]
        known = person.points[person.annotated]
        low, high = known.min(axis=0), known.max(axis=0)
        annotations.append(
            {
                "segmentation": [[*low.tolist(), *high.tolist(), low[0], high[1]]],
                "num_keypoints": sum(v > 0 for v in keypoints[2::3]), "area": 702.1,
                "iscrowd": 0, "keypoints": keypoints,
                "image_id": 391895 + names.index(person.photograph),
                "bbox": [*low.tolist(), *(high - low).tolist()], "category_id": 1,
                "id": 900100 + number,
            }
        )  # fmt: skip
    skeleton = [[16, 14], [14, 12], [17, 15], [15, 13], [12, 13], [6, 12], [7, 13], [6, 7]]
    category = {
        "supercategory": "person", "id": 1, "name": "person", "keypoints": COCO,
        "skeleton": skeleton,
    }  # fmt: skip
    document = {
        "info": {"description": "COCO 2017 Dataset", "version": "1.0", "year": 2017},
        "licenses": [{"url": "", "id": 1, "name": ""}],
        "images": images, "annotations": annotations, "categories": [category],
    }  # fmt: skip
    (folder / "annotations.json").write_text(json.dumps(document))
    return document


def in_mpii(folder: Path, people: Sequence[Someone], films: Sequence[int] | None = None) -> None:
    """mpii.mat with RELEASE: photographs with one and with several people, one of a film each, and
    a test photograph without joints at the end, as published."""
    names = list(dict.fromkeys(person.photograph for person in people))
    annolist = []
    for k, name in enumerate(names):
        rects = [_annorect(person) for person in people if person.photograph == name]
        film = films[k] if films else k + 1
        image = {"name": name}
        frame = {"image": image, "annorect": _array(rects), "frame_sec": 11.0, "vididx": film}
        annolist.append(frame)
    untold = {"scale": 2.5, "objpos": {"x": 424.0, "y": 382.0}}
    empty = np.zeros((0, 0))
    annolist.append(
        {
            "image": {"name": "015599452.jpg"}, "annorect": _array([untold]), "frame_sec": empty,
            "vididx": empty,
        }
    )  # fmt: skip
    release = {
        "annolist": _array(annolist),
        "img_train": np.array([[1] * len(names) + [0]], dtype=np.uint8),
        "version": "12",
        "single_person": np.array([[1]] * len(annolist), dtype=object),
        "act": _array([{"cat_name": "", "act_name": "", "act_id": -1}] * len(annolist)),
        "video_list": np.array(["a film"], dtype=object),
    }
    savemat(folder / "mpii.mat", {"RELEASE": release})


def _annorect(person: Someone) -> dict:
    points = []
    for number, name in enumerate(MPII):
        if name not in JOINTS:  # pelvis and thorax
            x, y, hidden = 1.0, 2.0, False
        else:
            k = JOINTS.index(name)
            if not person.annotated[k]:
                continue
            (x, y), hidden = person.points[k], person.occluded[k]
        # Of the head nothing is said, and what is said is a number here and text there.
        seen = np.zeros((0, 0)) if name in ("neck", "head_top") else int(not hidden)
        if number % 2 and not isinstance(seen, np.ndarray):
            seen = str(seen)
        points.append({"x": float(x), "y": float(y), "id": number, "is_visible": seen})
    return {
        "x1": 1.0, "y1": 2.0, "x2": 30.0, "y2": 40.0, "scale": 1.3,
        "objpos": {"x": 10.0, "y": 20.0}, "annopoints": {"point": _array(points)},
    }  # fmt: skip


def _array(structures: Sequence[dict]) -> np.ndarray:
    """MATLAB's 1 x N array of structures with the same fields."""
    array = np.empty((1, len(structures)), dtype=[(name, object) for name in structures[0]])
    for k, structure in enumerate(structures):
        array[0, k] = tuple(structure.values())
    return array


def in_hourglass(
    folder: Path, people: Sequence[Someone], validation: Sequence[bool] | None = None
) -> None:
    """mpii_annotations.json, of joint_self: [x, y, 1 seen, 0 hidden], [0, 0, 0] without a place."""
    entries = []
    for number, person in enumerate(people):
        joints = []
        for name in MPII:
            k = JOINTS.index(name) if name in JOINTS else None
            if k is None:
                joints.append([1.0, 2.0, 1.0])
            elif person.annotated[k]:
                joints.append([*person.points[k].tolist(), 0.0 if person.occluded[k] else 1.0])
            else:
                joints.append([0.0, 0.0, 0.0])
        entries.append(
            {
                "dataset": "MPI", "isValidation": float(validation[number] if validation else 0),
                "img_paths": person.photograph, "img_width": 260.0, "img_height": 200.0,
                "objpos": [594.0, 257.0], "joint_self": joints, "scale_provided": 3.021,
                "joint_others": [], "scale_provided_other": [], "objpos_other": [],
                "annolist_index": number + 5.0, "people_index": 1.0, "numOtherPeople": 0.0,
            }
        )  # fmt: skip
    (folder / "mpii_annotations.json").write_text(json.dumps(entries))


def in_baselines(folder: Path, people: Sequence[Someone]) -> None:
    """train.json of Simple Baselines: joints, and joints_vis 0 with (-1, -1) without a place."""
    entries = []
    for person in people:
        joints, visible = [], []
        for name in MPII:
            k = JOINTS.index(name) if name in JOINTS else None
            there = k is None or bool(person.annotated[k])
            place = [1.0, 2.0] if k is None else person.points[k].tolist()
            joints.append(place if there else [-1.0, -1.0])
            visible.append(int(there))
        entries.append(
            {
                "joints_vis": visible, "joints": joints, "image": person.photograph,
                "scale": 3.021046, "center": [594.0, 257.0],
            }
        )  # fmt: skip
    (folder / "train.json").write_text(json.dumps(entries))


def copy_of(folder: Path, new: Path) -> Path:
    """A folder with the same photographs, to be annotated in another layout."""
    shutil.copytree(folder / "images", new / "images")
    return new
