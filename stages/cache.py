"""Crops, target heatmaps and split of the data set: data/cache, data/heatmaps.npz, data/split.csv."""

import csv
from pathlib import Path

import numpy as np

from pipeline import cache
from pipeline.lspet import image_paths
from pipeline.settings import load
from pipeline.split import PARTS, near_duplicates, split
from stages import stage


@stage
def main() -> None:
    settings = load()
    dataset, folder = Path("data") / settings.data.name, Path("data/cache")
    hashes = cache.build(dataset, folder, settings.cache)
    targets = cache.target_heatmaps(cache.load(folder), settings.cache)
    cache.save_heatmaps(Path("data/heatmaps.npz"), targets)

    groups = near_duplicates(hashes, settings.split.near_duplicate_bits)
    parts = split(groups, settings.split.validation, settings.split.test, settings.split.seed)
    with Path("data/split.csv").open("w", newline="") as file:
        rows = csv.writer(file, lineterminator="\n")
        rows.writerow(["image", "group", "part"])
        rows.writerows(zip((path.name for path in image_paths(dataset)), groups, parts, strict=True))
    print(", ".join(f"{part} {np.sum(parts == part):,}" for part in PARTS))


if __name__ == "__main__":
    main()
