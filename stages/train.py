"""The game: the generator's weights, the validation part's measures, and the learning curve."""

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from pipeline import paths
from pipeline.data import storage, targets
from pipeline.device import default_device, deterministic, device_name, keep_memory
from pipeline.distributed import torchrun
from pipeline.distributed.ranks import Ranks, joined, started_by_torchrun
from pipeline.drawing.curves import learning_curves
from pipeline.evaluation import protocol, results
from pipeline.files import copied, digest, written_whole
from pipeline.inputs import Inputs, fingerprint
from pipeline.networks import checkpoint
from pipeline.networks.beginning import beginnings
from pipeline.networks.estimator import CropEstimator
from pipeline.processes import alone
from pipeline.settings import Settings, flat, load
from pipeline.tracking import pictures, registry
from pipeline.tracking.recording import training_run
from pipeline.tracking.run import Run, named, observing
from pipeline.training.batches import Photographs
from pipeline.training.loop import Show, train
from pipeline.training.state import TrainingState
from pipeline.training.unlabelled import parted
from stages import stage, stopping

PATIENCE = 60.0  # s for another machine's process of this training, which saves and ends


@stage
def main() -> None:
    """In this process or, where POSENET_TORCHRUN asks for that, in several."""
    torchrun.spread(training, "stages.train")


def training() -> None:
    """Of several processes each trains; the first of each machine writes the results into its
    folder, and the first of all keeps the saved state and the MLflow run."""
    keep_memory()
    with joined() as ranks:
        settings, inputs, device = load(), Inputs.now("train"), default_device()
        split = pd.read_csv(paths.SPLIT)
        photographs = read(split, settings, device)
        begun = beginnings(settings.model, settings.train.start)
        made_by = {
            "data": {"name": settings.data.name},
            "cache": settings.cache.model_dump(),
            "model": settings.model.model_dump(),
            "augment": settings.augment.model_dump(),
            # Where the weights to begin with lie determines nothing.
            "train": settings.train.model_dump(exclude={"start"}),
        } | begun
        # For it all data is read, which may be much: once a machine, whose processes share it.
        own = fingerprint("train", made_by) if ranks.first_here else None
        belongs_to = ranks.same("their parameters, code or data", own)
        saved = paths.checkpoints() / f"{belongs_to}.pt"

        with only(ranks, saved.with_suffix(".lock")):
            state = TrainingState(settings, device)
            if "start" in begun:
                state.begin(Path(settings.train.start), settings)
            if saved.exists():
                state.restore(saved, settings.train.steps)
                print(f"going on from step {state.step} of a training that was stopped ({saved})")
            ranks.same("what is saved: let POSENET_CHECKPOINTS name one shared folder", state.step)

            sha256 = digest(paths.CROPS / storage.SUMS)
            tags = {
                "fingerprint": belongs_to,
                "data.sha256": sha256,
                "device": device_name(device),
                "processes": str(ranks.size),
            } | dict(flat(begun))
            resumed = state.step > 0
            tracked = training_run(settings, tags=tags, resumed=resumed) if ranks.first else None
            with tracked or nullcontext() as run:
                show: Show = unseen
                if run:
                    run.dataset(settings.data.name, sha256, str(paths.CROPS), "training")
                    show = observing()(pictures.progress(run, photographs, settings))
                    if not resumed:
                        show(state)

                def report(step: int, metrics: dict[str, float]) -> None:
                    if ranks.first_here:
                        write_curve(state.history)
                    if run:
                        run.log(step, metrics)

                with deterministic(settings.train.deterministic), stopping() as stopped:
                    train(state, photographs, settings, saved, report, show, stopped, ranks=ranks)
                if ranks.first_here:
                    measured = write_results(state, photographs, split, made_by, run)
                inputs.check()
                ranks.wait()  # until all machines have their results, the saved state is needed
            if ranks.first:
                saved.unlink(missing_ok=True)
                print(f"validation\n{results.table(measured)}")


def read(split: pd.DataFrame, settings: Settings, device: torch.device) -> Photographs:
    """What is trained on, and validated."""
    labelled, unlabelled = parted(np.flatnonzero(split.part == "train"), settings.train)
    return Photographs(
        crops=storage.load(paths.CROPS, settings.cache.geometry),
        targets=targets.load(paths.HEATMAPS),
        train=labelled,
        validation=np.flatnonzero(split.part == "validation"),
        device=device,
        unlabelled=unlabelled,
    )


def write_results(
    state: TrainingState,
    photographs: Photographs,
    split: pd.DataFrame,
    made_by: dict[str, dict],
    run: Run | None,
) -> dict:
    """The weights, the learning curve, and the validation part's measures, which are given back."""
    checkpoint.save(paths.WEIGHTS, state.averaged_generator, made_by)
    curve, crops = write_curve(state.history), photographs.crops
    estimator = CropEstimator.load(paths.WEIGHTS)
    evaluation = protocol.evaluate(estimator, crops, photographs.validation)
    measured = protocol.measure(evaluation)
    results.write(measured, "validation")
    copied(paths.copies("train"), paths.LEARNING_CURVE, paths.measures("validation"))
    if run:
        run.log(state.step, named("validation", measured))
        run.tag("model.sha256", digest(paths.WEIGHTS))
        with observing():
            run.figure(learning_curves(curve), "pictures/learning_curves.png")
            pictures.log(run, "validation", evaluation, estimator, crops, photographs.targets)
            registry.describe(run, estimator, split, {"validation": measured})
    return measured


@contextmanager
def only(ranks: Ranks, lock: Path) -> Iterator[None]:
    """Be the only processes that run this training."""
    task = "runs this training, of the same parameters, code and data"
    patience = PATIENCE if ranks.size > 1 else 0.0
    with alone(lock, task, patience) if ranks.first else nullcontext():
        ranks.wait()
        yield


def unseen(_: TrainingState) -> None:
    """Where another process shows it."""


def write_curve(history: list[dict[str, float]]) -> pd.DataFrame:
    """The learning curve as a table, a row a point, which is also written."""
    curve = pd.DataFrame(history)
    with written_whole(paths.LEARNING_CURVE) as beside:
        curve.to_csv(beside, index=False, float_format="%.6g")
    return curve


if __name__ == "__main__":
    torchrun.work(training) if started_by_torchrun() else main()
