"""One short script a stage of dvc.yaml: read params.yaml, call the library, write the outputs."""

import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

from pipeline.errors import PipelineError
from pipeline.inputs import Inputs
from pipeline.processes import STOPPED, alone, end_with_parent
from pipeline.repository import check_kept

LOCKS = Path(".dvc/tmp/locks")
BY_DVC = "DVC_STAGE" in os.environ
if BY_DVC:  # at once: a stage's own imports take seconds
    end_with_parent(signal.SIGTERM)
PATIENCE = 20.0  # s for a stage whose DVC was killed, which saves what it has and ends
SIGNALS = (signal.SIGINT, signal.SIGTERM)


def stage(main: Callable[[], None]) -> Callable[[], None]:
    """End a stage that fails for a reason we know with its one clear message and exit status 1.

    Where DVC runs the stage, which then records its inputs, it fails if they are no longer those
    that it began with, and is stopped if DVC is killed. SIGTERM, which schedulers send, stops it as
    Ctrl-C does. A second one in the same folder waits a little for the first, and fails.
    """

    def run() -> None:
        signal.signal(signal.SIGTERM, _interrupt)
        name = Path(main.__code__.co_filename).stem
        try:
            check_kept()
            with alone(LOCKS / f"{name}.lock", f"runs the stage {name} here", PATIENCE):
                inputs = Inputs.now(name) if BY_DVC else None
                main()
                if inputs:
                    inputs.check()
        except (PipelineError, OSError) as error:
            sys.exit(f"error: {error}")
        except KeyboardInterrupt as stop:
            print(str(stop) or "stopped", file=sys.stderr)
            sys.exit(STOPPED)

    return run


def _interrupt(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt


@contextmanager
def stopping() -> Iterator[Callable[[], bool]]:
    """Let SIGINT and SIGTERM wait until what is given here is asked: has one come? The next one
    stops at once."""
    asked = threading.Event()

    def ask(number: int, frame: FrameType | None) -> None:
        asked.set()
        print("stopping after this step", file=sys.stderr)
        _set(before)

    before = {each: signal.getsignal(each) for each in SIGNALS}
    _set(dict.fromkeys(SIGNALS, ask))
    try:
        yield asked.is_set
    finally:
        _set(before)


def _set(handlers: Mapping[signal.Signals, Any]) -> None:
    for number, handler in handlers.items():
        signal.signal(number, handler)
