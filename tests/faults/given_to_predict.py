"""Bad input that `predict` is given: photographs, tables of boxes, files of a model."""

import json
import os
import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np

import untrained
from faults.bad import Trials, boxes, chosen, name, no_number, photographs, weights
from faults.programs import Ended, Forks, Stamps, clear, contents, ended_well, kept, refused
from faults.table import require

TOGETHER = 25  # photographs in a folder
SPECIAL = ("pipe.jpg", "pipe", "pipe.mp4")  # more of its files, which have no end
PATIENCE = 300.0  # s for them


def predicted(programs: Forks, place: Path, *words: str, model: Path) -> Ended:
    """Look at the folder `photographs` of a folder; the results come into its folder `found`."""
    words = "photographs", "--out", "found", "--weights", str(model), "--precision", "fp32", *words
    return programs.run(place, "pipeline", "predict", *words, limit=PATIENCE)


def of_photographs(programs: Forks, folder: Path, count: int, rng: np.random.Generator) -> Trials:
    """Folders of bad photographs with two good ones, whose results must be what they are alone."""
    (folder / "model").mkdir()
    model = untrained.write(folder / "model")
    good = {"000.jpg": photographs.good(".jpg"), "zzz.png": photographs.good(".png")}
    alone = folder / "alone"
    write(alone / "photographs", good)
    require(predicted(programs, alone, model=model).status == 0, "the good ones fail alone")
    expected = {each: said(alone / "found", each) for each in good}
    ways = list(chosen(photographs.WAYS, count, rng))
    for first in range(0, count, TOGETHER):
        some = {}
        for number, way in enumerate(ways[first : first + TOGETHER], first + 1):
            suffix, content = way(rng)
            some[f"{number:03d}{suffix}"] = content
        place = folder / f"from {first}"
        write(place / "photographs", good | some)
        for pipe in SPECIAL:
            os.mkfifo(place / "photographs" / pipe)
        before = contents(place)
        ended = predicted(programs, place, model=model)

        def beside(place: Path = place, ended: Ended = ended, before: Stamps = before) -> None:
            ended_well(ended)
            require(ended.status == (1 if ended.errors else 0), f"status {ended.status}")
            for each, wanted in expected.items():
                alike(said(place / "found", each), wanted, each)
            kept(place, before)

        yield "the good ones beside them", beside
        for file, way in zip(some, ways[first:], strict=False):
            yield name(way), partial(answered, place, ended, file)
        shutil.rmtree(place)


def write(folder: Path, files: dict[str, bytes]) -> None:
    """Files in a folder that is not there yet."""
    folder.mkdir(parents=True)
    for each, content in files.items():
        (folder / each).write_bytes(content)


def said(found: Path, file: str) -> dict:
    """What the results say of a photograph. Raises Lost where that is nothing, or no JSON."""
    path = found / f"{file}.json"
    require(path.is_file(), f"{file}: no result")
    require((found / f"{file}.overlay.jpg").is_file(), f"{file}: nothing was drawn")
    return json.loads(path.read_text(), parse_constant=no_number)


def alike(one: dict, other: dict, file: str) -> None:
    """Raises Lost where two results differ by more than arithmetic does."""
    require(len(one["people"]) == len(other["people"]), f"{file}: other people")
    for person, wanted in zip(one["people"], other["people"], strict=True):
        for joint, right in zip(person["joints"], wanted["joints"], strict=True):
            near = all(abs(joint[axis] - right[axis]) < 0.1 for axis in "xy")
            require(near, f"{file}: {joint} in place of {right}")


def answered(place: Path, ended: Ended, file: str) -> None:
    """Raises Lost where a photograph has neither results nor a sentence, or both."""
    errors = [line for line in ended.errors if f"/{file}: " in line]
    there = sorted(path.name for path in (place / "found").glob(f"{file}*"))
    if errors:
        require(len(errors) == 1, f"{len(errors)} sentences")
        clear(errors, [file])
        require(not there, f"refused, but left {there}")
    elif there or not (file.endswith(photographs.UNKNOWN) and "left out" in ended.said):
        said(place / "found", file)


def of_boxes(programs: Forks, folder: Path, count: int, rng: np.random.Generator) -> Trials:
    """Three good photographs with a bad table of boxes."""
    (folder / "model").mkdir()
    model = untrained.write(folder / "model")
    files = {each: photographs.good(".jpg") for each in ("a.jpg", "b.jpg", "c.jpg")}
    rows = ["a.jpg,5,6,30,50", "b.jpg,10,10,20.5,40", "a.jpg,-3,0,50,60"]
    for way in chosen(boxes.WAYS, count, rng):
        content = way(rows, rng)

        def trial(content: bytes = content) -> None:
            place = folder / "place"
            try:
                write(place / "photographs", files)
                (place / "boxes.csv").write_bytes(content)
                before = contents(place)
                ended = predicted(programs, place, "--boxes", "boxes.csv", model=model)
                ended_well(ended)
                require(ended.status == (1 if ended.errors else 0), f"status {ended.status}")
                clear(ended.errors, ["boxes.csv", *files])
                require(len(ended.errors) <= 20, f"{len(ended.errors)} sentences")
                if not ended.errors or (place / "found").exists():
                    for file in files:
                        answered(place, ended, file)
                kept(place, before)
            finally:
                shutil.rmtree(place)

        yield name(way), trial


def of_weights(programs: Forks, folder: Path, count: int, rng: np.random.Generator) -> Trials:
    """A good photograph with a model of which a file is bad; what is accepted must give numbers."""
    model = folder / "model"
    model.mkdir()
    untrained.write(model)
    words = "--onnx", weights.ONNX, "--weights", weights.GENERATOR
    exported = programs.run(model, "pipeline", "export", *words)
    require(exported.status == 0, f"export failed: {exported.said[-300:]}")
    for way in chosen(weights.WAYS, count, rng):

        def trial(way: Callable[[Path, np.random.Generator], str] = way) -> None:
            place = folder / "place"
            try:
                shutil.copytree(model, place / "model")
                write(place / "photographs", {"a.jpg": photographs.good(".jpg")})
                changed = way(place / "model", rng)
                before = contents(place)
                start = weights.ONNX if changed.endswith(".onnx") else weights.GENERATOR
                ended = predicted(programs, place, model=place / "model" / start)
                if ended.status == 0:
                    ended_well(ended)
                    answered(place, ended, "a.jpg")
                else:
                    refused(ended, changed)
                    require(not (place / "found").exists(), "refused, but left results")
                kept(place, before)
            finally:
                shutil.rmtree(place)

        yield name(way), trial
