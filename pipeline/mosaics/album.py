"""Photographs, each of one person and of those who are known to be beside, to make scenes of."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import overload

import numpy as np
import simplejpeg

from pipeline.annotations import image_paths, load_annotations, load_known
from pipeline.skeleton import HEAD_TOP

MEMORY = 4 * 2**30  # bytes of an album's pixels that stay; all of LSPet's are 2.4 GiB


class Photographs(Sequence[np.ndarray]):
    """Those of JPEG files, each (H, W, 3) uint8, as they are stored: EXIF's orientation is not
    looked at. Read when they are asked for, from any thread; the first `memory` bytes stay."""

    def __init__(self, files: Sequence[Path], memory: int = MEMORY):
        self.files, self.left = files, memory
        self.kept: dict[int, np.ndarray] = {}

    def __len__(self) -> int:
        return len(self.files)

    @overload
    def __getitem__(self, index: int) -> np.ndarray: ...
    @overload
    def __getitem__(self, index: slice) -> list[np.ndarray]: ...

    def __getitem__(self, index: int | slice) -> np.ndarray | list[np.ndarray]:
        if isinstance(index, slice):
            return [self[k] for k in range(len(self))[index]]
        if index in self.kept:
            return self.kept[index]
        image = simplejpeg.decode_jpeg(self.files[index].read_bytes())
        if image.nbytes <= self.left:
            self.left -= image.nbytes
            self.kept[index] = image
        return image


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
        """Some photographs of a data set in LSPet's layout, which the cache stage has read."""
        joints, files = load_annotations(dataset / "joints.mat").points, image_paths(dataset)
        images = Photographs([files[index] for index in indices.tolist()])
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
