"""Trials on a Ray cluster: started where there is room, and again elsewhere when a machine dies."""

import logging
import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from tqdm import tqdm

from pipeline.errors import brief
from pipeline.sweeps import SweepError, trial
from pipeline.sweeps.base import Base
from pipeline.sweeps.plan import Plan

os.environ["RAY_USAGE_STATS_ENABLED"] = "0"  # before the import, which reads it
import ray

ADDRESS = "RAY_ADDRESS"
NAMESPACE = "adversarial-posenet"
PAUSE = 1.0  # s


@dataclass(frozen=True)
class Needs:
    """What one trial takes of its machine, and how often it is begun anew."""

    cpus: float
    gpus: float
    retries: int  # -1: without end


class _Name:
    """Stands for a sweep on a cluster while its caller lives."""


@contextmanager
def joined(sweep: str) -> Iterator[None]:
    """Be this cluster's only caller of a sweep, whom SIGTERM stops as Ctrl-C does.

    Raises SweepError where there is no cluster, or another caller.
    """
    address = os.environ.get(ADDRESS) or "auto"
    try:
        ray.init(address, namespace=NAMESPACE, log_to_driver=False, logging_level=logging.ERROR)
    except (ConnectionError, RuntimeError, ValueError) as error:
        why = "none runs on this machine" if address == "auto" else brief(error)
        raise SweepError(
            f"no Ray cluster: {why}; `ray start --head` starts one, or {ADDRESS} names one"
        ) from None
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # in place of Ray's
    try:
        name = ray.remote(_Name).options(num_cpus=0, name=f"sweep {sweep}")
        try:
            held = name.remote()
        except ValueError:
            raise SweepError(
                f"another call runs the sweep {sweep} on this cluster: wait for it, or stop it"
            ) from None
        yield
        del held
    finally:
        ray.shutdown()


def run(plan: Plan, base: Base, needs: Needs, at_once: int = 0) -> dict[str, str]:
    """Run a plan to its end; why trials failed, by their names.

    at_once: how many are asked for before the first is done; 0: all of them, or as many as the
    cluster has room for where the next depends on the results.
    """
    task = ray.remote(trial.run).options(
        num_cpus=needs.cpus,
        num_gpus=needs.gpus,
        max_retries=needs.retries,
        retry_exceptions=[trial.PassingError],
        scheduling_strategy="SPREAD",
    )
    running: dict[Any, Any] = {}
    failed: dict[str, str] = {}
    with tqdm(total=plan.total, initial=plan.finished, desc="sweep", unit=" trials") as bar:
        while True:
            width = at_once or (plan.total if plan.eager else _room(needs))
            while len(running) < width and (chosen := plan.next()):
                running[task.remote(chosen, base)] = chosen
            if not running:
                return failed
            done, _ = ray.wait(list(running), timeout=PAUSE)
            for each in done:
                chosen = running.pop(each)
                try:
                    ray.get(each)
                    plan.succeeded(chosen)
                except ray.exceptions.RayError as error:
                    failed[chosen.name] = _why(error, needs)
                    plan.failed(chosen)
                bar.update()
            bar.refresh()


def warn_of_room(needs: Needs) -> None:
    """Say so where no machine that is there now has room for one trial."""
    if not _room(needs, least=0):
        tqdm.write(
            f"no machine of the cluster has {needs.cpus:g} CPUs and {needs.gpus:g} GPUs: trials"
            " wait until one does",
            file=sys.stderr,
        )


def _room(needs: Needs, least: int = 1) -> int:
    """How many trials the cluster's machines have room for."""
    total = 0
    for node in ray.nodes():
        if node["Alive"]:
            there = node["Resources"]
            wanted = {"CPU": needs.cpus, "GPU": needs.gpus}
            total += min(int(there.get(k, 0) // v) for k, v in wanted.items() if v)
    return max(total, least)


def _why(error: Exception, needs: Needs) -> str:
    """What is said of a trial that failed."""
    if isinstance(error, ray.exceptions.RayTaskError):
        return brief(error.cause)
    return f"its machine, or its process there, died {needs.retries + 1} times ({brief(error)})"
