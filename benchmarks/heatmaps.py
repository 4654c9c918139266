"""Factored against dense heatmaps: size at rest, error, time. Run: python -m benchmarks.heatmaps"""

import time

import numpy as np
import torch

from pipeline import heatmaps

BATCH, JOINTS, SIZE, SIGMA = 32, 14, 64, 1.0


def dense(points: np.ndarray) -> np.ndarray:
    """Every pixel of every map by itself, as most implementations of this kind draw them."""
    y, x = np.mgrid[:SIZE, :SIZE]
    distance = (x - points[..., 0, None, None]) ** 2 + (y - points[..., 1, None, None]) ** 2
    return np.exp(-distance / (2 * SIGMA**2))


def seconds(work, repeats: int = 20) -> float:
    """Median time of a call."""
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        work()
        times.append(time.perf_counter() - start)
    return float(np.median(times))


def main() -> None:
    points = torch.rand(BATCH, JOINTS, 2, generator=torch.Generator().manual_seed(0)) * SIZE
    reference = dense(points.double().numpy())
    x, y = (each.half() for each in heatmaps.factors(points, SIZE, SIGMA))
    error = np.abs(heatmaps.expand(x.float(), y.float()).numpy() - reference).max()
    half = np.abs(reference.astype(np.float16).astype(np.float64) - reference).max()
    at_rest = reference.astype(np.float16).nbytes / (x.numel() + y.numel()) / 2
    slow = seconds(lambda: dense(points.numpy()))
    fast = seconds(lambda: heatmaps.expand(x.float(), y.float()))
    print(f"{BATCH} x {JOINTS} heatmaps of {SIZE} x {SIZE}, sigma {SIGMA}")
    print(f"size at rest, dense over factored, both half precision: {at_rest:.0f}")
    print(f"largest error: {error:.1e} (rounding the dense maps to half precision: {half:.1e})")
    print(f"a batch: dense {1e3 * slow:.1f} ms, expanding the cached factors {1e3 * fast:.2f} ms")


if __name__ == "__main__":
    main()
