"""Training, validation and test part, with near-duplicate photographs on one side.

LSPet holds the same photograph more than once, rescaled or re-toned, at unrelated indices: a split
by index would test on what was trained on.
"""

import cv2
import numpy as np
from PIL import Image

from pipeline.errors import PipelineError
from pipeline.skeleton import LEFT_SHOULDER, RIGHT_HIP

HASH_BITS = 256
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
    """Group numbers (N,): photographs whose hashes (N, 256) differ in at most `bits` share one."""
    # Imported here: a stage that only reads crops does not wait for SciPy.
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    signs = np.where(hashes, 1, -1).astype(np.float32)
    rows, columns = [], []
    for start in range(
        0, len(signs), 1000
    ):  # a block at a time: memory grows with N, not with its square
        agreement = (
            signs[start : start + 1000] @ signs[start:].T
        )  # bits that agree less bits that differ
        row, column = np.nonzero(agreement >= HASH_BITS - 2 * bits)
        rows.append(row + start)
        columns.append(column + start)
    row, column = np.concatenate(rows), np.concatenate(columns)
    graph = coo_array(
        (np.ones(len(row), dtype=bool), (row, column)), shape=(len(signs), len(signs))
    )
    return connected_components(graph, directed=False)[1]


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
