"""One short script a stage of dvc.yaml: read params.yaml, call the library, write the outputs."""

import sys
from collections.abc import Callable

from pipeline.errors import PipelineError


def stage(main: Callable[[], None]) -> Callable[[], None]:
    """End a stage that fails for a reason we know with its one clear message and exit status 1."""

    def run() -> None:
        try:
            main()
        except PipelineError as error:
            sys.exit(f"error: {error}")

    return run
