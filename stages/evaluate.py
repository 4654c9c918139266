"""The result: the measures of the test part, their curves, and the joints found in every photograph of the part.

`python -m stages.evaluate --lsp FOLDER` measures the committed weights on LSP's test images instead, and
only prints the table.
"""

import argparse
import json
import tempfile
from pathlib import Path

import numpy as np
import pandas as pd

from pipeline import PipelineError, cache, drawing, evaluation, people, tracking, weights
from pipeline.device import default_device
from pipeline.settings import Cache, load
from stages import pictures, registry, stage

LSP_TEST = slice(1000, 2000)  # of the 2,000 photographs of LSP, the second half


@stage
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--lsp", type=Path, metavar="FOLDER", help="a folder with LSP's images/ and joints.mat"
    )
    folder = parser.parse_args().lsp
    settings = load()
    Path("metrics").mkdir(exist_ok=True)
    device = default_device()
    generator, made_by = weights.load(weights.PATH)
    geometry = Cache(**made_by["cache"])
    if folder:
        with tempfile.TemporaryDirectory() as scratch:
            cache.build(folder, Path(scratch), geometry)
            crops = cache.load(Path(scratch))
            some = np.arange(len(crops.images))[LSP_TEST]
            result = evaluation.evaluate(generator, crops, some, geometry, device)
            print(f"LSP test\n{evaluation.table(evaluation.measure(result, crops, some))}")
        return

    part = settings.evaluate.part
    crops, targets = cache.load(Path("data/cache")), cache.load_heatmaps(Path("data/heatmaps.npz"))
    if crops.images.shape[1] != cache.stored_size(geometry):
        raise PipelineError(
            f"data/cache holds crops of {crops.images.shape[1]} px, but the weights were trained on crops of"
            f" {cache.stored_size(geometry)} px (input {geometry.input_size}, margin {geometry.margin}):"
            " run `dvc repro` with the parameters of the weights"
        )
    split = pd.read_csv("data/split.csv")
    some = np.flatnonzero(split.part == part)
    result = evaluation.evaluate(generator, crops, some, geometry, device)
    measured = evaluation.measure(result, crops, some)
    images = Path("data") / settings.data.name / "images"
    whole = people.search(generator, [images / name for name in split.image[some]], geometry)
    measured["without_box"] = evaluation.measure_without_box(whole, crops, some)
    measured["swapped"] = evaluation.swapped(result.found, crops, some)
    evaluation.write(measured, Path("metrics"), part)
    curves = {name: evaluation.pck_curve(result, crops, some, name) for name in evaluation.MEASURES}
    curves["pck_0.2"].to_csv("metrics/pck_curve.csv", index=False)
    curves["pckh_0.5"].to_csv("metrics/pckh_curve.csv", index=False)
    for name, found in (("predictions", result.found), ("predictions_without_box", whole)):
        evaluation.prediction_table(found, crops, some).to_csv(f"data/{name}.csv", index=False)

    with tracking.evaluation_run(made_by, weights.PATH, Path("metrics/learning_curve.csv")) as run:
        run.log(made_by["train"]["steps"], tracking.named(part, measured))
        run.tag("data.sha256", tracking.digest("data/cache/crops.npy"))
        files = (
            "dvc.lock",
            f"metrics/{part}_details.json",
            "data/predictions.csv",
            "data/predictions_without_box.csv",
        )
        for name in files:
            if Path(name).is_file():
                run.file(name)
        run.figure(drawing.pck_curves(curves["pck_0.2"]), "pictures/pck_curve.png")
        pictures.log(run, part, result, generator, targets, crops, some, geometry)
        results, validation = {part: measured}, Path("metrics/validation.json")
        if validation.is_file():
            results = {"validation": json.loads(validation.read_text())} | results
            # Weights that were pulled have no model in this store yet.
            registry.keep(run, weights.PATH, made_by, results["validation"], crops.originals)
        registry.describe(run, generator, made_by, split, results)
        run.text(pictures.page(part, made_by, measured, curves, result, crops, some, geometry), "report.html")
        address = run.place("report.html")
    print(f"{part}: {len(some)} photographs\n{evaluation.table(measured)}")
    print(f"\nOpen the report in a browser:  {address}\nBrowse the run:                {run.hint}")


if __name__ == "__main__":
    main()
