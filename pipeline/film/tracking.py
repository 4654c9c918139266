"""People keep their number from frame to frame: whose box overlaps whose, the best pair first.

As in Bochinski, Eiselein and Sikora, High-Speed Tracking-by-Detection Without Using Image
Information (AVSS 2017), with two additions: a box is expected where its motion takes it, without
which two people who cross would change numbers, and somebody who is lost is waited for.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field, replace

import numpy as np

from pipeline.finding.boxes import overlaps

LEAST = 0.2  # intersection over union from which on two boxes can be one person's
PATIENCE = 0.5  # seconds that somebody may be lost for and keep the number
NEWEST = 0.3  # share of the last step in a motion: steps of noisy boxes are averaged


@dataclass(frozen=True)
class Track:
    """Somebody who is followed."""

    number: int  # from 1
    frame: int  # that the person was last seen in
    box: np.ndarray  # (2, 2), first and last corner there, px
    motion: np.ndarray = field(default_factory=lambda: np.zeros(2))  # px a frame

    def expected(self, frame: int) -> np.ndarray:
        """Where the box (2, 2) would be in a later frame."""
        return self.box + self.motion * (frame - self.frame)

    def seen(self, frame: int, box: np.ndarray) -> "Track":
        """The track with the box (2, 2) in a later frame."""
        step = (box.mean(axis=0) - self.box.mean(axis=0)) / (frame - self.frame)
        motion = self.motion + NEWEST * (step - self.motion)
        return replace(self, frame=frame, box=box, motion=motion)


@dataclass(frozen=True)
class Tracks:
    """Everybody who is followed in a film, and how many numbers were given so far."""

    people: tuple[Track, ...] = ()
    given: int = 0

    def followed(self, frame: int, boxes: np.ndarray, rate: float) -> tuple["Tracks", list[int]]:
        """The tracks after a frame, and the number of each of its K people, by boxes (K, 2, 2), px.

        frame: counted from 0, each higher than the one before; rate: frames a second.
        """
        most = round(PATIENCE * rate) + 1  # frames from one look to the next
        waited = [track for track in self.people if frame - track.frame <= most]
        expected = np.array([track.expected(frame) for track in waited]).reshape(-1, 2, 2)
        found = dict(pairs(overlaps(boxes, expected)))
        lost = [track for i, track in enumerate(waited) if i not in found.values()]
        seen, given = [], self.given
        for k, box in enumerate(boxes):
            if k in found:
                seen.append(waited[found[k]].seen(frame, box))
            else:
                given += 1
                seen.append(Track(given, frame, box))
        return Tracks((*seen, *lost), given), [track.number for track in seen]


def pairs(likeness: np.ndarray) -> Iterator[tuple[int, int]]:
    """Rows and columns of (N, M) values that belong together: the highest first, each once, none
    below LEAST."""
    left = likeness.copy()
    while left.size and left.max() >= LEAST:
        row, column = np.unravel_index(left.argmax(), left.shape)
        yield int(row), int(column)
        left[row], left[:, column] = -1, -1
