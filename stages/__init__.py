"""One short script a stage of dvc.yaml: read params.yaml, call the library, write the outputs."""

import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from types import FrameType
from typing import Any

from pipeline.errors import PipelineError
from pipeline.inputs import Inputs
from pipeline.repository import check_kept

STOPPED = 128 + signal.SIGINT  # the exit status that shells give
SIGNALS = (signal.SIGINT, signal.SIGTERM)


def stage(main: Callable[[], None]) -> Callable[[], None]:
    """End a stage that fails for a reason we know with its one clear message and exit status 1.

    Where DVC runs the stage, which then records its inputs, it fails if they are no longer those
    that it began with. SIGTERM, which schedulers send, stops it as Ctrl-C does.
    """

    def run() -> None:
        signal.signal(signal.SIGTERM, _interrupt)
        try:
            check_kept()
            name = os.environ.get("DVC_STAGE", "").rpartition(":")[-1]
            inputs = Inputs.now(name) if name else None
            main()
            if inputs:
                inputs.check()
        except PipelineError as error:
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
