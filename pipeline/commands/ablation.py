"""The paper's ablation, from finished experiments: rows of metrics/ablation.csv, and a picture.

    dvc exp run --queue --name ablation $(sed 's/#.*//' hourglass.args ablation.args)
    dvc queue start
    python -m pipeline ablation ablation

Each experiment's weights are measured again on the validation and the test part, joint by joint, so
that variants are compared on the same photographs and under the same occluders.
"""

import argparse
import tempfile
from collections.abc import Mapping
from pathlib import Path

import dvc.api
import numpy as np
import pandas as pd
from dvc.repo import Repo
from tqdm import tqdm

from pipeline import paths
from pipeline.commands.comparison import compare
from pipeline.data import storage
from pipeline.data.crops import Crops
from pipeline.drawing import curves
from pipeline.errors import PipelineError
from pipeline.evaluation.metrics import MEASURES
from pipeline.evaluation.protocol import evaluate
from pipeline.networks.estimator import CropEstimator

VARIANTS = {  # (model.occlusion, train.adversarial)
    (False, False): "single task",
    (True, False): "+ occlusion task",
    (False, True): "+ discriminators",
    (True, True): "both",
}
POOLED = "discriminators, pooled"
PARTS = ("validation", "test")
JOINTS = ("all", "covered", "uncovered")
Distances = Mapping[tuple[str, str, str], np.ndarray]  # (part, joints, measure) -> (N, 14)


def experiments(prefix: str) -> dict[str, str]:
    """Finished experiments of any commit whose names begin with the prefix: name to revision."""
    with Repo() as repo:
        finished = repo.experiments.ls(all_commits=True).values()
    named = sorted(each for some in finished for each in some if each[0].startswith(prefix))
    if not named:
        raise PipelineError(
            f"no finished experiment's name begins with {prefix!r}: `dvc exp list --all-commits`"
            " names them"
        )
    found = dict(named)
    if len(found) < len(named):
        raise PipelineError(
            f"experiments of several commits are called the same among {', '.join(found)}: remove"
            " those"
            " that do not count by `dvc exp remove --rev COMMIT NAME`"
        )
    return found


def fetch(name: str, revision: str, path: Path, folder: Path) -> Path:
    """A file or folder of an experiment, as a copy in a folder: from DVC's cache or remote."""
    copy = folder / name / path
    copy.parent.mkdir(parents=True, exist_ok=True)
    try:
        dvc.api.DVCFileSystem(rev=revision).get(str(path), str(copy), recursive=True)
    except Exception as error:  # of DVC's many
        raise PipelineError(f"{name}: its {path} cannot be read: {error}") from error
    return copy


def measure(estimator: CropEstimator, crops: Crops, parts: pd.Series) -> Distances:
    """Normalised distances of an estimator's joints on both parts, without and with occluders."""
    return {
        (part, *key): each
        for part in PARTS
        for key, each in evaluate(estimator, crops, np.flatnonzero(parts == part)).distances.items()
    }


def summarise(measured: Mapping[str, list[Distances]]) -> pd.DataFrame:
    """The rows of `compare` for each part, kind of joints and measure, and a row POOLED: the
    variants with discriminators beside those without, all seeds together; no sd, as they are of
    different variants."""
    tables = []
    for part in PARTS:
        for joints in JOINTS:
            for measure, (_, threshold) in MEASURES.items():
                seeds = {
                    name: [each[part, joints, measure] for each in runs]
                    for name, runs in measured.items()
                }
                sides = {
                    side: [
                        run
                        for (_, adversarial), name in VARIANTS.items()
                        if adversarial is (side == "with")
                        for run in seeds[name]
                    ]
                    for side in ("without", "with")
                }
                pooled = compare(sides, threshold).iloc[[1]].assign(variant=POOLED, sd=np.nan)
                table = pd.concat([compare(seeds, threshold), pooled])
                for column, value in (("measure", measure), ("joints", joints), ("part", part)):
                    table.insert(0, column, value)
                tables.append(table)
    return pd.concat(tables, ignore_index=True).round(6)


def same_but_for_the_variant(settings: Mapping[str, dict]) -> None:
    """Raises PipelineError where experiments differ in more than the variant and the seed."""
    free = {("model", "occlusion"), ("train", "adversarial"), ("train", "seed")}
    reference = None
    for name, groups in settings.items():
        fixed = {
            (group, key): value
            for group, values in groups.items()
            for key, value in values.items()
            if (group, key) not in free
        }
        reference = reference or (name, fixed)
        different = sorted(".".join(key) for key in fixed if fixed[key] != reference[1].get(key))
        if different:
            raise PipelineError(
                f"{name} and {reference[0]} differ in {', '.join(different)}: not one ablation's"
            )


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What the command is told."""
    parser.add_argument("prefix", help="what the names of the experiments begin with")


def run(options: argparse.Namespace) -> int:
    """Measure the experiments; write the table's rows and the picture."""
    found = experiments(options.prefix)
    params = {name: dvc.api.params_show(rev=revision) for name, revision in found.items()}
    same_but_for_the_variant(params)
    variants = {
        name: VARIANTS[values["model"]["occlusion"], values["train"]["adversarial"]]
        for name, values in params.items()
    }
    measured: dict[str, list[Distances]] = {variant: [] for variant in VARIANTS.values()}
    missing = measured.keys() - variants.values()
    if missing:
        raise PipelineError(
            f"no experiment of the variant {', '.join(sorted(missing))} among {', '.join(found)}"
        )
    first, revision = next(iter(found.items()))
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        cached = fetch(first, revision, paths.CROPS, folder)
        parts = pd.read_csv(fetch(first, revision, paths.SPLIT, folder)).part
        for name, revision in tqdm(found.items(), "measure", unit=" experiments"):
            estimator = CropEstimator.load(fetch(name, revision, paths.WEIGHTS, folder))
            crops = storage.load(cached, estimator.geometry)
            measured[variants[name]].append(measure(estimator, crops, parts))
    data = params[first]["data"]["name"]
    table = summarise(measured)
    curves.ablation(table).savefig(paths.ABLATION.with_name(f"ablation_{data}.png"))
    keep(table, data)
    print(table[table.measure == "pck_0.2"].to_string(index=False, float_format="{:.3f}".format))
    return 0


def keep(table: pd.DataFrame, data: str, path: Path = paths.ABLATION) -> None:
    """Write the rows of a data set into the table at `path`, whose rows of others stay."""
    table = table.assign(data=data)[["data", *table.columns]]
    others = [pd.read_csv(path).query("data != @data")] if path.exists() else []
    path.parent.mkdir(exist_ok=True)
    pd.concat([*others, table], ignore_index=True).to_csv(path, index=False)
