"""Photographs in memory, each of one person and of those who are known to be beside, to make scenes
of."""

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np
import simplejpeg
from tqdm import tqdm

from pipeline.annotations import image_paths, load_annotations, load_known
from pipeline.skeleton import HEAD_TOP


@dataclass(frozen=True)
class Album:
    """Photographs, each with the joints of one person."""

    images: Sequence[np.ndarray]  # each (H, W, 3) uint8
    joints: np.ndarray  # (N, 14, 2), px, NaN where not annotated
    beside: Mapping[int, np.ndarray] = field(default_factory=dict)  # others there, (M, 14, 2)

    @cached_property
    def with_heads(self) -> bool:
        """Is the top of anybody's head annotated? COCO has none."""
        return bool(np.isfinite(self.joints[:, HEAD_TOP]).any())

    def everybody(self, index: int) -> np.ndarray:
        """Joints (1 + M, 14, 2) of a photograph's person, and of those who are known beside."""
        own = self.joints[index, None]
        return np.concatenate([own, self.beside[index]]) if index in self.beside else own

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
        photographs = load_known(dataset, [file.name for file in files]).photographs
        together: dict[str, list[int]] = {}
        for number, name in enumerate(photographs):
            if name:
                together.setdefault(name, []).append(number)
        beside = {}
        for place, index in enumerate(indices.tolist()):
            others = [k for k in together.get(photographs[index], ()) if k != index]
            if others:
                beside[place] = joints[others]
        return cls(images, joints[indices], beside)
