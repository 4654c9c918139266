"""A search by Optuna: the caller asks its study for trials and tells it what they reached."""

import json
import logging
import random
import time
from collections.abc import Sequence

import optuna
from optuna.trial import TrialState
from sqlalchemy.exc import ArgumentError, SQLAlchemyError

from pipeline.errors import brief
from pipeline.sweeps import SweepError
from pipeline.sweeps.base import Base
from pipeline.sweeps.space import Trial, asked, check_settings, ranges
from pipeline.tracking.store import public

TRIES = 10  # to open a database, of which another process may make the tables at this moment


class Search:
    """A study, kept in a database; whoever opens it again goes on with it.

    What is maximised is PCK@0.2 of the validation part.
    """

    eager = False

    def __init__(
        self, sweep: str, overrides: Sequence[str], count: int, storage: str, base: Base
    ) -> None:
        """count: of trials that finish, those of earlier calls included. storage: an address as
        SQLAlchemy takes it. Raises SweepError."""
        self._sweep, self._base, self.total = sweep, base, count
        self._searched, self._fixed = ranges(overrides)
        logging.getLogger("optuna").setLevel(logging.WARNING)
        self._study = _opened(sweep, storage)
        about = json.dumps({"commit": base.commit, "overrides": sorted(overrides)})
        known = self._study.user_attrs.get("about", about)
        if known != about:
            raise SweepError(
                f"the study {sweep} in {public(storage)} is about {brief(known)}: give this sweep"
                " another name"
            )
        self._study.set_user_attr("about", about)
        self._failed = 0
        self._numbers: dict[Trial, int] = {}  # of trials that were asked for and not told of
        left = self._study.get_trials(deepcopy=False, states=(TrialState.RUNNING,))
        self._left = [(self._trial(each.params), each.number) for each in left]
        self.finished = self._count()

    @property
    def trials(self) -> list[Trial]:
        """Those that finished, each once."""
        return list(dict.fromkeys(self._trial(each.params) for each in self._complete()))

    def next(self) -> Trial | None:
        """One that an earlier call left, or a new one; None where enough finished, failed, or
        run."""
        if self._left:  # whoever asked for it is gone: one at a time is at a sweep
            trial, number = self._left.pop(0)
        elif self._count() + self._failed + len(self._numbers) >= self.total:
            return None
        else:
            new = self._study.ask(self._searched)
            trial, number = self._trial(new.params), new.number
            check_settings(trial)
        if trial in self._numbers:  # of few choices the same may be asked for twice
            self._study.tell(number, state=TrialState.FAIL)
            self._failed += 1
            return None
        self._numbers[trial] = number
        return trial

    def succeeded(self, trial: Trial) -> None:
        """Tell what it reached. Raises SweepError where its measures cannot be read."""
        self._study.tell(self._numbers.pop(trial), self._base.validation([trial.name])[trial.name])

    def failed(self, trial: Trial) -> None:
        """It counts as tried in this call; the next call asks for another."""
        self._study.tell(self._numbers.pop(trial), state=TrialState.FAIL)
        self._failed += 1

    def _trial(self, values: dict) -> Trial:
        return Trial.of(self._sweep, [*asked(values), *self._fixed])

    def _complete(self) -> list[optuna.trial.FrozenTrial]:
        return self._study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))

    def _count(self) -> int:
        return len(self._complete())


def _opened(sweep: str, storage: str) -> optuna.Study:
    """The study, made where it is not there. Raises SweepError."""
    for left in reversed(range(TRIES)):
        try:
            study = optuna.create_study(
                storage=storage, study_name=sweep, direction="maximize", load_if_exists=True
            )
            # Its own seed for each call, else it would begin with the same values; and what runs
            # side by side shall not be the same.
            seed = len(study.get_trials(deepcopy=False))
            study.sampler = optuna.samplers.TPESampler(seed=seed, constant_liar=True)
            return study
        except (SQLAlchemyError, optuna.exceptions.OptunaError) as error:
            if not left or isinstance(error, ArgumentError):
                said = brief(str(error).partition("\n")[0])
                raise SweepError(public(f"--study {storage}: {said}")) from None
            time.sleep(random.uniform(0.1, 1.0))
        except (ImportError, ValueError) as error:  # a driver that is not there
            raise SweepError(public(f"--study {storage}: {brief(error)}")) from None
    raise AssertionError("never reached")
