"""The result: measures of the test part, their curves, the joints found in all its photographs."""

import json
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from pipeline import paths
from pipeline.bodies import structure
from pipeline.data import storage, targets
from pipeline.data.crops import Crops, Predictions
from pipeline.device import keep_memory
from pipeline.distributed import torchrun
from pipeline.distributed.ranks import Ranks, joined, started_by_torchrun
from pipeline.drawing.curves import pck_curves
from pipeline.evaluation import protocol, results
from pipeline.evaluation.metrics import MEASURES
from pipeline.evaluation.protocol import Evaluation
from pipeline.files import copied, digest, written_whole
from pipeline.finding.estimator import PeopleFinder
from pipeline.judging import protocol as people
from pipeline.judging.observation import Observed
from pipeline.mosaics.album import Album
from pipeline.mosaics.protocol import found_in
from pipeline.networks.estimator import CropEstimator
from pipeline.photographs.estimator import Candidates, PoseEstimator
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
        network = CropEstimator.load(paths.WEIGHTS)
        crops, split = storage.load(paths.CROPS, network.geometry), pd.read_csv(paths.SPLIT)
        estimator = PoseEstimator(
            network, Judgement.load(paths.JUDGEMENT), PeopleFinder.load(paths.FINDER)
        )
        indices = np.flatnonzero(split.part == part)
        evaluation = protocol.evaluate(network, crops, indices, ranks.each)
        looked = look(estimator, evaluation, ranks)
        if not ranks.first_here:
            return
        trained_on = np.flatnonzero(split.part == "train")
        limits = structure.longest(crops.originals[trained_on], crops.annotated[trained_on])
        result = Result.of(estimator, looked, limits)
        result.write(part)
        if not ranks.first:
            return
        print(f"{part}: {len(indices)} photographs\n{results.table(result.measured)}")
        with observing():
            keep(result, part, network, crops, split)


@dataclass(frozen=True)
class Looked:
    """What is found in a part's photographs."""

    evaluation: Evaluation  # in the boxes of their people
    album: Album
    whole: list[Candidates]  # in the photographs as they are
    in_mosaics: Observed


def look(estimator: PoseEstimator, evaluation: Evaluation, ranks: Ranks) -> Looked:
    """Look at the whole photographs of an evaluation, each process at its part of them."""
    album = Album.read(paths.DATASET, evaluation.indices)
    whole = found_in(estimator.candidates, album.images, ranks.each)
    return Looked(evaluation, album, whole, people.in_mosaics(estimator, album, ranks.each))


@dataclass(frozen=True)
class Result:
    """What a part is worth."""

    evaluation: Evaluation
    without_box: Predictions
    measured: dict[str, Any]  # as metrics/test_details.json has it
    curves: dict[str, pd.DataFrame]  # of PCK and PCKh over the threshold

    @classmethod
    def of(cls, estimator: PoseEstimator, looked: Looked, limits: np.ndarray) -> "Result":
        """All measures of what was found; limits: of bones' lengths."""
        evaluation = looked.evaluation
        without_box = estimator.best(looked.album.images, looked.whole)
        said = estimator.judgement.right(evaluation.predictions.scores)
        of_people = people.measure(estimator, looked.in_mosaics, looked.whole, looked.album)
        measured = protocol.measure(evaluation) | {
            "without_box": protocol.measure_without_box(without_box, evaluation),
            "swapped": protocol.swapped(evaluation),
            "structure": protocol.plain(structure.measure(evaluation, limits, said)),
            "people": protocol.plain(of_people),
        }
        curves = {name: protocol.pck_curve(evaluation, name) for name in MEASURES}
        return cls(evaluation, without_box, measured, curves)

    def write(self, part: str) -> None:
        """The stage's outputs."""
        results.write(self.measured, part)
        found = self.evaluation.predictions
        for path, table in (
            (paths.PCK_CURVE, self.curves["pck_0.2"]),
            (paths.PCKH_CURVE, self.curves["pckh_0.5"]),
            (paths.PREDICTIONS, results.prediction_table(found, self.evaluation)),
            (
                paths.PREDICTIONS_WITHOUT_BOX,
                results.prediction_table(self.without_box, self.evaluation),
            ),
        ):
            with written_whole(path) as beside:
                table.to_csv(beside, index=False)
        copied(paths.copies("evaluate"), paths.measures(part), paths.PCK_CURVE, paths.PCKH_CURVE)


def keep(
    result: Result, part: str, network: CropEstimator, crops: Crops, split: pd.DataFrame
) -> None:
    """Add the result to the run that trained the weights, and say where it is to be seen."""
    made_by = network.settings
    with evaluation_run(made_by, paths.WEIGHTS, paths.LEARNING_CURVE) as run:
        run.measured(made_by["train"]["steps"], named(part, result.measured))
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
        run.figure(pck_curves(result.curves["pck_0.2"]), "pictures/pck_curve.png")
        evaluation, heatmaps = result.evaluation, targets.load(paths.HEATMAPS)
        pictures.log(run, part, evaluation, network, crops, heatmaps)
        known: dict[str, dict] = {part: result.measured}
        if paths.measures("validation").is_file():
            validation = json.loads(paths.measures("validation").read_text())
            known = {"validation": validation} | known
            # Weights that were pulled have no model in this store yet.
            registry.keep(run, paths.WEIGHTS, made_by, validation, crops.originals)
        registry.describe(run, network, split, known)
        page = pictures.page(run, part, made_by, result.measured, result.curves, evaluation, crops)
        run.text(page, "report.html")
    print(f"\nOpen the report in a browser:  {run.place('report.html')}")
    print(f"Browse the run:                {run.hint}")


if __name__ == "__main__":
    torchrun.work(measuring) if started_by_torchrun() else main()
