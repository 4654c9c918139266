"""Crops at rest: every photograph is decoded once, into the crop around its person.

Crops are stored uncompressed and memory-mapped. No torch here: the stage that makes them waits for
no import of it.
"""

import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import simplejpeg
from tqdm import tqdm

from pipeline.data.annotations import image_paths, load_annotations
from pipeline.data.crops import Crops, crop
from pipeline.data.split import HASH_BITS, difference_hash
from pipeline.errors import PipelineError
from pipeline.files import written_whole
from pipeline.geometry import Geometry, invert, transform, within

CHUNK = 50  # photographs a task of a thread


class DataError(PipelineError):
    """The data set, or what was made of it, cannot be used; the message lists all that is wrong."""


def build(
    dataset: Path, folder: Path, geometry: Geometry, workers: int | None = None
) -> np.ndarray:
    """Write the crops of a data set in LSPet's layout to `folder`: crops.npy and people.npz.

    Photographs are taken as they are stored, as the annotations have them: EXIF's orientation is
    not looked at, here or by anything that measures on a data set.
    Returns the photographs' difference hashes (N, 256) bool. The bytes do not depend on the number
    of workers. Raises DataError listing all unreadable photographs, or that their number is not the
    annotations'; nothing is left behind then.
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
    size = geometry.stored_size
    corners, sides = geometry.pixel_boxes(points)
    affines = geometry.crop_affines(corners, sides)

    with written_whole(folder) as part:
        part.mkdir()
        crops = part / "crops.npy"
        # Mapped here for its header only: bytes are written faster to a new file than into a map.
        images = np.lib.format.open_memmap(crops, "w+", np.uint8, shape=(len(paths), size, size, 3))
        hashes = np.empty((len(paths), HASH_BITS), dtype=bool)

        def work(start: int) -> list[str]:
            """Fill crops and hashes of a few photographs; what is wrong with them, if anything."""
            errors = []
            with crops.open("r+b") as file:
                for i in range(start, min(start + CHUNK, len(paths))):
                    try:
                        image = simplejpeg.decode_jpeg(paths[i].read_bytes())
                    except (OSError, ValueError) as error:
                        errors.append(f"{paths[i]}: {error}")
                        continue
                    height, width = image.shape[:2]
                    if not (annotated[i] & within(points[i], (width, height))).any():
                        errors.append(f"{paths[i]}: of {width} x {height} px, no joint lies in it")
                        continue
                    hashes[i] = difference_hash(image)
                    file.seek(images.offset + i * images[i].nbytes)
                    file.write(crop(image, corners[i], sides[i], size).data)
            return errors

        wrong: list[str] = []
        # Threads: decoding and resizing do not hold the interpreter's lock.
        with (
            ThreadPoolExecutor(workers or os.cpu_count()) as pool,
            tqdm(total=len(paths), desc="cache", unit=" photographs") as bar,
        ):
            for errors in pool.map(work, range(0, len(paths), CHUNK)):
                wrong += errors
                bar.update(min(CHUNK, len(paths) - bar.n))
        if wrong:
            raise DataError(
                "\n".join([f"{dataset}: {len(wrong):,} photographs cannot be used:", *wrong])
            )
        np.savez(
            part / "people.npz",
            points=transform(invert(affines), points).astype(np.float32),
            annotated=annotated,
            occluded=occluded,
            originals=points,
            affines=affines,
        )
    return hashes


def load(folder: Path, geometry: Geometry) -> Crops:
    """The crops that `build` wrote; images stay on disk until they are read.

    Raises DataError where their side is not the geometry's.
    """
    images = np.load(folder / "crops.npy", mmap_mode="c")
    if images.shape[1] != geometry.stored_size:
        raise DataError(
            f"{folder} holds crops of {images.shape[1]} px; expected {geometry.stored_size} px"
            f" (input {geometry.input_size}, margin {geometry.crop_scale}): run `dvc repro` with"
            " the parameters that belong to the weights"
        )
    with np.load(folder / "people.npz") as people:
        return Crops(geometry, images, **people)
