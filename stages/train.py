"""The game: the generator's weights, the measures of the validation part, and the learning curve."""

from pathlib import Path

import numpy as np
import pandas as pd

from pipeline import cache, drawing, evaluation, tracking, training, weights
from pipeline.device import default_device, deterministic, device_name
from pipeline.settings import load, main_root
from stages import pictures, registry, stage


@stage
def main() -> None:
    settings = load()
    Path("metrics").mkdir(exist_ok=True)
    device = default_device()
    split = pd.read_csv("data/split.csv")
    parts = split.part
    photographs = training.Photographs(
        crops=cache.load(Path("data/cache")),
        targets=cache.load_heatmaps(Path("data/heatmaps.npz")),
        train=np.flatnonzero(parts == "train"),
        validation=np.flatnonzero(parts == "validation"),
        device=device,
    )
    made_by = {
        "data": {"name": settings.data.name},
        "cache": settings.cache.model_dump(),
        "model": settings.model.model_dump(),
        "augment": settings.augment.model_dump(),
        "train": settings.train.model_dump(),
    }
    data = [
        Path("data/cache/crops.npy"),
        Path("data/cache/people.npz"),
        Path("data/heatmaps.npz"),
        Path("data/split.csv"),
    ]
    fingerprint = training.fingerprint(made_by, data)
    # In the main repository: a training in one of DVC's temporary folders goes on too.
    checkpoint = main_root() / "checkpoints" / f"{fingerprint}.pt"

    state = training.TrainingState(settings, device)
    if checkpoint.exists():
        state.restore(checkpoint)
        print(f"going on from step {state.step} of a training that was stopped ({checkpoint})")

    tags = {
        "fingerprint": fingerprint,
        "data.sha256": tracking.digest(data[0]),
        "device": device_name(device),
    }
    with tracking.training_run(settings, tags=tags, resumed=state.step > 0) as run:
        run.dataset(settings.data.name, tags["data.sha256"], "data/cache", "training")
        show = pictures.progress(run, photographs, settings)
        if state.step == 0:
            show(state)
        with deterministic(settings.train.deterministic):
            training.train(state, photographs, settings, checkpoint, run.log, show)
        weights.save(weights.PATH, state.averaged.module, made_by)
        curve = pd.DataFrame(state.history)
        curve.to_csv("metrics/learning_curve.csv", index=False, float_format="%.6g")

        generator, _ = weights.load(weights.PATH)
        crops, some = photographs.crops, photographs.validation
        result = evaluation.evaluate(generator, crops, some, settings.cache, device)
        measured = evaluation.measure(result, crops, some)
        evaluation.write(measured, Path("metrics"), "validation")

        run.log(state.step, tracking.named("validation", measured))
        run.tag("model.sha256", tracking.digest(weights.PATH))
        run.figure(drawing.learning_curves(curve), "pictures/learning_curves.png")
        pictures.log(run, "validation", result, generator, photographs.targets, crops, some, settings.cache)
        registry.describe(run, generator, made_by, split, {"validation": measured})
        registry.keep(run, weights.PATH, made_by, measured, crops.originals)
    checkpoint.unlink(missing_ok=True)
    print(f"validation\n{evaluation.table(measured)}")


if __name__ == "__main__":
    main()
