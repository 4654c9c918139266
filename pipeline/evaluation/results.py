"""Results as files and tables: what people read of a measured part."""

import json
from collections.abc import Mapping

import numpy as np
import pandas as pd

from pipeline import paths
from pipeline.data.crops import Predictions
from pipeline.evaluation.metrics import MEASURES
from pipeline.evaluation.protocol import Evaluation
from pipeline.files import written_whole
from pipeline.skeleton import GROUPS, JOINTS

RECALL = "recall_at_precision_0.9"  # of the people in mosaics


def prediction_table(predictions: Predictions, evaluation: Evaluation) -> pd.DataFrame:
    """One row a photograph and joint: where it was found and is annotated, px of the photograph."""
    n, joints = len(evaluation.indices), len(JOINTS)
    points, truth = predictions.points.reshape(-1, 2), evaluation.truth.reshape(-1, 2)
    table = {
        "image": np.repeat([f"im{index + 1:05d}.jpg" for index in evaluation.indices], joints),
        "joint": np.tile(JOINTS, n),
        "x": points[:, 0],
        "y": points[:, 1],
        "score": predictions.scores.ravel(),
        "hidden": predictions.hidden.ravel(),
        "annotated_x": truth[:, 0],
        "annotated_y": truth[:, 1],
    }
    return pd.DataFrame(table).round(3)


def headline(measured: Mapping) -> dict:
    """The few numbers that versions are compared by: the means over the joint groups."""
    means = {name: {"mean": measured[name]["mean"]} for name in MEASURES}
    for kind in ("covered", "without_box"):
        if kind in measured:
            means[kind] = {"pck_0.2": {"mean": measured[kind]["pck_0.2"]["mean"]}}
    if "people" in measured:
        means["people"] = {RECALL: measured["people"]["mosaics"][RECALL]}
    return means


def write(measured: Mapping, part: str) -> None:
    """Write the headline, for `dvc exp show` and `dvc metrics diff`, and the details: all."""
    for path, values in (
        (paths.measures(part), headline(measured)),
        (paths.details(part), measured),
    ):
        with written_whole(path) as beside:
            beside.write_text(json.dumps(values, indent=2) + "\n")


def table(measured: Mapping) -> str:
    """The measures as a table to print, in percent, as papers give them."""
    groups = [*GROUPS, "mean"]
    lines = ["".join(["".ljust(28), *(f"{name:>10}" for name in groups)])]
    parts = {"without_box": ", without a box", "covered": ", covered", "uncovered": ", uncovered"}
    rows = [("", measured)] + [
        (said, measured[name]) for name, said in parts.items() if name in measured
    ]
    for suffix, values in rows:
        for key, label in (("pck_0.2", "PCK@0.2"), ("pckh_0.5", "PCKh@0.5")):
            cells = [_percent(values[key][name]) for name in groups]
            lines.append("".join([(label + suffix).ljust(28), *(f"{cell:>10}" for cell in cells)]))
    low, high = measured["interval_95"]["pck_0.2"]["mean"]
    if low is not None:
        lines.append(
            f"95 % interval of the mean PCK@0.2 over photographs: {100 * low:.1f} to"
            f" {100 * high:.1f}"
        )
    if "structure" in measured:
        lines.append(in_words(measured["structure"]))
    return "\n".join(lines)


def in_words(structure: Mapping) -> str:
    """What was measured of whole poses, as of `pipeline.bodies.structure`, in a sentence."""
    return (
        f"all joints right in {_percent(structure['whole'])} % of the photographs; of the"
        f" left/right pairs {_percent(structure['doubled'])} % both on one side,"
        f" {_percent(structure['exchanged']['pair'])} % exchanged;"
        f" {_percent(structure['too_long']['found'])} % of the bones too long"
    )


def _percent(share: float | None) -> str:
    return "—" if share is None else f"{100 * share:.1f}"
