"""The fixed protocol of finding people: in mosaics, and in whole photographs."""

from collections.abc import Callable, Sequence
from functools import partial
from itertools import chain
from typing import Any

import numpy as np

from pipeline.data.crops import Answer, Each, batches, one_by_one
from pipeline.finding.boxes import Found
from pipeline.finding.views import Maps, find
from pipeline.geometry import extent
from pipeline.mosaics.album import Album
from pipeline.mosaics.composition import Scene, compose
from pipeline.mosaics.measures import (
    Matches,
    at_score,
    average_precision,
    match,
    recall_at,
)

# Fixed, so that results of different experiments can be compared.
SCENES, SIDE, SEED = 500, 320, 7
PRECISION = 0.9  # at which recall is reported
SCORES = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7)
BATCH = 50  # pictures a forward pass


def scenes(album: Album) -> list[Scene]:
    """The mosaics that a part of the data is measured on: each depends on its number alone."""
    return [compose(np.random.default_rng([SEED, k]), album, SIDE) for k in range(SCENES)]


def picture(scene: Scene) -> np.ndarray:
    """A scene's pixels (H, W, 3) without what is black beyond it."""
    width, height = scene.size
    return scene.pixels[:height, :width]


def measure(network: Maps, album: Album) -> dict[str, Any]:
    """How a finder's own boxes and peaks do: in mosaics, and in the album's whole photographs.

    Recall at PRECISION, average precision, and both at a few scores, at an overlap of 0.5; of the
    photographs as `in_photographs` says.
    """
    made, look = scenes(album), partial(find, network)
    found = found_in(look, [picture(scene) for scene in made])
    in_scenes = match(found, [scene.boxes for scene in made])
    whole = in_photographs(found_in(look, album.images), album)
    return {"mosaics": {"scenes": SCENES} | shares(in_scenes), "photographs": whole}


def in_photographs(found: Sequence[Found], album: Album) -> dict[str, Any]:
    """The measures of boxes in an album's whole photographs, and `best`: the share of them whose
    best box is the annotated person's.

    Others who are seen count as invented, so recall alone says something.
    """
    people = [np.stack(extent(joints))[None] for joints in album.joints]
    first = match([Found(boxes[:1], scores[:1]) for boxes, scores in found], people)
    return shares(match(found, people)) | {"best": first.right.sum() / first.people}


def found_in(
    look: Callable[[list[np.ndarray]], list[Answer]],
    pictures: Sequence[np.ndarray],
    each: Each = one_by_one,
) -> list[Answer]:
    """What looking at some pictures (H, W, 3) uint8 at a time says of each of many, with a progress
    bar."""

    def of_some(part: np.ndarray) -> list[Answer]:
        return look([pictures[k] for k in part])

    parts = list(batches(np.arange(len(pictures)), BATCH))
    return list(chain.from_iterable(each(of_some, parts, "find people")))


def shares(matches: Matches) -> dict[str, Any]:
    """What is reported of some matches."""
    return {
        "people": matches.people,
        "recall_at_precision_0.9": recall_at(matches, PRECISION),
        "average_precision": average_precision(matches),
        "at_score": {str(score): at_score(matches, score) for score in SCORES},
    }
