"""The finder of people: its weights, the validation part's measures, and its learning curve."""

import json
from pathlib import Path

import numpy as np
import pandas as pd

from pipeline import paths
from pipeline.device import default_device, device_name, keep_memory
from pipeline.files import copied, digest, written_whole
from pipeline.finder_training.loop import train
from pipeline.finding.estimator import PeopleFinder
from pipeline.inputs import fingerprint
from pipeline.mosaics import protocol
from pipeline.mosaics.album import Album
from pipeline.networks import checkpoint
from pipeline.networks.beginning import beginnings
from pipeline.settings import flat, load
from pipeline.tracking import store
from pipeline.tracking.recording import training_run
from pipeline.tracking.run import named
from stages import stage


@stage
def main() -> None:
    keep_memory()
    settings, device = load(), default_device()
    split, dataset = pd.read_csv(paths.SPLIT), paths.DATASET
    begun = beginnings(settings.finder, settings.finder.start)
    made_by = {
        "data": {"name": settings.data.name},
        "finder": settings.finder.model_dump(exclude={"start"}),  # where it lies determines nothing
    } | begun
    start = Path(settings.finder.start) if "start" in begun else None
    album = Album.read(dataset, np.flatnonzero(split.part == "train"))
    seen = Album.read(dataset, np.flatnonzero(split.part == "validation"))
    belongs_to = {"fingerprint": fingerprint("finder", made_by), "device": device_name(device)}
    tags = belongs_to | dict(flat(begun))
    with training_run(settings, tags=tags, resumed=False, network=store.FINDER) as run:
        history: list[dict[str, float]] = []

        def report(step: int, metrics: dict[str, float]) -> None:
            history.append({"step": step} | metrics)
            run.log(step, metrics)

        finder = train(album, settings.finder, device, report, start)
        checkpoint.save(paths.FINDER, finder, made_by)
        with written_whole(paths.FINDER_CURVE) as beside:
            pd.DataFrame(history).to_csv(beside, index=False, float_format="%.6g")
        measured = protocol.measure(PeopleFinder.load(paths.FINDER), seen)
        mosaics, whole = measured["mosaics"], measured["photographs"]
        kept = ("recall_at_precision_0.9", "average_precision")
        headline = {name: round(mosaics[name], 6) for name in kept} | {
            "best_in_photographs": round(whole["best"], 6)
        }
        with written_whole(paths.FINDER_MEASURES) as beside:
            beside.write_text(json.dumps(headline, indent=2) + "\n")
        copied(paths.copies("finder"), paths.FINDER_CURVE, paths.FINDER_MEASURES)
        run.log(settings.finder.steps, named("validation", measured))
        run.tag("finder.sha256", digest(paths.FINDER))
        run.file(paths.FINDER)
    print(
        f"validation: of {mosaics['people']:,} people in {mosaics['scenes']} mosaics"
        f" {100 * mosaics['recall_at_precision_0.9']:.1f} % are found at a precision of 90 %"
        f" (average precision {100 * mosaics['average_precision']:.1f} %); in"
        f" {100 * whole['best']:.1f} % of the whole photographs the best box is the person's"
    )


if __name__ == "__main__":
    main()
