"""People in COCO's keypoints JSON.

T.-Y. Lin et al., "Microsoft COCO: Common Objects in Context", ECCV 2014. Its 17 points hold 12 of
the 14 joints; which is which says the category, so that files with a neck and a top of the head,
such as those that `predict --format coco` writes, bring these too.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np

from pipeline.errors import PipelineError, brief, shown
from pipeline.own.people import ABSENT, Collected
from pipeline.skeleton import JOINTS

NAMES = (
    "nose", "left_eye", "right_eye", "left_ear", "right_ear", "left_shoulder", "right_shoulder",
    "left_elbow", "right_elbow", "left_wrist", "right_wrist", "left_hip", "right_hip", "left_knee",
    "right_knee", "left_ankle", "right_ankle",
)  # fmt: skip


def is_coco(document: object) -> bool:
    """Is it laid out like that?"""
    return isinstance(document, Mapping) and {"images", "annotations"} <= document.keys()


def read(document: Mapping[str, Any], collected: Collected) -> None:
    """Collect the people of a document.

    Left out are crowds, people without keypoints, and what is no person. An image may have, beside
    what COCO gives it, a `group`.
    """
    for name in ("images", "annotations", "categories"):
        if not isinstance(document.get(name, []), list):
            collected.mistake(name, f"expected a list, found {shown(document[name])}")
            return
    columns = _columns(document, collected)
    images: dict[Any, Mapping] = {}
    for number, image in enumerate(document["images"]):
        known = isinstance(image, Mapping) and isinstance(image.get("id"), int | str)
        if not (known and isinstance(image.get("file_name"), str)):
            collected.mistake(f"images[{number}]", "expected an id and a file_name")
        elif image["id"] in images:
            collected.mistake(f"images[{number}]", f"the id {brief(image['id'])} is another's too")
        else:
            images[image["id"]] = image
    for number, annotation in enumerate(document["annotations"]):
        index = f"annotations[{number}]"
        try:
            _person(annotation, index, images, columns, collected)
        except (KeyError, TypeError, ValueError, AttributeError, PipelineError) as error:
            said = f"{error} is missing" if isinstance(error, KeyError) else error
            collected.mistake(index, said)


def _columns(document: Mapping[str, Any], collected: Collected) -> dict[Any, list[str]]:
    """Names of the keypoints of each category that has any of the 14 joints."""
    found: dict[Any, list[str]] = {}
    for category in document.get("categories", []):
        if not isinstance(category, Mapping):
            continue
        names = [str(name) for name in category.get("keypoints") or []]
        if category.get("name") == "person" and not names:
            names = list(NAMES)
        if set(names) & set(JOINTS):
            found[category.get("id")] = names
    if not found:
        if document.get("categories"):
            collected.mistake(
                "categories", f"expected one with keypoints, named as COCO's: {', '.join(NAMES)}"
            )
        found[1] = list(NAMES)
    return found


def _person(
    annotation: Mapping[str, Any],
    index: str,
    images: Mapping[Any, Mapping],
    columns: Mapping[Any, list[str]],
    collected: Collected,
) -> None:
    names = columns.get(annotation.get("category_id", 1))
    if names is None:
        collected.left_out["of another category"] += 1
        return
    if annotation.get("iscrowd"):
        collected.left_out["in a crowd"] += 1
        return
    image = images.get(annotation["image_id"])
    if image is None:
        raise ValueError(f"its image_id {brief(annotation['image_id'])} is no image's")
    values = np.asarray(annotation.get("keypoints") or [], dtype=np.float64)
    if not values.size:
        collected.left_out["of whom no joint is annotated"] += 1
        return
    if values.shape != (3 * len(names),):
        raise ValueError(
            f"{values.size} numbers in keypoints, expected {3 * len(names)}: x, y and visibility of"
            f" {len(names)} points"
        )
    points = values.reshape(-1, 3)
    if not np.isin(points[:, 2], (0, 1, 2)).all():
        raise ValueError("a visibility in keypoints is none of 0, 1 and 2")
    joints = np.full((len(JOINTS), 3), np.nan)
    joints[:, 2] = ABSENT
    for name, point in zip(names, points, strict=True):
        if name in JOINTS:
            joints[JOINTS.index(name)] = point
    width, height = image.get("width"), image.get("height")
    size = (width, height) if isinstance(width, int) and isinstance(height, int) else None
    collected.add(index, image["file_name"], joints, size, image.get("group"))
