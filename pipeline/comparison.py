"""Variants of an experiment beside each other, on the same photographs: how they differ, and how surely.

Two things are uncertain: which photographs happen to be measured (a paired bootstrap draws the same ones
for all variants), and which seed a training happened to have (the standard deviation over seeds).
"""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from pipeline.metrics import share_below

RESAMPLES, SEED = 2000, 0


def compare(variants: Mapping[str, Sequence[np.ndarray]], threshold: float) -> pd.DataFrame:
    """One row a variant: mean share of joints below the threshold, and its difference from the first variant.

    variants: for each the normalised distances (N, 14) of each of its seeds, of the same N photographs, NaN
    where a joint does not count. Columns: variant, seeds, mean and sd (over seeds; sd NaN for one),
    difference, low, high (95 % of the paired bootstrap over photographs, of the means over seeds).
    """
    baseline, *_ = variants
    count = len(variants[baseline][0])
    drawn = np.random.default_rng(SEED).multinomial(count, np.full(count, 1 / count), size=RESAMPLES)
    resampled = {
        name: np.mean([_resampled(each, threshold, drawn.astype(np.float64)) for each in seeds], axis=0)
        for name, seeds in variants.items()
    }
    rows = []
    for name, seeds in variants.items():
        values = [np.nanmean(share_below(each, threshold)) for each in seeds]
        low, high = np.nanpercentile(resampled[name] - resampled[baseline], [2.5, 97.5])
        sd = np.std(values, ddof=1) if len(values) > 1 else np.nan
        rows.append(
            {
                "variant": name,
                "seeds": len(seeds),
                "mean": np.mean(values),
                "sd": sd,
                "low": low,
                "high": high,
            }
        )
    table = pd.DataFrame(rows)
    table.insert(4, "difference", table["mean"] - table["mean"][0])
    return table


def _resampled(distance: np.ndarray, threshold: float, drawn: np.ndarray) -> np.ndarray:
    """The mean over joints (R,) of the share in each resample; drawn: how often each photograph is in it (R, N)."""
    counted = ~np.isnan(distance)
    with np.errstate(invalid="ignore"):
        return np.nanmean((drawn @ (counted & (distance < threshold))) / (drawn @ counted), axis=1)
