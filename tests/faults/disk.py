"""Disks that are full: small file systems where a stage writes."""

import re
import shutil
from functools import partial
from pathlib import Path

from tqdm import tqdm

from disks import mountable, small_disk
from faults.clone import WRITTEN, Clone, Reference, locked
from faults.table import Table, require

SHARES = (0.0, 0.4, 0.9)  # of the room that a stage needs
PLACES = (  # a folder on a small disk, and the stage that writes there
    ("data", "download"),
    ("data", "cache"),
    ("checkpoints", "train"),
    ("models", "train"),
    ("metrics", "train"),
    ("mlartifacts", "train"),
    (".dvc/tmp/tracking", "train"),
    ("models", "finder"),
    ("models", "calibrate"),
    ("data", "evaluate"),
    ("metrics", "evaluate"),
)
OBSERVING = ("mlartifacts", ".dvc/tmp/tracking")  # full or not, the stage must succeed
UNKNOWN = 1000  # KiB of a place of which nothing is kept


def run(table: Table, reference: Reference, share: float) -> None:
    """Each place, once for each share of the room that it needs."""
    if reason := mountable():
        table.notes["disk full"] = f"skipped: no small file system can be mounted here ({reason})"
        table.tried["disk full"] = 0
        return
    every = [(*place, room) for room in SHARES for place in PLACES]
    chosen = every[:: max(round(1 / share), 1)]
    for number, (place, stage, room) in enumerate(tqdm(chosen, "disks", unit=" disks")):
        kind = f"disk full, {place} in {stage}"
        table.attempt(kind, partial(filled, reference, number, place, stage, room))


def filled(reference: Reference, number: int, place: str, stage: str, room: float) -> None:
    """Run a stage whose disk is too small; then with room again, to the same bytes."""
    with reference.clone(f"disk-{number}", done=True) as clone:
        folder = clone.folder / place
        folder.mkdir(parents=True, exist_ok=True)
        outputs = [clone.folder / each["path"] for each in reference.lock["stages"][stage]["outs"]]
        here = [path for path in outputs if path.is_relative_to(folder)]
        needed = sum(map(pages, here)) or UNKNOWN
        for path in outputs:  # as DVC does, before the stage runs
            shutil.rmtree(path) if path.is_dir() else path.unlink()
        if place == "mlartifacts":
            shutil.rmtree(folder)
            folder.mkdir()
            (clone.folder / "mlflow.db").unlink()
        before = contents(clone)
        with small_disk(folder, pages(folder) + 4 * int(room * needed / 4)):
            process = clone.start("dvc", "repro", "--single-item", "--force", stage)
            status = process.wait()
            said = clone.said
            require("Traceback" not in said, f"a traceback: {said[-400:]}")
            if place in OBSERVING:
                require(status == 0, f"what only observes failed the stage: {said[-300:]}")
            else:
                sentences = [line for line in said.splitlines() if line.startswith("error: ")]
                require(status != 0, "the stage succeeded on a disk that was full")
                require(len(sentences) == 1, f"said {len(sentences)} sentences: {said[-400:]}")
                full = re.search("no room is left|No space left", sentences[0])
                require(full, f"not said to be full: {sentences[0]}")
                left = [name for name in clone.leftovers() if name.endswith((".part", ".old"))]
                require(not left, f"half written: {left}")
        require(contents(clone) >= before, "files of other stages are gone")
        clone.run("dvc", "repro")
        require(locked(clone.folder) == reference.lock, "other bytes than undisturbed")


def contents(clone: Clone) -> set[Path]:
    """All files that stages made."""
    found = {path for name in WRITTEN[:3] for path in (clone.folder / name).rglob("*")}
    return {path for path in found if path.is_file()}


def pages(path: Path) -> int:
    """KiB that a file, or a folder's files, take on such a disk: whole pages."""
    if path.is_dir():
        return sum(map(pages, path.iterdir()))
    return 4 * -(-path.stat().st_size // 4096) if path.exists() else 0
