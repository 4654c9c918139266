"""The benchmarks: that both sides of a race do the same work, and that the clock and the bars are
read right."""

import ast
import re
import subprocess
import sys
import time
from importlib import metadata

import numpy as np
import pytest
import torch
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from benchmarks import growth, parts, peers, scale
from benchmarks.__main__ import line
from benchmarks.timing import peak_memory, process, race
from conftest import CPU, ROOT
from pipeline import settings
from pipeline.annotations import image_paths, load_annotations
from pipeline.figures import drawn_people
from pipeline.networks import heatmaps
from pipeline.training.batches import training_batch
from pipeline.training.loop import iteration
from pipeline.training.state import TrainingState


@pytest.fixture(scope="module")
def small():
    """The default settings with small networks, from nothing."""
    return parts.changed(
        settings.load(parts.ROOT / "params.yaml"),
        cache={"input_size": 64, "heatmap_size": 16},
        model={
            "encoder": "hourglass",
            "pretrained": False,
            "block": "basic",
            "features": [16, 16, 16],
        },
        train={"input_sizes": [64], "batch": 4, "precision": "fp32"},
    )


@pytest.fixture(scope="module")
def photographs(small):
    return parts.noise(small, CPU, 12)


def test_a_race_gives_the_median_of_turns():
    order = []

    def work(name, seconds):
        order.append(name)
        time.sleep(seconds)

    slow, fast = race(lambda: work("slow", 0.03), lambda: work("fast", 0.01), rounds=3)
    assert order == ["slow", "fast"] * 4  # the first round is not counted
    assert 0.03 <= slow < 0.3 and 0.01 <= fast < slow


def test_the_peers_heatmaps_are_ours():
    points = np.random.default_rng(0).uniform(0, 32, (2, 14, 2))
    ours = heatmaps.render(torch.from_numpy(points), 32, 1.5).numpy()
    np.testing.assert_allclose(peers.dense_heatmaps(points, 32, 1.5), ours, atol=1e-6)


def test_the_peers_iteration_takes_the_same_step_of_the_discriminators(small, photographs):
    """Before G has moved, both play on the same maps: P's and C's first gradients are the same."""
    config = parts.changed(
        parts.full_size(small), train={"learning_rate": 1e-12, "optimiser": "adamw"}
    )
    batch = training_batch(0, photographs, config)
    ours = TrainingState(config, CPU)
    values = iteration(ours, batch, config)
    plain = peers.PlainGame(config, CPU)
    plain.step(batch._replace(images=batch.images.contiguous()))
    assert torch.isfinite(values["train/loss"])
    for name in ("pose", "confidence"):
        pairs = zip(
            getattr(ours, name).parameters(), getattr(plain.state, name).parameters(), strict=True
        )
        moved = [(one - other).abs().max().item() for one, other in pairs]
        assert max(moved) < 2e-5  # a step of AdamW is 5e-4


def test_a_trainer_trains_at_the_full_size_with_the_game_on(small, photographs):
    step = parts.trainer(small, photographs)
    step()
    assert parts.full_size(small).train.game_start == 0


@pytest.mark.parametrize(
    ("ratio", "wanted", "met"),
    [
        (1.5, "at most 1.5", True),
        (1.6, "at most 1.5", False),
        (4, "at least 4", True),
        (3.9, "at least 4", False),
    ],
)
def test_a_bar_is_met_or_not(ratio, wanted, met):
    row = parts.Row("part; reference", 1.0, 2.0, "s", ratio, wanted)
    assert row.met is met
    assert ("NOT met" in line(row)) is not met


def test_a_row_without_a_bar_says_nothing():
    row = parts.Row("part", 1.0, float("nan"), "s", float("nan"), "")
    assert row.met is None and "met" not in line(row) and "nan" not in line(row)


def test_a_program_that_fails_is_not_timed():
    with pytest.raises(RuntimeError, match="no such thing"):
        process(sys.executable, "-c", "raise SystemExit('no such thing')")


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
def test_peak_memory_counts_what_is_held_and_not_what_is_mapped(tmp_path):
    np.lib.format.open_memmap(tmp_path / "file.npy", "w+", np.uint8, shape=(200 * 2**20,)).flush()
    mapped = (
        "import numpy as np, time; a = np.load('file.npy', mmap_mode='r'); a.sum(); time.sleep(0.3)"
    )
    held = "import numpy as np, time; a = np.ones(200 * 2**20, np.uint8); time.sleep(0.3)"
    assert peak_memory(sys.executable, "-c", mapped, cwd=tmp_path) < 150 * 2**20
    assert peak_memory(sys.executable, "-c", held, cwd=tmp_path) > 200 * 2**20


def test_the_first_photographs_are_a_data_set(tmp_path):
    drawn_people.write(tmp_path / "figures", 6, 0, workers=1)
    folder = growth.first(tmp_path / "figures", 4, tmp_path / "few")
    points, _, _ = load_annotations(folder / "joints.mat")
    assert len(points) == len(image_paths(folder)) == 4
    whole = load_annotations(tmp_path / "figures" / "joints.mat")
    np.testing.assert_array_equal(points, whole.points[:4])


def test_people_again_and_again_are_a_data_set_of_other_boxes(tmp_path):
    drawn_people.write(tmp_path / "figures", 6, 0, workers=1)
    scale.repeated(tmp_path / "figures", 14, tmp_path / "many")
    few, many = (load_annotations(tmp_path / name / "joints.mat") for name in ("figures", "many"))
    assert len(many.points) == len(image_paths(tmp_path / "many")) == 14
    assert (many.annotated == few.annotated[np.arange(14) % 6]).all()
    np.testing.assert_allclose(many.points[:6], few.points, atol=1e-9)
    sides = np.nanmax(many.points, axis=1) - np.nanmin(many.points, axis=1)
    np.testing.assert_allclose(sides[6:12], 0.99 * sides[:6])
    np.testing.assert_allclose(sides[12:], 0.98 * sides[:2])
    assert image_paths(tmp_path / "figures")[0].stat().st_nlink == 1  # nothing is changed of it


PEER = ROOT / "benchmarks" / "mediapipe_pose.py"
# Imports run where only some packages of those that are installed here can be found.
ALONE = """
import sys

class Only:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {hidden}:
            raise ModuleNotFoundError(f"no {{name}} there")

sys.meta_path.insert(0, Only())
{imports}
"""


def with_what_they_need(names: set[str]) -> set[str]:
    """Distributions, and those that they ask for, as far as they are installed here."""
    known, new = set(), names
    while new := set(map(canonicalize_name, new)) - known:
        known |= new
        asked = []
        for name in new:
            try:
                asked += metadata.requires(name) or []
            except metadata.PackageNotFoundError:  # MediaPipe, its OpenCV and JAX
                continue
        needed = [
            each for each in map(Requirement, asked) if not each.marker or each.marker.evaluate()
        ]
        new = {each.name for each in needed}
    return known


def test_what_runs_beside_mediapipe_needs_no_more_than_is_installed_there():
    listed = (ROOT / "benchmarks" / "requirements-peer.txt").read_text()
    there = with_what_they_need(set(re.findall(r"^([\w.-]+)==", listed, re.MULTILINE)))
    if "opencv-contrib-python" in there:  # brings the same module as what is installed here
        there.add("opencv-python-headless")
    hidden = {
        module
        for module, packages in metadata.packages_distributions().items()
        if there.isdisjoint(map(canonicalize_name, packages))
    } - {"pipeline", "benchmarks", "stages"}
    imports = [
        ast.unparse(node)
        for node in ast.parse(PEER.read_text()).body
        if isinstance(node, ast.Import | ast.ImportFrom) and "mediapipe" not in ast.unparse(node)
    ]
    assert "torch" in hidden and any("PoseEstimator" in line for line in imports)
    script = ALONE.format(hidden=hidden, imports="\n".join(imports))
    done = subprocess.run(
        [sys.executable, "-c", script], check=False, cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
