"""Ways for joints.mat to be wrong: each gives a file's bytes, of right joints (14, 3, N)."""

import io

import numpy as np
from scipy.io import savemat
from scipy.sparse import csc_array

from faults.bad import damage


def written(compressed: bool = True, **variables: object) -> bytes:
    file = io.BytesIO()
    savemat(file, variables, do_compression=compressed)
    return file.getvalue()


def damaged(joints: np.ndarray, rng: np.random.Generator) -> bytes:
    return damage.damaged(written(joints=joints), rng)


def damaged_plain(joints: np.ndarray, rng: np.random.Generator) -> bytes:
    """Not compressed, so that no checksum tells."""
    return damage.damaged(written(compressed=False, joints=joints), rng)


def damaged_old(joints: np.ndarray, rng: np.random.Generator) -> bytes:
    """MATLAB 4, which holds two dimensions."""
    file = io.BytesIO()
    savemat(file, {"joints": joints[..., 0]}, format="4")
    return damage.damaged(file.getvalue(), rng)


def other_shapes(joints: np.ndarray, rng: np.random.Generator) -> bytes:
    shapes = (
        *(joints[..., :-1], joints[..., 0], joints[:, :2], joints[:13], joints[..., :0]),
        *(joints.T, joints.transpose(1, 0, 2), joints[..., None], joints.ravel(), np.zeros(0)),
        *(np.float64(3), np.concatenate([joints, joints], 2), np.zeros((14, 3, 200_000))),
        *(np.ones((3, 14, 12)), joints.transpose(2, 0, 1), np.zeros((0, 0))),
    )
    return written(joints=shapes[int(rng.integers(len(shapes)))])


def other_types(joints: np.ndarray, rng: np.random.Generator) -> bytes:
    cells = np.empty(joints.shape, dtype=object)
    cells[...] = "text"
    types = (
        *(joints + 1j, joints.astype(np.uint8), joints.astype(np.int16), cells, "joints"),
        *(joints.astype(np.float32), joints > 50, joints.astype(np.int64), {"joints": joints}),
        *(np.array(["a", "b"]), csc_array(joints[..., 0]), joints.astype(np.uint64) + 2**63),
        *([joints, joints], cells[..., 0]),
    )
    return written(joints=types[int(rng.integers(len(types)))])


def other_places(joints: np.ndarray, rng: np.random.Generator) -> bytes:
    """One joint, or one person, or everybody, elsewhere."""
    odd = (
        *(np.nan, np.inf, -np.inf, 1e300, -1e300, 1e18, 1e9, 1e6, -1e6, 20_000, -20_000, 32_768),
        *(5000, -5000, 0, -1, 5e-324, 2**31, 2**63),
    )
    joints, value = joints.copy(), odd[int(rng.integers(len(odd)))]
    who = int(rng.integers(joints.shape[2]))
    choice = int(rng.integers(3))
    if choice == 0:
        joints[int(rng.integers(14)), int(rng.integers(2)), who] = value
    elif choice == 1:
        joints[:, :2, who] = value
    else:
        joints[:, int(rng.integers(2))] = value
    return written(joints=joints)


def other_flags(joints: np.ndarray, rng: np.random.Generator) -> bytes:
    odd = (2, -1, 0.5, np.nan, np.inf, 255, 1e-300)
    joints = joints.copy()
    joints[int(rng.integers(14)), 2, int(rng.integers(joints.shape[2]))] = rng.choice(odd)
    return written(joints=joints)


def in_one_point(joints: np.ndarray, rng: np.random.Generator) -> bytes:
    """All joints of a person, or the one that is annotated."""
    joints, who = joints.copy(), int(rng.integers(joints.shape[2]))
    choice = int(rng.integers(4))
    if choice == 0:
        joints[:, :2, who] = 30.25
    elif choice == 1:
        joints[1:, 2, who] = 0
    elif choice == 2:
        joints[:, 2, who] = 0
    else:
        joints[:, 2] = 0
    return written(joints=joints)


def other_variables(joints: np.ndarray, rng: np.random.Generator) -> bytes:
    choice = int(rng.integers(4))
    if choice == 0:
        return written(points=joints)
    if choice == 1:
        return written(Joints=joints, other="text")
    if choice == 2:
        return written(joints=joints, other=[1], deep={"a": {"b": [1, 2]}})
    return written()


def no_matlab(joints: np.ndarray, rng: np.random.Generator) -> bytes:
    text = b"MATLAB 7.3 MAT-file, Platform: GLNXA64, HDF5 schema 1.00 ."
    whole = (
        *(
            b"",
            bytes(128),
            bytes(4000),
            rng.bytes(4000),
            b"<html>moved</html>" * 20,
            b"joints = [1",
        ),
        *(text.ljust(124) + b"\x00\x02IM" + bytes(384) + b"\x89HDF\r\n\x1a\n" + bytes(2000),),
        *(b"\x89HDF\r\n\x1a\n" + bytes(2000), text.ljust(124) + b"\x00\x01IM", b"\x80\x05K\x01."),
    )
    return whole[int(rng.integers(len(whole)))]


WAYS = (
    *(damaged, damaged_plain, damaged_plain, damaged_old, other_shapes, other_types, other_types),
    *(other_places, other_places, other_places, other_flags, in_one_point, other_variables),
    *(no_matlab,),
)
