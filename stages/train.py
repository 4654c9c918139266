"""The game: the generator's weights, the validation part's measures, and the learning curve."""

import numpy as np
import pandas as pd

from pipeline import paths
from pipeline.data import storage, targets
from pipeline.device import default_device, deterministic, device_name, keep_memory
from pipeline.drawing.curves import learning_curves
from pipeline.evaluation import protocol, results
from pipeline.files import copied, digest, written_whole
from pipeline.inputs import Inputs, fingerprint
from pipeline.networks import checkpoint, encoder
from pipeline.networks.estimator import CropEstimator
from pipeline.processes import alone
from pipeline.settings import load
from pipeline.tracking import pictures, registry
from pipeline.tracking.recording import training_run
from pipeline.tracking.run import named, observing
from pipeline.training.batches import Photographs
from pipeline.training.loop import train
from pipeline.training.state import TrainingState
from stages import stage, stopping


@stage
def main() -> None:
    keep_memory()
    settings, inputs, device = load(), Inputs.now("train"), default_device()
    split = pd.read_csv(paths.SPLIT)
    crops = storage.load(paths.CROPS, settings.cache.geometry)
    photographs = Photographs(
        crops=crops,
        targets=targets.load(paths.HEATMAPS),
        train=np.flatnonzero(split.part == "train"),
        validation=np.flatnonzero(split.part == "validation"),
        device=device,
    )
    made_by: dict[str, dict] = {
        "data": {"name": settings.data.name},
        "cache": settings.cache.model_dump(),
        "model": settings.model.model_dump(),
        "augment": settings.augment.model_dump(),
        "train": settings.train.model_dump(),
    }
    if settings.model.pretrained:
        made_by["pretrained"] = encoder.provenance(settings.model.encoder)
    belongs_to = fingerprint("train", made_by)
    saved = paths.checkpoints() / f"{belongs_to}.pt"
    lock = saved.with_suffix(".lock")

    with alone(lock, "runs this training, of the same parameters, code and data"):
        state = TrainingState(settings, device)
        if saved.exists():
            state.restore(saved, settings.train.steps)
            print(f"going on from step {state.step} of a training that was stopped ({saved})")

        tags = {
            "fingerprint": belongs_to,
            "data.sha256": digest(paths.CROPS / "crops.npy"),
            "device": device_name(device),
        } | {f"pretrained.{key}": value for key, value in made_by.get("pretrained", {}).items()}
        with training_run(settings, tags=tags, resumed=state.step > 0) as run:
            run.dataset(settings.data.name, tags["data.sha256"], str(paths.CROPS), "training")
            show = observing()(pictures.progress(run, photographs, settings))
            if state.step == 0:
                show(state)

            def report(step: int, metrics: dict[str, float]) -> None:
                write_curve(state.history)
                run.log(step, metrics)

            with deterministic(settings.train.deterministic), stopping() as stopped:
                train(state, photographs, settings, saved, report, show, stopped)
            checkpoint.save(paths.WEIGHTS, state.averaged_generator, made_by)
            curve = write_curve(state.history)

            estimator = CropEstimator.load(paths.WEIGHTS)
            evaluation = protocol.evaluate(estimator, crops, photographs.validation)
            measured = protocol.measure(evaluation)
            results.write(measured, "validation")
            copied(paths.copies("train"), paths.LEARNING_CURVE, paths.measures("validation"))

            run.log(state.step, named("validation", measured))
            run.tag("model.sha256", digest(paths.WEIGHTS))
            with observing():
                run.figure(learning_curves(curve), "pictures/learning_curves.png")
                pictures.log(run, "validation", evaluation, estimator, crops, photographs.targets)
                registry.describe(run, estimator, split, {"validation": measured})
            inputs.check()
        saved.unlink(missing_ok=True)
    print(f"validation\n{results.table(measured)}")


def write_curve(history: list[dict[str, float]]) -> pd.DataFrame:
    """The learning curve as a table, a row a point, which is also written."""
    curve = pd.DataFrame(history)
    with written_whole(paths.LEARNING_CURVE) as beside:
        curve.to_csv(beside, index=False, float_format="%.6g")
    return curve


if __name__ == "__main__":
    main()
