"""Disks that are full: small file systems where a stage writes."""

import shutil
from pathlib import Path

from tqdm import tqdm

from disks import mountable, small_disk
from faults.clone import LAST, WRITTEN, Clone, Reference, locked
from faults.table import Table, require

SHARES = (0.0, 0.4, 0.9)  # of the room that a stage needs
PLACES = (  # (a folder on a small disk, the stage that writes there, its outputs there)
    ("data", "download", ("dataset",)),
    ("data", "cache", ("cache", "heatmaps.npz", "split.csv")),
    ("checkpoints", "train", ()),
    ("models", "train", ("generator.safetensors",)),
    ("metrics", "train", ("learning_curve.csv", "validation.json", "validation_details.json")),
    ("mlartifacts", "train", ()),
    ("models", "finder", ("finder.safetensors",)),
    ("models", "calibrate", ("judgement.json",)),
    ("data", "evaluate", ("predictions.csv", "predictions_without_box.csv")),
    ("metrics", "evaluate", ("test.json", "test_details.json", "pck_curve.csv")),
    (".dvc/tmp", "train", ()),
)
OBSERVING = ("mlartifacts", ".dvc/tmp")  # full or not, the stage must succeed
UNKNOWN = 1000  # KiB of a place of which nothing is kept


def run(table: Table, reference: Reference, share: float) -> None:
    """Each place, once for each share of the room that it needs."""
    if reason := mountable():
        table.notes["disk full"] = f"skipped: no small file system can be mounted here ({reason})"
        table.tried["disk full"] = 0
        return
    every = [(*place, room) for room in SHARES for place in PLACES]
    chosen = every[:: max(round(1 / share), 1)]
    for number, (place, stage, outputs, room) in enumerate(tqdm(chosen, "disks", unit=" disks")):
        kind = f"disk full, {place} in {stage}"
        table.attempt(
            kind,
            lambda n=number, p=place, s=stage, o=outputs, r=room: filled(reference, n, p, s, o, r),
        )


def filled(
    reference: Reference, number: int, place: str, stage: str, outputs: tuple[str, ...], room: float
) -> None:
    """Run a stage whose disk is too small; then with room again, to the same bytes."""
    with reference.clone(f"disk-{number}", done=True) as clone:
        folder = clone.folder / place
        folder.mkdir(exist_ok=True)
        if place == "mlartifacts":
            shutil.rmtree(folder)
            folder.mkdir()
            (clone.folder / "mlflow.db").unlink()
        needed = sum(map(pages, [folder / name for name in outputs])) or UNKNOWN
        others = pages(folder) - sum(map(pages, [folder / name for name in outputs]))
        before = contents(clone, stage)
        with small_disk(folder, others + int(room * needed)):
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
                require("No space left" in sentences[0], sentences[0])
                left = clone.leftovers()
                parts = [name for name in left if name.endswith((".part", ".old"))]
                require(not parts, f"half written: {parts}")
        require(contents(clone, stage) >= before, "files of other stages are gone")
        clone.run("dvc", "repro")
        require(locked(clone.folder) == reference.lock, "other bytes than undisturbed")


def contents(clone: Clone, stage: str) -> set[Path]:
    """All files that other stages than this made."""
    made = {path for name in WRITTEN[:3] for path in (clone.folder / name).rglob("*")}
    own = clone.folder / LAST[stage]
    return {path for path in made if path.is_file() and not path.is_relative_to(own)}


def pages(path: Path) -> int:
    """KiB that a file or folder takes on such a disk: whole pages, and one for each folder."""
    if path.is_dir():
        return 4 + sum(map(pages, path.iterdir()))
    return 4 * -(-path.stat().st_size // 4096) if path.exists() else 0
