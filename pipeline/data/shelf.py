"""Shards that were made before: what was made once is not made again, neither after a run that was
killed, nor where other photographs have changed.

A shard is a function of its photographs, their annotations and the code that cuts them out, and is
kept under a key of all that.
"""

import hashlib
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import NamedTuple
from zipfile import BadZipFile

import cv2
import numpy as np
import PIL
import simplejpeg

from pipeline.files import digest, linked, written_whole
from pipeline.processes import alone

# What NumPy and zipfile raise where a record is not there, or is not what `Shelf.keep` wrote.
DAMAGED = (OSError, ValueError, KeyError, EOFError, RuntimeError, NotImplementedError, BadZipFile)
PATIENCE = 60.0  # s for another process that keeps a shard, which takes it a moment
LIBRARIES = (cv2, np, PIL, simplejpeg)  # which decode, resize and hash


@cache
def code() -> str:
    """SHA-256 of what, beside its photographs and their annotations, decides a shard's bytes: this
    room, and the versions of the libraries that decode and resize."""
    found = hashlib.sha256(" ".join(each.__version__ for each in LIBRARIES).encode())
    for path in sorted(Path(__file__).parent.glob("*.py")):
        found.update(path.read_bytes())
    return found.hexdigest()


class Shard(NamedTuple):
    """What is known of a file of crops."""

    key: str  # stands for all that its bytes are a function of
    sha256: str
    hashes: np.ndarray  # (n, 256) bool, difference hashes of its photographs


@dataclass(frozen=True)
class Shelf:
    """Shards that were made before, from one run to the next: `<sha256>.npy`, and for each key a
    record `<key>.npz` of which it is, with its photographs' difference hashes.

    DVC removes a stage's outputs before it runs the stage, so what is to outlive that lies in a
    folder of its own. The files are hard links: they take no room while the outputs, or DVC's
    cache, have them too.
    """

    folder: Path

    def filled(self) -> bool:
        """Is there any shard? Else no key needs to be looked up."""
        return any(self.folder.glob("*.npz"))

    def take(self, key: str, path: Path) -> Shard | None:
        """Put the shard of a key at `path`.

        None, and nothing there, where it is not kept or not whole: its bytes are hashed, whatever
        their number and date say.
        """
        if shard := self._recorded(key):
            with suppress(OSError):
                linked(self._pixels(shard), path)
                if digest(path) == shard.sha256:
                    return shard
            path.unlink(missing_ok=True)
        return None

    def keep(self, shard: Shard, path: Path) -> None:
        """Take in what was just made at `path`. The record comes last: without it there is none."""
        pixels = self._pixels(shard)
        with alone(self.folder / "lock", "keeps a shard", PATIENCE):
            # The same bytes may be there under another key, of older code: in DVC's cache too.
            if not (pixels.exists() and digest(pixels) == shard.sha256):
                pixels.unlink(missing_ok=True)
                linked(path, pixels)
            with written_whole(self._record(shard.key)) as beside, beside.open("wb") as file:
                key, sha256 = np.array(shard.key), np.array(shard.sha256)
                np.savez(file, key=key, sha256=sha256, hashes=shard.hashes)

    def tidy(self, used: Iterable[Shard]) -> None:
        """Remove the shards that are not among those used and that nobody else has."""
        with alone(self.folder / "lock", "keeps a shard", PATIENCE):
            kept = {self._pixels(shard) for shard in used}
            for pixels in self.folder.glob("*.npy"):
                if pixels not in kept and pixels.stat().st_nlink == 1:
                    pixels.unlink()
            for record in self.folder.glob("*.npz"):
                shard = self._recorded(record.stem)
                if shard is None or not self._pixels(shard).exists():
                    record.unlink()

    def _recorded(self, key: str) -> Shard | None:
        """What is known of a key's shard; None where there is no whole record of it."""
        try:
            with np.load(self._record(key)) as record:
                shard = Shard(str(record["key"]), str(record["sha256"]), record["hashes"])
        except DAMAGED:
            return None
        return shard if shard.key == key else None

    def _pixels(self, shard: Shard) -> Path:
        return self.folder / f"{shard.sha256}.npy"

    def _record(self, key: str) -> Path:
        return self.folder / f"{key}.npz"
