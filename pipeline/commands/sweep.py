"""Many trials on the machines of a Ray cluster, the best of them named by the validation part.

    ray start --head
    python -m pipeline sweep alpha -S 'train.alpha=0,0.02,0.05'
    python -m pipeline sweep rate -S 'train.learning_rate=tag(log,interval(1e-4,1e-2))' \\
        --search 20 --study sqlite:///study.db

Each trial is an experiment of DVC's, at the commit that is checked out, in a clone of the machine's
own; its outputs go to DVC's remote, itself to Git's, its curves to MLFLOW_TRACKING_URI. The same
command again goes on with what is missing. More: docs/sweeps.md.
"""

import argparse
import re
import sys
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

import pandas as pd

from pipeline import presets
from pipeline.errors import shown
from pipeline.processes import STOPPED

if TYPE_CHECKING:
    from pipeline.sweeps.plan import Plan
    from pipeline.sweeps.space import Trial

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]*")
MEASURE = "PCK@0.2"  # of the validation part


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What the command is told."""
    parser.add_argument("name", metavar="NAME", help="of the sweep; its trials are NAME-...")
    parser.add_argument(
        "presets", nargs="*", metavar="PRESET", help="whose parameters all trials have"
    )
    parser.add_argument(
        "-S", "--set-param", dest="overrides", action="append", required=True,
        metavar="PARAMETER=VALUES", help="as of `dvc exp run`: a,b,c or, to search, interval(a,b)",
    )  # fmt: skip
    parser.add_argument(
        "--search", type=int, metavar="N", help="not a grid: N trials that Optuna asks for"
    )
    parser.add_argument(
        "--study", metavar="URL", help="where Optuna keeps them, such as sqlite:///study.db"
    )
    parser.add_argument(
        "--cpus", type=float, default=1, metavar="C", help="that a trial takes; default: 1"
    )
    parser.add_argument(
        "--gpus", type=float, default=0, metavar="G", help="that a trial takes; default: 0"
    )
    parser.add_argument(
        "--at-once", type=int, default=0, metavar="K",
        help="trials that are asked for at once; default: a grid's all, a search's as many as there"
        " is room for",
    )  # fmt: skip
    parser.add_argument(
        "--retries", type=int, default=10, metavar="R",
        help="of a trial whose machine dies, or whose remote is away; -1: without end; default: 10",
    )  # fmt: skip
    parser.add_argument("--git-remote", default="origin", metavar="REMOTE", help="default: origin")


def run(options: argparse.Namespace) -> int:
    """Run what is not on the remote yet, then print all; exit status 1 where a trial failed."""
    from pipeline.sweeps import base, cluster, plan, space

    _check(options)
    chosen: Plan
    overrides = [*presets.overrides(options.presets), *options.overrides]
    trials = [] if options.search else space.grid(options.name, overrides)
    for trial in trials:
        space.check_settings(trial)
    start = base.base(options.git_remote)
    needs = cluster.Needs(options.cpus, options.gpus, options.retries)
    try:
        with cluster.joined(options.name):
            if options.search:
                from pipeline.sweeps.search import Search

                about = options.name, overrides, options.search, options.study
                chosen = Search(*about, start)
            else:
                chosen = plan.Grid(trials, start.finished())
            cluster.warn_of_room(needs)
            failed = cluster.run(chosen, start, needs, options.at_once)
    except KeyboardInterrupt:
        print("stopped, and all trials with it; the same command goes on", file=sys.stderr)
        return STOPPED
    measured = start.validation(trial.name for trial in chosen.trials)
    print(report(chosen.trials, measured, options.git_remote))
    for name, why in failed.items():
        print(f"error: {name}: {why}", file=sys.stderr)
    return 1 if failed else 0


def _check(options: argparse.Namespace) -> None:
    """Raises SweepError for options that say nothing together."""
    from pipeline.sweeps import SweepError

    if not NAME.fullmatch(options.name):
        raise SweepError(f"NAME {shown(options.name)}: expected letters, digits, - and _")
    if (options.search is None) != (options.study is None):
        raise SweepError("--search N and --study URL belong together: the study keeps the search")
    if options.search is not None and options.search < 1:
        raise SweepError(f"--search {options.search}: expected a number of trials from 1 on")
    if options.retries < -1 or min(options.cpus, options.gpus, options.at_once) < 0:
        raise SweepError("--cpus, --gpus, --at-once and --retries are numbers from 0 on")
    if not options.cpus and not options.gpus:
        raise SweepError("--cpus 0 --gpus 0: a trial that takes nothing would have no end of room")


def report(trials: "Iterable[Trial]", measured: Mapping[str, float], remote: str) -> str:
    """A table of trials, the best first, and how to have the best; measured: PCK@0.2 of the
    validation part (0 to 1), by name."""
    rows = [
        {"trial": trial.name}
        | dict(override.split("=", 1) for override in trial.overrides)
        | {MEASURE: measured.get(trial.name)}
        for trial in trials
    ]
    if not measured:
        return "no trial has finished"
    table = pd.DataFrame(rows).sort_values([MEASURE, "trial"], ascending=[False, True])
    varied = [name for name in table if name in ("trial", MEASURE) or table[name].nunique() > 1]
    best = table.trial.iloc[0]
    said = table[varied].to_string(index=False, float_format="{:.4f}".format, na_rep="-")
    return (
        f"{said}\n\nthe best by validation: {best}\n"
        f"dvc exp pull {remote} {best} && dvc exp apply {best}"
    )
