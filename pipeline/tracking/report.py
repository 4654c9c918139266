"""One HTML page about a trained generator, everything inside it: it opens without a network."""

import base64
from collections.abc import Mapping
from io import BytesIO
from pathlib import Path
from typing import NamedTuple

import jinja2
import numpy as np
from matplotlib.figure import Figure

from pipeline.drawing.palette import SIDE_COLOURS
from pipeline.skeleton import GROUPS
from pipeline.tracking.provenance import Source

TEMPLATE = Path(__file__).with_name("report.html.jinja")
COLUMNS = ("mean", *GROUPS)  # the mean first: it is then seen on a telephone too
NOT_STATED = ("",) * len(GROUPS)
OTHERS = (  # %, as their authors state them, none on these photographs
    ("two annotators of one LSPet photograph, PCK@0.2", ("73", *NOT_STATED)),
    (
        "Adversarial PoseNet, LSP test, trained on LSP + LSPet + MPII, PCK@0.2",
        ("93.1", "98.5", "94.0", "89.8", "87.5", "93.9", "94.1", "93.0"),
    ),
    ("YUNSUCHO's, LSP test, trained on LSP + LSPet, PCK@0.2", ("85.3", *NOT_STATED)),
    ("rohitrango's, MPII, PCK@0.5", ("60.7", *NOT_STATED)),
)
FEWEST = 10  # annotated joints with a row of their own; photographs with fewer share one


class Picture(NamedTuple):
    """A figure as the page holds it."""

    address: str  # data:image/...
    caption: str


class Photograph(NamedTuple):
    """A photograph with what was found in it; its caption is its file's name."""

    picture: Picture
    share: float  # of its joints that are right, NaN where none counts


class Head(NamedTuple):
    """What stands on top of the page, and with whom the result is compared."""

    title: str
    about: str
    source: Source = Source()  # of the weights
    measured_at: str = ""  # the commit that measured them
    others: tuple[tuple[str, tuple[str, ...]], ...] = ()  # rows as of OTHERS


def picture(figure: Figure, caption: str, kind: str = "png") -> Picture:
    """A figure as bytes inside an address; kind: png for lines, jpeg for photographs."""
    file = BytesIO()
    figure.savefig(file, format=kind)
    data = base64.b64encode(file.getvalue()).decode()
    return Picture(f"data:image/{kind};base64,{data}", caption)


def training(settings: Mapping) -> str:
    """What was trained and how, in three sentences, from the settings' groups in the weights."""
    train, model = settings["train"], settings["model"]
    encoder = model.get("encoder", "hourglass")  # which weights of version 0.1 do not name
    learnt = ", with ImageNet weights" if model.get("pretrained") else ""
    return (
        f"Encoder: {encoder}{learnt}."
        f" Hourglasses: {model['stacks']}, channels {', '.join(map(str, model['features']))};"
        f" input {settings['cache']['input_size']} px. Training: {train['steps']:,} steps of"
        f" {train['batch']} photographs,"
        f" {'with' if train['adversarial'] else 'without'} discriminators,"
        f" {'with' if model['occlusion'] else 'without'} the occlusion task, seed {train['seed']}."
    )


def note(settings: Mapping, weights: int, sizes: Mapping, results: Mapping, source: Source) -> str:
    """A run's description in Markdown.

    settings: the groups that made the weights; weights: their number; sizes: photographs by part;
    results: measures by part; source: of the run.
    """
    lines = [  # the result first: MLflow folds what is long
        "| part | PCK@0.2 | PCKh@0.5 | PCK@0.2 of covered joints |",
        "|---|---|---|---|",
    ]
    for part, measured in results.items():
        values = measured["pck_0.2"], measured["pckh_0.5"], measured["covered"]["pck_0.2"]
        cells = ["–" if each["mean"] is None else f"{100 * each['mean']:.1f}" for each in values]
        lines.append(f"| {' | '.join([part, *cells])} |")
    lines += [
        "",
        (
            f"{sizes['train']:,} photographs of {settings['data']['name']} to train on,"
            f" {sizes['validation']:,} to validate."
        ),
        f"{weights / 1e6:.1f} million weights. {training(settings)}",
    ]
    if source.commit and source.command:  # a run of an older version has no command
        lines += [
            "",
            "To repeat it:",
            "",
            f"    git checkout {source.commit}",
            f"    {source.command}",
        ]
    return "\n".join(lines)


def short(results: Mapping) -> str:
    """The results by part in a sentence."""
    said = [
        f"{100 * measured['pck_0.2']['mean']:.1f} % on the {part} part"
        for part, measured in results.items()
        if measured["pck_0.2"]["mean"] is not None
    ]
    return f"PCK@0.2: {', '.join(said) or 'nothing counted'}."


def by_annotated(distance: np.ndarray, annotated: np.ndarray, threshold: float) -> list[dict]:
    """A row a number of annotated joints: share of the counted distances (N, 14) below the
    threshold, in photographs with so many; None where none of them counts."""
    rows, count = [], annotated.sum(axis=1)
    for number in range(annotated.shape[1], FEWEST - 2, -1):
        last = number < FEWEST
        which = count <= number if last else count == number
        counted = distance[which][~np.isnan(distance[which])]
        share = float((counted < threshold).mean()) if len(counted) else None
        name = f"{number} or fewer" if last else str(number)
        rows.append({"annotated": name, "photographs": int(which.sum()), "share": share})
    return rows


def page(
    head: Head,
    measured: Mapping,
    by_count: list[dict],
    galleries: Mapping[str, list[Photograph]],
    scores: list[Picture],
    found: list[Picture],
    course: list[Picture],
) -> str:
    """The page, from what the evaluate stage measured (metrics/test_details.json) and drew.

    galleries: photographs by what they have in common; scores: how often they are right; found:
    curves of PCK; course: panels of the training.
    """
    rows = [
        ("here, PCK@0.2", measured["pck_0.2"]),
        ("here, PCKh@0.5", measured["pckh_0.5"]),
        ("without a box, PCK@0.2", measured["without_box"]["pck_0.2"]),
        ("covered joints, PCK@0.2", measured["covered"]["pck_0.2"]),
        ("uncovered joints, PCK@0.2", measured["uncovered"]["pck_0.2"]),
    ]
    template = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined).from_string(
        TEMPLATE.read_text()
    )
    return template.render(
        head=head,
        sides=SIDE_COLOURS,
        measured=measured,
        interval=measured["interval_95"]["pck_0.2"]["mean"],
        swapped=measured["swapped"],
        structure=measured["structure"],
        groups=COLUMNS,
        rows=rows,
        by_annotated=by_count,
        galleries=galleries,
        scores=scores,
        off=_off(measured["people"]["reliability"]),
        found=found,
        course=course,
    )


def _off(tenths: list[Mapping]) -> float | None:
    """By how much a person's score is off the share who are there, in the mean over people."""
    people = sum(each["candidates"] for each in tenths)
    if not people:
        return None
    return sum(each["candidates"] * abs(each["score"] - each["right"]) for each in tenths) / people
