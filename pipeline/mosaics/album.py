"""Photographs of one person each, in memory, to make scenes of."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import simplejpeg
from tqdm import tqdm

from pipeline.annotations import image_paths, load_annotations


@dataclass(frozen=True)
class Album:
    """Photographs, each with the joints of one person."""

    images: Sequence[np.ndarray]  # each (H, W, 3) uint8
    joints: np.ndarray  # (N, 14, 2), px, NaN where not annotated

    @classmethod
    def read(cls, dataset: Path, indices: np.ndarray) -> "Album":
        """Some photographs of a data set in LSPet's layout, which the cache stage has read; as they
        are stored, as the annotations have them: EXIF's orientation is not looked at."""
        joints, files = load_annotations(dataset / "joints.mat").points, image_paths(dataset)

        def decode(index: int) -> np.ndarray:
            return simplejpeg.decode_jpeg(files[index].read_bytes())

        with ThreadPoolExecutor() as pool:
            decoded = pool.map(decode, indices.tolist())
            images = list(tqdm(decoded, "read", len(indices), unit=" photographs"))
        return cls(images, joints[indices])
