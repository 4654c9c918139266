"""The result: measures of the test part, their curves, the joints found in all its photographs."""

import json

import numpy as np
import pandas as pd

from pipeline import paths
from pipeline.bodies import structure
from pipeline.data import storage, targets
from pipeline.device import keep_memory
from pipeline.distributed import torchrun
from pipeline.distributed.ranks import joined, started_by_torchrun
from pipeline.drawing.curves import pck_curves
from pipeline.evaluation import protocol, results
from pipeline.evaluation.metrics import MEASURES
from pipeline.files import copied, digest, written_whole
from pipeline.finding.estimator import PeopleFinder
from pipeline.judging import protocol as people
from pipeline.mosaics.album import Album
from pipeline.mosaics.protocol import found_in
from pipeline.networks.estimator import CropEstimator
from pipeline.photographs.estimator import PoseEstimator
from pipeline.photographs.judgement import Judgement
from pipeline.settings import load
from pipeline.tracking import pictures, registry
from pipeline.tracking.recording import evaluation_run
from pipeline.tracking.run import named, observing
from stages import stage


@stage
def main() -> None:
    """In this process or, where POSENET_TORCHRUN asks for that, in several."""
    torchrun.spread(measuring, "stages.evaluate")


def measuring() -> None:
    """Of several processes each looks at its part of the photographs; the first of each machine
    writes the results into its folder, and the first of all keeps them in MLflow."""
    keep_memory()
    with joined() as ranks:
        settings = load()
        part = settings.evaluate.part
        ranks.same("their weights, or the part", (digest(paths.WEIGHTS), part))
        estimator = CropEstimator.load(paths.WEIGHTS)
        crops = storage.load(paths.CROPS, estimator.geometry)
        split = pd.read_csv(paths.SPLIT)
        indices = np.flatnonzero(split.part == part)
        evaluation = protocol.evaluate(estimator, crops, indices, ranks.each)
        album = Album.read(paths.DATASET, evaluation.indices)
        whole = PoseEstimator(
            estimator, Judgement.load(paths.JUDGEMENT), PeopleFinder.load(paths.FINDER)
        )
        found = found_in(whole.candidates, album.images, ranks.each)
        in_mosaics = people.in_mosaics(whole, album, ranks.each)
        if not ranks.first_here:
            return
        measured = protocol.measure(evaluation)
        without_box = whole.best(album.images, found)
        measured["without_box"] = protocol.measure_without_box(without_box, evaluation)
        measured["swapped"] = protocol.swapped(evaluation)
        trained_on = np.flatnonzero(split.part == "train")
        limits = structure.longest(crops.originals[trained_on], crops.annotated[trained_on])
        said = whole.judgement.right(evaluation.predictions.scores)
        measured["structure"] = protocol.plain(structure.measure(evaluation, limits, said))
        measured["people"] = protocol.plain(people.measure(whole, in_mosaics, found, album))
        results.write(measured, part)
        curves = {name: protocol.pck_curve(evaluation, name) for name in MEASURES}
        for path, table in (
            (paths.PCK_CURVE, curves["pck_0.2"]),
            (paths.PCKH_CURVE, curves["pckh_0.5"]),
            (paths.PREDICTIONS, results.prediction_table(evaluation.predictions, evaluation)),
            (paths.PREDICTIONS_WITHOUT_BOX, results.prediction_table(without_box, evaluation)),
        ):
            with written_whole(path) as beside:
                table.to_csv(beside, index=False)
        copied(paths.copies("evaluate"), paths.measures(part), paths.PCK_CURVE, paths.PCKH_CURVE)
        if not ranks.first:
            return
        print(f"{part}: {len(evaluation.indices)} photographs\n{results.table(measured)}")

        made_by = estimator.settings
        with observing():
            with evaluation_run(made_by, paths.WEIGHTS, paths.LEARNING_CURVE) as run:
                run.measured(made_by["train"]["steps"], named(part, measured))
                run.tag("data.sha256", digest(paths.CROPS / storage.SUMS))
                for file in (
                    paths.LOCK,
                    paths.details(part),
                    paths.PREDICTIONS,
                    paths.PREDICTIONS_WITHOUT_BOX,
                    paths.FINDER,
                    paths.JUDGEMENT,
                ):
                    if file.is_file():
                        run.file(file)
                run.figure(pck_curves(curves["pck_0.2"]), "pictures/pck_curve.png")
                pictures.log(run, part, evaluation, estimator, crops, targets.load(paths.HEATMAPS))
                known: dict[str, dict] = {part: measured}
                if paths.measures("validation").is_file():
                    validation = json.loads(paths.measures("validation").read_text())
                    known = {"validation": validation} | known
                    # Weights that were pulled have no model in this store yet.
                    registry.keep(run, paths.WEIGHTS, made_by, validation, crops.originals)
                registry.describe(run, estimator, split, known)
                page = pictures.page(run, part, made_by, measured, curves, evaluation, crops)
                run.text(page, "report.html")
            print(f"\nOpen the report in a browser:  {run.place('report.html')}")
            print(f"Browse the run:                {run.hint}")


if __name__ == "__main__":
    torchrun.work(measuring) if started_by_torchrun() else main()
