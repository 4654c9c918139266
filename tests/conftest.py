"""What several files of tests share."""

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from playwright.sync_api import sync_playwright

from pipeline.geometry import Geometry
from pipeline.skeleton import FLIP

ROOT = Path(__file__).resolve().parents[1]
CPU = torch.device("cpu")
# The real data, where it lies beside this repository or LSPET_ARCHIVE names it; tests that need it
# else skip.
LSPET = ROOT / (os.environ.get("LSPET_ARCHIVE") or "../shared/lspet/lspet_dataset.zip")
LSP = ROOT / "../shared/lsp/joints.mat"
# Shells let what they start in the background ignore Ctrl-C, and so would the programs tested here.
signal.signal(signal.SIGINT, signal.default_int_handler)
GEOMETRY = Geometry(input_size=64, heatmap_size=16, sigma=1.0, box_scale=1.25, crop_scale=1.5)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The longest files first, so that the workers end together."""
    longest = ["test_pipeline.py", "test_team.py", "test_killed.py", "test_tracking.py"]
    order = {name: place for place, name in enumerate(longest)}
    items.sort(key=lambda item: order.get(item.path.name, len(longest)))


@pytest.fixture(autouse=True, scope="module")
def forgotten():
    """What a file's tests tell MLflow of a store is forgotten with them."""
    yield
    if "mlflow" in sys.modules:
        sys.modules["mlflow"].set_tracking_uri(None)


@pytest.fixture(scope="module")
def browser():
    """A real one; where there is none the test skips."""
    names = ("chromium", "chromium-browser", "google-chrome")
    program = next(filter(None, map(shutil.which, names)), None)
    if program is None:
        pytest.skip(f"none of {', '.join(names)} is installed: Debian's package is chromium")
    with sync_playwright() as playwright:
        running = playwright.chromium.launch(executable_path=program, args=["--no-sandbox"])
        yield running
        running.close()


@pytest.fixture
def one_thread():
    """Sums whose order, and so whose last bits, do not depend on the machine."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def flip_points(points: torch.Tensor, size: int) -> torch.Tensor:
    """Joints (B, 14, 2), px, of the mirrored photograph of width `size`."""
    mirrored = torch.stack([size - 1 - points[..., 0], points[..., 1]], dim=-1)
    return mirrored[:, list(FLIP)]


def environment() -> dict[str, str]:
    """This interpreter's programs first, and nothing that points at another store or archive."""
    foreign = ("MLFLOW_", "DVC_", "LSPET_", "GIT_", "POSENET_")
    return {k: v for k, v in os.environ.items() if not k.startswith(foreign)} | {
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "GIT_CONFIG_GLOBAL": os.devnull,  # a fresh machine has none
    }


def sh(folder: Path, *command: str | Path, fails: bool = False) -> str:
    """Run a command in a folder and give back what it printed; it must succeed, or fail if that is
    wanted."""
    done = subprocess.run(
        command, cwd=folder, env=environment(), capture_output=True, text=True, check=False
    )
    said = f"{command}: {done.returncode}\n{done.stdout}\n{done.stderr}"
    assert (done.returncode != 0) == fails, said
    return done.stdout + done.stderr


def git(folder: Path, *words: str) -> str:
    return sh(folder, "git", "-c", "user.name=test", "-c", "user.email=test@example.org", *words)
