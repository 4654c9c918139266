"""What a sweep tries: every combination of a grid, or whatever a search asks for within ranges.

Both are written as `dvc exp run -S` and Hydra's sweepers take them, and read by their parsers.
"""

import hashlib
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dvc.exceptions import DvcException
from dvc.utils.cli_parse import to_path_overrides
from dvc.utils.hydra import apply_overrides, get_hydra_sweeps, to_hydra_overrides
from hydra.core.override_parser.types import IntervalSweep, Override, RangeSweep
from hydra.errors import HydraException
from ruamel.yaml import YAML

from pipeline.errors import brief
from pipeline.paths import PARAMS
from pipeline.settings import check
from pipeline.sweeps import SweepError

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution

DIGITS = 12  # of a trial's name; only digits: what stands before them is MLflow's tag `sweep`
LOG = "log"  # the only tag of a range


@dataclass(frozen=True)
class Trial:
    """An experiment that is to be run; its name is a function of the sweep's and the overrides."""

    name: str
    overrides: tuple[str, ...]  # sorted; each as `dvc exp run -S` takes it

    @classmethod
    def of(cls, sweep: str, overrides: Iterable[str]) -> "Trial":
        """The trial of a sweep with these overrides, in whatever order."""
        said = tuple(sorted(overrides))
        digest = hashlib.sha256("\n".join(said).encode()).hexdigest()
        return cls(f"{sweep}-{int(digest, 16) % 10**DIGITS:0{DIGITS}}", said)


def grid(sweep: str, overrides: Sequence[str]) -> list[Trial]:
    """Every combination, once, in DVC's order. Raises SweepError for what is no grid."""
    for path, parsed in _parsed(overrides):
        if parsed.is_interval_sweep():
            raise SweepError(
                f"-S {parsed.input_line}: an interval has no end of values: `--search N` asks for N"
            )
        _change(path, parsed)
    try:
        combinations = get_hydra_sweeps(to_path_overrides(overrides))
    except (DvcException, HydraException) as error:
        raise SweepError(f"-S {' -S '.join(overrides)}: {brief(error)}") from None
    trials = (
        Trial.of(sweep, [_of(path, text) for path, texts in each.items() for text in texts])
        for each in combinations
    )
    return list({trial.name: trial for trial in trials}.values())


def ranges(overrides: Sequence[str]) -> "tuple[dict[str, BaseDistribution], list[str]]":
    """What is searched, by parameter, and the overrides that every trial has.

    As Hydra's Optuna sweeper reads them: `a,b` and `choice(a,b)`; `range(1,9,2)`, without its end;
    `interval(0,1)`; `int(interval(1,9))`, with both ends; `tag(log, interval(1e-4,1))`. Raises
    SweepError.
    """
    searched, fixed = {}, []
    for path, parsed in _parsed(overrides):
        _change(path, parsed)
        key = _of(path, parsed.key_or_group)
        if parsed.is_sweep_override():
            try:
                searched[key] = _distribution(parsed)
            except (ValueError, HydraException) as error:
                raise SweepError(f"-S {parsed.input_line}: {brief(error)}") from None
        else:
            fixed.append(_of(path, f"{parsed.key_or_group}={parsed.get_value_element_as_str()}"))
    if not searched:
        raise SweepError(f"-S {' -S '.join(overrides)}: nothing to search, every value is fixed")
    return searched, fixed


def asked(values: Mapping[str, Any]) -> list[str]:
    """The overrides of what a search asks for, by parameter."""
    return [f"{key}={value}" for key, value in values.items()]


def check_settings(trial: Trial) -> None:
    """Raises SettingsError where params.yaml would say what it may not, SweepError where it has no
    such parameter."""
    own = [text for path, each in to_path_overrides(trial.overrides).items()
           for text in each if path == str(PARAMS)]  # fmt: skip
    with tempfile.TemporaryDirectory() as folder:
        changed = Path(folder) / PARAMS
        changed.write_bytes(PARAMS.read_bytes())
        try:
            apply_overrides(changed, own)
        except DvcException as error:
            said = brief(str(error.__cause__ or error).partition("\n")[0])
            raise SweepError(f"-S {' -S '.join(own)}: {said}") from None
        values = YAML(typ="safe", pure=True).load(changed.read_text("utf-8"))
    check(values, f"{PARAMS} of -S {' -S '.join(own)}")


def _parsed(overrides: Sequence[str]) -> list[tuple[str, Override]]:
    """Each with the file that it changes."""
    found = []
    for path, texts in to_path_overrides(overrides).items():
        for text in texts:
            try:
                found += [(path, each) for each in to_hydra_overrides([text])]
            except HydraException as error:
                said = brief(str(error).partition("\n")[0])
                raise SweepError(
                    f"-S {text}: {said}; expected parameter=value,... as `dvc exp run -S` takes it"
                ) from None
    return found


def _change(path: str, parsed: Override) -> None:
    """Raises SweepError for an override that adds or deletes a parameter."""
    if parsed.is_add() or parsed.is_delete():
        raise SweepError(
            f"-S {parsed.input_line}: params.yaml has a fixed set of parameters: none is added or"
            " deleted"
        )


def _of(path: str, text: str) -> str:
    """As -S takes it: with the name of a file that is not params.yaml."""
    return text if path == str(PARAMS) else f"{path}:{text}"


def _distribution(parsed: Override) -> "BaseDistribution":
    """Raises ValueError where it is none."""
    from optuna.distributions import (
        CategoricalDistribution,
        FloatDistribution,
        IntDistribution,
    )

    value: Any = parsed.value()
    if unknown := value.tags - {LOG}:
        raise ValueError(f"unknown tag {', '.join(sorted(unknown))}; expected {LOG}")
    log = LOG in value.tags
    if isinstance(value, IntervalSweep):
        assert value.start is not None and value.end is not None  # the parser's
        if isinstance(value.start, int):
            return IntDistribution(value.start, int(value.end), log=log)
        return FloatDistribution(value.start, value.end, log=log)
    if log:
        raise ValueError(f"the tag {LOG} is for an interval")
    if isinstance(value, RangeSweep) and not value.shuffle:
        values = list(value.range())
        if not values:
            raise ValueError("an empty range")
        if all(isinstance(each, int) for each in values):
            return IntDistribution(int(values[0]), int(values[-1]), step=int(value.step))
        return FloatDistribution(values[0], values[-1], step=float(value.step))
    return CategoricalDistribution(list(parsed.sweep_string_iterator()))
