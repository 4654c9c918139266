"""Photographs of drawn people, and a finder that knows who is in the scenes made of them."""

from collections.abc import Iterable

import numpy as np

from pipeline.figures import drawn_people
from pipeline.finder_training.losses import true_maps
from pipeline.finding.views import scaled
from pipeline.mosaics.album import Album
from pipeline.mosaics.composition import Scene


def album(count: int = 12) -> Album:
    """Photographs of one drawn person each."""
    drawn = [drawn_people.draw(3, index) for index in range(count)]
    return Album([np.asarray(image) for image, *_ in drawn], np.stack([j for _, j, _ in drawn]))


class Oracle:
    """A finder that is told which scenes it will be shown, in their order, and gives the true maps
    of each."""

    def __init__(self, scenes: Iterable[Scene], input_size: int):
        self.scenes, self.input_size = iter(scenes), input_size

    def maps(self, views: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        centres, edges = zip(*(self._true(next(self.scenes)) for _ in views), strict=True)
        return np.concatenate(centres), np.stack(edges)

    def _true(self, scene: Scene) -> tuple[np.ndarray, np.ndarray]:
        """The maps of a scene that a view shows larger, its longer side the input's."""
        scale = np.array(scaled(scene.size, self.input_size)) / scene.size
        shown = np.zeros((self.input_size, self.input_size, 3), np.uint8)
        return true_maps(scene._replace(boxes=(scene.boxes + 0.5) * scale - 0.5, pixels=shown))
