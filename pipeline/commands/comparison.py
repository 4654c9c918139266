"""Variants of an experiment beside each other, on the same photographs: how they differ, and how
surely.

Two things are uncertain: which photographs happen to be measured (a paired bootstrap draws the same
ones for all variants), and which seed a training happened to have (the standard deviation over
seeds).
"""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from pipeline.evaluation.metrics import bootstrap, share_below

RESAMPLES, SEED = 2000, 0


def compare(variants: Mapping[str, Sequence[np.ndarray]], threshold: float) -> pd.DataFrame:
    """One row a variant: mean share of joints below the threshold, and its difference from the
    first variant.

    variants: for each the normalised distances (N, 14) of each of its seeds, of the same N
    photographs, NaN where a joint does not count. Columns: variant, seeds, mean and sd (over seeds;
    sd NaN for one), difference, low, high (95 % of the paired bootstrap over photographs, of the
    means over seeds).
    """
    baseline, *_ = variants
    resampled = {
        name: np.mean(
            [_mean(bootstrap(each, threshold, RESAMPLES, SEED)) for each in seeds], axis=0
        )
        for name, seeds in variants.items()
    }
    rows = []
    for name, seeds in variants.items():
        values = [_mean(share_below(each, threshold)) for each in seeds]
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


def _mean(shares: np.ndarray) -> np.ndarray:
    """The mean (...) over the joints that count, of shares (..., 14)."""
    return np.nanmean(shares, axis=-1)
