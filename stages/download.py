"""The photographs and their annotations: data/dataset."""

import os
from pathlib import Path

from pipeline import paths
from pipeline.settings import load
from stages import stage


@stage
def main() -> None:
    settings = load()
    # Each branch imports only what it needs: a download waits for no numerical library.
    if settings.data.name == "lspet":
        from pipeline.sources.lspet import fetch_lspet

        # Not in this folder: a run of `dvc exp run --temp` that is killed must leave its part to
        # the next.
        root = paths.main_root()
        fetch_lspet(
            paths.DATASET,
            partial=root / ".dvc" / "tmp" / "download",
            archive=os.environ.get("LSPET_ARCHIVE") or None,
            here=root / "data" / "lspet",
        )
    elif settings.data.name == "own":
        from pipeline.own import dataset

        data = settings.data
        own = dataset.Own(
            Path(data.folder), data.annotations, data.orientation, data.parts == "published"
        )
        checked = dataset.write(own, paths.DATASET)
        print(f"{len(checked.people):,} people in {len(checked.sizes):,} photographs")
    else:
        from pipeline.figures import drawn_people

        drawn_people.write(paths.DATASET, settings.data.count, settings.data.seed)


if __name__ == "__main__":
    main()
