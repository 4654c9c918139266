"""Variants of a training beside each other, on the same photographs: how they differ, and how
surely.

Two things are uncertain: which photographs happen to be measured, and which seeds the trainings
happened to have. A paired bootstrap draws both anew, the same ones for all variants; of one seed
alone it draws the photographs only.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from pipeline.evaluation.metrics import bootstrap, share_below

RESAMPLES, SEED = 2000, 0
INTERVAL = [2.5, 97.5]
ALL = "all"  # in place of a value: the mean over all of them

Variant = tuple[str, ...]  # a value of each of the parameters that differ
Seeds = Mapping[int, np.ndarray]  # seed to distances (N, J), NaN where something does not count


@dataclass(frozen=True)
class Measured:
    """The shares below a threshold of one variant's trainings, as measured and as drawn anew."""

    values: np.ndarray  # (S,), of each seed
    drawn: np.ndarray  # (RESAMPLES,), the mean over seeds


def measured(seeds: Seeds, threshold: float) -> Measured:
    """The mean over J of the share below the threshold; for N photographs and the same seeds always
    drawn alike, so that variants can be subtracted."""
    order = sorted(seeds)
    values = np.array([_mean(share_below(seeds[seed], threshold)) for seed in order])
    drawn = np.stack([_mean(bootstrap(seeds[s], threshold, RESAMPLES, SEED)) for s in order])
    rng = np.random.default_rng([SEED, *order])
    weights = rng.multinomial(len(order), np.full(len(order), 1 / len(order)), size=RESAMPLES)
    return Measured(values, (weights.T * drawn).sum(axis=0) / len(order))


def compare(
    variants: Mapping[Variant, Seeds], threshold: float, beside: str | None = None
) -> pd.DataFrame:
    """One row a variant: mean and sd (over seeds; NaN for one) of the share below the threshold,
    and its difference from the variant that has the value `beside` of the last parameter, and the
    same of the others (NaN of that one itself); low and high: 95 % of the bootstrap. Without
    `beside` the first one's.

    Where there are several such groups, a row more for each other value of the last parameter: the
    mean difference over the groups (ALL); it has no mean, sd and seeds.

    variants: distances of the same N photographs for all.
    """
    beside = next(iter(variants))[-1] if beside is None else beside
    known = {variant: measured(seeds, threshold) for variant, seeds in variants.items()}
    rows, gains = [], dict[str, list[tuple[float, np.ndarray]]]()
    for variant, each in known.items():
        row = {"variant": variant, "seeds": len(each.values), "mean": each.values.mean()}
        row["sd"] = each.values.std(ddof=1) if len(each.values) > 1 else np.nan
        base = known.get((*variant[:-1], beside))
        if base is not None and base is not each:
            gain = each.values.mean() - base.values.mean(), each.drawn - base.drawn
            row |= _difference([gain])
            gains.setdefault(variant[-1], []).append(gain)
        rows.append(row)
    for value, of_groups in gains.items():
        if len(of_groups) > 1:
            pooled = (*(ALL for _ in next(iter(known))[:-1]), value)
            rows.append({"variant": pooled} | _difference(of_groups))
    columns = ["variant", "seeds", "mean", "sd", "difference", "low", "high"]
    return pd.DataFrame(rows).reindex(columns=columns).astype({"seeds": "Int64"})


def _difference(gains: Sequence[tuple[float, np.ndarray]]) -> dict[str, float]:
    low, high = np.nanpercentile(np.mean([drawn for _, drawn in gains], axis=0), INTERVAL)
    return {"difference": float(np.mean([gain for gain, _ in gains])), "low": low, "high": high}


def _mean(shares: np.ndarray) -> np.ndarray:
    """The mean (...) over what counts, of shares (..., J)."""
    return np.nanmean(shares, axis=-1)
