"""The report: what it says, and that it needs nothing but itself."""

import re

import numpy as np
import pytest
from matplotlib.figure import Figure

from pipeline.skeleton import GROUPS
from pipeline.tracking import report


def shares(value: float) -> dict:
    return {key: dict.fromkeys([*GROUPS, "mean"], value) for key in ("pck_0.2", "pckh_0.5")}


@pytest.fixture
def measured() -> dict:
    return shares(0.601) | {
        "interval_95": {"pck_0.2": {"mean": [0.581, 0.619]}},
        "covered": {"joints": 1234} | shares(0.402),
        "uncovered": {"joints": 8766} | shares(0.553),
        "without_box": shares(0.304),
        "swapped": {"pck_0.2": 0.082, "pckh_0.5": 0.075},
        "structure": {
            "whole": 0.086,
            "doubled": 0.21,
            "exchanged": {"pair": 0.074},
            "too_long": {"found": 0.038, "truth": 0.018},
            "scores": {"pck_without_least_sure": 0.682},
        },
        "hidden_auc": 0.84,
        "people": {
            "mosaics": {
                "scenes": 500,
                "people": 1207,
                "recall_at_precision_0.9": 0.712,
                "told": {"recall": 0.8, "precision": None},
            },
            "photographs": {"best": 0.917},
            "outside": {"cut_off": 0.66, "in_sight": 0.055},
        },
    }


def page(measured: dict) -> str:
    figure = Figure(figsize=(1, 1))
    pictures = [
        report.picture(figure, "<best>", "jpeg", wide=True),
        report.picture(figure, "curve"),
    ]
    rows = [
        {"annotated": "14", "photographs": 421, "share": 0.588},
        {"annotated": "9 or fewer", "photographs": 0, "share": None},
    ]
    return report.page("A <title>", "about", measured, rows, pictures[1:], pictures[:1])


def test_a_page_says_what_was_measured(measured):
    text = re.sub(
        r"\s+", " ", re.sub(r"<style>.*?</style>|<[^>]+>", " ", page(measured), flags=re.DOTALL)
    )
    for said in (
        "60.1 PCK@0.2, 95 % interval 58.1 to 61.9",
        "30.4 PCK@0.2 without a person box",
        "8.2 % of the joints are wrong",
        "7.4 % are exchanged, and of 21.0 % both are found on one side",
        "All joints that count are right in 8.6 % of the photographs. 3.8 % of the bones",
        "AUC of 0.84",
        "covered 1,234 40.2",
        "14 421 58.8",
        "9 or fewer 0 –",
        "500 scenes",
        "1,207 people of whom 71.2 % are found at a precision of 90 %",
        "80.0 % of them are told of, and – % of those told of are people",
        "annotated person in 91.7 %",
        "66.0 % are said to be outside the picture, of those in sight 5.5 %",
        "A &lt;title&gt;",
        "&lt;best&gt;",
    ):
        assert said in text, said


def test_a_page_needs_no_network(measured):
    addresses = re.findall(r"""(?:src|href|url)\s*[=(]\s*["']?([^"'\s>)]+)""", page(measured))
    assert len(addresses) == 2
    assert addresses[0].startswith("data:image/png;base64,iVBOR")
    assert addresses[1].startswith("data:image/jpeg;base64,/9j/")
    assert "<script" not in page(measured)


def test_a_page_about_nothing_counted(measured):
    nothing = measured | shares(None) | {"hidden_auc": None, "swapped": {"pck_0.2": None}}
    nothing["interval_95"] = {"pck_0.2": {"mean": [None, None]}}
    assert "AUC of –" in page(nothing) and "interval" not in page(nothing)


def test_shares_by_the_number_of_annotated_joints():
    annotated = np.ones((4, 14), dtype=bool)
    annotated[1, 0] = False
    annotated[2:, :6] = False  # eight each
    distance = np.where(annotated, 0.1, np.nan)
    distance[0, :7] = 0.3
    distance[3] = np.nan  # its torso is not annotated
    rows = {row["annotated"]: row for row in report.by_annotated(distance, annotated, 0.2)}
    assert list(rows) == ["14", "13", "12", "11", "10", "9 or fewer"]
    assert (rows["14"]["photographs"], rows["14"]["share"]) == (1, 0.5)
    assert (rows["13"]["photographs"], rows["13"]["share"]) == (1, 1.0)
    assert (rows["12"]["photographs"], rows["12"]["share"]) == (0, None)
    assert (rows["9 or fewer"]["photographs"], rows["9 or fewer"]["share"]) == (2, 1.0)


def test_a_note_says_what_and_how_to_repeat_it(measured):
    made_by = {
        "data": {"name": "figures"},
        "cache": {"input_size": 64},
        "model": {"stacks": 2, "features": [8, 16], "occlusion": True},
        "train": {"steps": 1200, "batch": 8, "adversarial": False, "seed": 3},
    }
    results = {"validation": measured, "test": measured | shares(None)}
    origin = {"git.commit": "abc", "reproduce": "dvc exp run -S train.seed=3"}
    sizes = {"train": 8000, "validation": 1000}
    lines = report.note(made_by, 4_120_000, sizes, results, origin).splitlines()
    assert lines[2:4] == ["| validation | 60.1 | 60.1 | 40.2 |", "| test | – | – | 40.2 |"]
    assert "8,000 photographs of figures to train on, 1,000 to validate." in lines
    assert (
        "4.1 million weights. Encoder: hourglass. Hourglasses: 2, channels 8, 16; input 64 px."
        " Training: 1,200 steps of 8 photographs, without discriminators, with the occlusion task,"
        " seed 3."
    ) in lines
    assert lines[-2:] == ["    git checkout abc", "    dvc exp run -S train.seed=3"]
    for unknown in ({}, {"git.commit": "abc"}):
        assert "repeat" not in report.note(
            made_by, 1, {"train": 8, "validation": 1}, results, unknown
        )
