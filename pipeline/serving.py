"""The generator as an MLflow model, made from this very file: photographs in base64 in, joints out.

    mlflow models serve -m models:/adversarial-posenet-lspet@champion --env-manager local

Nothing is unpickled: the weights are a safetensors file, the code is the pipeline's own.
"""

import base64
from pathlib import Path

import mlflow
import numpy as np
from pydantic import BaseModel

from pipeline import PipelineError, people, weights
from pipeline.device import default_device
from pipeline.photograph import PhotographError, read
from pipeline.settings import Cache

MOST_BYTES = 30_000_000  # of an encoded photograph


class Photograph(BaseModel):
    """A photograph, of any kind that `pipeline.photograph` reads, in base64; and its person's box where it is known."""

    image: str
    box: list[float] | None = None  # x, y, width, height, px, tight around the joints


class PoseModel(mlflow.pyfunc.PythonModel):
    """Answers each photograph with its person's joints, or with one sentence on why not."""

    def load_context(self, context) -> None:
        generator, made_by = weights.load(Path(context.artifacts["weights"]))
        self.generator, self.cache = generator.to(default_device()), Cache(**made_by["cache"])

    def predict(self, model_input: list[Photograph]) -> list[dict]:
        return [self._answer(each) for each in model_input]

    def _answer(self, photograph: Photograph) -> dict:
        try:
            image, box = decode(photograph.image), None
            if photograph.box is not None:
                if len(photograph.box) != len(people.BOX):
                    raise people.BoxError(f"box: expected {', '.join(people.BOX)}; found {photograph.box}")
                box = people.corners(*photograph.box)
                people.check(box, image)
        except PipelineError as error:
            return {"error": str(error)}
        (person,) = people.find(self.generator, [image], [box], self.cache)
        return people.description(person, image)


def decode(text: str) -> np.ndarray:
    """The pixels (H, W, 3) of a photograph in base64. Raises PhotographError."""
    if len(text) > MOST_BYTES * 4 / 3 + 4:
        raise PhotographError(f"more than {MOST_BYTES:,} bytes")
    try:
        return read(base64.b64decode(text, validate=True))
    except ValueError as error:
        raise PhotographError(f"not base64: {error}") from None


mlflow.models.set_model(PoseModel())
