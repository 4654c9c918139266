"""The photographs and their annotations: data/dataset."""

import os

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
    else:
        from pipeline.figures import drawn_people

        drawn_people.write(paths.DATASET, settings.data.count, settings.data.seed)


if __name__ == "__main__":
    main()
