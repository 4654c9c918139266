"""The paper's ablation, from finished experiments: rows of metrics/ablation.csv, and a picture.

    dvc exp run --queue --name ablation $(sed 's/#.*//' ablation.args)
    dvc queue start
    python -m pipeline.ablation ablation

Each experiment's weights are measured again on the validation and the test part, joint by joint, so that
variants are compared on the same photographs and under the same occluders.
"""

import argparse
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

import dvc.api
import numpy as np
import pandas as pd
from dvc.repo import Repo
from tqdm import tqdm

from pipeline import PipelineError, cache, drawing, evaluation, weights
from pipeline.comparison import compare
from pipeline.device import default_device
from pipeline.evaluation import MEASURES
from pipeline.generator import Generator
from pipeline.settings import Cache

TABLE = Path("metrics/ablation.csv")
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
    """Names of the finished experiments that begin with the prefix, of any commit, and their revisions."""
    with Repo() as repo:
        finished = repo.experiments.ls(all_commits=True).values()
    named = sorted(each for some in finished for each in some if each[0].startswith(prefix))
    if not named:
        raise PipelineError(
            f"no finished experiment's name begins with {prefix!r}: `dvc exp list --all-commits` names them"
        )
    found = dict(named)
    if len(found) < len(named):
        raise PipelineError(
            f"experiments of several commits are called the same among {', '.join(found)}: remove those"
            " that do not count by `dvc exp remove --rev COMMIT NAME`"
        )
    return found


def fetch(name: str, revision: str, path: str, folder: Path) -> Path:
    """A file or folder of an experiment, as a copy in a folder: from DVC's cache or remote."""
    copy = folder / name / path
    copy.parent.mkdir(parents=True, exist_ok=True)
    try:
        dvc.api.DVCFileSystem(rev=revision).get(path, str(copy), recursive=True)
    except Exception as error:  # of DVC's many
        raise PipelineError(f"{name}: its {path} cannot be read: {error}") from error
    return copy


def measure(generator: Generator, geometry: Cache, crops: cache.Crops, parts: pd.Series) -> Distances:
    """Normalised distances of a generator's joints on both parts, as they are and under occluders."""
    result = {}
    for part in PARTS:
        some = np.flatnonzero(parts == part)
        found = evaluation.evaluate(generator, crops, some, geometry, default_device())
        result |= {(part, *key): each for key, each in evaluation.distances(found, crops, some).items()}
    return result


def summarise(measured: Mapping[str, list[Distances]]) -> pd.DataFrame:
    """The rows of `compare` for each part, kind of joints and measure, and a row POOLED: the variants with
    discriminators beside those without, all seeds together; no sd, as they are of different variants."""
    tables = []
    for part in PARTS:
        for joints in JOINTS:
            for measure, (_, threshold) in MEASURES.items():
                seeds = {
                    name: [each[part, joints, measure] for each in runs] for name, runs in measured.items()
                }
                sides = {
                    adversarial: [
                        run for key, name in VARIANTS.items() if key[1] is adversarial for run in seeds[name]
                    ]
                    for adversarial in (False, True)
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


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("prefix", help="what the names of the experiments begin with")
    found = experiments(parser.parse_args().prefix)
    params = {name: dvc.api.params_show(rev=revision) for name, revision in found.items()}
    same_but_for_the_variant(params)
    variants = {
        name: VARIANTS[values["model"]["occlusion"], values["train"]["adversarial"]]
        for name, values in params.items()
    }
    measured = {variant: [] for variant in VARIANTS.values()}
    missing = measured.keys() - variants.values()
    if missing:
        raise PipelineError(
            f"no experiment of the variant {', '.join(sorted(missing))} among {', '.join(found)}"
        )
    first, revision = next(iter(found.items()))
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        crops = cache.load(fetch(first, revision, "data/cache", folder))
        parts = pd.read_csv(fetch(first, revision, "data/split.csv", folder)).part
        for name, revision in tqdm(found.items(), "measure", unit=" experiments"):
            generator, made_by = weights.load(fetch(name, revision, str(weights.PATH), folder))
            distances = measure(generator, Cache(**made_by["cache"]), crops, parts)
            measured[variants[name]].append(distances)
    data = params[first]["data"]["name"]
    table = summarise(measured)
    drawing.ablation(table).savefig(TABLE.with_name(f"ablation_{data}.png"))
    keep(table, data)
    print(table[table.measure == "pck_0.2"].to_string(index=False, float_format="{:.3f}".format))


def keep(table: pd.DataFrame, data: str, path: Path = TABLE) -> None:
    """Write the rows of a data set into the table at `path`, whose rows of others stay."""
    table = table.assign(data=data)[["data", *table.columns]]
    others = [pd.read_csv(path).query("data != @data")] if path.exists() else []
    path.parent.mkdir(exist_ok=True)
    pd.concat([*others, table], ignore_index=True).to_csv(path, index=False)


if __name__ == "__main__":
    try:
        main()
    except PipelineError as error:
        sys.exit(f"error: {error}")
