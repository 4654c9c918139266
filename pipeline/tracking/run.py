"""A run in MLflow: what it is told of a training and of its evaluation.

Nothing here determines a result: the stages compute the same without it, a store that fails while a
run is open costs a warning, and no run's name or id enters an output of a stage. A run is found
again by what it is about: by its tag `fingerprint` (configuration, data and code) to resume it, by
`model.sha256` to add its evaluation.
"""

import csv
import getpass
import logging
import math
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from pipeline.files import digest
from pipeline.paths import PARAMS
from pipeline.settings import Settings
from pipeline.tracking.provenance import flat, origin, run_name
from pipeline.tracking.store import (
    GENERATOR,
    PREFIX,
    Store,
    alone,
    open_store,
    public,
    remote,
)

if TYPE_CHECKING:
    from matplotlib.figure import Figure

PACKAGE = Path(__file__).parents[1]  # the whole of this package goes with a model
METRICS_A_CALL, PARAMS_A_CALL = 1000, 100  # what MLflow takes at once
PAUSE = 120.0  # s without points after a failed call: an unreachable server must not stall training
_log = logging.getLogger(__name__)
Answer = TypeVar("Answer")


class Run:
    """A run to add to. Its methods only warn where the store fails."""

    def __init__(self, store: Store, run_id: str) -> None:
        self.id, self._store, self._paused = run_id, store, 0.0

    @property
    def hint(self) -> str:
        """Where a person finds the run: its address, after the command that shows a local store."""
        uri = public(self._store.uri)
        page = f"/#/experiments/{self._store.experiment}/runs/{self.id}"
        if remote(uri):
            return uri.rstrip("/") + page
        return f"mlflow ui --backend-store-uri {uri}\n{'':31}then http://127.0.0.1:5000{page}"

    def place(self, path: str) -> str:
        """Where the artifact `path` lies: a file's path in a local store, else its address."""
        return f"{self._store.client.get_run(self.id).info.artifact_uri}/{path}".removeprefix(
            "file://"
        )

    def log(self, step: int, metrics: dict[str, float]) -> None:
        """Add a point to each named curve, in one call; values that are not finite are left out."""
        if time.monotonic() < self._paused:
            return
        if self._try(self._points, [(step, metrics)]) is None:
            self._paused = time.monotonic() + PAUSE

    def tag(self, name: str, value: object) -> None:
        """Set a tag."""
        self._try(self._store.client.set_tag, self.id, name, str(value)[:5000])

    @property
    def origin(self) -> dict[str, str]:
        """The run's tags `git.commit` and `reproduce`, where it has them."""
        known = self._try(self._store.client.get_run, self.id)
        tags = known.data.tags if known else {}
        return {name: tags[name] for name in ("git.commit", "reproduce") if name in tags}

    def describe(self, markdown: str) -> None:
        """Set the description on the run's page."""
        self.tag("mlflow.note.content", markdown)

    def dataset(self, name: str, sha256: str, source: str, context: str) -> None:
        """Note the data that the run used, by its digest; context: what for, such as "training"."""
        from mlflow.entities import Dataset, DatasetInput, InputTag

        used = Dataset(name, sha256[:32], "dvc", source)  # MLflow takes 36 characters
        tag = InputTag("mlflow.data.context", context)
        self._try(self._store.client.log_inputs, self.id, [DatasetInput(used, [tag])])

    def text(self, content: str, path: str) -> None:
        """Keep a text as the artifact `path`."""
        self._try(self._store.client.log_text, self.id, content, path)

    def file(self, path: Path | str, folder: str | None = None) -> None:
        """Keep a file as an artifact, under its own name in `folder`."""
        self._try(self._store.client.log_artifact, self.id, str(path), folder)

    def figure(self, figure: "Figure", path: str) -> None:
        """Keep a matplotlib Figure as the artifact `path`, whose ending says the format."""
        self._try(self._store.client.log_figure, self.id, figure, path)

    def model(
        self, code: Path, artifacts: Mapping[str, Path], example: object, packages: Iterable[str]
    ) -> str | None:
        """Keep an MLflow model, made from the file `code` of this package, once a run; returns its
        address.

        artifacts: files that belong to it, by the names the code knows them by. packages: whose
        installed versions it will ask for. None where the store failed or the run has a model.
        """
        return self._try(self._model, code, artifacts, example, packages)

    def _model(
        self, code: Path, artifacts: Mapping[str, Path], example: object, packages: Iterable[str]
    ) -> str | None:
        import mlflow

        outputs = self._store.client.get_run(self.id).outputs
        if outputs and outputs.model_outputs:
            return None
        # A model's home follows the store that is set, its experiment the one that it is made in.
        mlflow.set_tracking_uri(self._store.uri)
        empty = self._store.client.create_logged_model(
            self._store.experiment, name="generator", source_run_id=self.id
        )
        kept = mlflow.models.Model.log(
            None,
            mlflow.pyfunc,
            name="generator",
            model_id=empty.model_id,
            run_id=self.id,
            python_model=str(code),
            code_paths=[str(PACKAGE)],
            artifacts={name: str(path) for name, path in artifacts.items()},
            input_example=example,
            pip_requirements=[f"{name}=={version(name)}" for name in packages],
        )
        return kept.model_uri

    def register(self, model: str, name: str, score: float, protocol: str) -> None:
        """Make the model the newest version under a name, and its champion where it beats the
        present one.

        score: what versions are compared by, the higher the better; only where the protocol, what
        was measured and how, is the same. The first version is the champion.
        """
        self._try(self._register, model, name, score, protocol)

    def _register(self, model: str, name: str, score: float, protocol: str) -> None:
        from mlflow.exceptions import MlflowException

        client = self._store.client
        tags = {"score": str(score), "protocol": protocol}
        with alone(self._store.uri):
            with suppress(MlflowException):  # there already
                client.create_registered_model(name)
            new = client.create_model_version(
                name, model, self.id, tags=tags, model_id=model.removeprefix("models:/")
            )
            aliases = client.get_registered_model(name).aliases
            if "champion" in aliases:
                present = client.get_model_version(name, aliases["champion"]).tags
                if present.get("protocol") != protocol or float(present["score"]) >= score:
                    return
            client.set_registered_model_alias(name, "champion", new.version)

    def image(self, pixels: np.ndarray, key: str, step: int) -> None:
        """Keep an image (H, W, 3) uint8 of a step; MLflow shows it beside those of other steps."""
        self._try(self._store.client.log_image, self.id, pixels, key=key, step=step)

    def params(self, values: Mapping) -> None:
        """Note nested values as parameters with dotted names."""
        from mlflow.entities import Param

        params = [Param(name, str(value)) for name, value in flat(values)]
        for start in range(0, len(params), PARAMS_A_CALL):
            some = params[start : start + PARAMS_A_CALL]
            self._try(self._store.client.log_batch, self.id, params=some)

    def curve(self, path: Path) -> None:
        """Add a table's points: a column `step` and one a metric, empty where not measured."""
        with path.open(newline="") as lines:
            rows = list(csv.DictReader(lines))
        self._try(self._points, [(int(float(row.pop("step"))), row) for row in rows])

    def end(self, status: str) -> None:
        """Set the final status: FINISHED, FAILED or KILLED."""
        self._try(self._store.client.set_terminated, self.id, status)

    def _points(self, rows: list[tuple[int, Mapping]]) -> int:
        """Send points of curves; how many."""
        from mlflow.entities import Metric

        now = int(time.time() * 1000)
        points = [
            Metric(name, float(value), now, step)
            for step, row in rows
            for name, value in row.items()
            if value not in ("", None) and math.isfinite(float(value))
        ]
        for start in range(0, len(points), METRICS_A_CALL):
            self._store.client.log_batch(self.id, metrics=points[start : start + METRICS_A_CALL])
        return len(points)

    def _try(self, call: Callable[..., Answer], *values: Any, **named: Any) -> Answer | None:
        """What the call gives, or None and a warning where it fails."""
        try:
            return call(*values, **named)
        except Exception as error:  # noqa: BLE001  whatever it is: it must not end hours of training
            _log.warning("not tracked: %s: %s", type(error).__name__, public(error))
            return None


@contextmanager
def training_run(
    settings: Settings, *, tags: dict[str, str], resumed: bool, network: str = GENERATOR
) -> Iterator[Run]:
    """Open the run of a training; it ends FINISHED, FAILED (tag `error`) or KILLED as the block
    does.

    tags: among them `device` and, where it can be resumed, `fingerprint`. network: GENERATOR or
    FINDER, each in an experiment of its own. With resumed, continue the newest run of that
    fingerprint that did not finish. Raises TrackingError where the store cannot be opened.
    """
    store = open_store(settings.data.name, network)
    tags = {name: str(value) for name, value in (origin() | tags).items()}
    run = _unfinished(store, tags) if resumed else None
    if run is None:
        tags |= {"resumed": "true"} if resumed else {}
        name = run_name(store.name.removeprefix(PREFIX))
        run = _create(store, name, tags, settings.model_dump())
        if PARAMS.is_file():
            run.file(PARAMS)
    stop = _system_metrics(store.uri, run.id)
    status = "KILLED"
    try:
        yield run
        status = "FINISHED"
    except Exception as error:
        status = "FAILED"
        run.tag("error", f"{type(error).__name__}: {error}")
        raise
    finally:
        stop()
        run.end(status)


@contextmanager
def evaluation_run(settings: Mapping, weights: Path, learning_curve: Path) -> Iterator[Run]:
    """Open the run that trained these weights, to add to it; its status stays as it is.

    settings: the nested configuration that the weights carry. Where no run is known (weights that
    were pulled, or trained elsewhere) one is made of the settings and the learning curve, tagged
    `imported`.
    """
    name = settings.get("data", {}).get("name", "unknown")
    store, sha = open_store(name), digest(weights)
    found = store.find(f"tags.`model.sha256` = '{sha}'")
    if found:
        yield Run(store, found.info.run_id)
        return
    run = _create(store, f"{name}-imported-{sha[:8]}", {"imported": "true"}, settings)
    if learning_curve.is_file():
        run.curve(learning_curve)
    run.tag("model.sha256", sha)  # last: a run that is half imported is not found
    run.end("FINISHED")
    yield run


def named(part: str, measured: Mapping) -> dict[str, float]:
    """Nested measures as metrics: {"pck_0.2": {"mean": 0.6}} is {"test/pck_0.2/mean": 0.6} for the
    test part.

    What is no number (an interval, a measure that nothing counted for) is left out.
    """
    result: dict[str, float] = {}
    for name, value in measured.items():
        if isinstance(value, Mapping):
            result |= named(f"{part}/{name}", value)
        elif isinstance(value, (int, float)):
            result[f"{part}/{name}"] = float(value)
    return result


def _create(store: Store, name: str, tags: dict[str, str], settings: Mapping) -> Run:
    with suppress(Exception):  # an account without a name
        tags = {"mlflow.user": getpass.getuser()} | tags
    tags = {"mlflow.source.name": Path(sys.argv[0]).name, "mlflow.source.type": "LOCAL"} | tags
    run = Run(
        store, store.client.create_run(store.experiment, tags=tags, run_name=name).info.run_id
    )
    run.params(settings)
    return run


def _unfinished(store: Store, tags: dict[str, str]) -> Run | None:
    same = f"tags.fingerprint = '{tags['fingerprint']}'"
    found = store.find(f"{same} and attributes.status != 'FINISHED'")
    if found is None:
        return None
    run = Run(store, found.info.run_id)
    store.client.update_run(run.id, status="RUNNING")
    if "error" in found.data.tags:
        store.client.delete_tag(run.id, "error")
    for name, value in tags.items():
        run.tag(name, value)
    return run


def _system_metrics(uri: str, run_id: str) -> Callable[[], None]:
    """Watch processor, memory, disk, network and GPU from a thread; returns what stops it."""
    try:
        from mlflow.system_metrics.system_metrics_monitor import SystemMetricsMonitor

        monitor = SystemMetricsMonitor(run_id, resume_logging=True, tracking_uri=uri)
        monitor.start()
    except Exception as error:  # noqa: BLE001  a machine that hides its counters
        _log.warning("no system metrics: %s", error)
        return lambda: None
    return monitor.finish
