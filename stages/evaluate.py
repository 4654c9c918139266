"""The result: metrics/test.json, its curves, and the joints found in every photograph of the part.

`python -m stages.evaluate --lsp FOLDER` measures the committed weights on LSP's test images instead, and
only prints the table.
"""

import argparse
import json
import tempfile
from pathlib import Path

import numpy as np
import pandas as pd

from pipeline import PipelineError, cache, drawing, evaluation, tracking, weights
from pipeline.device import default_device
from pipeline.settings import Cache, load
from stages import pictures, stage

WEIGHTS = Path("models/generator.safetensors")
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
    generator, made_by = weights.load(WEIGHTS)
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
    some = np.flatnonzero(pd.read_csv("data/split.csv").part == part)
    result = evaluation.evaluate(generator, crops, some, geometry, device)
    measured = evaluation.measure(result, crops, some)
    Path(f"metrics/{part}.json").write_text(json.dumps(measured, indent=2) + "\n")
    curves = {name: evaluation.pck_curve(result, crops, some, name) for name in evaluation.MEASURES}
    curves["pck_0.2"].to_csv("metrics/pck_curve.csv", index=False)
    curves["pckh_0.5"].to_csv("metrics/pckh_curve.csv", index=False)
    evaluation.prediction_table(result, crops, some).to_csv("data/predictions.csv", index=False)

    with tracking.evaluation_run(made_by, WEIGHTS, Path("metrics/learning_curve.csv")) as run:
        run.log(made_by["train"]["steps"], tracking.named(part, measured))
        run.tag("data.sha256", tracking.digest("data/cache/crops.npy"))
        for name in ("dvc.lock", f"metrics/{part}.json", "data/predictions.csv"):
            if Path(name).is_file():
                run.file(name)
        run.figure(drawing.pck_curves(curves["pck_0.2"]), "pictures/pck_curve.png")
        overlay = pictures.log(run, part, result, generator, targets, crops, some, geometry)
    print(f"{part}: {len(some)} photographs\n{evaluation.table(measured)}")
    print(f"\nLook at the joints it found:  {overlay}\nBrowse the run:               {run.hint}")


if __name__ == "__main__":
    main()
