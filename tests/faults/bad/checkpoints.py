"""Saved trainings that are damaged or none: each way changes the file of one that would go on."""

import io
import os
import pickle
from pathlib import Path

import numpy as np
import torch

from faults.bad import damage

MARK = "unpickled"  # the file that a pickle would make, where its code ran


class Code:
    """What runs where it is unpickled."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self):
        return os.mkdir, (str(self.mark),)


def damaged(path: Path, rng: np.random.Generator) -> None:
    path.write_bytes(damage.damaged(path.read_bytes(), rng))


def flipped(path: Path, rng: np.random.Generator) -> None:
    """Most bits are those of weights."""
    path.write_bytes(damage.flipped(path.read_bytes(), rng))


def none_at_all(path: Path, rng: np.random.Generator) -> None:
    whole = (b"", bytes(1000), rng.bytes(1000), b"text", b"PK\x05\x06" + bytes(18), b"\x80\x05.")
    path.write_bytes(whole[int(rng.integers(len(whole)))])


def with_code(path: Path, rng: np.random.Generator) -> None:
    """Pickles whose code must not run."""
    code = Code(path.with_name(MARK))
    choice = int(rng.integers(4))
    if choice == 0:
        path.write_bytes(pickle.dumps(code))
    elif choice == 1:
        torch.save(code, path)
    elif choice == 2:
        torch.save(_saved(path) | {"history": code}, path)
    else:
        torch.save(_saved(path) | {"step": code}, path, _use_new_zipfile_serialization=False)


def other_content(path: Path, rng: np.random.Generator) -> None:
    saved = _saved(path)
    odd = (5, None, "text", [], {}, [1, 2], torch.zeros(3), {"a": torch.zeros(2)})
    value = odd[int(rng.integers(len(odd)))]
    choice = int(rng.integers(4))
    if choice == 0:
        torch.save(value, path)
    elif choice == 1:
        torch.save(saved | {str(rng.choice(list(saved))): value}, path)
    elif choice == 2:
        del saved[str(rng.choice(list(saved)))]
        torch.save(saved, path)
    else:
        torch.save(saved | {"other": value}, path)


def other_counts(path: Path, rng: np.random.Generator) -> None:
    """The step, and what the curve was so far."""
    saved = _saved(path)
    steps = (-1, 10**9, True, "5", 5.5, None, float("nan"), torch.tensor(5), [5])
    curves = ([5], [{}], [{"step": "a"}], {"step": 1}, [{"step": torch.zeros(3)}], "text", [None])
    choice = int(rng.integers(3))
    if choice == 0:
        saved["step"] = steps[int(rng.integers(len(steps)))]
    else:
        saved[("history", "recent")[choice - 1]] = curves[int(rng.integers(len(curves)))]
    torch.save(saved, path)


def other_tensors(path: Path, rng: np.random.Generator) -> None:
    """One weight of another shape or kind, or not finite."""
    saved = _saved(path)
    networks = {name: saved[name] for name in ("generator", "pose", "confidence", "averaged")}
    places = list(_tensors(networks))
    holder, key = places[int(rng.integers(len(places)))]
    tensor = holder[key]
    changes = (
        lambda: tensor.new_zeros([7]),
        lambda: tensor.unsqueeze(0),
        lambda: torch.full_like(tensor, float("nan")) if tensor.is_floating_point() else None,
        lambda: "text",
        lambda: None,
    )
    holder[key] = changes[int(rng.integers(len(changes)))]()
    torch.save(saved, path)


def _saved(path: Path) -> dict:
    return torch.load(io.BytesIO(path.read_bytes()), weights_only=True)


def _tensors(value: object):
    """Holder and key of each tensor in what was saved."""
    pairs = value.items() if isinstance(value, dict) else enumerate(value)
    for key, each in list(pairs):
        if isinstance(each, torch.Tensor):
            yield value, key
        elif isinstance(each, dict | list):
            yield from _tensors(each)


WAYS = (
    *(damaged, damaged, flipped, flipped, none_at_all, with_code, with_code, other_content),
    *(other_content, other_counts, other_tensors, other_tensors),
)
