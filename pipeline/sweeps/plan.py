"""Which trial comes next: the rest of a grid, or what a search asks for."""

from collections.abc import Iterable
from typing import Protocol

from pipeline.sweeps.space import Trial


class Plan(Protocol):
    """What a cluster is given trials by."""

    total: int  # trials, those that are finished included
    finished: int  # of them, before anything is run
    eager: bool  # whether the next one depends on no result, so that all can be asked for at once

    @property
    def trials(self) -> list[Trial]:
        """What is reported at the end."""

    def next(self) -> Trial | None:
        """One more to run, or None where there is none now."""

    def succeeded(self, trial: Trial) -> None:
        """Its experiment is on the remote."""

    def failed(self, trial: Trial) -> None:
        """It will never be."""


class Grid:
    """Trials that are all known."""

    eager = True

    def __init__(self, trials: Iterable[Trial], finished: Iterable[str]) -> None:
        """finished: names of those that need not be run."""
        self.trials, there = list(trials), set(finished)
        self._left = [trial for trial in self.trials if trial.name not in there]
        self.total, self.finished = len(self.trials), len(self.trials) - len(self._left)

    def next(self) -> Trial | None:
        """In the grid's order."""
        return self._left.pop(0) if self._left else None

    def succeeded(self, trial: Trial) -> None:
        """Nothing depends on it."""

    def failed(self, trial: Trial) -> None:
        """Nothing depends on it."""
