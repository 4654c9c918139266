"""Films that are whole or not there."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import cv2
import numpy as np

from pipeline.errors import PipelineError
from pipeline.files import written_whole
from pipeline.film.reading import frame_count, quiet

# The first that OpenCV can write is taken. Of those that come with its packages, H.264 not among
# them, VP9 alone plays in browsers; it takes 0.1 s a frame of 640 x 480 px. MPEG-4 Part 2 takes a
# fiftieth of that, and plays in most players, but in no browser.
CODECS = ("vp09", "mp4v")
COLOURS = 2  # px a side that share their colours in these: sizes are multiples


@contextmanager
def written_film(
    path: Path, rate: float, size: tuple[int, int]
) -> Iterator[Callable[[np.ndarray], None]]:
    """What adds a frame (H, W, 3) uint8, RGB, to a new film at `path` (.mp4), which is there when
    the block ends.

    rate: frames a second; size: width and height, px; an odd side gets another row or column, a
    copy of the last one. If the block fails, nothing is left of it and what was at `path` stays.
    Raises PipelineError.
    """
    width, height = size
    right, below = -width % COLOURS, -height % COLOURS
    count = 0

    def add(frame: np.ndarray) -> None:
        nonlocal count
        if frame.shape[1::-1] != size:  # which OpenCV would leave out without a word
            raise PipelineError(f"{path}: a frame of {frame.shape}; expected {height} x {width}")
        whole = cv2.copyMakeBorder(frame, 0, below, 0, right, cv2.BORDER_REPLICATE)
        writer.write(cv2.cvtColor(whole, cv2.COLOR_RGB2BGR))
        count += 1

    with written_whole(path) as beside:
        # OpenCV tells a film's kind by the suffix, which the place beside has not.
        named = path.with_name(f".part.{path.name}")
        writer = _writer(named, rate, (width + right, height + below))
        try:
            if not writer.isOpened():
                raise PipelineError(
                    f"{path}: OpenCV cannot write films ({', '.join(CODECS)}) there"
                )
            yield add
            writer.release()
            # OpenCV keeps a full disk to itself.
            if (found := frame_count(named)) != count:
                raise PipelineError(f"{path}: {found} of {count} frames could be written")
            named.replace(beside)
        finally:
            writer.release()
            named.unlink(missing_ok=True)


def _writer(path: Path, rate: float, size: tuple[int, int]) -> cv2.VideoWriter:
    """One by the first codec that works; not open where none does."""
    writer = cv2.VideoWriter()
    with quiet():
        for codec in CODECS:
            code = cv2.VideoWriter.fourcc(*codec)
            if writer.open(str(path.absolute()), cv2.CAP_FFMPEG, code, rate, size):
                break
    return writer
