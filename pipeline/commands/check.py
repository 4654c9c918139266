"""What a folder of your own photographs and annotations holds, before anything is trained on it.

    python -m pipeline check FOLDER

Annotations are in LSPet's or LSP's layout, COCO's keypoints JSON, MPII's annolist or a JSON of
stacked hourglasses. All mistakes are listed: file, index, what. Where there are none it is said who
is there, and ten people are drawn with their joints. Nothing else is written.
"""

import argparse
import shlex
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import simplejpeg
from matplotlib.figure import Figure

from pipeline.data.crops import cut_out
from pipeline.drawing import people as figures
from pipeline.errors import PipelineError
from pipeline.files import written_whole
from pipeline.geometry import Geometry, invert, transform, within
from pipeline.own.dataset import Checked, Own, check, upright
from pipeline.own.layouts import SUFFIXES
from pipeline.own.people import Person
from pipeline.skeleton import HEAD_TOP, JOINTS, LEFT_SHOULDER, NECK, RIGHT_HIP

DRAWN = 10  # people in the picture
# Of the crops that are drawn: a box of 1.25 times the joints' extent, and nothing around it.
SHOWN = Geometry(input_size=224, heatmap_size=56, sigma=1.0, box_scale=1.25, crop_scale=1.0)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What the command is told."""
    parser.add_argument("folder", type=Path, metavar="FOLDER", help="photographs and annotations")
    parser.add_argument(
        "--annotations",
        nargs="+",
        metavar="FILE",
        help="in FOLDER; default: the only .json or .mat there",
    )
    parser.add_argument(
        "--stored",
        action="store_true",
        help="joints are placed in the photographs as stored, not as EXIF turns them",
    )
    parser.add_argument(
        "--picture",
        type=Path,
        default=Path("check.png"),
        metavar="FILE",
        help=".png of ten people with their joints; default: check.png",
    )


def run(options: argparse.Namespace) -> int:
    """Print what is there, and write the picture."""
    annotations = options.annotations or [_only(options.folder)]
    orientation = "stored" if options.stored else "upright"
    checked = check(Own(options.folder, annotations, orientation, published=False))
    print("\n".join(described(checked)))
    shown = np.linspace(0, len(checked.people) - 1, min(DRAWN, len(checked.people))).astype(int)
    with written_whole(options.picture) as beside:
        drawn = drawing([checked.people[k] for k in shown])
        drawn.savefig(beside, format="png")
    print(f"\n{len(shown)} of them with their joints: {options.picture}")
    overrides = {
        "name": "own",
        "folder": options.folder,
        "annotations": f"[{','.join(annotations)}]",
        "orientation": orientation,
    }
    words = [f"-S {shlex.quote(f'data.{key}={value}')}" for key, value in overrides.items()]
    print(f"To train on them: {' '.join(words)} (docs/own.md)")
    return 0


def _only(folder: Path) -> str:
    """The only file of annotations in a folder. Raises PipelineError."""
    if not folder.is_dir():
        raise PipelineError(f"{folder}: no such folder")
    names = sorted(path.name for path in folder.iterdir() if path.suffix.lower() in SUFFIXES)
    if len(names) != 1:
        found = f"there are {', '.join(names)}" if names else "there is none"
        raise PipelineError(
            f"{folder}: expected one file of annotations, .json or .mat, but {found}; name it with"
            " --annotations"
        )
    return names[0]


def described(checked: Checked) -> list[str]:
    """Lines that say who and what is there."""
    people, photographs = checked.people, len(checked.sizes)
    annotated = np.array([each.annotated for each in people])
    occluded = np.array([each.occluded for each in people])
    groups = {each.group for each in people} - {""}
    lines = [f"{len(people):,} people in {photographs:,} photographs"]
    lines += [f"{count:,} people {reason}: left out" for reason, count in checked.left_out.items()]
    if checked.turned:
        lines.append(f"{checked.turned:,} photographs are turned upright, as EXIF says")
    if groups:
        lines.append(f"{len(groups):,} groups of photographs that stay on one side of the split")
    outside = sum(int((person.annotated & ~_within(person, checked)).sum()) for person in people)
    if outside:
        lines.append(f"{outside:,} joints lie outside their photograph")
    lines.append("")
    lines.append(f"{'joint':16}{'annotated':>10}{'hidden':>10}")
    for k, name in enumerate(JOINTS):
        lines.append(f"{name:16}{annotated[:, k].sum():10,}{occluded[:, k].sum():10,}")
    lines.append("")
    for measure, ends in (("PCK", (LEFT_SHOULDER, RIGHT_HIP)), ("PCKh", (NECK, HEAD_TOP))):
        able = int(annotated[:, ends].all(axis=1).sum())
        one, other = (JOINTS[end].replace("_", " ") for end in ends)
        lines.append(
            f"{measure} can be measured of {able:,} people, who have {one} and {other}"
            if able
            else f"{measure} cannot be measured: nobody has both {one} and {other}"
        )
    return lines


def _within(person: Person, checked: Checked) -> np.ndarray:
    return within(person.points, checked.sizes[person.photograph])


def drawing(people: Sequence[Person]) -> Figure:
    """People cut out of their upright photographs, with their joints."""
    images = [simplejpeg.decode_jpeg(upright(person.photograph).content) for person in people]
    points = np.stack([person.points for person in people])
    crops = cut_out(images, points, SHOWN)
    shown = transform(invert(crops.affines), points)
    titles = [person.photograph.name[:28] for person in people]
    return figures.skeletons(
        crops.inputs(np.arange(len(people))), shown, shown, ~np.isnan(shown).any(axis=-1), titles
    )
