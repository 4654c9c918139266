"""The embedded data set: pictures of drawn people, in the layout of LSPet.

Every picture is a function of (seed, index) alone, so the set is the same to the byte however many processes
draw it. Places are complex numbers: the real part grows to the right, the imaginary part downwards. A person
is built in units of the body's height, then scaled to pixels of the final picture, centres at integers.
"""

import io
import os
import shutil
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFilter
from scipy.io import savemat
from scipy.spatial import ConvexHull
from tqdm import tqdm

from pipeline import PipelineError

JOINTS = (
    "right ankle",
    "right knee",
    "right hip",
    "left hip",
    "left knee",
    "left ankle",
    "right wrist",
    "right elbow",
    "right shoulder",
    "left shoulder",
    "left elbow",
    "left wrist",
    "neck",
    "head top",
)
ARM = ((8, 7, 6), (9, 10, 11))  # shoulder, elbow, wrist of the right and of the left arm
LEG = ((2, 1, 0), (3, 4, 5))  # hip, knee, ankle
FINE = 3  # pixels of the drawing a pixel of the picture
OUTLINE = np.exp(2j * np.pi * np.arange(20) / 20)  # the unit circle

ARC = np.linspace(-1, 1, 11)

# What the pixels of a drawing show. A joint is seen where a part that holds it is seen.
SCENE, BODY, COVER = 0, 1, 90  # SCENE: background; BODY: trunk and head; limbs: from 2
LIMB = {j: 2 + n for n, limb in enumerate(ARM + LEG) for j in limb[1:]}

# Degrees: the upper limb outwards from hanging down, then the elbow outwards or the knee back inwards.
ARMS = {
    "down": (4, 30, -12, 35),
    "hip": (40, 60, -105, -80),
    "up": (115, 168, -25, 60),
    "out": (60, 105, -20, 50),
    "bent": (15, 50, 70, 130),
    "across": (5, 30, -115, -55),
    "flex": (70, 100, 60, 105),
}
# ... and the lengths that perspective leaves of thigh and shank.
LEGS = {
    "straight": (1, 13, -3, 5, 1, 1, 1, 1),
    "stride": (18, 42, -2, 25, 0.9, 1, 0.9, 1),
    "raised": (6, 30, 2, 25, 0.45, 0.75, 0.85, 1),
    "bent": (30, 58, 45, 85, 0.85, 1, 0.85, 1),
    "sit": (55, 88, 55, 95, 0.65, 1, 0.9, 1),
    "kick": (2, 14, -5, 5, 0.9, 1, 0.4, 0.6),
}
# Arms, legs, largest lean of the trunk in degrees, how often.
ACTIONS = {
    "stand": (("down", "hip", "across", "bent"), ("straight",), 6, 0.24),
    "cheer": (("up", "out", "flex"), ("straight", "stride"), 10, 0.18),
    "run": (("bent", "across"), ("straight", "raised", "kick", "stride"), 12, 0.16),
    "sit": (("down", "across", "bent", "up"), ("sit", "bent"), 12, 0.14),
    "jump": (("up", "out"), ("stride", "bent"), 14, 0.13),
    "lean": (("down", "out", "hip", "up"), ("straight", "stride"), 32, 0.15),
}

SKINS = ("#f6d3b8", "#eabf9b", "#d9a47a", "#b97f55", "#8d5a3b", "#643f2b")
HAIRS = ("#201a17", "#3a2a20", "#6b4426", "#a3682c", "#d8b25e", "#b9b4ad", "#8c2f1b")
CLOTHES = (
    "#d1383d",
    "#e8742c",
    "#f0bb32",
    "#4ea64b",
    "#1f8a84",
    "#2f6fc4",
    "#27408b",
    "#7a47a6",
    "#d7568f",
    "#f2efe6",
    "#2c2e36",
    "#8b9099",
    "#7c4a2d",
    "#9fd0e8",
)
README = """People drawn by pipeline/figures.py, in the layout of LSPet.

images/im00001.jpg ... : the pictures.
joints.mat: joints, 14 x 3 x N: x, y, flag. Flag 1: annotated. Flag 0: not annotated, x and y are no place.
truth.mat: joints, 14 x 3 x N: x, y of every joint, and 1 where it is hidden.
Joints: {joints}; left and right are the person's own.
Seed {seed}, {count} pictures.
"""


@dataclass(frozen=True)
class Look:
    """A person's build, in body heights, and dress."""

    torso: float
    shoulders: float
    hips: float
    arm: tuple[float, float]
    leg: tuple[float, float]
    head: float
    girth: float  # factor of every radius
    skin: tuple
    hair: tuple
    shirt: tuple
    trim: tuple
    trousers: tuple
    shoes: tuple
    sleeve: float  # how much of the arm and
    trouser: float  # of the leg is dressed: 0.5 to the elbow or knee, 1 to the wrist or ankle
    pattern: str
    hairstyle: str


@dataclass(frozen=True)
class Pose:
    """Angles, in radians; pairs are (right, left)."""

    arms: tuple  # (upper arm, forearm), each outwards from hanging down
    legs: tuple  # (thigh, shank, length left of the thigh, of the shank)
    lean: float
    tilt: float  # of the head
    turn: float  # about the upright axis
    rotation: float  # of the whole body
    back: bool  # seen from behind
    front: tuple[bool, bool]  # whether an arm is before the trunk
    seated: bool


def rgb(colour: str) -> np.ndarray:
    """'#rrggbb' as three floats."""
    return np.array([int(colour[i : i + 2], 16) for i in (1, 3, 5)], float)


def tone(colour, factor: float) -> tuple:
    """The colour, darker (below 1) or lighter (above)."""
    mixed = (c * factor if factor <= 1 else c + (255 - c) * (factor - 1) for c in colour)
    return tuple(min(max(int(c), 0), 255) for c in mixed)


def pick(rng, colours, away=(), least: float = 85.0) -> tuple:
    """One of the colours, varied; one at least this far from all those in `away`, if a few tries find it."""
    for _ in range(12):
        colour = np.clip(rgb(colours[rng.integers(len(colours))]) + rng.normal(0, 9, 3), 0, 255)
        if all(np.linalg.norm(colour - np.asarray(other)) > least for other in away):
            break
    return tuple(int(c) for c in colour)


def sample_look(rng, scenery: tuple) -> Look:
    """A person whose clothes stand out from the scenery's colour."""
    skin = pick(rng, SKINS, (scenery,), 60)
    shirt = pick(rng, CLOTHES, (scenery, skin))
    trousers = pick(rng, CLOTHES, (scenery, shirt, skin))
    u = rng.uniform
    return Look(
        torso=u(0.275, 0.315),
        shoulders=u(0.19, 0.25),
        hips=u(0.105, 0.14),
        arm=(u(0.155, 0.185), u(0.14, 0.165)),
        leg=(u(0.22, 0.26), u(0.22, 0.255)),
        head=u(0.18, 0.215),
        girth=u(0.9, 1.25),
        skin=skin,
        hair=pick(rng, HAIRS, (skin,), 70),
        shirt=shirt,
        trim=pick(rng, CLOTHES, (shirt,)),
        trousers=trousers,
        shoes=pick(rng, CLOTHES, (scenery, trousers), 60),
        sleeve=rng.choice([0.3, 0.36, 1]),
        trouser=rng.choice([0.36, 0.5, 1, 1]),
        pattern=rng.choice(["plain", "plain", "band", "stripes", "jacket"]),
        hairstyle=rng.choice(["short", "short", "long", "bun", "bald"], p=[0.3, 0.25, 0.22, 0.15, 0.08]),
    )


def sample_pose(rng) -> Pose:
    """A pose within the limits of the joints."""
    names = list(ACTIONS)
    action = names[rng.choice(len(names), p=[a[3] for a in ACTIONS.values()])]
    arm_kinds, leg_kinds, lean, _ = ACTIONS[action]

    def sides(kinds):
        first, second = (kinds[rng.integers(len(kinds))] for _ in range(2))
        return first, first if rng.random() < 0.45 else second

    arms, legs = [], []
    for kind in sides(arm_kinds):
        low, high, bend_low, bend_high = ARMS[kind]
        upper = rng.uniform(low, high)
        arms.append(tuple(np.radians((upper, upper + rng.uniform(bend_low, bend_high)))))
    for kind in sides(leg_kinds):
        low, high, bend_low, bend_high, *lengths = LEGS[kind]
        thigh = rng.uniform(low, high)
        shank = thigh - rng.uniform(bend_low, bend_high)
        legs.append((*np.radians((thigh, shank)), rng.uniform(*lengths[:2]), rng.uniform(*lengths[2:])))
    spread = 11 if rng.random() < 0.88 else 40
    return Pose(
        arms=tuple(arms),
        legs=tuple(legs),
        lean=np.radians(rng.uniform(-lean, lean)),
        tilt=np.radians(rng.uniform(-16, 16)),
        turn=np.radians(rng.uniform(-38, 38)),
        rotation=np.radians(np.clip(rng.normal(0, spread), -100, 100)),
        back=rng.random() < 0.1,
        front=tuple(rng.random(2) < 0.8),
        seated=action == "sit",
    )


def skeleton(look: Look, pose: Pose) -> np.ndarray:
    """Places of the 14 joints, complex, in body heights, around the middle of the pelvis."""
    joints = np.zeros(14, complex)
    trunk = np.exp(1j * pose.lean)
    across = np.cos(pose.turn) * (-1 if pose.back else 1)
    joints[12] = -1j * trunk * look.torso
    joints[13] = joints[12] - 1j * trunk * np.exp(1j * pose.tilt) * look.head
    for side in (0, 1):
        sign = (-1, 1)[side] * (-1 if pose.back else 1)  # -1: to the viewer's left
        shoulder, elbow, wrist = ARM[side]
        joints[shoulder] = joints[12] + trunk * ((2 * side - 1) * across * look.shoulders / 2 + 0.022j)
        upper, fore = (1j * np.exp(-1j * sign * angle) * trunk for angle in pose.arms[side])
        joints[elbow] = joints[shoulder] + look.arm[0] * upper
        joints[wrist] = joints[elbow] + look.arm[1] * fore
        hip, knee, ankle = LEG[side]
        thigh, shank, thigh_left, shank_left = pose.legs[side]
        joints[hip] = (2 * side - 1) * across * look.hips / 2 * np.exp(0.4j * pose.lean)
        joints[knee] = joints[hip] + 1j * np.exp(-1j * sign * thigh) * look.leg[0] * thigh_left
        joints[ankle] = joints[knee] + 1j * np.exp(-1j * sign * shank) * look.leg[1] * shank_left
    return joints * np.exp(1j * pose.rotation)


def blob(centres, radii) -> np.ndarray:
    """The outline around discs: of one, a disc; of two, a tapered capsule; of more, a rounded body."""
    if len(centres) == 2:
        (a, b), (ra, rb) = centres, radii
        distance, ahead = abs(b - a), np.angle(b - a)
        if distance > abs(ra - rb):
            side = np.arccos((ra - rb) / distance)  # where the tangents touch
            return np.concatenate(
                (
                    a - ra * np.exp(1j * (ahead + (np.pi - side) * ARC)),
                    b + rb * np.exp(1j * (ahead + side * ARC)),
                )
            )
    discs = np.concatenate([c + r * OUTLINE for c, r in zip(centres, radii, strict=True)])
    return discs[ConvexHull(np.column_stack((discs.real, discs.imag))).vertices]


def box(wide: float, top: float, bottom: float) -> np.ndarray:
    """The corners of a rectangle from -wide to wide, top to bottom."""
    return np.array([complex(-wide, top), complex(wide, top), complex(wide, bottom), complex(-wide, bottom)])


class Canvas:
    """A picture in the making, FINE times as large, and beside it which part each pixel shows."""

    def __init__(self, background: Image.Image, light: complex):
        self.image, self.light = background, light
        self.parts = Image.new("L", background.size, SCENE)
        self.paint, self.mark = ImageDraw.Draw(self.image, "RGBA"), ImageDraw.Draw(self.parts)

    def fill(self, outline: np.ndarray, colour: tuple, part: int | None = None) -> None:
        """Fill an outline, in picture pixels, with an RGB or RGBA colour; mark it as the part, if named."""
        points = np.rint((outline + 0.5 + 0.5j) * FINE - 0.5 - 0.5j)  # Pillow would cut fractions off
        points = np.column_stack((points.real, points.imag)).ravel().tolist()
        self.paint.polygon(points, fill=colour)
        if part is not None:
            self.mark.polygon(points, fill=part)

    def tube(self, centres, radii, colour, part: int | None = None) -> None:
        """Tapered capsules from disc to disc, in one piece, lit from one side."""
        centres, radii = np.asarray(centres), np.asarray(radii)
        for shift, factor, shade, mark in ((0, 1, 0.7, part), (0.1, 0.86, 1, None), (0.34, 0.42, 1.16, None)):
            places = centres + shift * radii * self.light
            for k in range(len(centres) - 1):
                self.fill(blob(places[k : k + 2], radii[k : k + 2] * factor), tone(colour, shade), mark)

    def shown(self, place: complex, parts: tuple) -> bool:
        """Whether any of the parts is seen within a pixel of the place."""
        x, y = (round((v + 0.5) * FINE - 0.5) for v in (place.real, place.imag))
        window = self.parts.crop((x - FINE, y - FINE, x + FINE + 1, y + FINE + 1))
        return any(colour in parts for _, colour in window.getcolors())


def texture(rng, size: tuple[int, int], colour, strength: float) -> Image.Image:
    """A noise of several grains around a colour."""
    total = np.zeros((*size[::-1], 3), np.float32) + np.asarray(colour, np.float32)
    for grain in (60, 22, 7):
        shape = (size[1] // grain + 2, size[0] // grain + 2)
        noise = Image.fromarray(rng.normal(0, 1, shape).astype(np.float32)).resize(size, Image.BICUBIC)
        weights = strength * rng.uniform(0.2, 1) * rng.uniform(0.6, 1.2, 3)
        total += np.asarray(noise)[..., None] * weights.astype(np.float32)
    return Image.fromarray(np.clip(total, 0, 255).astype(np.uint8))


def scenery(rng, size: tuple[int, int], colour) -> Image.Image:
    """A background, size times FINE: a gradient with noise, and stripes, shapes or clutter on it."""
    image = texture(rng, size, colour, rng.uniform(4, 24))
    width, height = size
    axis = np.exp(1j * rng.uniform(0, 2 * np.pi))
    ramp = (
        np.linspace(-0.5, 0.5, width)[None] * axis.real + np.linspace(-0.5, 0.5, height)[:, None] * axis.imag
    )
    image = np.asarray(image) + (ramp * rng.uniform(10, 90))[..., None] * rng.uniform(0.7, 1.2, 3)
    image = Image.fromarray(np.clip(image, 0, 255).astype(np.uint8))
    canvas = Canvas(image.resize((width * FINE, height * FINE), Image.NEAREST), -1j)

    def anywhere():
        return complex(rng.uniform(0, width), rng.uniform(0, height))

    if rng.random() < 0.55:  # a floor
        line, slope = rng.uniform(0.55, 0.85) * height, rng.uniform(-6, 6)
        shade = *tone(colour, rng.uniform(0.6, 1.4)), int(rng.uniform(110, 230))
        canvas.fill(box(width + 9, line, height + 9) + [0, 1j * slope, 0, 0], shade)
    if rng.random() < 0.25:  # stripes
        step, axis = rng.uniform(10, 40), np.exp(1j * rng.choice([0, np.pi / 2, rng.uniform(0, np.pi)]))
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
            canvas.tube((start, end), (radius, radius * rng.uniform(0.6, 1)), pick(rng, SKINS + CLOTHES))
    return canvas.image


def draw_limb(canvas: Canvas, places, radii, colours, dressed: float, part: int) -> None:
    """A limb through three places: bare, and dressed in the second colour down to `dressed` of its length."""
    places, radii, (bare, cloth) = np.asarray(places), np.asarray(radii), colours
    canvas.tube(places, radii, bare, part)
    whole, share = divmod(2 * dressed * 0.97, 1)
    k = int(whole)
    end, width = (v[k] + share * (v[k + 1] - v[k]) for v in (places, radii))
    canvas.tube((*places[: k + 1], end), 1.15 * np.array((*radii[: k + 1], width)), cloth, part)


def draw_arm(canvas: Canvas, joints, look: Look, side: int, unit: float) -> None:
    """An arm with its hand; `unit` is the body's height in pixels."""
    places = joints[list(ARM[side])]
    g, part = look.girth * unit, LIMB[ARM[side][1]]
    along = unit * (places[2] - places[1]) / abs(places[2] - places[1])
    canvas.tube(
        (places[2] + 0.008 * along, places[2] + 0.03 * along), (0.021 * g, 0.017 * g), look.skin, part
    )
    draw_limb(canvas, places, (0.034 * g, 0.027 * g, 0.02 * g), (look.skin, look.shirt), look.sleeve, part)


def draw_leg(canvas: Canvas, joints, look: Look, pose: Pose, side: int, unit: float) -> None:
    """A leg with its shoe, toes outwards."""
    places = joints[list(LEG[side])]
    g, part = look.girth * unit, LIMB[LEG[side][1]]
    sign = (2 * side - 1) * (-1 if pose.back else 1)
    along = unit * (places[2] - places[1]) / abs(places[2] - places[1])
    toe = places[2] + along * ((0.018 if pose.back else 0.032) * np.exp(-0.3j * sign) - 0.03j * sign)
    draw_limb(
        canvas, places, (0.055 * g, 0.039 * g, 0.024 * g), (look.skin, look.trousers), look.trouser, part
    )
    canvas.tube((places[2] + 0.012 * along, toe), (0.026 * g, 0.022 * g), look.shoes, part)


def draw_trunk(canvas: Canvas, joints, look: Look, pose: Pose, unit: float) -> None:
    """Trousers' top, shirt and neck."""
    g = look.girth * unit
    hips, shoulders, neck = joints[2:4], joints[8:10], joints[12]
    pelvis = hips.mean()
    up = neck - pelvis
    half = (shoulders[1] - shoulders[0]) / 2
    rows = np.array([0.02, 0.42, 0.86])  # hem, waist and chest, of the way from the pelvis to the neck

    def edge(t: float) -> complex:
        """From the trunk's axis to its left side, at t of that way."""
        widths = abs(hips[1] - hips[0]) / 2 + 0.042 * g, abs(half) * 0.5 + 0.04 * g, abs(half) + 0.022 * g
        return half / abs(half) * np.interp(t, rows, widths)

    canvas.fill(blob((*hips, pelvis + 0.16 * up), (0.052 * g, 0.052 * g, 0.046 * g)), look.trousers, BODY)
    sides = [pelvis + t * up + s * edge(t) for t in rows for s in (-1, 1)]
    inner = [
        p - (p - (pelvis + t * up)) / abs(p - (pelvis + t * up)) * 0.03 * g
        for p, t in zip(sides, np.repeat(rows, 2), strict=True)
    ]
    radii = [0.03 * g] * 4
    outline = (blob(inner[:4], radii), blob((*inner[2:], neck + 0.02 * up), (*radii, 0.036 * g)))
    for shape in outline:
        canvas.fill(shape, tone(look.shirt, 0.7), BODY)
    for shape in outline:
        centre = shape.mean()
        canvas.fill(centre + (shape - centre) * 0.93 + 0.01 * g * canvas.light, tone(look.shirt, 1))

    def band(low: float, high: float, left: float, right: float, colour: tuple) -> None:
        corners = (low, left), (low, right), (high, right), (high, left)
        canvas.fill(np.array([pelvis + t * up + s * edge(t) * 0.94 for t, s in corners]), colour)

    if look.pattern == "band":
        band(0.55, 0.72, -1, 1, look.trim)
    elif look.pattern == "stripes":
        for low in (0.1, 0.27, 0.44, 0.61, 0.78):
            band(low, low + 0.075, -1, 1, look.trim)
    elif look.pattern == "jacket" and not pose.back:
        shift = 0.3 * np.sin(pose.turn)
        band(0.02, 0.92, shift - 0.22, shift + 0.22, look.trim)
    head = joints[13] - neck
    if not pose.back:  # the collar
        shift = half * 0.25 * np.sin(pose.turn)
        canvas.fill(neck + np.array([-0.3 * half, 0.3 * half, shift - 0.12 * up]), tone(look.skin, 0.92))
    canvas.tube((neck, neck + 0.3 * head), (0.032 * g, 0.03 * g), tone(look.skin, 0.88), BODY)


def draw_head(canvas: Canvas, joints, look: Look, pose: Pose, unit: float) -> None:
    """Head, hair and, unless seen from behind, the face."""
    neck, top = joints[12], joints[13]
    up = (top - neck) * 0.41  # half of the head's height
    right = 1j * up * 0.8  # half of its width, towards the viewer's right
    centre = top - up
    turn = 0.42 * np.sin(pose.turn)

    def oval(across, along, wide, tall, start=0.0, stop=2 * np.pi):
        angle = np.linspace(start, stop, 28)
        return centre + right * (across + wide * np.cos(angle)) + up * (along + tall * np.sin(angle))

    dark = tone(look.hair, 0.72)
    if look.hairstyle == "long":
        canvas.fill(oval(0, -0.45, 1.12, 1.15), dark, BODY)
        if not pose.back:
            canvas.tube(
                (neck, 0.7 * neck + 0.3 * top), (0.03 * unit, 0.03 * unit), tone(look.skin, 0.85), BODY
            )
    if look.hairstyle == "bun":
        canvas.fill(oval(-turn, 0.98, 0.42, 0.36), dark, BODY)
    for side in (-1, 1):
        if side * turn < 0.22:
            canvas.fill(oval(side * 0.98 - turn * 0.2, -0.1, 0.16, 0.22), tone(look.skin, 0.84), BODY)
    canvas.fill(oval(0, -0.03, 1, 1.0), tone(look.skin, 0.8), BODY)
    canvas.fill(oval(0.02, 0.0, 0.93, 0.94), look.skin, BODY)
    if pose.back:
        if look.hairstyle != "bald":
            fall = (-0.35, 1.35) if look.hairstyle == "long" else (0.1, 0.9)
            canvas.fill(oval(0, fall[0], 1.05, fall[1]), look.hair, BODY)
            canvas.fill(oval(-0.3, 0.4, 0.3, 0.25), tone(look.hair, 1.12))
        return
    if look.hairstyle != "bald":
        fringe = oval(turn, 0.28, 0.8, 0.3, np.pi - 0.3, 0.3)
        cap = np.concatenate((oval(0, 0, 1.06, 1, -0.12, np.pi + 0.12), fringe))
        canvas.fill(cap, look.hair, BODY)
        canvas.fill(oval(-0.3, 0.72, 0.34, 0.12), tone(look.hair, 1.14))
    ink, brow = (38, 28, 28), tone(look.skin, 0.5) if look.hairstyle == "bald" else dark
    for side in (-1, 1):
        canvas.fill(oval(turn + side * 0.38, -0.08, 0.17, 0.13), (250, 248, 244))
        canvas.fill(oval(turn * 1.1 + side * 0.38, -0.08, 0.1, 0.13), ink)
        canvas.fill(oval(turn + side * 0.4, 0.2, 0.2, 0.045), brow)
        canvas.fill(oval(turn + side * 0.55, -0.4, 0.16, 0.11), (226, 110, 100, 70))
    canvas.fill(oval(turn * 1.3, -0.28, 0.08, 0.12), tone(look.skin, 0.74))
    canvas.fill(oval(turn * 1.05, -0.55, 0.26, 0.13, np.pi, 2 * np.pi), (150, 48, 48))


def draw_person(canvas: Canvas, joints, look: Look, pose: Pose, unit: float) -> None:
    """The person, farthest part first."""
    low = max(joints[0].imag, joints[5].imag)
    ground = complex((joints[0].real + joints[5].real) / 2, low + 0.05 * unit)
    spread = abs(joints[0].real - joints[5].real) / 2 + 0.09 * unit
    canvas.fill(ground + spread * OUTLINE.real + 0.026j * unit * OUTLINE.imag, (0, 0, 0, 60))
    if pose.seated:
        pelvis, turned = joints[2:4].mean(), np.exp(1j * pose.rotation)
        for low, high, wide, shade in ((0.05, 0.085, 0.2, 0.75), (0.085, 0.3, 0.13, 0.5)):
            canvas.fill(pelvis + turned * box(wide, low, high) * unit, tone(look.trim, shade))
    arms = [side for side in (0, 1) if not pose.front[side]]
    for side in arms:
        draw_arm(canvas, joints, look, side, unit)
    legs = sorted((0, 1), key=lambda side: -pose.legs[side][2])  # a short thigh comes nearer
    if not pose.seated:
        for side in legs:
            draw_leg(canvas, joints, look, pose, side, unit)
    draw_trunk(canvas, joints, look, pose, unit)
    if pose.seated:
        for side in legs:
            draw_leg(canvas, joints, look, pose, side, unit)
    draw_head(canvas, joints, look, pose, unit)
    for side in (0, 1):
        if side not in arms:
            draw_arm(canvas, joints, look, side, unit)


def draw_cover(rng, canvas: Canvas, centre: complex, size: float) -> None:
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
            leaf = size * (0.13 * OUTLINE.real + 0.065j * OUTLINE.imag) * np.exp(2j * np.pi * rng.random())
            canvas.fill(place + leaf, tone(green, rng.uniform(0.6, 1.3)), COVER)
        return
    wide, tall = size * rng.uniform(0.35, 0.6), size * rng.uniform(0.35, 0.6)
    canvas.fill(centre + turned * box(wide, -tall, tall), tone(colour, 0.65), COVER)
    canvas.fill(centre + turned * box(wide, -tall, tall) * 0.92, colour)
    for k in range(-2, 3) if kind == "patch" else (0,):
        strip = box(wide, (0.36 * k - 0.09) * tall, (0.36 * k + 0.09) * tall) * 0.92
        canvas.fill(centre + turned * strip, tone(colour, 0.75 if kind == "box" else 1.35))


def hidden(canvas: Canvas, joints) -> np.ndarray:
    """(14,) bool: the joints of which nothing is seen. Those of the trunk hide only behind objects."""
    body = (BODY, *LIMB.values())
    holders = [(LIMB[j],) if j in LIMB else body for j in range(len(joints))]
    return ~np.array([canvas.shown(place, parts) for place, parts in zip(joints, holders, strict=True)])


def draw(seed: int, index: int, covers: bool = True) -> tuple[Image.Image, np.ndarray, np.ndarray]:
    """A picture, its (14, 2) joints in pixels and which of them, (14,) bool, are hidden.

    Without `covers`, the same picture before any object was put over the person.
    """
    body, place, scene, cover, finish = np.random.default_rng([seed, index]).spawn(5)
    size = tuple(int(v) for v in place.integers(140, 261, 2))
    hue = rgb(CLOTHES[scene.integers(len(CLOTHES))])
    colour = tone(0.4 * hue + scene.uniform(25, 150) + scene.uniform(-18, 18, 3), 1)
    look, pose = sample_look(body, colour), sample_pose(body)

    joints = skeleton(look, pose)
    corner = complex(joints.real.min(), joints.imag.min())
    extent = np.array([np.ptp(joints.real), np.ptp(joints.imag)])
    unit = min(np.min((np.array(size) - 20) / (extent + 0.16)), place.uniform(75, 180) / extent.max())
    free = np.array(size) - 1 - extent * unit
    edge = 0.07 * unit + 4
    joints = (joints - corner) * unit + complex(*(place.uniform(edge, np.maximum(free - edge, edge))))

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
    image = np.asarray(image) * finish.uniform(0.85, 1.12) + noise
    image = Image.fromarray(np.clip(image, 0, 255).astype(np.uint8))
    return image, np.column_stack((joints.real, joints.imag)), unseen


def sentinel(rng, size: tuple[int, int]) -> tuple[float, float]:
    """What LSPet holds for the joints of a picture without a place: a zero and minus a sixth of the side."""
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


def save_joints(path: Path, joints: list[np.ndarray]) -> None:
    """Write (14, 3, N) float64 `joints`, with a header that bears no date."""
    buffer = io.BytesIO()
    savemat(buffer, {"joints": np.stack(joints, axis=2).astype(np.float64)})
    content = buffer.getvalue()
    path.write_bytes(b"MATLAB 5.0 MAT-file".ljust(116) + content[116:])


def write(folder: Path, count: int, seed: int, workers: int | None = None) -> None:
    """Write a set of `count` drawn people into the new folder, which appears whole or not at all."""
    folder = Path(folder)
    if folder.exists():
        raise PipelineError(f"{folder} exists: remove it, or name another folder")
    part = folder.with_name(f".{folder.name}.{os.getpid()}.part")
    task = partial(draw_file, seed=seed, folder=part / "images")
    try:
        (part / "images").mkdir(parents=True)
        with ProcessPoolExecutor(workers or os.cpu_count()) as pool:
            tasks = pool.map(task, range(count), chunksize=8)
            drawn = list(tqdm(tasks, "drawing people", count, unit="picture"))
        save_joints(part / "joints.mat", [annotation for annotation, _ in drawn])
        save_joints(part / "truth.mat", [truth for _, truth in drawn])
        (part / "README.txt").write_text(README.format(joints=", ".join(JOINTS), seed=seed, count=count))
        part.rename(folder)
    finally:
        shutil.rmtree(part, ignore_errors=True)
