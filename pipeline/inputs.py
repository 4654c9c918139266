"""What a stage of dvc.yaml depends on: its files, code and data, and its parameters."""

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from pipeline.errors import PipelineError, brief
from pipeline.files import digest
from pipeline.paths import PARAMS, STAGES


class InputsError(PipelineError):
    """What a stage depends on is missing, or is no longer what it was when the stage began."""


def files(stage: str) -> list[Path]:
    """Every file, code and data, that dvc.yaml says a stage depends on.

    Raises InputsError where one is missing.
    """
    found: list[Path] = []
    for name in _declared(stage, "deps"):
        path = Path(name)
        if not path.exists():
            raise InputsError(f"{path}: no such file or folder, but {STAGES} names it")
        below = path.rglob("*") if path.is_dir() else [path]
        # What Python compiles beside the code is no dependency (.dvcignore).
        found += [each for each in below if each.is_file() and "__pycache__" not in each.parts]
    return sorted(found)


def parameters(stage: str) -> dict[str, Any]:
    """The values of params.yaml that dvc.yaml says a stage depends on, under their dotted names.

    A group stands for all that is in it; a name that params.yaml lacks is None. Raises InputsError
    where params.yaml cannot be read.
    """
    values = _values()
    found: dict[str, Any] = {}
    for name in _declared(stage, "params"):
        group, _, key = name.partition(".")
        chosen = values.get(group)
        if not isinstance(chosen, Mapping):
            chosen = {}
        wanted = {key: chosen.get(key)} if key else chosen
        found |= {f"{group}.{one}": value for one, value in wanted.items()}
    return found


def fingerprint(stage: str, settings: Mapping[str, Any]) -> str:
    """16 hexadecimal digits that stand for what a stage computes: by its settings, and by all the
    files that it depends on.

    A training that was stopped goes on, and in its MLflow run, only where both are the same.
    """
    found = hashlib.sha256(json.dumps(settings, sort_keys=True).encode())
    for path in files(stage):
        found.update(f"{path.as_posix()} {digest(path)}".encode())
    return found.hexdigest()[:16]


def _declared(stage: str, kind: str) -> list[str]:
    """What dvc.yaml lists, its templates ${group.name} filled in from params.yaml."""
    names = yaml.safe_load(STAGES.read_text())["stages"][stage].get(kind, [])
    if not any("${" in name for name in names):
        return names
    values = _values()

    def filled(template: re.Match) -> str:
        group, _, key = template[1].partition(".")
        return str((values.get(group) or {}).get(key))

    return [re.sub(r"\$\{([^}]+)\}", filled, name) for name in names]


def _values() -> Mapping[str, Any]:
    """Those of params.yaml. Raises InputsError where it cannot be read."""
    try:
        values = yaml.safe_load(PARAMS.read_text("utf-8"))
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise InputsError(f"{PARAMS}: not YAML: {brief(error)}") from None
    return values if isinstance(values, Mapping) else {}


@dataclass(frozen=True)
class Inputs:
    """A stage's inputs at one moment, to be compared with what they are later.

    DVC writes into dvc.lock what they are when the stage has ended: if that is not what it began
    with, the lock says of its outputs what is not true.
    """

    stage: str
    stamps: Mapping[Path, object]
    parameters: Mapping[str, Any]

    @classmethod
    def now(cls, stage: str) -> "Inputs":
        """As they are at this moment. Raises InputsError where a file is missing."""
        return cls(stage, {path: _stamp(path) for path in files(stage)}, parameters(stage))

    def changed(self) -> list[str]:
        """Names of the files, and of the parameters with both values, that differ from then."""
        now = Inputs.now(self.stage)
        names = sorted(self.parameters.keys() | now.parameters.keys())
        pairs = {name: (self.parameters.get(name), now.parameters.get(name)) for name in names}
        paths = sorted(self.stamps.keys() | now.stamps.keys())
        return [
            *(
                f"{name} (from {brief(one)} to {brief(two)})"
                for name, (one, two) in pairs.items()
                if one != two
            ),
            *(str(each) for each in paths if self.stamps.get(each) != now.stamps.get(each)),
        ]

    def check(self) -> None:
        """Raises InputsError where one is no longer what it was."""
        if changed := self.changed():
            more = f" and {len(changed) - 5} more" if len(changed) > 5 else ""
            raise InputsError(
                f"while the stage {self.stage} ran, there changed: {', '.join(changed[:5])}{more};"
                " its results would be recorded as made of these, so nothing is recorded. Undo the"
                " change, or run it again with it"
            )


def _stamp(path: Path) -> object:
    """What tells whether a file is the same: its content if it is code; data is too large."""
    if path.suffix == ".py":
        return digest(path)
    status = path.stat()
    return status.st_size, status.st_mtime_ns
