"""A person, drawn onto the canvas part by part; `unit` is the body's height in picture px."""

import numpy as np
from numpy.typing import ArrayLike

from pipeline.figures.canvas import BODY, LIMB, OUTLINE, Canvas, blob, box
from pipeline.figures.poses import ARM, LEG, Colour, Look, Pose, tone


def draw_limb(
    canvas: Canvas,
    places: ArrayLike,
    radii: ArrayLike,
    colours: tuple[Colour, Colour],
    dressed: float,
    part: int,
) -> None:
    """A limb through three places: bare, and in the second colour to `dressed` of its length."""
    places, radii, (bare, cloth) = np.asarray(places), np.asarray(radii), colours
    canvas.tube(places, radii, bare, part)
    whole, share = divmod(2 * dressed * 0.97, 1)
    k = int(whole)
    end, width = (v[k] + share * (v[k + 1] - v[k]) for v in (places, radii))
    canvas.tube((*places[: k + 1], end), 1.15 * np.array((*radii[: k + 1], width)), cloth, part)


def draw_arm(canvas: Canvas, joints: np.ndarray, look: Look, side: int, unit: float) -> None:
    """An arm with its hand; `unit` is the body's height in pixels."""
    places = joints[list(ARM[side])]
    g, part = look.girth * unit, LIMB[ARM[side][1]]
    along = unit * (places[2] - places[1]) / abs(places[2] - places[1])
    canvas.tube(
        (places[2] + 0.008 * along, places[2] + 0.03 * along),
        (0.021 * g, 0.017 * g),
        look.skin,
        part,
    )
    draw_limb(
        canvas, places, (0.034 * g, 0.027 * g, 0.02 * g), (look.skin, look.shirt), look.sleeve, part
    )


def draw_leg(
    canvas: Canvas, joints: np.ndarray, look: Look, pose: Pose, side: int, unit: float
) -> None:
    """A leg with its shoe, toes outwards."""
    places = joints[list(LEG[side])]
    g, part = look.girth * unit, LIMB[LEG[side][1]]
    sign = (2 * side - 1) * (-1 if pose.back else 1)
    along = unit * (places[2] - places[1]) / abs(places[2] - places[1])
    toe = places[2] + along * (
        (0.018 if pose.back else 0.032) * np.exp(-0.3j * sign) - 0.03j * sign
    )
    draw_limb(
        canvas,
        places,
        (0.055 * g, 0.039 * g, 0.024 * g),
        (look.skin, look.trousers),
        look.trouser,
        part,
    )
    canvas.tube((places[2] + 0.012 * along, toe), (0.026 * g, 0.022 * g), look.shoes, part)


def draw_trunk(canvas: Canvas, joints: np.ndarray, look: Look, pose: Pose, unit: float) -> None:
    """Trousers' top, shirt and neck."""
    g = look.girth * unit
    hips, shoulders, neck = joints[2:4], joints[8:10], joints[12]
    pelvis = hips.mean()
    up = neck - pelvis
    half = (shoulders[1] - shoulders[0]) / 2
    rows = np.array(
        [0.02, 0.42, 0.86]
    )  # hem, waist and chest, of the way from the pelvis to the neck

    def edge(t: float) -> complex:
        """From the trunk's axis to its left side, at t of that way."""
        widths = (
            abs(hips[1] - hips[0]) / 2 + 0.042 * g,
            abs(half) * 0.5 + 0.04 * g,
            abs(half) + 0.022 * g,
        )
        return half / abs(half) * np.interp(t, rows, widths)

    canvas.fill(
        blob((*hips, pelvis + 0.16 * up), (0.052 * g, 0.052 * g, 0.046 * g)), look.trousers, BODY
    )
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

    def band(low: float, high: float, left: float, right: float, colour: Colour) -> None:
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
        canvas.fill(
            neck + np.array([-0.3 * half, 0.3 * half, shift - 0.12 * up]), tone(look.skin, 0.92)
        )
    canvas.tube((neck, neck + 0.3 * head), (0.032 * g, 0.03 * g), tone(look.skin, 0.88), BODY)


def draw_head(canvas: Canvas, joints: np.ndarray, look: Look, pose: Pose, unit: float) -> None:
    """Head, hair and, unless seen from behind, the face."""
    neck, top = joints[12], joints[13]
    up = (top - neck) * 0.41  # half of the head's height
    right = 1j * up * 0.8  # half of its width, towards the viewer's right
    centre = top - up
    turn = 0.42 * np.sin(pose.turn)

    def oval(
        across: float,
        along: float,
        wide: float,
        tall: float,
        start: float = 0.0,
        stop: float = 2 * np.pi,
    ) -> np.ndarray:
        angle = np.linspace(start, stop, 28)
        return (
            centre + right * (across + wide * np.cos(angle)) + up * (along + tall * np.sin(angle))
        )

    dark = tone(look.hair, 0.72)
    if look.hairstyle == "long":
        canvas.fill(oval(0, -0.45, 1.12, 1.15), dark, BODY)
        if not pose.back:
            canvas.tube(
                (neck, 0.7 * neck + 0.3 * top),
                (0.03 * unit, 0.03 * unit),
                tone(look.skin, 0.85),
                BODY,
            )
    if look.hairstyle == "bun":
        canvas.fill(oval(-turn, 0.98, 0.42, 0.36), dark, BODY)
    for side in (-1, 1):
        if side * turn < 0.22:
            canvas.fill(
                oval(side * 0.98 - turn * 0.2, -0.1, 0.16, 0.22), tone(look.skin, 0.84), BODY
            )
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


def draw_person(canvas: Canvas, joints: np.ndarray, look: Look, pose: Pose, unit: float) -> None:
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
