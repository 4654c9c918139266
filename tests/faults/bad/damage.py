"""Bytes that are damaged as disks, networks and editors damage them."""

import numpy as np

from faults.bad import chosen


def flipped(content: bytes, rng: np.random.Generator) -> bytes:
    """One to eight bits turned over."""
    if not content:
        return content
    damaged = bytearray(content)
    for place in rng.integers(0, len(content), rng.integers(1, 9)).tolist():
        damaged[place] ^= 1 << int(rng.integers(8))
    return bytes(damaged)


def flipped_early(content: bytes, rng: np.random.Generator) -> bytes:
    """The same in the first 200 bytes, where files say what they hold."""
    return flipped(content[:200], rng) + content[200:]


def cut(content: bytes, rng: np.random.Generator) -> bytes:
    """What comes first."""
    return content[: int(rng.integers(0, max(len(content), 1)))]


def without_end(content: bytes, rng: np.random.Generator) -> bytes:
    """Without its last bytes."""
    return content[: -int(rng.integers(1, 40))]


def overwritten(content: bytes, rng: np.random.Generator) -> bytes:
    """A run of other bytes somewhere."""
    place, length = int(rng.integers(0, max(len(content), 1))), int(rng.integers(1, 64))
    other = rng.bytes(length) if rng.random() < 0.5 else bytes(length)
    return (content[:place] + other + content[place + length :])[: len(content)]


def repeated(content: bytes, rng: np.random.Generator) -> bytes:
    """A part twice."""
    first, last = np.sort(rng.integers(0, len(content) + 1, 2)).tolist()
    return content[:last] + content[first:]


DAMAGES = (flipped, flipped_early, cut, without_end, overwritten, repeated)


def damaged(content: bytes, rng: np.random.Generator) -> bytes:
    """One of these, chosen at random."""
    (way,) = chosen(DAMAGES, 1, rng)
    return way(content, rng)
