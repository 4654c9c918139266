"""The processes of one stage: which of them this is, and what they agree on.

`torchrun` starts them (`pipeline.distributed.torchrun`). In a training each sees its own rows of
every batch.
What a loss divides by is counted over all of them, DistributedDataParallel averages the gradients,
and so they do together what one does alone. A training of one process asks nobody, and nothing of
it is multiplied or added up here.
"""

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext, redirect_stderr, redirect_stdout
from dataclasses import dataclass, field
from itertools import chain
from typing import TypeVar

import torch
from torch import Tensor, distributed, nn
from torch.nn.parallel import DistributedDataParallel

from pipeline.data.crops import Answer, Item, one_by_one
from pipeline.errors import PipelineError
from pipeline.processes import end_with_parent

T = TypeVar("T")
Weigh = Callable[[Tensor], Tensor]


class RanksError(PipelineError):
    """Processes that were started together cannot train together."""


@dataclass(frozen=True)
class Ranks:
    """The processes of a training: this one's number among all and on its machine, from 0."""

    rank: int = 0
    size: int = 1
    local: int = 0
    _joint: dict[nn.Module, nn.Module] = field(default_factory=dict, compare=False, repr=False)

    @property
    def first(self) -> bool:
        """Is this who saves, is tracked, and prints?"""
        return self.rank == 0

    @property
    def first_here(self) -> bool:
        """Is this who writes the results into its machine's folder?"""
        return self.local == 0

    def rows(self, count: int) -> range:
        """Its places in a batch of `count`: slices in order, none longer than another by over 1."""
        ends = [count * rank // self.size for rank in (self.rank, self.rank + 1)]
        return range(*ends)

    def joint(self, network: nn.Module) -> nn.Module:
        """A network whose gradients become the mean of all processes' while they are computed.

        On GPUs BatchNorm then normalises by all rows of a batch, as with one process; there is no
        such layer for CPUs, where each process normalises its own rows.
        """
        if self.size == 1:
            return network
        if network not in self._joint:
            if next(network.parameters()).is_cuda:
                nn.SyncBatchNorm.convert_sync_batchnorm(network)
            # Statistics are agreed on by `settle`, after the step; the first's alone would be of
            # fewer photographs.
            joint = DistributedDataParallel(network, forward_sync_buffers=False)
            self._joint[network] = joint
        return self._joint[network]

    def weighing(self, *masks: Tensor) -> tuple[Weigh, ...]:
        """For each mask what turns a mean over the joints that count here into a part, such that
        the mean of the processes' parts is the mean over the joints that count anywhere."""
        if self.size == 1:
            return tuple(_as_it_is for _ in masks)
        here = torch.stack([mask.sum() for mask in masks])
        weights = self.size * here / self._sum(here).clamp_min(1)
        return tuple(weight.mul for weight in weights)

    def mean(self, values: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The mean of each process's numbers, by name; all have the same names."""
        if self.size == 1:
            return dict(values)
        means = self._sum(torch.stack(list(values.values()))) / self.size
        return dict(zip(values, means, strict=True))

    def norm(self, part: Tensor) -> Tensor:
        """The norm of a tensor of which each process has a part."""
        return part.norm() if self.size == 1 else self._sum(part.square().sum()).sqrt()

    @torch.no_grad()
    def settle(self, *networks: nn.Module) -> None:
        """Let the running statistics of BatchNorm be the mean of those of all processes."""
        kept = [each for one in networks for each in one.buffers() if each.is_floating_point()]
        if self.size == 1 or not kept:
            return
        means = self._sum(torch.cat([each.flatten() for each in kept])) / self.size
        for each, mean in zip(kept, means.split([each.numel() for each in kept]), strict=True):
            each.copy_(mean.view_as(each))

    def any(self, holds: bool) -> bool:
        """Does it hold for any process? Asked on the CPU: no GPU is waited for."""
        if self.size == 1:
            return holds
        return bool(self._sum(torch.tensor(int(holds))))

    def wait(self) -> None:
        """Go on only when all are here."""
        self.any(False)

    def of_first(self, make: Callable[[], T]) -> T:
        """What the first process makes, given to all."""
        if self.size == 1:
            return make()
        made = [make() if self.first else None]
        distributed.broadcast_object_list(made)
        return made[0]  # type: ignore[return-value]  # the first's

    def each(
        self, task: Callable[[Item], Answer], items: Sequence[Item], title: str
    ) -> list[Answer]:
        """What a task says of each item: a process does its part of them, and all get all, in
        order. As `pipeline.data.crops.Each`."""
        here = self.rows(len(items))
        done = one_by_one(task, items[here.start : here.stop], title)
        if self.size == 1:
            return done
        parts: list[list[Answer]] = [[] for _ in range(self.size)]
        distributed.all_gather_object(parts, done)
        return list(chain.from_iterable(parts))

    def same(self, what: str, value: T | None) -> T:
        """What all processes must share, from those that know it; the others say None.

        Raises RanksError where two differ; `what` names it, and says what to do.
        """
        values: list[T | None] = [value] * self.size
        if self.size > 1:
            distributed.all_gather_object(values, value)
        known = {each for each in values if each is not None}
        if len(known) != 1:
            raise RanksError(f"the {self.size} processes differ in {what}")
        return known.pop()

    def _sum(self, values: Tensor) -> Tensor:
        """Over all processes."""
        total = values.detach().clone()
        distributed.all_reduce(total)
        return total


ALONE = Ranks()


def _as_it_is(value: Tensor) -> Tensor:
    return value


def started_by_torchrun() -> bool:
    """Is this one of the processes of a training?"""
    return "TORCHELASTIC_RUN_ID" in os.environ


@contextmanager
def joined() -> Iterator[Ranks]:
    """Meet the other processes, where torchrun started this one; all but the first then print
    nothing. Raises RanksError where a machine has fewer GPUs than processes, and in whatever
    process waits for one that has ended."""
    if not started_by_torchrun():
        yield ALONE
        return
    end_with_parent()  # what is left of a machine's processes would be in the way of the next
    rank, size, local = (int(os.environ[name]) for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK"))
    backend = "gloo"
    if torch.cuda.is_available():
        if local >= (count := torch.cuda.device_count()):
            raise RanksError(
                f"{os.environ['LOCAL_WORLD_SIZE']} processes on a machine with {count} GPUs: each"
                " needs its own"
            )
        torch.cuda.set_device(local)
        backend = "cpu:gloo,cuda:nccl"
    distributed.init_process_group(backend)
    try:
        with nullcontext() if rank == 0 else silence():
            yield Ranks(rank, size, local)
    except RuntimeError as error:
        if isinstance(error, distributed.DistError) or "gloo" in str(error):
            raise RanksError("another process of this training has ended") from error
        raise
    distributed.destroy_process_group()


@contextmanager
def silence() -> Iterator[None]:
    """Print nothing; what is raised is still told."""
    with open(os.devnull, "w") as nowhere, redirect_stdout(nowhere), redirect_stderr(nowhere):
        yield
