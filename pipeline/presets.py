"""Presets: sets of parameters by name, presets/NAME.yaml, laid out as params.yaml.

A value such as `0,1` stands for several, each of which is tried.
"""

import json
from collections.abc import Sequence
from pathlib import Path

from ruamel.yaml import YAML, YAMLError

from pipeline.errors import PipelineError, brief, shown
from pipeline.settings import Settings, flat

FOLDER = Path("presets")  # from the root of the repository


class PresetError(PipelineError):
    """There is no such preset, or it is none."""


def names() -> list[str]:
    """Of all presets."""
    return sorted(path.stem for path in FOLDER.glob("*.yaml"))


def read(name: str) -> dict[str, dict]:
    """Values of a preset by group and key. Raises PresetError."""
    path = FOLDER / f"{name}.yaml"
    if name not in names():
        known = ", ".join(names()) or "none: run this from the root of the repository"
        raise PresetError(f"{shown(name)}: no such preset; there are {known}")
    try:
        values = YAML(typ="safe", pure=True).load(path.read_text("utf-8"))
    except (YAMLError, ValueError, OSError) as error:
        raise PresetError(f"{path}: not YAML: {brief(error)}") from None
    if not isinstance(values, dict) or not all(isinstance(each, dict) for each in values.values()):
        raise PresetError(f"{path}: expected groups of keys, as in params.yaml")
    groups = Settings.model_fields
    for group, keys in values.items():
        kind = groups[group].annotation if group in groups else None
        for key in keys:
            if key not in getattr(kind, "model_fields", {}):
                raise PresetError(f"{path}: {brief(group)}.{brief(key)}: not in params.yaml")
    return values


def overrides(chosen: Sequence[str]) -> list[str]:
    """GROUP.KEY=VALUE of presets, as `dvc exp run -S` takes them; a later preset's value counts."""
    merged = {key: value for name in chosen for key, value in flat(read(name))}
    return [f"{key}={_written(value)}" for key, value in merged.items()]


def _written(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value)
