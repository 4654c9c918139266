"""Crops, target heatmaps and split of the data set: data/cache, data/heatmaps.npz, data/split.csv."""

from pathlib import Path

import pandas as pd

from pipeline import cache
from pipeline.lspet import image_paths
from pipeline.settings import load
from pipeline.split import near_duplicates, split
from stages import stage


@stage
def main() -> None:
    settings = load()
    dataset, folder = Path("data") / settings.data.name, Path("data/cache")
    hashes = cache.build(dataset, folder, settings.cache)
    cache.save_heatmaps(Path("data/heatmaps.npz"), cache.load(folder), settings.cache)

    groups = near_duplicates(hashes, settings.split.near_duplicate_bits)
    parts = split(groups, settings.split.validation, settings.split.test, settings.split.seed)
    names = [path.name for path in image_paths(dataset)]
    table = pd.DataFrame({"image": names, "group": groups, "part": parts})
    table.to_csv("data/split.csv", index=False)
    print(", ".join(f"{part} {count:,}" for part, count in table.part.value_counts().items()))


if __name__ == "__main__":
    main()
