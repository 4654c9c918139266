"""People in photographs as COCO's keypoints JSON, which other tools read."""

from collections.abc import Iterable
from typing import Any

from pipeline.own.people import ABSENT, HIDDEN, SEEN
from pipeline.photographs.people import Person
from pipeline.skeleton import EDGES, JOINTS

PERSON = 1  # COCO's number of the category


def document(photographs: Iterable[tuple[str, tuple[int, int], list[Person]]]) -> dict[str, Any]:
    """COCO's JSON of photographs: each its name, width and height, and its people.

    One category, `person`, with the 14 joints as its keypoints (COCO's own 17 have no neck and no
    top of the head). A joint outside the picture has x, y and visibility 0, as COCO has it; a
    hidden one visibility 1. Scores of people and of keypoints stand as in COCO's results.
    """
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    for number, (name, (width, height), people) in enumerate(photographs, 1):
        images.append({"id": number, "file_name": name, "width": width, "height": height})
        for person in people:
            annotation = {"id": len(annotations) + 1, "image_id": number}
            annotations.append(annotation | _annotation(person))
    category = {
        "id": PERSON,
        "name": "person",
        "supercategory": "person",
        "keypoints": list(JOINTS),
        "skeleton": [[one + 1, other + 1] for one, other, _ in EDGES],
    }
    return {"images": images, "annotations": annotations, "categories": [category]}


def _annotation(person: Person) -> dict[str, Any]:
    keypoints: list[float] = []
    for x, y, _, hidden, outside in person.joints.values():
        seen = ABSENT if outside else HIDDEN if hidden else SEEN
        keypoints += [0, 0, seen] if outside else [round(x, 2), round(y, 2), seen]
    x, y, width, height = (round(value, 2) for value in person.box)
    return {
        "category_id": PERSON,
        "bbox": [x, y, width, height],
        "area": round(width * height, 2),
        "iscrowd": 0,
        "num_keypoints": int((~person.outside).sum()),
        "keypoints": keypoints,
        "keypoint_scores": [round(score, 4) for score in person.scores.tolist()],
        "score": round(person.score, 4),
    }
