"""The data set's crops, target heatmaps, split: data/cache, data/heatmaps.npz, data/split.csv."""

import csv

import numpy as np

from pipeline import paths
from pipeline.annotations import image_paths, load_known
from pipeline.data import storage, targets
from pipeline.data.shelf import Shelf
from pipeline.data.split import (
    PARTS,
    alike,
    around,
    joined,
    near_duplicates,
    require_torsos,
    split,
)
from pipeline.files import written_whole
from pipeline.scenes import pairs as scenes
from pipeline.settings import load
from stages import stage


@stage
def main() -> None:
    settings = load()
    dataset, geometry = paths.DATASET, settings.cache.geometry
    # Not in this folder: what DVC's temporary copies make, others may take.
    shelf = Shelf(paths.main_root() / ".dvc" / "tmp" / "shards")
    hashes = storage.build(dataset, paths.CROPS, geometry, shelf=shelf)
    crops = storage.load(paths.CROPS, geometry)
    targets.save(paths.HEATMAPS, targets.targets_of(crops))

    names = [path.name for path in image_paths(dataset)]
    groups = near_duplicates(hashes, settings.split.near_duplicate_bits)
    if settings.split.scenes:
        pairs = scenes.read(scenes.same_scene(settings.data.name))
        print(f"{len(pairs):,} pairs of photographs are known to show one scene")
        groups = joined(groups, scenes.numbered(pairs, names))
    known = load_known(dataset, names)
    groups = joined(groups, alike(known.groups))
    shares, test = settings.split, np.array(known.test)
    if test.any():
        parts = around(test, groups, shares.validation, shares.seed)
    else:
        parts = split(groups, shares.validation, shares.test, shares.seed)
    require_torsos(parts, crops.originals)
    with written_whole(paths.SPLIT) as beside, beside.open("w", newline="") as file:
        rows = csv.writer(file, lineterminator="\n")
        rows.writerow(["image", "group", "part"])
        rows.writerows(zip(names, groups, parts, strict=True))
    print(", ".join(f"{part} {np.sum(parts == part):,}" for part in PARTS))
    if left := np.sum(parts == ""):
        print(f"{left:,} left out, near-duplicates or of the group of the test part's")


if __name__ == "__main__":
    main()
