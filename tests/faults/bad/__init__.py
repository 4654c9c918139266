"""Bad inputs, made on the spot: a module a kind of input, a function a way to be bad."""

from collections.abc import Callable, Iterator, Sequence
from itertools import chain, cycle, islice
from typing import TypeVar

import numpy as np

from faults.table import Lost

Way = TypeVar("Way", bound=Callable)
Trials = Iterator[tuple[str, Callable[[], object]]]  # of a row of the table: what, and how


def chosen(ways: Sequence[Way], count: int, rng: np.random.Generator) -> Iterator[Way]:
    """So many of some ways to be bad, each as often as the others, in any order."""
    turns = (rng.permutation(len(ways)).tolist() for _ in cycle([0]))
    return (ways[k] for k in islice(chain.from_iterable(turns), count))


def name(way: Callable) -> str:
    """A way in words."""
    return way.__name__.replace("_", " ")


def no_number(text: str) -> None:
    """What JSON has no place for, but Python reads, such as NaN. Raises Lost."""
    raise Lost(f"{text} in JSON")
