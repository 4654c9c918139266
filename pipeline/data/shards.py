"""Crops in shards: files of a few hundred MB at most, each made, hashed and read by itself."""

from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

LARGEST = 2**28  # bytes of a shard's pixels


def people_a_shard(size: int) -> int:
    """How many crops of a side of `size` px lie in one shard."""
    return max(1, LARGEST // (3 * size**2))


class Shards:
    """The crops of N people in files, one after another, as one sequence of (S, S, 3) uint8.

    What is read of them is mapped, and copied on write: the files stay as they are.
    """

    def __init__(self, files: Sequence[np.ndarray]):
        self._files = files  # (n, S, S, 3) each
        self._ends = np.cumsum([len(each) for each in files])

    @classmethod
    def mapped(cls, paths: Iterable[Path]) -> "Shards":
        """Those of some files. Raises ValueError where one is no array, or another's side differs
        from the first's."""
        files = [np.load(path, mmap_mode="c") for path in paths]
        if len({each.shape[1:] for each in files}) != 1:
            raise ValueError("no shards, or shards of crops of different sides")
        return cls(files)

    def __len__(self) -> int:
        return int(self._ends[-1])

    def __getitem__(self, index: int) -> np.ndarray:
        number = int(np.searchsorted(self._ends, index, side="right"))
        return self._files[number][index - self._ends[number]]

    @property
    def shape(self) -> tuple[int, ...]:
        """(N, S, S, 3)."""
        return len(self), *self._files[0].shape[1:]
