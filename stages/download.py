"""The photographs and their annotations: data/lspet or data/figures."""

import os

from pipeline import paths
from pipeline.settings import load
from stages import stage


@stage
def main() -> None:
    settings = load()
    folder = paths.dataset(settings.data.name)
    # Each branch imports only what it needs: a download waits for no numerical library.
    if settings.data.name == "lspet":
        from pipeline.sources.lspet import fetch_lspet

        # Not in this folder: a run of `dvc exp run --temp` that is killed must leave its part to
        # the next.
        partial = paths.main_root() / ".dvc" / "tmp" / "download"
        fetch_lspet(folder, partial=partial, archive=os.environ.get("LSPET_ARCHIVE") or None)
    else:
        from pipeline.figures import drawn_people

        drawn_people.write(folder, settings.data.count, settings.data.seed)


if __name__ == "__main__":
    main()
