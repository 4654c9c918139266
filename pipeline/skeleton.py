"""The 14 joints of the Leeds Sports Pose sets: names, sides, limbs; what is measured between."""

JOINTS = (
    "right_ankle", "right_knee", "right_hip", "left_hip", "left_knee", "left_ankle",
    "right_wrist", "right_elbow", "right_shoulder", "left_shoulder", "left_elbow", "left_wrist",
    "neck", "head_top",
)  # fmt: skip
FLIP = (5, 4, 3, 2, 1, 0, 11, 10, 9, 8, 7, 6, 12, 13)
"""The joint that each becomes in a mirrored photograph."""

SIDES = tuple(
    next((side for side in ("right", "left") if name.startswith(side)), "trunk") for name in JOINTS
)
"""Whose side each joint is on, the person's own."""

EDGES = (
    (0, 1, "right"), (1, 2, "right"), (6, 7, "right"), (7, 8, "right"),
    (5, 4, "left"), (4, 3, "left"), (11, 10, "left"), (10, 9, "left"),
    (13, 12, "trunk"), (12, 8, "trunk"), (12, 9, "trunk"),
    (8, 2, "trunk"), (9, 3, "trunk"), (2, 3, "trunk"),
)  # fmt: skip
"""Limbs: two joints and the side."""

GROUPS = {
    "head": (13, 12),
    "shoulder": (8, 9),
    "elbow": (7, 10),
    "wrist": (6, 11),
    "hip": (2, 3),
    "knee": (1, 4),
    "ankle": (0, 5),
}
"""The columns of published tables."""

NECK, HEAD_TOP, LEFT_SHOULDER, RIGHT_HIP = 12, 13, 9, 2
