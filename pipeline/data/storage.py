"""Crops at rest: every photograph is decoded once, into the crop around its person.

Crops are stored uncompressed and memory-mapped, in shards. No torch here: the stage that makes them
waits for no import of it.
"""

import hashlib
import os
from collections.abc import Iterable, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import simplejpeg
from tqdm import tqdm

from pipeline.annotations import image_paths, load_annotations
from pipeline.data.crops import Crops, crop
from pipeline.data.shards import Shards, people_a_shard
from pipeline.data.shelf import Shard, Shelf, code
from pipeline.data.split import HASH_BITS, difference_hash
from pipeline.errors import PipelineError, brief
from pipeline.files import digest, written_whole
from pipeline.geometry import Geometry, invert, transform, within

CHUNK = 50  # photographs a task of a thread
SUMS = "SHA256SUMS"  # names the shards in their order; `sha256sum --check` reads it


class DataError(PipelineError):
    """The data set, or what was made of it, cannot be used; the message lists all that is wrong."""


def build(
    dataset: Path,
    folder: Path,
    geometry: Geometry,
    workers: int | None = None,
    shelf: Shelf | None = None,
) -> np.ndarray:
    """Write the crops of a data set in LSPet's layout to `folder`: 00000.npy and so on, their
    SHA256SUMS, and people.npz.

    Photographs are taken as they are stored, as the annotations have them: EXIF's orientation is
    not looked at, here or by anything that measures on a data set.
    shelf: where shards are kept as soon as they are made, and those that would become the same are
    taken from. The bytes do not depend on it, nor on the number of workers.
    Returns the photographs' difference hashes (N, 256) bool. Raises DataError listing all
    unreadable photographs, or that their number is not the annotations'; nothing is left behind
    then but what is on the shelf.
    """
    points, annotated, occluded = load_annotations(dataset / "joints.mat")
    paths = image_paths(dataset)
    if len(paths) != len(points):
        raise DataError(
            f"{dataset}: {len(paths)} photographs in images/, but joints.mat annotates"
            f" {len(points)}"
        )
    bare = np.flatnonzero(~annotated.any(axis=1))
    if len(bare):
        more = f" and {len(bare) - 10:,} more" if len(bare) > 10 else ""
        some = ", ".join(paths[i].name for i in bare[:10])
        raise DataError(f"{dataset}: no joint is annotated in {some}{more}")
    corners, sides = geometry.pixel_boxes(points)
    affines = geometry.crop_affines(corners, sides)
    source = Source(paths, points, annotated, corners, sides, geometry.stored_size)
    people = people_a_shard(source.size)
    made: list[Shard] = []
    wrong: list[str] = []
    filled = shelf is not None and shelf.filled()

    with (
        written_whole(folder) as part,
        # Threads: decoding and resizing do not hold the interpreter's lock.
        ThreadPoolExecutor(workers or os.cpu_count()) as pool,
        tqdm(total=len(paths), desc="cache", unit=" photographs") as bar,
    ):
        part.mkdir()
        for start in range(0, len(paths), people):
            rows = range(start, min(start + people, len(paths)))
            path = part / f"{len(made):05d}.npy"
            shard = None
            if shelf and filled:
                shard = shelf.take(source.key(rows, pool.map(source.content, rows)), path)
            if shard is None:
                shard, errors = make(source, rows, path, pool, bar)
                wrong += errors
                if shelf and not errors:
                    shelf.keep(shard, path)
            bar.update(rows.stop - bar.n)
            made.append(shard)
        if wrong:
            raise DataError(
                "\n".join([f"{dataset}: {len(wrong):,} photographs cannot be used:", *wrong])
            )
        sums = [f"{shard.sha256}  {number:05d}.npy\n" for number, shard in enumerate(made)]
        (part / SUMS).write_text("".join(sums))
        np.savez(
            part / "people.npz",
            points=transform(invert(affines), points).astype(np.float32),
            annotated=annotated,
            occluded=occluded,
            originals=points,
            affines=affines,
        )
    if shelf:
        shelf.tidy(made)
    return np.concatenate([shard.hashes for shard in made])


def load(folder: Path, geometry: Geometry) -> Crops:
    """The crops that `build` wrote; images stay on disk until they are read.

    Raises DataError where they are not there, or their side is not the geometry's.
    """
    try:
        names = [line.split()[1] for line in (folder / SUMS).read_text().splitlines()]
        images = Shards.mapped(folder / name for name in names)
    except (OSError, ValueError, IndexError) as error:
        raise DataError(
            f"{folder} holds no crops as the cache stage writes them: run `dvc repro cache`"
            f" ({brief(error)})"
        ) from error
    if images.shape[1] != geometry.stored_size:
        raise DataError(
            f"{folder} holds crops of {images.shape[1]} px; expected {geometry.stored_size} px"
            f" (input {geometry.input_size}, margin {geometry.crop_scale}): run `dvc repro` with"
            " the parameters that belong to the weights"
        )
    with np.load(folder / "people.npz") as people:
        return Crops(geometry, images, **people)


@dataclass(frozen=True)
class Source:
    """What crops are made of: N photographs, and what is cut out of them."""

    paths: Sequence[Path]
    points: np.ndarray  # (N, 14, 2) float64, px, NaN where not annotated
    annotated: np.ndarray  # (N, 14) bool
    corners: np.ndarray  # (N, 2) int, px
    sides: np.ndarray  # (N,) int, px
    size: int  # side of a crop, px

    def cut(self, number: int) -> tuple[str, np.ndarray, np.ndarray]:
        """A photograph's SHA-256, difference hash (256,) and crop (S, S, 3).

        Raises OSError, and ValueError where it cannot be decoded or nobody is in it.
        """
        content = self.paths[number].read_bytes()
        image = simplejpeg.decode_jpeg(content)
        height, width = image.shape[:2]
        inside = within(self.points[number], (width, height))
        if not (self.annotated[number] & inside).any():
            raise ValueError(f"of {width} x {height} px, no joint lies in it")
        cut = crop(image, self.corners[number], self.sides[number], self.size)
        return hashlib.sha256(content).hexdigest(), difference_hash(image), cut

    def content(self, number: int) -> str:
        """A photograph's SHA-256; nothing where it cannot be read, which `cut` tells."""
        try:
            return digest(self.paths[number])
        except OSError:
            return ""

    def key(self, rows: range, contents: Iterable[str]) -> str:
        """Of a shard: stands for all that its bytes are a function of; contents: SHA-256 of its
        photographs."""
        found = hashlib.sha256(f"{code()} {self.size} {' '.join(contents)}".encode())
        for each in (self.points, self.annotated, self.corners, self.sides):
            found.update(each[rows.start : rows.stop].tobytes())
        return found.hexdigest()


def make(
    source: Source, rows: range, path: Path, pool: Executor, bar: tqdm
) -> tuple[Shard, list[str]]:
    """Write the shard of some photographs; and what is wrong with them, if anything.

    Its key is that of the bytes that were decoded, even if they changed since they were looked at.
    """
    shape = (len(rows), source.size, source.size, 3)
    # Mapped here for its header only: bytes are written faster to a new file than into a map.
    images = np.lib.format.open_memmap(path, "w+", np.uint8, shape=shape)
    hashes, contents = np.empty((len(rows), HASH_BITS), dtype=bool), [""] * len(rows)

    def work(start: int) -> list[str]:
        """Fill in a few photographs; what is wrong with them."""
        errors = []
        with path.open("r+b") as file:
            for place in range(start, min(start + CHUNK, len(rows))):
                try:
                    contents[place], hashes[place], cut = source.cut(rows[place])
                except (OSError, ValueError) as error:
                    errors.append(f"{source.paths[rows[place]]}: {error}")
                    continue
                file.seek(images.offset + place * cut.nbytes)
                file.write(cut.data)
        return errors

    wrong: list[str] = []
    for errors in pool.map(work, range(0, len(rows), CHUNK)):
        wrong += errors
        bar.update(min(CHUNK, rows.stop - bar.n))
    return Shard(source.key(rows, contents), digest(path), hashes), wrong
