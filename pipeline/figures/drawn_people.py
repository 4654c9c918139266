"""The embedded data set: pictures of drawn people, in the layout of LSPet.

Every picture is a function of (seed, index) alone, so the set is the same to the byte however many
processes draw it. Places are complex numbers: the real part grows to the right, the imaginary part
downwards. A person is built in units of the body's height, then scaled to pixels of the final
picture, centres at integers.
"""

import os
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path

import numpy as np
from numpy.random import Generator
from PIL import Image, ImageFilter
from tqdm import tqdm

from pipeline.annotations import save_joints
from pipeline.errors import PipelineError
from pipeline.figures.body import draw_person
from pipeline.figures.canvas import (
    BODY,
    COVER,
    FINE,
    LIMB,
    OUTLINE,
    Canvas,
    box,
    texture,
)
from pipeline.figures.poses import (
    CLOTHES,
    SKINS,
    Colour,
    pick,
    rgb,
    sample_look,
    sample_pose,
    skeleton,
    tone,
)
from pipeline.files import written_whole
from pipeline.processes import end_with_parent
from pipeline.skeleton import JOINTS

README = """People drawn by pipeline/figures of Adversarial PoseNet, laid out as LSPet is.

images/im00001.jpg ... : the pictures.
joints.mat: joints, 14 x 3 x N: x, y, flag. Flag 1: annotated. Flag 0: not, x and y are no place.
truth.mat: joints, 14 x 3 x N: x, y of every joint, and 1 where it is hidden.
Joints: {joints}; left and right are the person's own.
Seed {seed}, {count} pictures.
"""


def scenery(rng: Generator, size: tuple[int, int], colour: Colour) -> Image.Image:
    """A background, size times FINE: a gradient with noise; on it stripes, shapes or clutter."""
    image = texture(rng, size, colour, rng.uniform(4, 24))
    width, height = size
    axis = np.exp(1j * rng.uniform(0, 2 * np.pi))
    ramp = (
        np.linspace(-0.5, 0.5, width)[None] * axis.real
        + np.linspace(-0.5, 0.5, height)[:, None] * axis.imag
    )
    pixels = np.asarray(image) + (ramp * rng.uniform(10, 90))[..., None] * rng.uniform(0.7, 1.2, 3)
    image = Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8))
    canvas = Canvas(image.resize((width * FINE, height * FINE), Image.Resampling.NEAREST), -1j)

    def anywhere() -> complex:
        return complex(rng.uniform(0, width), rng.uniform(0, height))

    if rng.random() < 0.55:  # a floor
        line, slope = rng.uniform(0.55, 0.85) * height, rng.uniform(-6, 6)
        shade = *tone(colour, rng.uniform(0.6, 1.4)), int(rng.uniform(110, 230))
        canvas.fill(box(width + 9, line, height + 9) + [0, 1j * slope, 0, 0], shade)
    if rng.random() < 0.25:  # stripes
        step, axis = (
            rng.uniform(10, 40),
            np.exp(1j * rng.choice([0, np.pi / 2, rng.uniform(0, np.pi)])),
        )
        middle, reach = complex(width, height) / 2, width + height
        shade = (*tone(colour, rng.choice([0.75, 1.25])), 130)
        for k in range(-int(reach / step / 2), int(reach / step / 2) + 1):
            canvas.fill(middle + axis * (box(reach, -step / 4, step / 4) + 1j * k * step), shade)
    for _ in range(rng.integers(0, 9)):  # far things
        corners = (
            rng.uniform(8, 45)
            * np.exp(1j * rng.uniform(0, 2 * np.pi))
            * (
                OUTLINE
                if rng.random() < 0.4
                else np.exp(2j * np.pi * np.sort(rng.random(rng.integers(3, 7))))
            )
        )
        shade = *tone(colour + rng.normal(0, 32, 3), 1), int(rng.uniform(90, 220))
        canvas.fill(anywhere() + corners.real * rng.uniform(0.5, 1.6) + 1j * corners.imag, shade)
    if rng.random() < 0.3:  # clutter that could be limbs
        for _ in range(rng.integers(1, 4)):
            start, radius = anywhere(), rng.uniform(2.5, 6)
            end = start + rng.uniform(15, 45) * np.exp(1j * rng.uniform(0, 2 * np.pi))
            canvas.tube(
                (start, end), (radius, radius * rng.uniform(0.6, 1)), pick(rng, SKINS + CLOTHES)
            )
    return canvas.image


def draw_cover(rng: Generator, canvas: Canvas, centre: complex, size: float) -> None:
    """An object of about this size, before everything drawn so far."""
    colour = pick(rng, CLOTHES + SKINS)
    turned = np.exp(1j * rng.uniform(-0.5, 0.5))
    kind = rng.choice(["box", "disc", "leaves", "patch"])
    if kind == "disc":
        canvas.fill(centre + size * 0.5 * OUTLINE, tone(colour, 0.7), COVER)
        canvas.fill(centre + size * (0.44 * OUTLINE + 0.04 * canvas.light), colour)
        canvas.fill(centre + size * (0.14 * OUTLINE + 0.2 * canvas.light), tone(colour, 1.3))
        return
    if kind == "leaves":
        green = np.clip(np.array([70, 120, 50]) + rng.normal(0, 22, 3), 0, 255)
        for _ in range(45):
            place = centre + size * 0.42 * np.sqrt(rng.random()) * np.exp(2j * np.pi * rng.random())
            leaf = (
                size
                * (0.13 * OUTLINE.real + 0.065j * OUTLINE.imag)
                * np.exp(2j * np.pi * rng.random())
            )
            canvas.fill(place + leaf, tone(green, rng.uniform(0.6, 1.3)), COVER)
        return
    wide, tall = size * rng.uniform(0.35, 0.6), size * rng.uniform(0.35, 0.6)
    canvas.fill(centre + turned * box(wide, -tall, tall), tone(colour, 0.65), COVER)
    canvas.fill(centre + turned * box(wide, -tall, tall) * 0.92, colour)
    for k in range(-2, 3) if kind == "patch" else (0,):
        strip = box(wide, (0.36 * k - 0.09) * tall, (0.36 * k + 0.09) * tall) * 0.92
        canvas.fill(centre + turned * strip, tone(colour, 0.75 if kind == "box" else 1.35))


def hidden(canvas: Canvas, joints: np.ndarray) -> np.ndarray:
    """(14,) bool: joints of which nothing is seen. Those of the trunk hide only behind objects."""
    body = (BODY, *LIMB.values())
    holders = [(LIMB[j],) if j in LIMB else body for j in range(len(joints))]
    return ~np.array(
        [canvas.shown(place, parts) for place, parts in zip(joints, holders, strict=True)]
    )


def draw(seed: int, index: int, covers: bool = True) -> tuple[Image.Image, np.ndarray, np.ndarray]:
    """A picture, its (14, 2) joints in pixels and which of them, (14,) bool, are hidden.

    Without `covers`, the same picture before any object was put over the person.
    """
    body, place, scene, cover, finish = np.random.default_rng([seed, index]).spawn(5)
    width, height = (int(v) for v in place.integers(140, 261, 2))
    size = width, height
    hue = rgb(CLOTHES[scene.integers(len(CLOTHES))])
    colour = tone(0.4 * hue + scene.uniform(25, 150) + scene.uniform(-18, 18, 3), 1)
    look, pose = sample_look(body, colour), sample_pose(body)

    joints = skeleton(look, pose)
    corner = complex(joints.real.min(), joints.imag.min())
    extent = np.array([np.ptp(joints.real), np.ptp(joints.imag)])
    unit = min(
        np.min((np.array(size) - 20) / (extent + 0.16)), place.uniform(75, 180) / extent.max()
    )
    free = np.array(size) - 1 - extent * unit
    edge = 0.07 * unit + 4
    joints = (joints - corner) * unit + complex(
        *(place.uniform(edge, np.maximum(free - edge, edge)))
    )

    canvas = Canvas(scenery(scene, size, colour), np.exp(1j * np.radians(place.uniform(-150, -30))))
    draw_person(canvas, joints, look, pose, unit)
    unseen = hidden(canvas, joints)
    if covers and cover.random() < 0.42:
        for _ in range(cover.integers(1, 3)):
            before = canvas.image.copy(), canvas.parts.copy()
            middle = joints[cover.integers(14)] + unit * 0.05 * complex(*cover.normal(0, 1, 2))
            draw_cover(cover, canvas, middle, cover.uniform(0.2, 0.46) * unit)
            now = hidden(canvas, joints)
            if now.sum() <= 9:
                unseen = now
            else:
                canvas.image.paste(before[0])
                canvas.parts.paste(before[1])

    image = canvas.image.reduce(FINE).filter(ImageFilter.GaussianBlur(finish.uniform(0, 0.6)))
    noise = finish.uniform(1, 6) * finish.standard_normal((*size[::-1], 3), np.float32)
    pixels = np.asarray(image) * finish.uniform(0.85, 1.12) + noise
    image = Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8))
    return image, np.column_stack((joints.real, joints.imag)), unseen


def sentinel(rng: Generator, size: tuple[int, int]) -> tuple[float, float]:
    """LSPet's entry for a picture's joints without a place: zero and minus a sixth of the side."""
    side = int(rng.integers(2))
    value = -size[side] / 6 * rng.uniform(0.95, 1.05)
    return (value, 0.0) if side == 0 else (0.0, value)


def draw_file(index: int, seed: int, folder: Path) -> tuple[np.ndarray, np.ndarray]:
    """Draw one picture into the folder; its annotation and its truth, each (14, 3)."""
    image, joints, unseen = draw(seed, index)
    rng = np.random.default_rng([seed, index, 1])
    image.save(folder / f"im{index + 1:05d}.jpg", quality=int(rng.integers(85, 96)))
    annotation = np.column_stack((joints, ~unseen))
    annotation[unseen, :2] = sentinel(rng, image.size)
    return annotation, np.column_stack((joints, unseen))


def write(folder: Path, count: int, seed: int, workers: int | None = None) -> None:
    """Write a set of `count` drawn people to the new folder, which appears whole or not at all."""
    folder = Path(folder)
    if folder.exists():
        raise PipelineError(f"{folder} exists: remove it, or name another folder")
    with written_whole(folder) as part:
        (part / "images").mkdir(parents=True)
        task = partial(draw_file, seed=seed, folder=part / "images")
        with ProcessPoolExecutor(workers or os.cpu_count(), initializer=end_with_parent) as pool:
            tasks = pool.map(task, range(count), chunksize=8)
            drawn = list(tqdm(tasks, "drawing people", count, unit="picture"))
        save_joints(part / "joints.mat", [annotation for annotation, _ in drawn])
        save_joints(part / "truth.mat", [truth for _, truth in drawn])
        readme = README.format(joints=", ".join(JOINTS).replace("_", " "), seed=seed, count=count)
        (part / "README.txt").write_text(readme)
