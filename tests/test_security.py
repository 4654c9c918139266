"""What SECURITY.md promises and ruff does not check."""

import ast
import pickle
import shutil
from functools import partial

import numpy as np
import pytest
import torch

from conftest import CPU, ROOT
from pipeline.annotations import load_annotations
from pipeline.data import targets
from pipeline.data.shards import Shards
from pipeline.data.shelf import Shelf
from pipeline.networks import checkpoint, encoder
from pipeline.training.state import TrainingState
from test_training import tiny


class Trap:
    """Makes a folder when it is unpickled."""

    def __init__(self, place: str) -> None:
        self.place = place

    def __reduce__(self):
        return exec, (f"import os; os.mkdir({self.place!r})",)


def kept(path):
    """Take what is kept with the file as its record; what is not whole is not there."""
    shutil.copyfile(path, path.with_name("key.npz"))
    path.with_name("key.npy").touch()
    if Shelf(path.parent).take("key", path.with_name("taken.npy")) is None:
        raise FileNotFoundError(path)


READERS = {
    "a saved training": lambda path: TrainingState(tiny(), CPU).restore(path, 100),
    "the weights of a package": partial(encoder.packaged_weights, "tf_efficientnet_lite0"),
    "the weights of a network": checkpoint.load,
    "annotations": load_annotations,
    "heatmaps": targets.load,
    "crops": lambda path: Shards.mapped([path]),
    "a shard that was made before": lambda path: kept(path),
}


@pytest.mark.parametrize("kind", READERS)
def test_no_file_is_unpickled(kind, tmp_path):
    trap = Trap(str(tmp_path / "sprung"))
    for write in (
        lambda path: path.write_bytes(pickle.dumps(trap, protocol=2)),
        lambda path: torch.save(trap, path),
        lambda path: np.save(path.open("wb"), np.array(trap, dtype=object), allow_pickle=True),
        lambda path: np.savez(path.open("wb"), x=np.array(trap, dtype=object), y=np.zeros(1)),
    ):
        path = tmp_path / "crops.npy"
        write(path)
        with pytest.raises(Exception):  # noqa: B017  each reader has its own
            READERS[kind](path)
        assert not (tmp_path / "sprung").exists()
    with pytest.raises(FileExistsError):  # it is one, and catches whoever unpickles
        (tmp_path / "sprung").mkdir()
        pickle.loads(pickle.dumps(trap))


def test_torch_and_numpy_are_never_told_to_unpickle():
    for folder in ("pipeline", "stages", "benchmarks", "examples"):
        for path in (ROOT / folder).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text())):
                if not isinstance(node, ast.Call):
                    continue
                options = {each.arg: ast.unparse(each.value) for each in node.keywords}
                assert "allow_pickle" not in options, path
                if ast.unparse(node.func) == "torch.load":
                    assert options["weights_only"] == "True", path
