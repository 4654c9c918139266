"""People as COCO's keypoints JSON: what COCO's own tools ask of a file, and every value by hand."""

import json

import numpy as np
import pytest

from pipeline.commands.coco import document
from pipeline.photographs.people import Box, Person
from pipeline.skeleton import EDGES, JOINTS

SIZE = 120, 80


def person(corner=(10.0, 20.0), score=0.75, hidden=(), outside=(), size=SIZE) -> Person:
    """Joint k, seen, at corner + (k, 2 k + 1/3), of score k / 20."""
    k = np.arange(14)
    return Person(
        size=size,
        box=Box(*corner, 13.25, 26.5),
        box_given=False,
        score=score,
        points=np.stack([corner[0] + k, corner[1] + 2 * k + 1 / 3], axis=-1),
        scores=(k / 20).astype(np.float32),
        hidden=np.isin(k, hidden),
        outside=np.isin(k, outside),
    )


@pytest.fixture(scope="module")
def read() -> dict:
    """A document of three photographs with two people, nobody and one person, as a file has it."""
    photographs = [
        ("here/a.jpg", SIZE, [person(hidden=(1, 2), outside=(0, 13)), person((30, 5), 0.5)]),
        ("here/empty.jpg", (64, 48), []),
        ("b.png", (200, 100), [person(outside=range(14), size=(200, 100))]),
    ]
    return json.loads(json.dumps(document(iter(photographs)), allow_nan=False))


def test_photographs_and_people_are_found_by_their_ids(read):
    """As COCO's tools index a file: all ids differ, and each person is in a photograph there."""
    assert read["images"] == [
        {"id": 1, "file_name": "here/a.jpg", "width": 120, "height": 80},
        {"id": 2, "file_name": "here/empty.jpg", "width": 64, "height": 48},
        {"id": 3, "file_name": "b.png", "width": 200, "height": 100},
    ]
    people = read["annotations"]
    assert [each["id"] for each in people] == [1, 2, 3]
    assert [each["image_id"] for each in people] == [1, 1, 3]
    (category,) = read["categories"]
    assert {each["category_id"] for each in people} == {category["id"]} == {1}


def test_the_category_names_the_joints_and_joins_them_counted_from_one(read):
    (category,) = read["categories"]
    assert category["name"] == category["supercategory"] == "person"
    assert category["keypoints"] == list(JOINTS)
    limbs = category["skeleton"]
    assert len(limbs) == len(EDGES) and all(1 <= k <= 14 for limb in limbs for k in limb)
    named = {frozenset(category["keypoints"][k - 1] for k in limb) for limb in limbs}
    assert {"left_elbow", "left_wrist"} in named and {"right_ankle", "right_knee"} in named
    assert {"neck", "head_top"} in named and {"left_hip", "right_hip"} in named


def test_a_persons_values_are_those_of_coco(read):
    first, second, unseen = read["annotations"]
    for each in read["annotations"]:
        keypoints = np.array(each["keypoints"])
        assert keypoints.shape == (42,) and len(each["keypoint_scores"]) == 14
        assert set(keypoints[2::3]) <= {0, 1, 2} and each["iscrowd"] == 0
        assert each["num_keypoints"] == (keypoints[2::3] > 0).sum()
        assert not keypoints.reshape(14, 3)[keypoints[2::3] == 0].any()
    assert first["bbox"] == [10, 20, 13.25, 26.5] and first["area"] == 351.12  # of 351.125
    assert first["score"] == 0.75 and second["score"] == 0.5
    assert [each["num_keypoints"] for each in (first, second, unseen)] == [12, 14, 0]
    keypoints = np.array(first["keypoints"]).reshape(14, 3)
    assert keypoints[0].tolist() == keypoints[13].tolist() == [0, 0, 0]  # outside
    assert keypoints[1].tolist() == [11, 22.33, 1]  # hidden
    assert keypoints[3].tolist() == [13, 26.33, 2]  # seen
    assert second["keypoints"][:3] == [30, 5.33, 2]
    assert first["keypoint_scores"] == [round(k / 20, 4) for k in range(14)]


def test_nothing_but_a_photograph_is_still_a_document():
    assert document([])["images"] == document([])["annotations"] == []
    assert len(document([])["categories"]) == 1
