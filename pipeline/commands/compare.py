r"""Finished experiments beside each other: a table for a paper, and a picture.

    python -m pipeline run quickstart --queue --name alpha \
      -S train.alpha=0,0.02 -S train.seed=0,1,2
    dvc queue start
    python -m pipeline compare alpha --by train.alpha

Each experiment's weights are measured again, joint by joint, so that all are compared on the same
photographs and under the same occluders: on the validation part, by which things are chosen; with
`--part test` on the test part, for what is reported. Experiments that differ in the seed alone are
one variant's. Of several parameters the last is what is compared, for each value of the others; two
that change together are one, with a plus:
`--by train.labelled,train.adversarial+train.unlabelled --beside false+none`.

Written are FILE.csv (all measures, kinds of joints and intervals), FILE.md and FILE.tex (the table;
LaTeX's needs the package booktabs) and FILE.png.
"""

import argparse
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import dvc.api
import numpy as np
import pandas as pd
from dvc.repo import Repo
from tqdm import tqdm

from pipeline import paths
from pipeline.bodies import structure
from pipeline.commands.comparison import Seeds, Variant, compare
from pipeline.data import storage
from pipeline.data.crops import Crops
from pipeline.drawing import curves
from pipeline.errors import PipelineError
from pipeline.evaluation.metrics import MEASURES
from pipeline.evaluation.protocol import Evaluation, evaluate
from pipeline.files import written_whole
from pipeline.networks.estimator import CropEstimator
from pipeline.settings import flat

SEED = "train.seed"
# What is measured beside PCK of joints: (joints, measure) to the threshold of its distances.
WHOLE, DOUBLED = ("all", "whole"), ("all", "doubled")
COLUMNS = {  # of the table for a paper
    ("all", "pck_0.2"): "PCK@0.2",
    ("all", "pckh_0.5"): "PCKh@0.5",
    ("covered", "pck_0.2"): "covered joints",
    WHOLE: "whole poses",
    DOUBLED: "sides doubled",
}
Distances = Mapping[tuple[str, str], np.ndarray]  # (joints, measure) -> (N, J)


@dataclass(frozen=True)
class Question:
    """What is compared with what."""

    by: tuple[str, ...]  # parameters, group.key, or several with a plus; the last is compared
    beside: str | None = None  # its value with which the others are compared; None: the first
    part: str = "validation"

    @property
    def parameters(self) -> list[str]:
        """Each by itself."""
        return [name for names in self.by for name in names.split("+")]

    def values(self, params: Mapping[str, Mapping]) -> list[list[Any]]:
        """An experiment's, of each of `by`. Raises PipelineError where it has no such one."""
        return [[value_of(params, name) for name in names.split("+")] for names in self.by]

    def variant(self, params: Mapping[str, Mapping]) -> Variant:
        """The same in words."""
        return tuple("+".join(map(_said, values)) for values in self.values(params))


def value_of(params: Mapping[str, Mapping], name: str) -> Any:
    """A parameter's value; None before it existed. Raises PipelineError where no group is
    called so."""
    group, _, key = name.partition(".")
    if group not in params or not key:
        raise PipelineError(f"--by {name}: expected a parameter of params.yaml, group.key")
    return params[group].get(key)


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
            " those that do not count by `dvc exp remove --rev COMMIT NAME`"
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


def grouped(
    params: Mapping[str, Mapping[str, Mapping]], question: Question
) -> dict[Variant, dict[int, str]]:
    """Experiments by variant and seed, in the order of the values.

    Raises PipelineError where two are of one variant and seed, where they differ in more, or
    where there is nothing to compare.
    """
    same_but_for([*question.parameters, SEED], params)
    ordered = sorted(
        params,
        key=lambda name: [list(map(_rank, each)) for each in question.values(params[name])],
    )
    found: dict[Variant, dict[int, str]] = {}
    for name in ordered:
        seeds = found.setdefault(question.variant(params[name]), {})
        seed = value_of(params[name], SEED)
        if seed in seeds:
            raise PipelineError(
                f"{seeds[seed]} and {name} are of one variant and seed: name those that count by a"
                " longer prefix"
            )
        seeds[seed] = name
    if len(found) < 2:
        raise PipelineError(
            f"all of {', '.join(ordered)} have the same {', '.join(question.by)}: nothing to"
            " compare"
        )
    values = list(dict.fromkeys(variant[-1] for variant in found))
    if question.beside not in (None, *values):
        raise PipelineError(
            f"--beside {question.beside}: {question.by[-1]} is {', '.join(values)} here"
        )
    return found


def same_but_for(free: Sequence[str], params: Mapping[str, Mapping[str, Mapping]]) -> None:
    """Raises PipelineError where experiments differ in more than these parameters."""
    named = {name: dict(flat(each)) for name, each in params.items()}
    first, *others = params
    for name in others:
        different = sorted(
            key
            for key in named[name].keys() | named[first].keys()
            if key not in free and named[name].get(key) != named[first].get(key)
        )
        if different:
            raise PipelineError(
                f"{name} and {first} differ in {', '.join(different)}: name it in --by too, or"
                " those that count by a longer prefix"
            )


def distances(evaluation: Evaluation) -> Distances:
    """Of joints by kind and measure; of whole poses, that of the worst joint; of pairs told apart
    (N, 6), 0 where both are found on one side, else 1."""
    sides = structure.sides(evaluation, structure.THRESHOLD)
    doubled = np.where(sides.apart, np.where(sides.doubled, 0.0, 1.0), np.nan)
    worst = structure.farthest(evaluation.distances["all", structure.MEASURE])
    return {**evaluation.distances, WHOLE: worst, DOUBLED: doubled}


def threshold(measure: str) -> float:
    """Below which a distance counts, of a measure."""
    return MEASURES[measure][1] if measure in MEASURES else structure.THRESHOLD


def summarise(
    measured: Mapping[Variant, Mapping[int, Distances]], question: Question
) -> pd.DataFrame:
    """The rows of `compare` for each kind of joints and measure, with a column a parameter."""
    tables = []
    kinds = next(iter(next(iter(measured.values())).values()))
    for joints, measure in kinds:
        variants: dict[Variant, Seeds] = {
            variant: {seed: each[joints, measure] for seed, each in seeds.items()}
            for variant, seeds in measured.items()
        }
        table = compare(variants, threshold(measure), question.beside)
        named = pd.DataFrame(table.pop("variant").tolist(), columns=list(question.by))
        table = pd.concat([named, table], axis=1)
        for column, value in (("measure", measure), ("joints", joints), ("part", question.part)):
            table.insert(0, column, value)
        tables.append(table)
    return pd.concat(tables, ignore_index=True).round(6)


def for_paper(table: pd.DataFrame, by: Sequence[str]) -> pd.DataFrame:
    """A row a variant, a column a measure, in points: mean ± spread over seeds, and how much more
    than what it is compared with, with the 95 % interval."""
    columns = []
    for (joints, measure), title in COLUMNS.items():
        rows = table[(table.joints == joints) & (table.measure == measure)].set_index(list(by))
        if len(rows):
            columns.append(rows.apply(_cell, axis=1).rename(title))
    return pd.concat(columns, axis=1).reset_index()


def _cell(row: pd.Series) -> str:
    """53.9 ± 0.2, +0.4 (-0.1 to +0.9)."""
    mean, sd, difference, low, high = 100 * row[["mean", "sd", "difference", "low", "high"]]
    words = [] if np.isnan(mean) else [f"{mean:.1f}" + ("" if np.isnan(sd) else f" ± {sd:.1f}")]
    if not np.isnan(difference):
        words.append(f"{difference:+.1f} ({low:+.1f} to {high:+.1f})")
    return ", ".join(words)


def write(table: pd.DataFrame, question: Question, base: Path) -> pd.DataFrame:
    """The four files; returns the table for a paper."""
    base.parent.mkdir(parents=True, exist_ok=True)
    short = for_paper(table, question.by)
    forms = {
        ".csv": table.to_csv(index=False),
        ".md": short.to_markdown(index=False) + "\n",
        ".tex": latex(short),
    }
    for suffix, text in forms.items():
        with written_whole(base.with_name(base.name + suffix)) as beside:
            beside.write_text(text)
    curves.comparison(table, question.by).savefig(base.with_name(base.name + ".png"))
    return short


def latex(short: pd.DataFrame) -> str:
    """The table in LaTeX, of the package booktabs."""
    columns = "l" * len(short.columns)
    return short.to_latex(index=False, escape=True, column_format=columns).replace("±", r"$\pm$")


def _rank(value: Any) -> tuple:
    """Numbers by size, and before words."""
    number = isinstance(value, int | float)
    return (not number, value if number else str(value))


def _said(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What the command is told."""
    parser.add_argument("prefix", help="what the names of the experiments begin with")
    parser.add_argument(
        "--by",
        required=True,
        metavar="PARAMETERS",
        help="in which they differ, such as train.alpha; several with commas, the compared last;"
        " those that change together with a plus",
    )
    parser.add_argument(
        "--beside", metavar="VALUE", help="of the last one, with which the others are compared"
    )
    parser.add_argument("--part", choices=("validation", "test"), default="validation")
    parser.add_argument("--out", type=Path, metavar="FILE", help="metrics/PREFIX")


def run(options: argparse.Namespace) -> int:
    """Measure the experiments; write the table and the picture."""
    question = Question(tuple(options.by.split(",")), options.beside, options.part)
    found = experiments(options.prefix)
    variants = grouped({n: dvc.api.params_show(rev=rev) for n, rev in found.items()}, question)
    measured = measure(variants, found, question.part)
    base = options.out or Path("metrics") / options.prefix.rstrip("-_")
    short = write(summarise(measured, question), question, base)
    print(f"{question.part} part, points\n{short.to_string(index=False)}")
    print(f"written to {base}.csv, .md, .tex and .png")
    return 0


def measure(
    variants: Mapping[Variant, Mapping[int, str]], found: Mapping[str, str], part: str
) -> dict[Variant, dict[int, Distances]]:
    """The distances of each experiment's weights on a part of the data."""
    first, revision = next(iter(found.items()))
    with (
        tempfile.TemporaryDirectory() as scratch,
        tqdm(total=len(found), desc="measure", unit=" experiments") as bar,
    ):
        folder = Path(scratch)
        cached = fetch(first, revision, paths.CROPS, folder)
        indices = np.flatnonzero(
            pd.read_csv(fetch(first, revision, paths.SPLIT, folder)).part == part
        )

        def one(name: str) -> Distances:
            weights = fetch(name, found[name], paths.WEIGHTS, folder)
            estimator = CropEstimator.load(weights)
            crops: Crops = storage.load(cached, estimator.geometry)
            bar.update()
            return distances(evaluate(estimator, crops, indices))

        return {
            variant: {seed: one(name) for seed, name in seeds.items()}
            for variant, seeds in variants.items()
        }
