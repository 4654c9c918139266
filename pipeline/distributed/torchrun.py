"""A stage that starts itself again, as several processes, under torchrun.

POSENET_TORCHRUN holds torchrun's own options, such as `--standalone --nproc-per-node 2`. It is a
variable and no parameter: how many processes compute the weights is not what they depend on.
"""

import contextlib
import io
import os
import shlex
import signal
import sys
from collections.abc import Callable

from torch.distributed import run
from torch.distributed.elastic.multiprocessing import SignalException
from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
from torch.distributed.elastic.rendezvous import RendezvousError

from pipeline.errors import PipelineError, brief
from pipeline.processes import STOPPED

VARIABLE = "POSENET_TORCHRUN"


class TorchrunError(PipelineError):
    """torchrun does not start, or a process of it failed."""


def spread(task: Callable[[], None], module: str) -> None:
    """Do a task here or, where POSENET_TORCHRUN asks for that, in several processes `python -m
    module`. Raises as `launch` does."""
    if os.environ.get(VARIABLE, "").strip():
        launch(module)
    else:
        task()


def launch(module: str) -> None:
    """Be torchrun until all processes, `python -m module` each, have ended.

    SIGTERM and SIGINT are passed on to them. Raises KeyboardInterrupt where they were stopped, and
    TorchrunError where one failed for good, or where torchrun knows no such options.
    """
    options = _options(module)
    # Else torch 2.14 keeps the store of one meeting for the next: who comes back ends all.
    os.environ.setdefault("TORCH_DISABLE_SHARE_RDZV_TCP_STORE", "1")
    try:
        run.run(options)
    except SignalException:
        raise KeyboardInterrupt from None
    except ChildFailedError as error:
        rank, failure = error.get_first_failure()
        if failure.exitcode == STOPPED:
            raise KeyboardInterrupt from None
        how = f"exit status {failure.exitcode}" if failure.exitcode > 0 else failure.signal_name()
        raise TorchrunError(f"process {rank} of this training failed: {how}") from None
    except (RendezvousError, ValueError) as error:
        raise TorchrunError(f"{VARIABLE}: {brief(error)}") from error


def _options(module: str):  # type: ignore[no-untyped-def]  # argparse's
    """torchrun's, parsed. Raises TorchrunError where it does not know one."""
    said = io.StringIO()
    try:
        words = shlex.split(os.environ[VARIABLE])
        with contextlib.redirect_stderr(said):
            options = run.parse_args([*words, "-m", module])
    except (ValueError, SystemExit) as error:
        why = said.getvalue().strip().rpartition("error: ")[2] or str(error)
        raise TorchrunError(f"{VARIABLE}: {why}") from None
    if options.training_script != module or options.training_script_args:
        raise TorchrunError(f"{VARIABLE}: options of torchrun alone, and no program")
    return options


def work(task: Callable[[], None]) -> None:
    """A process of torchrun: ends as a stage does, and holds no lock of the stage's. A mistake is
    told once a machine."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        task()
    except (PipelineError, OSError) as error:
        sys.exit(f"error: {error}" if os.environ["LOCAL_RANK"] == "0" else 1)
    except KeyboardInterrupt as stop:
        if os.environ["RANK"] == "0" and str(stop):
            print(stop, file=sys.stderr)
        sys.exit(STOPPED)
    finally:
        for number in (signal.SIGTERM, signal.SIGINT):  # it ends already
            signal.signal(number, signal.SIG_IGN)
