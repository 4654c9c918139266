"""params.yaml, typed and checked once.

The models hold no default values: what a stage does is decided by params.yaml alone, so this module
checks but determines nothing.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator
from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError

from pipeline.errors import PipelineError, brief, shown
from pipeline.paths import PARAMS

if TYPE_CHECKING:
    from pipeline.geometry import Geometry

Share = Annotated[float, Field(gt=0, lt=0.5)]
Probability = Annotated[float, Field(ge=0, le=1)]
Positive = Annotated[float, Field(gt=0, le=1e30)]  # what single precision can still reckon with
Weight = Annotated[float, Field(ge=0, le=1e30)]
Count = Annotated[int, Field(ge=1, le=10**9)]
Batch = Annotated[int, Field(ge=1, le=65_536)]
Seed = Annotated[int, Field(ge=0, lt=2**32)]
Side = Annotated[int, Field(ge=8, le=1024)]
Fraction = Annotated[float, Field(gt=0, le=1)]
Precision = Literal["auto", "bf16", "fp32"]
Backbone = Annotated[
    str, Field(pattern=r"^[a-z0-9_]+(\.[a-z0-9_]+)?$", max_length=64)
]  # a name of timm's
Channels = Annotated[int, Field(ge=8, le=4096, multiple_of=8)]
FROM_A_LIST = Field(strict=False)  # YAML has no tuples
Size = Annotated[float, Field(ge=0.25, le=4)]
MOST = 20  # mistakes that are named


class SettingsError(PipelineError):
    """params.yaml says what it may not; the message names key, value and what is allowed."""


class _Group(BaseModel):
    # strict: a quoted number is no number, and neither is true.
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False, strict=True)


class Data(_Group):
    """Which photographs."""

    name: Literal["lspet", "figures", "own"]
    folder: Annotated[str, Field(min_length=1, max_length=4096)]
    annotations: Annotated[
        list[Annotated[str, Field(min_length=1, max_length=4096)]],
        Field(min_length=1, max_length=64),
    ]
    orientation: Literal["upright", "stored"]
    parts: Literal["shares", "published"]
    count: Annotated[int, Field(ge=10, le=6_000_000)]  # what a joints.mat of 2 GiB annotates
    seed: Seed


class Split(_Group):
    """Shares of the parts, and which photographs stay together."""

    validation: Share
    test: Share
    near_duplicate_bits: Annotated[int, Field(ge=0, le=64)]
    scenes: bool
    seed: Seed


class Cache(_Group):
    """The geometry of crops and heatmaps at rest, px."""

    input_size: Side
    heatmap_size: Side
    sigma: Annotated[float, Field(gt=0, le=8)]
    box: Annotated[float, Field(ge=1, le=3)]
    margin: Annotated[float, Field(ge=1, le=3)]

    @model_validator(mode="after")
    def _power_of_two(self) -> "Cache":
        if self.input_size not in [factor * self.heatmap_size for factor in (1, 2, 4, 8)]:
            raise ValueError(
                f"input_size {self.input_size} must be 1, 2, 4 or 8 times heatmap_size"
                f" {self.heatmap_size}"
            )
        return self

    @property
    def geometry(self) -> "Geometry":
        """The same with its maps."""
        from pipeline.geometry import Geometry  # and NumPy, which a download does not wait for

        return Geometry.of(self.model_dump())


class Model(_Group):
    """The generator."""

    encoder: Backbone
    pretrained: bool
    block: Literal["bottleneck", "basic", "separable"]
    stem: Literal["paper", "patches"]
    stacks: Annotated[int, Field(ge=1, le=16)]
    features: Annotated[list[Channels], Field(min_length=2, max_length=6)]
    occlusion: bool
    reconstruction: Literal["mse", "cross_entropy"]

    @model_validator(mode="after")
    def _weights_exist(self) -> "Model":
        if self.pretrained and self.encoder == "hourglass":
            raise ValueError(
                "pretrained True: the paper's hourglass has no ImageNet weights; set it to false,"
                " or encoder to a backbone of timm's"
            )
        return self


class Augment(_Group):
    """Ranges of the random warp, colour and occluders."""

    enabled: bool
    rotation: Annotated[float, Field(ge=0, le=180)]
    scale: Annotated[tuple[Size, Size], FROM_A_LIST]
    shift: Annotated[float, Field(ge=0, le=0.5)]
    flip: Probability
    colour: Annotated[float, Field(ge=0, lt=1)]
    cut: Probability
    occluders: Probability
    occluder_size: Annotated[tuple[Fraction, Fraction], FROM_A_LIST]

    @model_validator(mode="after")
    def _ordered(self) -> "Augment":
        for name in ("scale", "occluder_size"):
            low, high = getattr(self, name)
            if low > high:
                raise ValueError(f"{name} [{low}, {high}] must be [smallest, largest]")
        return self


class Train(_Group):
    """The game and its optimisation."""

    start: Annotated[str, Field(min_length=1, max_length=4096)]
    labelled: Annotated[float, Field(gt=0, le=1)]
    unlabelled: Literal["none", "game", "teacher", "both"]
    adversarial: bool
    game_start: Probability
    alpha: Weight
    beta: Weight
    delta: Positive
    epsilon: Positive
    discriminator_features: Annotated[list[Channels], Field(min_length=2, max_length=6)]
    batch: Batch
    steps: Count
    input_sizes: Annotated[list[Side], Field(min_length=1, max_length=64)]
    optimiser: Literal["muon", "adamw", "rmsprop"]
    learning_rate: Positive
    encoder_rate: Annotated[float, Field(ge=0, le=1)]
    encoder_frozen: Annotated[int, Field(ge=0, le=6)]
    discriminator_learning_rate: Positive
    weight_decay: Weight
    clip: Positive
    warmup: Annotated[int, Field(ge=0, le=10**9)]
    ema: Annotated[float, Field(ge=0, lt=1)]
    precision: Precision
    deterministic: bool
    compile: Literal["auto", True, False]
    seed: Seed
    log_every: Count
    validate_every: Count

    def plays(self, step: int) -> bool:
        """Has the game begun, and what photographs without annotations teach?"""
        return step >= self.game_start * self.steps

    @model_validator(mode="after")
    def _somebody_judges(self) -> "Train":
        if self.unlabelled in ("game", "both") and not self.adversarial:
            raise ValueError(f"unlabelled {self.unlabelled} needs adversarial true: P and C judge")
        return self

    @model_validator(mode="after")
    def _points_coincide(self) -> "Train":
        if self.validate_every % self.log_every:
            raise ValueError(
                f"validate_every {self.validate_every} must be a multiple of log_every"
                f" {self.log_every}"
            )
        return self


class Finder(_Group):
    """What finds people in whole pictures, and how it is taught."""

    start: Annotated[str, Field(min_length=1, max_length=4096)]
    encoder: Backbone
    pretrained: bool
    features: Annotated[list[Channels], Field(min_length=2, max_length=4)]
    input_size: Annotated[int, Field(ge=64, le=1024, multiple_of=32)]
    batch: Batch
    steps: Count
    learning_rate: Positive
    encoder_rate: Annotated[float, Field(ge=0, le=1)]
    encoder_frozen: Annotated[int, Field(ge=0, le=4)]
    edges: Positive
    weight_decay: Weight
    clip: Positive
    warmup: Annotated[int, Field(ge=0, le=10**9)]
    ema: Annotated[float, Field(ge=0, lt=1)]
    precision: Precision
    seed: Seed
    log_every: Count


class Evaluate(_Group):
    """What the last stage measures; how is fixed, in pipeline/evaluation/protocol.py."""

    part: Literal["test", "train"]


class Settings(_Group):
    """All of params.yaml."""

    data: Data
    split: Split
    cache: Cache
    model: Model
    augment: Augment
    train: Train
    finder: Finder
    evaluate: Evaluate

    @model_validator(mode="after")
    def _sizes_agree(self) -> "Settings":
        sizes = self.train.input_sizes
        if sizes[-1] != self.cache.input_size:
            raise ValueError(
                f"train.input_sizes {sizes} must end with cache.input_size {self.cache.input_size}"
            )
        stride = self.cache.input_size // self.cache.heatmap_size
        # Each level halves the maps once more; the discriminators start at half the heatmaps'
        # resolution.
        for key, first, features in (
            ("model.features", stride, self.model.features),
            ("train.discriminator_features", 2 * stride, self.train.discriminator_features),
        ):
            deepest = first * 2 ** (len(features) - 1)
            bad = [size for size in sizes if size % deepest]
            if bad:
                raise ValueError(
                    f"train.input_sizes {bad}: the {len(features)} levels of {key} at a stride of"
                    f" {stride} ask"
                    f" for multiples of {deepest}"
                )
        if self.train.unlabelled != "none" and not self.augment.enabled:
            raise ValueError(
                f"train.unlabelled {self.train.unlabelled} needs augment.enabled true: what is"
                " found in a photograph is asked for again where it is covered"
            )
        if self.model.encoder != "hourglass" and self.train.encoder_frozen > len(
            self.model.features
        ):
            raise ValueError(
                f"train.encoder_frozen {self.train.encoder_frozen}: model.features has"
                f" {len(self.model.features)} levels"
            )
        if self.model.encoder == "hourglass" and self.model.stem == "paper" and stride != 4:
            raise ValueError(
                "model.stem 'paper' gives heatmaps of a quarter of the input's side, but"
                " cache.heatmap_size"
                f" {self.cache.heatmap_size} is 1/{stride} of cache.input_size"
                f" {self.cache.input_size}"
            )
        return self


def load(path: Path | str = PARAMS) -> Settings:
    """Read and check params.yaml.

    Raises SettingsError naming each wrong key, its value and what is allowed.
    """
    try:
        # As DVC reads and writes it: YAML 1.2, where 1e-05 is a number.
        values = YAML(typ="safe", pure=True).load(Path(path).read_text("utf-8"))
    except FileNotFoundError:
        raise SettingsError(
            f"{path}: no such file; run this from the root of the repository"
        ) from None
    except (YAMLError, ValueError, OSError) as error:  # a number of 5,000 digits is a ValueError
        raise SettingsError(f"{path}: not YAML: {_reason(error)}") from None
    except RecursionError:
        raise SettingsError(f"{path}: not YAML that is read: nested too deeply") from None
    if not isinstance(values, dict):
        raise SettingsError(
            f"{path}: expected the groups {', '.join(Settings.model_fields)}; found {shown(values)}"
        )
    return check(values, str(path))


def check(values: object, source: str) -> Settings:
    """Turn plain values into Settings; wrong ones raise a SettingsError that names `source`."""
    try:
        return Settings.model_validate(values)
    except ValidationError as error:
        lines = [_explain(detail) for detail in error.errors()]
        if len(lines) > MOST:
            lines[MOST:] = [f"{len(lines) - MOST} more mistakes"]
        raise SettingsError("\n".join(f"{source}: {line}" for line in lines)) from None


def flat(values: Mapping, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Nested values with dotted names, `group.key` of parameters."""
    for name, value in values.items():
        if isinstance(value, Mapping):
            yield from flat(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", list(value) if isinstance(value, tuple) else value


def _explain(detail: Mapping[str, Any]) -> str:
    path = [brief(part) for part in detail["loc"] if not str(part).startswith("literal[")]
    key = ".".join(path)
    if detail["type"] == "extra_forbidden":
        group = Settings.model_fields.get(path[0]) if len(path) > 1 else None
        kind = group.annotation if group else None
        fields = getattr(kind, "model_fields", Settings.model_fields)
        return f"{key}: unknown key; allowed here: {', '.join(fields)}"
    if detail["type"] == "missing":
        return f"{key}: missing"
    said = detail["msg"].removeprefix("Value error, ").removeprefix("Input ")
    if detail["type"] in ("float_type", "int_type") and _reads_as_number(detail["input"]):
        said += ", without quotes"
    return (
        f"{key} = {shown(detail['input'])}: {said}"
        if detail["type"] != "value_error"
        else f"{key}: {said}".lstrip(": ")
    )


def _reason(error: Exception) -> str:
    """What is wrong with a file, and where, in one line."""
    if not isinstance(error, MarkedYAMLError):
        return brief(error)
    said = brief(": ".join(filter(None, (error.context, error.problem))))
    mark = error.problem_mark
    return f"line {mark.line + 1}, column {mark.column + 1}: {said}" if mark else said


def _reads_as_number(value: object) -> bool:
    """Is it text that a person would take for a number?"""
    try:
        float(value if isinstance(value, str) else "")
    except ValueError:
        return False
    return True
