"""One training, several processes: with torchrun, gloo and the stage itself.

Run by torchrun, `tests/test_distributed.py FOLDER`, it is the processes that tests here start.
"""

import json
import os
import re
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import mlflow
import numpy as np
import psutil
import pytest
import torch
from torch import nn

from conftest import CPU, ROOT, environment, sh
from pipeline import paths
from pipeline.data.crops import Each, one_by_one
from pipeline.distributed.ranks import ALONE, Ranks, RanksError, joined
from pipeline.distributed.torchrun import TorchrunError, launch
from pipeline.evaluation import protocol
from pipeline.files import digest
from pipeline.networks.estimator import CropEstimator
from pipeline.networks.generator import Generator
from pipeline.training.batches import training_batch
from pipeline.training.loop import train
from pipeline.training.state import TrainingError, TrainingState
from test_training import make_photographs, photographs, same, tiny  # noqa: F401  a fixture
from tiny import repository

pytestmark = pytest.mark.usefixtures("one_thread")
EIGHT = {"train__batch": 7, "train__input_sizes": [32]}  # eight photographs, batches of seven
# Asked by each process of its own rows: the mean of their answers is not that of all.
PROBES = {"pose/auc", "confidence/auc", "pose/true_in_another", "pose/true_exchanged"}
SETTINGS = {  # of the trainings that several processes do as one does
    "plain": {"augment__enabled": False, "train__adversarial": False},
    "augmented": {"train__adversarial": False},
    "cut": {"augment__cut": 0.9, "train__adversarial": False},
    "game": {"train__optimiser": "muon"},
    "game, cut": {"augment__cut": 0.9, "model__occlusion": False, "train__optimiser": "rmsprop"},
    "stacks, mse": {"model__stacks": 2, "model__reconstruction": "mse", "train__alpha": 0.1},
}
STEPS = 3


def frozen(state: TrainingState) -> TrainingState:
    """With BatchNorm as in evaluation, which makes no row of a batch depend on another."""
    for network in (state.generator, state.pose, state.confidence):
        for layer in network.modules():
            if isinstance(layer, nn.BatchNorm2d):
                layer.eval()
                layer.train = lambda _mode=True, layer=layer: layer
    return state


def trained(folder: Path, ranks: Ranks, keep_norms: bool = False, **changes):
    """A training to its end, and its state, in whatever number of processes."""
    config = tiny(**EIGHT | {"train__steps": STEPS} | changes)
    state = TrainingState(config, CPU)
    if not keep_norms:
        frozen(state)
    seen = make_photographs(folder)
    train(state, seen, config, folder / "state.pt", lambda *_: None, ranks=ranks)
    return state


def program(folder: Path) -> None:
    """What each process does: all the trainings; its curves and weights are kept."""
    torch.set_num_threads(1)
    with joined() as ranks:
        own = folder / str(ranks.rank)
        own.mkdir(parents=True)
        for name, changes in SETTINGS.items():
            state = trained(own, ranks, **changes)
            (own / f"{name}.json").write_text(json.dumps(state.history))
        state = trained(own, ranks, keep_norms=True)
        parts = ("generator", "pose", "confidence", "averaged")
        torch.save({part: getattr(state, part).state_dict() for part in parts}, own / "weights.pt")
        measured = partial(measure, state.averaged_generator, own)
        np.savez(own / "measured.npz", alone=measured(one_by_one), together=measured(ranks.each))
        known = ranks.same("what the first knows", "read" if ranks.first else None)
        (own / "told").write_text(known)
        state.step = ranks.rank
        try:
            ranks.same("their step", state.step)
        except RanksError as error:
            (own / "refused").write_text(str(error))


def measure(generator: Generator, folder: Path, each: Each) -> np.ndarray:
    """What the fixed protocol finds in batches of two, of eight photographs: (8, 28, 4)."""
    crops = make_photographs(folder).crops
    estimator = CropEstimator(generator, crops.geometry, {}, CPU)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(protocol, "BATCH", 2)
        found = protocol.evaluate(estimator, crops, np.arange(8), each)
    parts = (found.predictions, found.predictions_covered)
    return np.concatenate([np.dstack([one.points, one.scores, one.hidden]) for one in parts], 1)


def torchrun(*words: str | Path, **more: str) -> subprocess.CompletedProcess:
    """Run processes, and wait; what they say is kept."""
    code = os.pathsep.join(map(str, (ROOT, ROOT / "tests")))
    return subprocess.run(
        [sys.executable, "-m", "torch.distributed.run", "--standalone", *map(str, words)],
        env=environment() | {"PYTHONPATH": code, "OMP_NUM_THREADS": "1"} | more,
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture(scope="module")
def together(tmp_path_factory) -> list[Path]:
    """The folders of four processes that trained together."""
    folder = tmp_path_factory.mktemp("together")
    done = torchrun("--nproc-per-node", "4", __file__, folder)
    assert done.returncode == 0, done.stderr[-3000:]
    return [folder / str(rank) for rank in range(4)]


# The rows of a batch


@pytest.mark.parametrize("size", [1, 2, 3, 4])
@pytest.mark.parametrize("changes", [SETTINGS["plain"], {}, {"augment__cut": 0.9}])
def test_slices_of_a_batch_are_the_rows_of_the_whole_one(photographs, size, changes):  # noqa: F811
    config = tiny(**EIGHT, **changes, augment__occluders=1)
    for step in range(3):
        whole = training_batch(step, photographs, config)
        parts = [
            training_batch(step, photographs, config, Ranks(rank, size)) for rank in range(size)
        ]
        counts = [len(part.images) for part in parts]
        assert sum(counts) == 7 and max(counts) - min(counts) <= 1
        for name, rows in whole._asdict().items():
            sliced = torch.cat([getattr(part, name) for part in parts])
            assert torch.equal(sliced.nan_to_num(-1), rows.nan_to_num(-1)), name


def test_rows_are_shared_out_in_order():
    assert [[*Ranks(rank, 3).rows(7)] for rank in range(3)] == [[0, 1], [2, 3], [4, 5, 6]]
    assert [*ALONE.rows(3)] == [0, 1, 2]


def test_more_processes_than_photographs_in_a_batch_are_refused(photographs, tmp_path):  # noqa: F811
    config = tiny(train__batch=3)
    with pytest.raises(TrainingError, match=r"^4 processes for 3 photographs in a batch$"):
        train(
            TrainingState(config, CPU), photographs, config, tmp_path / "state.pt",
            lambda *_: None, ranks=Ranks(3, 4),
        )  # fmt: skip


# What they do together


@pytest.mark.parametrize("name", SETTINGS)
def test_several_processes_do_what_one_does(together, tmp_path, name):
    """In all that is logged; later steps part by rounding, so the first is what counts."""
    alone = trained(tmp_path, ALONE, **SETTINGS[name]).history
    for folder in together:
        curve = json.loads((folder / f"{name}.json").read_text())
        assert curve[0].keys() == alone[0].keys() and len(curve) == STEPS
        for key in alone[0].keys() - {"step"} - PROBES:
            assert curve[0][key] == pytest.approx(alone[0][key], rel=1e-6, abs=1e-7), key
        assert curve[-1]["train/loss"] == pytest.approx(alone[-1]["train/loss"], rel=1e-3)


def test_the_processes_have_the_same_curves_weights_statistics_and_averages(together):
    curves = [(folder / "game.json").read_text() for folder in together]
    assert len(set(curves)) == 1 and "val/reconstruction" in curves[0]
    first, *others = (torch.load(folder / "weights.pt") for folder in together)
    for other in others:
        for part, weights in first.items():
            assert all(torch.equal(each, other[part][key]) for key, each in weights.items()), part


def test_only_the_first_saves(together):
    saved = [folder.name for folder in together if (folder / "state.pt").exists()]
    assert saved == ["0"]


def test_the_processes_measure_together_what_one_measures(together):
    for folder in together:
        measured = np.load(folder / "measured.npz")
        assert np.array_equal(measured["together"], measured["alone"])
        assert measured["alone"].shape == (8, 28, 4)


def test_processes_that_differ_in_what_they_share_are_refused(together):
    for folder in together:
        said = (folder / "refused").read_text()
        assert said == "the 4 processes differ in their step"


def test_what_one_process_knows_the_others_are_told(together):
    assert [(folder / "told").read_text() for folder in together] == ["read"] * len(together)
    assert ALONE.same("what it knows", 3) == 3


# The stage

TWO = "--standalone --nproc-per-node 2 --max-restarts 1"


@pytest.fixture(scope="module")
def clone(tmp_path_factory) -> Path:
    """A repository whose data is there."""
    folder = repository(tmp_path_factory.mktemp("ranks") / "clone")
    sh(folder, "dvc", "repro", "cache")
    return folder


def started(clone: Path, options: str) -> subprocess.Popen:
    """The train stage by itself, which is torchrun; what it says is kept in the file `said`."""
    (clone / paths.LEARNING_CURVE).unlink(missing_ok=True)
    with (clone / "said").open("a") as said:
        return subprocess.Popen(
            [sys.executable, "-m", "stages.train"],
            cwd=clone,
            env=environment() | {"POSENET_TORCHRUN": options, "OMP_NUM_THREADS": "1"},
            stdout=said,
            stderr=said,
        )


def at_work(clone: Path, process: subprocess.Popen) -> list[psutil.Process]:
    """Wait for a point of the curve; the processes, by rank."""
    curve, waited = clone / paths.LEARNING_CURVE, time.monotonic() + 200
    while not (curve.exists() and curve.read_text().strip()):
        assert process.poll() is None and time.monotonic() < waited, (clone / "said").read_text()
        time.sleep(0.02)
    ranks = psutil.Process(process.pid).children()
    return sorted(ranks, key=lambda each: int(each.environ()["RANK"]))


def runs(clone: Path) -> list:
    client = mlflow.MlflowClient(f"sqlite:///{clone}/mlflow.db")
    found = client.get_experiment_by_name("adversarial-posenet-figures")
    return list(client.search_runs([found.experiment_id]))


@pytest.fixture(scope="module")
def whole(clone) -> str:
    """The weights of two processes that nobody disturbed, by their SHA-256."""
    printed = sh(clone, "env", f"POSENET_TORCHRUN={TWO}", "OMP_NUM_THREADS=1", "dvc", "repro",
                 "train")  # fmt: skip
    assert printed.count("validation PCK@0.2") == 3  # by the first alone
    return digest(clone / paths.WEIGHTS)


def test_dvc_starts_several_processes_that_are_one_run(clone, whole):
    (run,) = runs(clone)
    assert run.info.status == "FINISHED"
    assert run.data.tags["processes"] == "2" and run.data.tags["complete"] == "true"
    assert run.data.tags["model.sha256"] == whole
    assert "up to date" in sh(clone, "dvc", "status", "train")
    assert not list((clone / "checkpoints").glob("*.pt"))


def test_stopped_and_gone_on_with_and_with_a_process_killed_the_weights_are_the_same(clone, whole):
    (clone / paths.WEIGHTS).unlink()
    first = started(clone, TWO)
    ranks = at_work(clone, first)
    first.send_signal(signal.SIGTERM)
    assert first.wait(60) == 130
    psutil.wait_procs(ranks, 20)
    said = (clone / "said").read_text()
    assert "Traceback" not in said
    assert re.search(r"stopped, and saved, at step \d+ of 60: the same command goes on", said)
    assert len(list((clone / "checkpoints").glob("*.pt"))) == 1

    second = started(clone, TWO)
    at_work(clone, second)[1].kill()
    assert second.wait(200) == 0
    said = (clone / "said").read_text()
    assert "Traceback" not in said and said.count("going on from step") == 2
    assert digest(clone / paths.WEIGHTS) == whole
    assert [run.info.status for run in runs(clone)] == ["FINISHED"] * 2  # this one, and `whole`


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ("--processes 2", "the following arguments|unrecognized arguments|options of torchrun"),
        ("--nproc-per-node two", "two"),
        ("'", "No closing quotation"),
        ("train.py", "options of torchrun alone"),
    ],
)
def test_what_torchrun_does_not_know_is_one_sentence(monkeypatch, options, said):
    monkeypatch.setenv("POSENET_TORCHRUN", options)
    with pytest.raises(TorchrunError, match=rf"^POSENET_TORCHRUN: .*({said})"):
        launch("stages.train")


if __name__ == "__main__":
    program(Path(sys.argv[1]))
