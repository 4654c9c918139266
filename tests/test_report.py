"""The report: what it says, and that it needs nothing but itself."""

import re

import numpy as np
import pytest
from matplotlib.figure import Figure

from pipeline.skeleton import GROUPS
from pipeline.tracking import report
from pipeline.tracking.provenance import Source


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
            "scores": {"pck_without_least_sure": 0.682, "calibration_error": 0.017},
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
            "reliability": [
                {"candidates": 30.0, "score": 0.2, "right": 0.3},
                {"candidates": 10.0, "score": 0.9, "right": 0.7},
            ],
            "outside": {"cut_off": 0.66, "in_sight": 0.055},
        },
    }


SOURCE = Source("0123abc", True, "dvc exp run -S train.seed=3", "http://host/#/runs/1", "mlflow ui")


def page(measured: dict, source: Source = SOURCE, others=report.OTHERS) -> str:
    photograph = Figure(figsize=(2.6, 2.6))
    photograph.subplots().plot([0, 1])
    curve = Figure(figsize=(4.6, 3.1))
    curve.subplots().plot([0, 1])
    rows = [
        {"annotated": "14", "photographs": 421, "share": 0.588},
        {"annotated": "9 or fewer", "photographs": 0, "share": None},
    ]
    some = [
        report.Photograph(report.picture(photograph, f"im{number:05d}.jpg", "jpeg"), share)
        for number, share in enumerate([0.714, float("nan"), 0.5, 0.25], 1)
    ]
    return report.page(
        report.Head("A <title>", "about", source, "4567def", others),
        measured,
        rows,
        {"The <best>": some},
        [report.picture(curve, "People, in mosaics")],
        [report.picture(curve, "PCK over its threshold")],
        [report.picture(curve, "Validation"), report.picture(curve, "Learning rate")],
    )


def test_a_page_says_what_was_measured(measured):
    text = words(page(measured))
    for said in (
        "Commit 0123abc , with changes that are not committed; measured at 4567def",
        "Command dvc exp run -S train.seed=3",
        "Run its page in MLflow , while mlflow ui runs in the repository",
        "im00001.jpg · 71.4 %",
        "im00002.jpg · – %",
        "A person's score is off by 12.5 points in the mean",
        "two annotators of one LSPet photograph",
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
        "The &lt;best&gt;",
    ):
        assert said in text, said
    order = ["Commit", "Photographs", "Joints placed right", "What a score is worth", "course"]
    assert [text.index(said) for said in order] == sorted(text.index(said) for said in order)


def words(html: str) -> str:
    """What a page says."""
    bare = re.sub(r"<style>.*?</style>|<[^>]+>", " ", html, flags=re.DOTALL)
    return re.sub(r"\s+", " ", bare)


def test_a_page_of_other_data_or_of_an_unknown_run_says_nothing_of_them(measured):
    text = words(page(measured, Source(), ()))
    assert "annotators" not in text and "Grey rows" not in text
    assert "Commit not known: the weights were trained elsewhere; measured at 4567def" in text
    assert "Command" not in text and "MLflow" not in text


def test_a_page_needs_no_network(measured):
    html = page(measured)
    pictures = re.findall(r"""(?:src|url)\s*[=(]\s*["']?([^"'\s>)]+)""", html)
    kinds = [address.partition(";")[0] for address in pictures]
    assert kinds == ["data:image/jpeg"] * 4 + ["data:image/png"] * 4
    assert re.findall(r'href="([^"]+)"', html) == ["http://host/#/runs/1"]
    assert "<script" not in html


@pytest.mark.parametrize("width", [390, 1300])
def test_a_page_is_as_wide_as_the_window_and_photographs_come_first(
    browser, measured, tmp_path, width
):
    """On a telephone, too."""
    (tmp_path / "report.html").write_text(page(measured))
    context = browser.new_context(viewport={"width": width, "height": 844}, offline=True)
    seen = context.new_page()
    seen.goto((tmp_path / "report.html").as_uri())
    assert seen.evaluate("document.documentElement.scrollWidth") == width
    assert seen.evaluate("[...document.images].every(each => each.naturalWidth > 100)")
    boxes = [each.bounding_box() for each in seen.locator("img").all()]
    photographs, curves = boxes[:4], boxes[4:]
    assert all(box["x"] >= 0 and box["x"] + box["width"] <= width for box in boxes)
    assert photographs[0]["y"] < 844 and all(box["width"] >= 130 for box in photographs)
    assert all(box["width"] > (340 if width == 390 else 430) for box in curves)
    assert seen.get_by_text("im00004.jpg").is_visible()
    context.close()


def test_a_page_about_nothing_counted(measured):
    nothing = measured | shares(None) | {"hidden_auc": None, "swapped": {"pck_0.2": None}}
    nothing["interval_95"] = {"pck_0.2": {"mean": [None, None]}}
    nothing["people"] = nothing["people"] | {"reliability": []}
    html = page(nothing)
    assert "AUC of –" in html and "interval" not in html and "is off by" not in html


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
    source = Source(commit="abc", command="dvc exp run -S train.seed=3")
    sizes = {"train": 8000, "validation": 1000}
    lines = report.note(made_by, 4_120_000, sizes, results, source).splitlines()
    assert lines[2:4] == ["| validation | 60.1 | 60.1 | 40.2 |", "| test | – | – | 40.2 |"]
    assert "8,000 photographs of figures to train on, 1,000 to validate." in lines
    assert (
        "4.1 million weights. Encoder: hourglass. Hourglasses: 2, channels 8, 16; input 64 px."
        " Training: 1,200 steps of 8 photographs, without discriminators, with the occlusion task,"
        " seed 3."
    ) in lines
    assert lines[-2:] == ["    git checkout abc", "    dvc exp run -S train.seed=3"]
    assert report.short(results) == "PCK@0.2: 60.1 % on the validation part."
    for unknown in (Source(), Source(commit="abc")):
        assert "repeat" not in report.note(
            made_by, 1, {"train": 8, "validation": 1}, results, unknown
        )
