"""Bad input that stages are given: params.yaml, archives, annotations, saved trainings."""

import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from functools import cache
from pathlib import Path

import numpy as np
import yaml
from scipy.io import loadmat

from conftest import ROOT
from faults.bad import Trials, annotations, archives, checkpoints, chosen, name, params
from faults.clone import made
from faults.programs import Forks, contents, ended_well, kept, ran, refused, settings, whole
from faults.table import require
from pipeline import paths
from pipeline.data import storage
from pipeline.figures import drawn_people
from pipeline.files import digest
from pipeline.processes import STOPPED
from pipeline.settings import load
from tiny import TINY

MEMORY = 2**30  # bytes, of a stage that needs no network
DISK = 2**30  # bytes that a download may write, LSPet being a sixth of it
GOING_ON = 130  # steps of a training that is saved after 100 of them
PATIENCE = 300.0  # s for the rest of it
ABSENT = "absent.zip"  # what LSPET_ARCHIVE names, to end where params.yaml is accepted


def root(place: Path) -> Path:
    """A folder in which stages run, with tiny parameters."""
    place.mkdir()
    values = yaml.safe_load((ROOT / paths.PARAMS).read_text())
    for group, changes in TINY.items():
        values[group] |= changes
    (place / paths.PARAMS).write_text(yaml.safe_dump(values))
    shutil.copy(ROOT / paths.STAGES, place)
    return place


def of_params(folder: Path, count: int, rng: np.random.Generator) -> Trials:
    """The download stage with params.yaml written wrongly; what is accepted ends soon, too."""
    text = (ROOT / paths.PARAMS).read_text()
    place = root(folder / "root")
    for way in chosen(params.WAYS, count, rng):
        content, never = way(text, rng)

        def trial(content: bytes = content, never: bool = never) -> None:
            (place / paths.PARAMS).write_bytes(content)
            before = contents(place)
            ended = ran(place, "-m", "stages.download", LSPET_ARCHIVE=ABSENT)
            refused(ended, str(paths.PARAMS), "LSPET_ARCHIVE")
            require(not (never and "LSPET_ARCHIVE" in ended.said), f"accepted: {content[:200]!r}")
            kept(place, before)

        yield name(way), trial


def of_archives(folder: Path, count: int, rng: np.random.Generator) -> Trials:
    """The download stage with archives and folders that are not LSPet: all must be refused."""
    place = root(folder / "root")
    shutil.copy(ROOT / paths.PARAMS, place)
    (place / paths.DATASET).mkdir(parents=True)
    (place / paths.DATASET / "joints.mat").write_text("of an earlier run")
    for number, way in enumerate(chosen(archives.WAYS, count, rng)):
        given = folder / f"{number}" / "lspet_dataset"
        given.parent.mkdir()
        way(given, rng)

        def trial(given: Path = given) -> None:
            before = contents(place)
            ended = ran(place, "-m", "stages.download", LSPET_ARCHIVE=str(given))
            refused(ended, str(given))
            require(ended.memory < MEMORY, f"took {ended.memory / 2**20:.0f} MiB")
            require(ended.written < DISK, f"wrote {ended.written / 2**20:.0f} MiB")
            kept(place, before)

        yield name(way), trial
        shutil.rmtree(given.parent)


def of_annotations(folder: Path, count: int, rng: np.random.Generator) -> Trials:
    """The cache stage with another joints.mat: it may work, and then must do so wholly."""
    place = root(folder / "root")
    drawn_people.write(place / paths.DATASET, count=12, seed=0)
    file = place / paths.DATASET / "joints.mat"
    joints = loadmat(file)["joints"].astype(float)
    for way in chosen(annotations.WAYS, count, rng):
        content = way(joints, rng)

        def trial(content: bytes = content) -> None:
            file.write_bytes(content)
            before = contents(place)
            ended = ran(place, "-m", "stages.cache")
            outputs = paths.CROPS, paths.HEATMAPS, paths.SPLIT
            there = [str(path) for path in outputs if (place / path).exists()]
            try:
                if ended.status == 0:
                    ended_well(ended)
                    require(len(there) == len(outputs), f"of the outputs there are {there}")
                    crops = storage.load(
                        place / paths.CROPS, load(place / paths.PARAMS).cache.geometry
                    )
                    for points in (crops.points, crops.originals):
                        placed = np.isfinite(points).all(-1)
                        require((placed == crops.annotated).all(), "joints without a place")
                    require(np.isfinite(crops.affines).all(), "crops that lead nowhere")
                else:
                    refused(ended, "joints.mat", str(paths.DATASET), str(paths.PARAMS))
                    require(not (place / paths.SPLIT).exists(), "refused, but left a split")
                require(ended.memory < MEMORY, f"took {ended.memory / 2**20:.0f} MiB")
                kept(place, before)
            finally:
                for made in (paths.CROPS, ".dvc/tmp/shards"):
                    shutil.rmtree(place / made, ignore_errors=True)
                for path in outputs[1:]:
                    (place / path).unlink(missing_ok=True)

        yield name(way), trial


def of_checkpoints(programs: Forks, folder: Path, count: int, rng: np.random.Generator) -> Trials:
    """The train stage with a saved training that is another: refused, or it makes the same."""
    stopped = folder / "stopped"
    saved = training_that_was_stopped(stopped)

    @cache
    def right() -> str:
        """What the undisturbed one makes, once that is asked."""
        undisturbed = shutil.copytree(stopped, folder / "undisturbed")
        ended = programs.run(undisturbed, "stages.train", limit=PATIENCE)
        require("going on from step" in ended.said, f"does not go on: {ended.said[-400:]}")
        return digest(undisturbed / paths.WEIGHTS)

    for way in chosen(checkpoints.WAYS, count, rng):

        def trial(way: Callable[[Path, np.random.Generator], None] = way) -> None:
            place = folder / "place"
            try:
                shutil.copytree(stopped, place)
                way(place / "checkpoints" / saved, rng)
                before = contents(place)
                ended = programs.run(place, "stages.train", limit=PATIENCE)
                mark = place / "checkpoints" / checkpoints.MARK
                require(not mark.exists(), "the code of a pickle ran")
                if ended.status == 0:
                    ended_well(ended)
                    require(
                        digest(place / paths.WEIGHTS) == right(), "other weights, no word of it"
                    )
                    whole(place)
                else:
                    refused(ended, saved)
                    require(not (place / paths.WEIGHTS).exists(), "refused, but left weights")
                    kept(place, before)
            finally:
                shutil.rmtree(place)

        yield name(way), trial


def training_that_was_stopped(folder: Path) -> str:
    """Make a repository whose train stage would go on: the name of the state that it saved."""
    made(folder)
    values = yaml.safe_load((folder / paths.PARAMS).read_text())
    values["train"]["steps"] = GOING_ON
    (folder / paths.PARAMS).write_text(yaml.safe_dump(values))
    for stage in ("download", "cache"):
        ended = ran(folder, "-m", f"stages.{stage}")
        require(ended.status == 0, f"{stage} failed: {ended.said[-300:]}")
    command = [sys.executable, "-m", "stages.train"]
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    process = subprocess.Popen(command, cwd=folder, env=settings(), start_new_session=True, **quiet)
    while not (found := list((folder / "checkpoints").glob("*.pt"))):
        require(process.poll() is None, "the training ended before it was saved")
        time.sleep(0.005)
    process.send_signal(signal.SIGTERM)
    require(process.wait() == STOPPED, "the training was not stopped")
    for each in (folder / "checkpoints").glob("*"):
        if each != found[0]:  # whose turn it was
            each.unlink()
    return found[0].name
