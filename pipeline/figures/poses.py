"""People to draw: their build, their dress and their poses, at random within a body's limits.

Places are complex numbers: the real part grows to the right, the imaginary part downwards; a person
is built in units of the body's height.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.random import Generator

Colour = tuple[int, ...]  # red, green, blue and maybe opacity, 0 to 255

ARM = ((8, 7, 6), (9, 10, 11))  # shoulder, elbow, wrist of the right and of the left arm
LEG = ((2, 1, 0), (3, 4, 5))  # hip, knee, ankle

# Degrees: the upper limb outwards from hanging down, then the elbow outwards or the knee back
# inwards.
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


def rgb(colour: str) -> np.ndarray:
    """'#rrggbb' as three floats."""
    return np.array([int(colour[i : i + 2], 16) for i in (1, 3, 5)], float)


def tone(colour: Sequence[float] | np.ndarray, factor: float) -> Colour:
    """The colour, darker (below 1) or lighter (above)."""
    mixed = (c * factor if factor <= 1 else c + (255 - c) * (factor - 1) for c in colour)
    return tuple(min(max(int(c), 0), 255) for c in mixed)


def pick(
    rng: Generator, colours: Sequence[str], away: Sequence[Colour] = (), least: float = 85.0
) -> Colour:
    """One of the colours, varied; at least this far from all in `away` if a few tries find one."""
    for _ in range(12):
        colour = np.clip(
            rgb(colours[int(rng.integers(len(colours)))]) + rng.normal(0, 9, 3), 0, 255
        )
        if all(np.linalg.norm(colour - np.asarray(other)) > least for other in away):
            break
    return tuple(int(c) for c in colour)


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


def sample_look(rng: Generator, scenery: Colour) -> Look:
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
        hairstyle=rng.choice(
            ["short", "short", "long", "bun", "bald"], p=[0.3, 0.25, 0.22, 0.15, 0.08]
        ),
    )


def sample_pose(rng: Generator) -> Pose:
    """A pose within the limits of the joints."""
    names = list(ACTIONS)
    action = names[rng.choice(len(names), p=[a[3] for a in ACTIONS.values()])]
    arm_kinds, leg_kinds, lean, _ = ACTIONS[action]

    def sides(kinds: Sequence[str]) -> tuple[str, str]:
        first, second = (kinds[int(rng.integers(len(kinds)))] for _ in range(2))
        return first, first if rng.random() < 0.45 else second

    arms, legs = [], []
    for kind in sides(arm_kinds):
        low, high, bend_low, bend_high = ARMS[kind]
        upper = rng.uniform(low, high)
        arms.append(tuple(np.radians((upper, upper + rng.uniform(bend_low, bend_high)))))
    for kind in sides(leg_kinds):
        low, high, bend_low, bend_high, thigh_low, thigh_high, shank_low, shank_high = LEGS[kind]
        thigh = rng.uniform(low, high)
        shank = thigh - rng.uniform(bend_low, bend_high)
        of_thigh, of_shank = rng.uniform(thigh_low, thigh_high), rng.uniform(shank_low, shank_high)
        legs.append((*np.radians((thigh, shank)), of_thigh, of_shank))
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
        joints[shoulder] = joints[12] + trunk * (
            (2 * side - 1) * across * look.shoulders / 2 + 0.022j
        )
        upper, fore = (1j * np.exp(-1j * sign * angle) * trunk for angle in pose.arms[side])
        joints[elbow] = joints[shoulder] + look.arm[0] * upper
        joints[wrist] = joints[elbow] + look.arm[1] * fore
        hip, knee, ankle = LEG[side]
        thigh, shank, thigh_left, shank_left = pose.legs[side]
        joints[hip] = (2 * side - 1) * across * look.hips / 2 * np.exp(0.4j * pose.lean)
        joints[knee] = joints[hip] + 1j * np.exp(-1j * sign * thigh) * look.leg[0] * thigh_left
        joints[ankle] = joints[knee] + 1j * np.exp(-1j * sign * shank) * look.leg[1] * shank_left
    return joints * np.exp(1j * pose.rotation)
