"""Training, validation and test part, with near-duplicate photographs on one side.

LSPet holds the same photograph more than once, rescaled or re-toned, at unrelated indices: a split
by index would test on what was trained on.
"""

from collections.abc import Iterator, Sequence

import cv2
import numpy as np
from PIL import Image

from pipeline.errors import PipelineError
from pipeline.skeleton import LEFT_SHOULDER, RIGHT_HIP

HASH_BITS = 256
FEWEST = 8  # pieces of a hash: one of at most 32 bits is a number
BLOCK = 1_000_000  # pairs of hashes that are compared at once
PARTS = ("train", "validation", "test")


class SplitError(PipelineError):
    """The photographs do not suffice for the parts that are asked for."""


def difference_hash(image: np.ndarray) -> np.ndarray:
    """Bits (256,) bool of a photograph (H, W, 3) uint8: is each of 16 x 16 grey cells darker than
    its right neighbour?

    N. Krawetz's dHash: unchanged by size and tone, nearly unchanged by recompression.
    """
    grey = Image.fromarray(
        cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
    )  # OpenCV has no box filter as exact
    cells = np.asarray(grey.resize((17, 16), Image.Resampling.BOX))
    return (cells[:, 1:] > cells[:, :-1]).ravel()


def near_duplicates(hashes: np.ndarray, bits: int) -> np.ndarray:
    """Group numbers (N,): photographs whose hashes (N, 256) differ in at most `bits` share one.

    Exact, and not of all pairs: cut into more than half as many pieces as bits may differ, two such
    hashes have a piece in which at most one bit differs. So it is enough to compare those that
    agree in all but one given bit of a piece, for each of the 256 bits.
    """
    groups, packed = np.arange(len(hashes)), np.packbits(hashes, axis=1).view(np.uint64)
    pieces = max(bits // 2 + 1, FEWEST)
    for piece in range(pieces):
        values = hashes[:, piece::pieces]  # far-apart bits: those of a row of a sky all agree
        keys = values @ (1 << np.arange(values.shape[1]))
        for bit in range(values.shape[1]):
            masked = keys & ~(1 << bit)
            # Neighbours alone first: of many that are alike, not all pairs are then to compare.
            for reach in (1, len(hashes)):
                found = [np.empty((0, 2), dtype=int)]
                for pairs in _agreeing(masked, groups, reach):
                    apart = packed[pairs[:, 0]] ^ packed[pairs[:, 1]]
                    near = np.bitwise_count(apart).sum(axis=1, dtype=int) <= bits
                    found.append(pairs[near])
                if sum(map(len, found)):
                    groups = joined(groups, np.concatenate(found))
    return groups


def _agreeing(keys: np.ndarray, groups: np.ndarray, reach: int) -> Iterator[np.ndarray]:
    """Pairs of places (M, 2) with the same key (N,) and different groups (N,), at most `reach` of a
    place with later ones, in blocks."""
    order = np.argsort(keys * len(keys) + groups)
    keys, groups = keys[order], groups[order]
    new_key = keys[1:] != keys[:-1]
    end, start = _next(new_key), _next(new_key | (groups[1:] != groups[:-1]))
    counts = np.minimum(end - start, reach)
    some = np.flatnonzero(counts)
    total = np.cumsum(counts[some])
    blocks = np.arange(BLOCK, total[-1] if len(some) else 0, BLOCK)
    for first in np.split(some, np.searchsorted(total, blocks)):
        many = counts[first]
        within = np.arange(many.sum()) - np.repeat(np.cumsum(many) - many, many)
        yield np.stack(
            [order[np.repeat(first, many)], order[np.repeat(start[first], many) + within]], 1
        )


def _next(changes: np.ndarray) -> np.ndarray:
    """For each of N places the one after it before which something changes (N - 1,), or N."""
    ends = np.append(np.flatnonzero(changes) + 1, len(changes) + 1)
    return np.repeat(ends, np.diff(ends, prepend=0))


def joined(groups: np.ndarray, pairs: np.ndarray) -> np.ndarray:
    """New group numbers (N,): of groups (N,), those that pairs (M, 2) of photographs connect are
    one.

    Numbers count from 0 in the order of the old ones; without pairs, 0 to G - 1 stay.
    """
    # Imported here: a stage that only reads crops does not wait for SciPy.
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    old, groups = np.unique(groups, return_inverse=True)
    one, other = groups[pairs].T
    graph = coo_array((np.ones(len(pairs), dtype=bool), (one, other)), shape=(len(old), len(old)))
    return connected_components(graph, directed=False)[1][groups]


def split(groups: np.ndarray, validation: float, test: float, seed: int) -> np.ndarray:
    """Part of each photograph (N,), "train", "validation" or "test"; a group is never divided.

    Groups are shuffled, then fill the test and the validation part up to their shares; the rest
    trains. Raises SplitError where a part would be empty.
    """
    _, groups, sizes = np.unique(groups, return_inverse=True, return_counts=True)
    order = np.random.default_rng(seed).permutation(len(sizes))
    filled = np.cumsum(sizes[order]) / len(groups)
    parts = np.full(len(sizes), "train", dtype=object)
    parts[order[filled <= test]] = "test"
    parts[order[(filled > test) & (filled <= test + validation)]] = "validation"
    if missing := [part for part in PARTS if part not in parts]:
        raise SplitError(
            f"the split leaves no photograph for {' and '.join(missing)}: {len(groups)} photographs"
            f" in {len(sizes)} groups that stay together, shares {validation} and {test}; take more"
            " photographs, or other shares in the group split of params.yaml"
        )
    return parts[groups]


def alike(labels: Sequence[str]) -> np.ndarray:
    """Pairs (M, 2) of places, for `joined`, that connect all photographs of one label; "" is
    none."""
    first: dict[str, int] = {}
    pairs = [(first.setdefault(label, k), k) for k, label in enumerate(labels) if label]
    return np.array(pairs, dtype=int).reshape(-1, 2)


def around(test: np.ndarray, groups: np.ndarray, validation: float, seed: int) -> np.ndarray:
    """The same as `split`, with a test part (N,) bool that is given.

    What shares a group with one of it is in no part: "". Raises SplitError where a part would be
    empty.
    """
    free = ~np.isin(groups, groups[test])
    parts = np.full(len(groups), "", dtype=object)
    parts[test] = "test"
    _, places, sizes = np.unique(groups[free], return_inverse=True, return_counts=True)
    order = np.random.default_rng(seed).permutation(len(sizes))
    chosen = np.full(len(sizes), "train", dtype=object)
    chosen[order[np.cumsum(sizes[order]) <= validation * free.sum()]] = "validation"
    parts[free] = chosen[places]
    if missing := [part for part in PARTS if part not in parts]:
        raise SplitError(
            f"beside the published test part no photograph is left for {' and '.join(missing)}:"
            f" {len(groups)} photographs, {test.sum()} of them that part's,"
            f" {(~free).sum() - test.sum()} near-duplicates of those"
        )
    return parts


def require_torsos(parts: np.ndarray, joints: np.ndarray) -> None:
    """Raises SplitError where in a part nobody has a torso, which PCK is measured in.

    parts: (N,), of `split`; joints: (N, 14, 2), px, NaN where not annotated.
    """
    torso = np.linalg.norm(joints[:, LEFT_SHOULDER] - joints[:, RIGHT_HIP], axis=-1)
    if bare := [part for part in PARTS if not (torso[parts == part] > 0).any()]:
        raise SplitError(
            f"nothing can be measured on {' and '.join(bare)}: left shoulder and right hip, between"
            " which the torso lies, are annotated in none of these photographs; take more"
            " photographs, or another split.seed in params.yaml"
        )
