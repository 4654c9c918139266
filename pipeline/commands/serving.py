"""The trained model in MLflow, made from this very file: photographs in base64 in, people out.

    mlflow models serve -m models:/adversarial-posenet-lspet@champion --env-manager local

Nothing is unpickled: the weights are a safetensors file, the code is the pipeline's own.
"""

import base64
from threading import Lock

import mlflow
import numpy as np
from mlflow.pyfunc.model import PythonModel, PythonModelContext
from pydantic import BaseModel

from pipeline.errors import PipelineError
from pipeline.photographs.estimator import PoseEstimator
from pipeline.photographs.people import described
from pipeline.photographs.reading import PhotographError, read

MOST_BYTES = 30_000_000  # of an encoded photograph


class Photograph(BaseModel, extra="forbid"):
    """A photograph that `photographs.reading` reads, in base64; its people's boxes where known."""

    image: str
    boxes: list[list[float]] | None = None  # each x, y, width, height, px, around the joints


class PoseModel(PythonModel):
    """Answers each photograph with its people, or with one sentence on why not."""

    def load_context(self, context: PythonModelContext) -> None:
        """Read the files that MLflow kept, side by side."""
        self.estimator = PoseEstimator.load(context.artifacts["weights"])
        # A server's threads decode and predict one photograph at a time: one takes all cores, and
        # up to 0.6 GB.
        self.turn = Lock()

    # MLflow checks requests by the hint of model_input, and wants no other parameter then.
    def predict(self, model_input: list[Photograph]) -> list[dict]:  # type: ignore[override]
        """What `people.described` says of each photograph, or {"error": ...}."""
        return [self._answer(each) for each in model_input]

    def _answer(self, photograph: Photograph) -> dict:
        try:
            with self.turn:
                pixels = decode(photograph.image)
                [people] = self.estimator.find([pixels], [photograph.boxes])
        except PipelineError as error:
            return {"error": str(error)}
        return described(pixels.shape[1::-1], people)


def decode(text: str) -> np.ndarray:
    """The pixels (H, W, 3) of a photograph in base64. Raises PhotographError."""
    if len(text) > MOST_BYTES * 4 / 3 + 4:
        raise PhotographError(f"more than {MOST_BYTES:,} bytes")
    try:
        return read(base64.b64decode(text, validate=True))
    except ValueError as error:
        raise PhotographError(f"not base64: {error}") from None


mlflow.models.set_model(PoseModel())
