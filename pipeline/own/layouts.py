"""A file of annotations in whichever of the published layouts it is: LSPet's, LSP's, COCO's
keypoints JSON, MPII's annolist, and the JSON of those who train stacked hourglasses on it."""

import csv
import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from pipeline.annotations import image_paths, load_annotations
from pipeline.errors import PipelineError, brief
from pipeline.own import coco, mpii
from pipeline.own.people import ABSENT, HIDDEN, SEEN, Collected, Folder, OwnError

LSP_COUNT, LSP_TRAIN = 2000, 1000  # photographs of LSP, and of its train part, which come first
GROUPS = "groups.csv"  # beside the annotations
SUFFIXES = (".json", ".mat")
EXPECTED = (
    "expected LSPet's or LSP's joints.mat, COCO's keypoints JSON, MPII's RELEASE or a JSON of its"
    " joint_self or joints_vis"
)


def collect(root: Path, name: str, folder: Folder) -> Collected:
    """Everybody in the file of annotations of this name below `root`.

    Raises OwnError where it is in none of the layouts; what is wrong within is collected.
    """
    path = root / name
    collected = Collected(path, folder)
    if not path.is_file():
        raise OwnError(f"{path}: no such file of annotations")
    if path.suffix.lower() == ".json":
        _json(path, collected)
    elif path.suffix.lower() == ".mat":
        _mat(path, collected)
    else:
        raise OwnError(f"{path}: expected a file of annotations that ends in .json or .mat")
    _groups(path.with_name(GROUPS), collected)
    return collected


def _json(path: Path, collected: Collected) -> None:
    try:
        document = json.loads(path.read_bytes())
    except (ValueError, RecursionError) as error:
        raise OwnError(f"{path}: not JSON: {brief(error)}") from None
    if coco.is_coco(document):
        coco.read(document, collected)
    elif mpii.is_json(document):
        mpii.read_json(document, collected)
    else:
        raise OwnError(f"{path}: {EXPECTED}")


def _mat(path: Path, collected: Collected) -> None:
    from scipy.io import loadmat, whosmat

    try:
        names = {name for name, *_ in whosmat(path)}
        release = loadmat(path, simplify_cells=True)["RELEASE"] if "RELEASE" in names else None
    except Exception as error:  # noqa: BLE001  of a damaged file SciPy raises almost any
        raise OwnError(f"{path}: not a MATLAB file that is read: {brief(error)}") from None
    if isinstance(release, Mapping) and "annolist" in release:
        mpii.read_annolist(release, collected)
    elif "joints" in names:
        _leeds(path, collected)
    else:
        raise OwnError(f"{path}: {EXPECTED}")


def _leeds(path: Path, collected: Collected) -> None:
    """LSPet's and LSP's photographs lie beside, in images/, and are counted by their names.

    Of the whole LSP the second thousand is its published test part.
    """
    try:
        points, annotated, occluded = load_annotations(path)
    except PipelineError as error:
        raise OwnError(str(error)) from None
    photographs = image_paths(path.parent)
    if len(photographs) != len(points):
        raise OwnError(
            f"{path} annotates {len(points):,} people, but there are {len(photographs):,}"
            f" photographs im*.jpg in {path.parent / 'images'}"
        )
    is_lsp = len(points) == LSP_COUNT and bool(annotated.all())
    for number, photograph in enumerate(photographs):
        flags = np.where(occluded[number], HIDDEN, np.where(annotated[number], SEEN, ABSENT))
        joints = np.column_stack([points[number], flags])
        test = is_lsp and number >= LSP_TRAIN
        collected.add(f"person {number + 1}", photograph, joints, test=test)


def _groups(path: Path, collected: Collected) -> None:
    """Take the groups of photographs from a table with the columns image and group, if there is
    one; a photograph that it does not name keeps the group that its annotations say."""
    if not path.is_file():
        return
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            rows = list(csv.DictReader(file))
    except (ValueError, csv.Error) as error:
        raise OwnError(f"{path}: not a table: {brief(error)}") from None
    if rows and not {"image", "group"} <= rows[0].keys():
        raise OwnError(f"{path}: expected the columns image and group in the first line")
    groups: dict[Path, str] = {}
    for line, row in enumerate(rows, start=2):
        try:
            groups[collected.folder.find(row["image"] or "", path.parent)] = row["group"] or ""
        except OwnError as error:
            collected.wrong.append(f"{path}, line {line}: {error}")
    collected.people = [
        person._replace(group=groups.get(person.photograph) or person.group)
        for person in collected.people
    ]
