"""Each file and folder that stages hand on, named once; relative to the repository's root."""

import os
from pathlib import Path

PARAMS = Path("params.yaml")
STAGES = Path("dvc.yaml")
LOCK = Path("dvc.lock")

DATASET = Path("data/dataset")  # photographs and annotations, in LSPet's layout
CROPS = Path("data/cache")
HEATMAPS = Path("data/heatmaps.npz")
SPLIT = Path("data/split.csv")
PREDICTIONS = Path("data/predictions.csv")
PREDICTIONS_WITHOUT_BOX = Path("data/predictions_without_box.csv")

WEIGHTS = Path("models/generator.safetensors")
FINDER = Path("models/finder.safetensors")
JUDGEMENT = Path("models/judgement.json")
ONNX_FINDER = "finder.onnx"  # beside an exported generator

METRICS = Path("metrics")
LEARNING_CURVE = Path("metrics/learning_curve.csv")
PCK_CURVE = Path("metrics/pck_curve.csv")
PCKH_CURVE = Path("metrics/pckh_curve.csv")
FINDER_MEASURES = Path("metrics/finder.json")
FINDER_CURVE = Path("metrics/finder_curve.csv")


def measures(part: str) -> Path:
    """The few numbers of a part by which versions are compared."""
    return METRICS / f"{part}.json"


def details(part: str) -> Path:
    """All that was measured on a part."""
    return METRICS / f"{part}_details.json"


def copies(stage: str) -> Path:
    """Copies of what a stage leaves in Git.

    DVC restores a stage on another machine only where its remote has all of the stage's outputs,
    and pushes only those that lie in its own cache.
    """
    return Path("data/copies") / stage


def checkpoints() -> Path:
    """Where trainings that are under way are saved, absolute: POSENET_CHECKPOINTS, which machines
    may share, or a folder in the main repository, where DVC's temporary copies find it too."""
    return main_root() / (os.environ.get("POSENET_CHECKPOINTS") or "checkpoints")


def main_root(folder: Path | None = None) -> Path:
    """The main repository's root, absolute, from inside it or from one of DVC's temporary copies of
    it.

    `dvc exp run --temp` and the queue run stages in `<root>/.dvc/tmp/exps/<name>`; what must
    outlive that folder belongs to `<root>`.
    """
    here = (folder or Path(os.environ.get("DVC_ROOT", "."))).resolve()
    for parent in [here, *here.parents]:
        if parent.parts[-3:] == (".dvc", "tmp", "exps"):
            return parent.parents[2]
    for parent in [here, *here.parents]:
        if (parent / PARAMS).is_file():
            return parent
    return here
