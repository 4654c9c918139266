"""Joints that do not tremble and do not lag: the One Euro filter.

Casiez, Roussel and Vogel, 1 Euro Filter: A Simple Speed-based Low-pass Filter for Noisy Input in
Interactive Systems (CHI 2012): a low-pass filter whose cutoff rises with the speed, as trembling
is seen in what rests, and lag in what moves. Speeds are in sides of the person a second, so that
the settings are right for every size; a side is the longer one of the person's box.
"""

from dataclasses import dataclass

import numpy as np

from pipeline.skeleton import JOINTS

# Chosen at 25 frames a second and jitter of 0.01 sides, of which a joint that rests keeps a quarter
# of the variance, and between frames an eleventh; less where there is less jitter, or more frames.
RESTING = 1.0  # Hz, cutoff of a joint that rests
MOVING = 8.0  # Hz more for a side a second: steady motion lags below 1 / (2 pi MOVING) = 0.02 sides
SPEED = 2.0  # Hz, cutoff of the speed; at the authors' 1 Hz limbs that swing lag 1.4 times as much
JUMP = 0.1  # sides from where a joint was last seen, beyond which it is not drawn back there


@dataclass(frozen=True)
class Motion:
    """How a person's joints move, each as of the frame it was last seen in; at first, in none."""

    frames: np.ndarray  # (14,) float, the frame; minus infinity: never seen
    found: np.ndarray  # (14, 2), px, where the joint was found
    points: np.ndarray  # (14, 2), px, smoothed
    speeds: np.ndarray  # (14, 2), sides a second, smoothed

    @classmethod
    def unknown(cls) -> "Motion":
        """That of somebody who was not seen before."""
        still = np.zeros((len(JOINTS), 2))
        return cls(np.full(len(JOINTS), -np.inf), still, still, still)

    def followed(
        self, frame: int, points: np.ndarray, seen: np.ndarray, side: float, rate: float
    ) -> "Motion":
        """The motion after a later frame, in which points (14, 2), px, were found.

        seen: (14,) bool; the place of a joint that is not seen is a guess, and moves nothing. side:
        of the person, px; rate: frames a second.
        """
        gap = frame - self.frames
        far = np.linalg.norm(points - self.points, axis=-1) > JUMP * side
        # Seen again elsewhere, as if for the first time: what was long ago weighs nothing.
        elapsed = np.where((gap > 1) & far, np.inf, gap)[:, None] / rate
        # Steps from place found to place found: from the smoothed one, lag would count as speed.
        steps = (points - self.found) / (side * elapsed)
        speeds = self.speeds + weight(SPEED, elapsed) * (steps - self.speeds)
        cutoff = RESTING + MOVING * np.linalg.norm(speeds, axis=-1, keepdims=True)
        smooth = self.points + weight(cutoff, elapsed) * (points - self.points)
        kept = seen[:, None]
        return Motion(
            np.where(seen, frame, self.frames),
            np.where(kept, points, self.found),
            np.where(kept, smooth, self.points),
            np.where(kept, speeds, self.speeds),
        )


def weight(cutoff: np.ndarray | float, elapsed: np.ndarray | float) -> np.ndarray:
    """Of what is new in a low-pass filter, in [0, 1]: cutoff in Hz, elapsed in seconds; 1 after an
    infinite time."""
    return 1 / (1 + 1 / (2 * np.pi * np.asarray(cutoff) * elapsed))
