"""The trained model in MLflow, made from this very file: photographs in base64 in, people out.

    mlflow models serve -m models:/adversarial-posenet-lspet@champion --env-manager local

Nothing is unpickled: the weights are a safetensors file, the code is the pipeline's own.
"""

import base64
import json
import os
import re
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import wraps
from typing import Any, cast

import mlflow
import numpy as np
from mlflow.exceptions import INVALID_PARAMETER_VALUE, MlflowException
from mlflow.pyfunc.model import PythonModel, PythonModelContext
from pydantic import (
    BaseModel,
    ModelWrapValidatorHandler,
    PrivateAttr,
    ValidationError,
    field_validator,
    model_validator,
)

from pipeline.errors import PipelineError
from pipeline.photographs.estimator import PoseEstimator
from pipeline.photographs.people import Box, described
from pipeline.reading import PhotographError, read

MOST_BYTES = 30_000_000  # of an encoded photograph
EXPECTED = (
    'expected application/json: {"inputs": [{"image": a photograph in base64, "boxes": [[x, y,'
    " width, height], ...], which may be left out}, ...]}"
)
URL_SAFE = str.maketrans("-_", "+/")
SERVING = "__pyfunc_model_path__"  # an environment variable of MLflow's server alone


class Photograph(BaseModel, extra="forbid"):
    """A photograph that `pipeline.reading` reads, in base64; its people's boxes where known."""

    image: str
    boxes: list[list[float]] | None = None  # each x, y, width, height, px, around the joints
    _wrong: str | None = PrivateAttr(None)  # in one sentence, where it is none

    @property
    def wrong(self) -> str | None:
        """Why it cannot be looked at."""
        return self._wrong

    @field_validator("boxes", mode="before")
    @classmethod
    def _as_given_out(cls, boxes: Any) -> Any:
        """Boxes may have the form that answers give them in."""
        if not isinstance(boxes, list):
            return boxes
        named = set(Box._fields)
        return [
            [box[name] for name in Box._fields]
            if isinstance(box, Mapping) and set(box) == named
            else box
            for box in boxes
        ]

    @model_validator(mode="wrap")
    @classmethod
    def _by_itself(cls, values: Any, handler: ModelWrapValidatorHandler) -> "Photograph":
        """What is malformed is answered by itself: MLflow would refuse its neighbours too, and send
        back all that came."""
        try:
            return handler(values)
        except ValidationError as error:
            photograph = handler({"image": ""})
            first = error.errors(include_input=False)[0]
            place = ".".join(str(part) for part in first["loc"])
            photograph._wrong = f"{place}: {first['msg']}; expected image, and boxes or none"
            return photograph


class Place(BaseModel):
    """A box, px, tight around a person's joints."""

    x: float
    y: float
    width: float
    height: float


class Joint(BaseModel):
    """Where a joint was found, px; as of `photographs.people.Joint`."""

    name: str
    x: float
    y: float
    score: float
    hidden: bool
    outside: bool


class Someone(BaseModel):
    """A person in a photograph; as of `photographs.people.Person`."""

    box: Place
    box_given: bool
    score: float
    joints: list[Joint]


class Answer(BaseModel):
    """What is said of a photograph: its size, px, and its people, or the error alone."""

    format: int | None = None
    width: int | None = None
    height: int | None = None
    people: list[Someone] | None = None
    error: str | None = None


class PoseModel(PythonModel):
    """Answers each photograph with its people, or with one sentence on why not."""

    def load_context(self, context: PythonModelContext) -> None:
        """Read the files that MLflow kept, side by side."""
        self.estimator = PoseEstimator.load(context.artifacts["weights"])
        # A server's threads let one of their own decode and predict, a photograph at a time: one
        # takes all cores, and up to 0.6 GB, which each thread would keep.
        self.looking = ThreadPoolExecutor(1)
        if SERVING in os.environ:
            MlflowException.serialize_as_json = brief  # type: ignore[method-assign]
            from mlflow.pyfunc import scoring_server

            scoring_server.invocations = refusing(scoring_server.invocations)

    # MLflow checks requests by the hint of model_input, and wants no other parameter then.
    def predict(self, model_input: list[Photograph]) -> list[Answer]:  # type: ignore[override]
        """What `people.described` says of each photograph, or {"error": ...}: answers as plain
        values, which MLflow's server can send."""
        return [cast(Answer, self._answer(each)) for each in model_input]

    def _answer(self, photograph: Photograph) -> dict:
        if photograph.wrong:
            return {"error": photograph.wrong}
        try:
            return self.looking.submit(self._look, photograph).result()
        except PipelineError as error:
            return {"error": str(error)}

    def _look(self, photograph: Photograph) -> dict:
        pixels = decode(photograph.image)
        [people] = self.estimator.find([pixels], [photograph.boxes])
        return described(pixels.shape[1::-1], people)


def brief(error: MlflowException) -> str:
    """What MLflow's server answers to a request that it cannot take, as JSON.

    In place of its own words, which hold the whole request, stack traces, and the server's paths.
    """
    return json.dumps({"error_code": error.error_code, "message": EXPECTED})


def refusing(invocations: Callable[..., Any]) -> Callable[..., Any]:
    """What MLflow's server does with a request, which is refused where its own reading fails: JSON
    nested too deeply, a number of too many digits, no type."""

    @wraps(invocations)
    def invocations_or_refusal(*request: Any) -> Any:
        try:
            return invocations(*request)
        except MlflowException:
            raise
        except Exception as error:
            raise MlflowException(EXPECTED, error_code=INVALID_PARAMETER_VALUE) from error

    return invocations_or_refusal


def decode(text: str) -> np.ndarray:
    """The pixels (H, W, 3) of a photograph in base64, as browsers ("data:..."), MIME (lines) and
    addresses ("-" and "_") write it too. Raises PhotographError."""
    if len(text) > MOST_BYTES * 1.5:
        raise PhotographError(f"more than {MOST_BYTES:,} bytes")
    text = re.sub(r"^data:[^,]*,|\s", "", text.strip()).rstrip("=").translate(URL_SAFE)
    try:
        content = base64.b64decode(text + "=" * (-len(text) % 4), validate=True)
    except ValueError as error:
        raise PhotographError(f"not base64: {error}") from None
    if len(content) > MOST_BYTES:
        raise PhotographError(f"more than {MOST_BYTES:,} bytes")
    return read(content)


mlflow.models.set_model(PoseModel())
