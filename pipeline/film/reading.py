"""Films of any common kind as upright RGB frames."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from pipeline.errors import PipelineError

FILMS = frozenset((".avi", ".m4v", ".mkv", ".mov", ".mp4", ".webm"))  # suffixes of a film's file
RATES = 0.1, 480.0  # frames a second that are believed; a browser's recording gives its clock's
ASSUMED = 30.0  # frames a second of a film that has no such rate, and whose frames bear no times
MOST_FRAMES = 10**8  # that are believed: some films give none, or the largest number there is


class FilmError(PipelineError):
    """A file cannot be read as a film; the message says why, without the file's name."""


@dataclass(frozen=True)
class Film:
    """A film that is open: its frames can be taken once."""

    rate: float  # frames a second, the mean where they are not evenly spaced
    size: tuple[int, int]  # width and height, px, as the film is to be seen
    count: int | None  # of frames, as the file says, which is sometimes wrong; None: it does not
    frames: Iterator[np.ndarray]  # (H, W, 3) uint8, RGB; FilmError for one of another size


@contextmanager
def opened(file: Path) -> Iterator[Film]:
    """A film, as long as the block lasts. Raises FilmError.

    Turned upright where the file says how. A film that breaks off ends where it does.
    """
    if not file.is_file():
        raise FilmError("no such file")
    if not file.stat().st_size:
        raise FilmError("an empty file")
    with _capture(file) as capture:
        if not capture.isOpened():
            kinds = ", ".join(sorted(FILMS))
            raise FilmError(f"not a film of a kind that is read ({kinds}), or a damaged one")
        there, first = capture.read()
        if not there:
            raise FilmError("a film without frames, or with none that can be decoded")
        rate, count = capture.get(cv2.CAP_PROP_FPS), capture.get(cv2.CAP_PROP_FRAME_COUNT)
        if not RATES[0] <= rate <= RATES[1]:
            rate, count = _measured(file)
        yield Film(
            rate,
            (first.shape[1], first.shape[0]),
            int(count) if 1 <= count <= MOST_FRAMES else None,
            _frames(capture, first),
        )


@contextmanager
def _capture(file: Path) -> Iterator[cv2.VideoCapture]:
    with quiet():
        # FFmpeg alone: OpenCV's other readers take digits in a name for a series of photographs.
        # The whole path, as one like `a:b.mp4` would be taken for an address.
        capture = cv2.VideoCapture(str(file.absolute()), cv2.CAP_FFMPEG)
    try:
        yield capture
    finally:
        capture.release()


def _measured(file: Path) -> tuple[float, float]:
    """The mean rate by the frames' times, and the number of frames: all are decoded once more."""
    times = []
    with _capture(file) as capture:
        while capture.grab():
            times.append(capture.get(cv2.CAP_PROP_POS_MSEC) / 1000)
    lasted = times[-1] - times[0]
    rate = (len(times) - 1) / lasted if lasted > 0 else ASSUMED
    return rate if RATES[0] <= rate <= RATES[1] else ASSUMED, float(len(times))


def _frames(capture: cv2.VideoCapture, first: np.ndarray) -> Iterator[np.ndarray]:
    number, there, frame = 0, True, first
    while there:
        if frame.shape != first.shape:
            sizes = ", before ".join(
                f"{each.shape[1]} x {each.shape[0]}" for each in (frame, first)
            )
            raise FilmError(f"frame {number} is of {sizes} px; expected a film of one size")
        yield cv2.cvtColor(frame, cv2.COLOR_BGR2RGB)
        number += 1
        there, frame = capture.read()


def frame_count(file: Path) -> int:
    """Of the frames that a film says it has; 0 where it is none, or does not say."""
    with _capture(file) as capture:
        return max(int(capture.get(cv2.CAP_PROP_FRAME_COUNT)), 0)


@contextmanager
def quiet() -> Iterator[None]:
    """What OpenCV and FFmpeg say of files is not printed: this code says it, in one sentence."""
    # FFmpeg's level is read once, when the first film is opened; -8 is its word for nothing.
    os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")
    before = cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)
    try:
        yield
    finally:
        cv2.utils.logging.setLogLevel(before)
