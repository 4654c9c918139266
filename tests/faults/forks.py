"""A process that has imported everything, and forks for each program that it is asked for.

    python -m faults.forks

Reads an order a line, {"folder", "words", "limit", "more", "log"}, and answers each with a line, as
of `faults.programs.watched`. To import torch takes some seconds, a fork none.
"""

import json
import os
import runpy
import sys
import traceback
from importlib import import_module

from pipeline.__main__ import main

WANTED = (  # what the programs import, those of stages too
    "timm",
    "onnxruntime",
    "pipeline.commands.predict",
    "pipeline.commands.export",
    "pipeline.finding.estimator",
    "pipeline.photographs.onnx_file",
    "stages.train",
)


def obey(order: dict) -> int:
    """Run a program as it would run by itself: its exit status."""
    os.setsid()
    os.chdir(order["folder"])
    os.environ |= order["more"]
    log = os.open(order["log"], os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    nothing = os.open(os.devnull, os.O_RDONLY)
    for number, file in enumerate((nothing, log, log)):
        os.dup2(file, number)
    sys.path[0] = order["folder"]
    module, *words = order["words"]
    try:
        if module == "pipeline":
            return main(words)
        runpy.run_module(module, run_name="__main__", alter_sys=True)
    except SystemExit as end:
        if isinstance(end.code, str):
            print(end.code, file=sys.stderr)
        return 1 if isinstance(end.code, str) else end.code or 0
    except BaseException:  # noqa: BLE001  whatever it is, a program would show it
        traceback.print_exc()
        return 1
    return 0


if __name__ == "__main__":
    from faults.programs import watched

    for name in WANTED:
        import_module(name)
    sys.modules.pop("stages.train")  # else runpy warns that it is there
    for line in sys.stdin:
        order = json.loads(line)
        child = os.fork()
        if not child:
            status = 1
            try:
                status = obey(order)
            finally:
                for stream in (sys.stdout, sys.stderr):
                    stream.flush()
                os._exit(status)
        print(json.dumps(watched(child, order["limit"])), flush=True)
