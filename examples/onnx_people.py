"""People in a photograph by the two exported ONNX files, with NumPy, Pillow and onnxruntime alone.

    python examples/onnx_people.py generator.onnx finder.onnx PHOTOGRAPH

What `PoseEstimator.find` does, in plain steps, for whoever moves the model to another runtime:
whole picture -> maps of people -> boxes -> a square crop each -> joints.
"""

import json
import sys

import numpy as np
import onnxruntime
from PIL import Image, ImageOps

LEAST_PEAK, OVERLAP = 0.05, 0.6  # of the finder's boxes; see pipeline/finding/boxes.py


def opened(path: str) -> tuple[onnxruntime.InferenceSession, dict]:
    """A network, and what its file says of itself."""
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    said = session.get_modelmeta().custom_metadata_map
    return session, {name: json.loads(text) for name, text in said.items()}


def planes(image: Image.Image) -> np.ndarray:
    """What both networks take: (1, 3, S, S), float32, RGB in [0, 1]."""
    return np.asarray(image, np.float32).transpose(2, 0, 1)[None] / 255


def people(finder: onnxruntime.InferenceSession, image: Image.Image, side: int) -> list[tuple]:
    """Boxes (left, upper, right, lower), px of the photograph, and their peaks; best first."""
    scale = side / max(image.size)
    small = image.resize([max(1, round(each * scale)) for each in image.size], Image.Resampling.BOX)
    view = Image.new("RGB", (side, side))
    view.paste(small)
    centres, edges = (maps[0] for maps in finder.run(None, {"images": planes(view)}))
    padded = np.pad(centres, 1)
    around = [
        padded[y : y + len(centres), x : x + len(centres)] for y in range(3) for x in range(3)
    ]
    tops = np.argwhere((centres == np.max(around, axis=0)) & (centres >= LEAST_PEAK))
    stride, found = side / len(centres), []
    for row, column in sorted(tops.tolist(), key=lambda at: -centres[at[0], at[1]]):
        x, y = (column + 0.5) * stride - 0.5, (row + 0.5) * stride - 0.5
        left, up, right, down = edges[:, row, column] * side
        box = np.array([x - left, y - up, x + right, y + down])
        box = (box + 0.5) * (np.array(image.size * 2) / (small.size * 2)) - 0.5
        if all(shared(box, other) <= OVERLAP for other, _ in found):
            found.append((box, float(centres[row, column])))
    return found


def shared(one: np.ndarray, other: np.ndarray) -> float:
    """Intersection over union of two boxes."""
    sides = np.clip(np.minimum(one[2:], other[2:]) - np.maximum(one[:2], other[:2]), 0, None)
    both, areas = sides.prod(), [(each[2:] - each[:2]).prod() for each in (one, other)]
    return both / max(sum(areas) - both, 1e-9)


def joints(
    generator: onnxruntime.InferenceSession, image: Image.Image, box: np.ndarray, cache: dict
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Joints (14, 2), px of the photograph, scores and hidden (14,), of the person in a box."""
    size, centre = cache["input_size"], (box[:2] + box[2:]) / 2
    side = max(cache["box"] * (box[2:] - box[:2]).max(), 8.0)
    corner = centre + 0.5 - side / 2  # Pillow counts from the picture's very edge
    crop = image.transform(
        (size, size), Image.Transform.EXTENT, (*corner, *(corner + side)), Image.Resampling.BILINEAR
    )
    points, scores, hidden = (each[0] for each in generator.run(None, {"images": planes(crop)}))
    return (points + 0.5) * (side / size) + corner - 0.5, scores, hidden


def refined(box: np.ndarray, points: np.ndarray, image: Image.Image) -> np.ndarray:
    """A box, each edge halfway to where its joints say that it is, within the photograph."""
    extent = np.concatenate([points.min(0), points.max(0)])
    middle = np.clip((box + extent) / 2, 0, np.array(image.size * 2) - 1.0)
    return middle if (middle[2:] - middle[:2] >= 1).all() else box


def score(judgement: dict, peak: float, scores: np.ndarray) -> float:
    """How likely it is that somebody is there."""
    odds = [np.log(value / (1 - value)) for value in np.clip([peak, scores.mean()], 1e-4, 1 - 1e-4)]
    said = judgement["bias"] + judgement["centre"] * odds[0] + judgement["joints"] * odds[1]
    return float(1 / (1 + np.exp(-said)))


def main(generator_path: str, finder_path: str, photograph: str) -> None:
    (generator, said), (finder, of_finder) = opened(generator_path), opened(finder_path)
    image = ImageOps.exif_transpose(Image.open(photograph)).convert("RGB")
    found = []
    for box, peak in people(finder, image, of_finder["settings"]["finder"]["input_size"]):
        points, scores, _ = joints(generator, image, box, said["settings"]["cache"])
        box = refined(box, points, image)
        found.append((score(said["judgement"], peak, scores), box, points, scores))
    for sure, box, points, scores in sorted(found, key=lambda each: -each[0]):
        if sure < said["judgement"]["least"]:
            continue
        print(f"person, score {sure:.2f}, box {', '.join(f'{each:.0f}' for each in box)}")
        for name, (x, y), height in zip(said["joints"], points.tolist(), scores, strict=True):
            print(f"  {name:15} {x:7.1f} {y:7.1f}  {height:.2f}")


if __name__ == "__main__":
    main(*sys.argv[1:])
