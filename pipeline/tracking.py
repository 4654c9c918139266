"""What MLflow is told of a training and of its evaluation.

Nothing here determines a result: the stages compute the same without it, a store that fails while a run is
open costs a warning, and no run's name or id enters an output of a stage. A run is found again by what it is
about: by its tag `fingerprint` (configuration, data and code) to resume it, by `model.sha256` to add its
evaluation. Clients with explicit run ids are used throughout, never MLflow's global active run.
"""

import base64
import csv
import fcntl
import getpass
import hashlib
import json
import logging
import math
import os
import re
import shlex
import subprocess
import sys
import time
import zlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from importlib.metadata import version
from pathlib import Path
from typing import NamedTuple
from urllib.parse import unquote

import yaml

from pipeline import PipelineError
from pipeline.settings import Settings, main_root

CODE = ("pipeline", "stages", "params.yaml", "dvc.yaml")
METRICS_A_CALL, PARAMS_A_CALL = 1000, 100  # what MLflow takes at once
VIEW = "mlflow.sharedViewState.results"  # a tag of an experiment, named as MLflow's web page names its saved views
COLUMNS = (  # of that view: what runs are chosen by, the result, and what sweeps vary most
    "metrics.`validation/pck_0.2/mean`", "metrics.`validation/pckh_0.5/mean`",
    "metrics.`validation/covered/pck_0.2/mean`", "metrics.`test/pck_0.2/mean`", "metrics.`test/pckh_0.5/mean`",
    "params.`model.occlusion`", "params.`train.adversarial`", "params.`train.alpha`", "params.`train.seed`",
)  # fmt: skip
PAUSE = 120.0  # seconds without points after a failed call: an unreachable server must not stall training
_log = logging.getLogger(__name__)


class TrackingError(PipelineError):
    """The tracking store cannot be opened; the message says which, why, and how to choose another."""


class _Store(NamedTuple):
    client: object  # mlflow.MlflowClient
    uri: str
    name: str
    experiment: str

    def find(self, condition: str):
        """The newest run that fulfils an MLflow search condition, or None."""
        newest = ["attributes.start_time DESC"]
        found = self.client.search_runs([self.experiment], condition, max_results=1, order_by=newest)
        return found[0] if found else None


class Run:
    """A run to add to. Its methods only warn where the store fails."""

    def __init__(self, store: _Store, run_id: str) -> None:
        self.id, self._store, self._paused = run_id, store, 0.0

    @property
    def hint(self) -> str:
        """Where a person finds the run: its address, after the command that shows a local store."""
        uri = _public(self._store.uri)
        page = f"/#/experiments/{self._store.experiment}/runs/{self.id}"
        if _remote(uri):
            return uri.rstrip("/") + page
        return f"mlflow ui --backend-store-uri {uri}\n{'':31}then http://127.0.0.1:5000{page}"

    def place(self, path: str) -> str:
        """Where the artifact `path` lies: a file's path in a local store, else its address."""
        return f"{self._store.client.get_run(self.id).info.artifact_uri}/{path}".removeprefix("file://")

    def log(self, step: int, metrics: dict[str, float]) -> None:
        """Add a point to each named curve, in one call; values that are not finite are left out."""
        if time.monotonic() >= self._paused and not self._try(self._points, [(step, metrics)]):
            self._paused = time.monotonic() + PAUSE

    def tag(self, name: str, value: object) -> None:
        """Set a tag."""
        self._try(self._store.client.set_tag, self.id, name, str(value)[:5000])

    @property
    def origin(self) -> dict[str, str]:
        """The run's tags `git.commit` and `reproduce`, where it has them."""
        names, tags = ("git.commit", "reproduce"), {}
        self._try(lambda: tags.update(self._store.client.get_run(self.id).data.tags))
        return {name: tags[name] for name in names if name in tags}

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

    def figure(self, figure, path: str) -> None:
        """Keep a matplotlib Figure as the artifact `path`, whose ending says the format."""
        self._try(self._store.client.log_figure, self.id, figure, path)

    def model(
        self, code: Path, artifacts: dict[str, Path], example: object, packages: Iterable[str]
    ) -> str | None:
        """Keep an MLflow model, made from the file `code` of this package, once a run; returns its address.

        artifacts: files that belong to it, by the names the code knows them by. packages: whose installed versions
        it will ask for. None where the store failed or the run has a model.
        """
        made = []
        self._try(lambda: made.append(self._model(code, artifacts, example, packages)))
        return made[0] if made else None

    def _model(self, code, artifacts, example, packages) -> str | None:
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
            code_paths=[str(code.parent)],
            artifacts={name: str(path) for name, path in artifacts.items()},
            input_example=example,
            pip_requirements=[f"{name}=={version(name)}" for name in packages],
        )
        return kept.model_uri

    def register(self, model: str, name: str, score: float, protocol: str) -> None:
        """Make the model the newest version under a name, and its champion where it beats the present one.

        score: what versions are compared by, the higher the better; only where the protocol, what was measured and
        how, is the same. The first version is the champion.
        """
        self._try(self._register, model, name, score, protocol)

    def _register(self, model: str, name: str, score: float, protocol: str) -> None:
        from mlflow.exceptions import MlflowException

        client = self._store.client
        tags = {"score": str(score), "protocol": protocol}
        with _alone(self._store.uri):
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

    def image(self, pixels, key: str, step: int) -> None:
        """Keep an image (H, W, 3) uint8 of a step, which MLflow shows beside those of the other steps."""
        self._try(self._store.client.log_image, self.id, pixels, key=key, step=step)

    def params(self, values: dict) -> None:
        """Note nested values as parameters with dotted names."""
        from mlflow.entities import Param

        flat = [Param(name, str(value)) for name, value in _flat(values)]
        for start in range(0, len(flat), PARAMS_A_CALL):
            self._try(self._store.client.log_batch, self.id, params=flat[start : start + PARAMS_A_CALL])

    def curve(self, path: Path) -> None:
        """Add all points of a table with the column `step` and one column a metric, empty where not measured."""
        with path.open(newline="") as lines:
            rows = list(csv.DictReader(lines))
        self._try(self._points, [(int(float(row.pop("step"))), row) for row in rows])

    def end(self, status: str) -> None:
        """Set the final status: FINISHED, FAILED or KILLED."""
        self._try(self._store.client.set_terminated, self.id, status)

    def _points(self, rows: list[tuple[int, dict]]) -> None:
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

    def _try(self, call: Callable, *values, **named) -> bool:
        try:
            call(*values, **named)
        except Exception as error:  # noqa: BLE001  whatever it is: it must not end hours of training
            _log.warning("not tracked: %s: %s", type(error).__name__, _public(error))
            return False
        return True


@contextmanager
def training_run(settings: Settings, *, tags: dict[str, str], resumed: bool) -> Iterator[Run]:
    """Open the run of a training; it ends FINISHED, FAILED (tag `error`) or KILLED as the block does.

    tags: among them `fingerprint` and `device`. With resumed, continue the newest run of that fingerprint that
    did not finish. Raises TrackingError where the store cannot be opened.
    """
    store = _open(settings.data.name)
    tags = {name: str(value) for name, value in (_origin() | tags).items()}
    run = _unfinished(store, tags) if resumed else None
    if run is None:
        tags |= {"resumed": "true"} if resumed else {}
        run = _create(store, _run_name(settings.data.name), tags, settings.model_dump())
        if Path("params.yaml").is_file():
            run.file("params.yaml")
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
def evaluation_run(settings: dict, weights: Path, learning_curve: Path) -> Iterator[Run]:
    """Open the run that trained these weights, to add to it; its status stays as it is.

    settings: the nested configuration that the weights carry. Where no run is known (weights that were pulled,
    or trained elsewhere) one is made of the settings and the learning curve, tagged `imported`.
    """
    name = settings.get("data", {}).get("name", "unknown")
    store, sha = _open(name), digest(weights)
    found = store.find(f"tags.`model.sha256` = '{sha}'")
    if found:
        yield Run(store, found.info.run_id)
        return
    run = _create(store, f"{name}-imported-{sha[:8]}", {"imported": "true"}, settings)
    if Path(learning_curve).is_file():
        run.curve(Path(learning_curve))
    run.tag("model.sha256", sha)  # last: a run that is half imported is not found
    run.end("FINISHED")
    yield run


def digest(path: Path | str) -> str:
    """SHA-256 of a file, hexadecimal."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def named(part: str, measured: dict) -> dict[str, float]:
    """Nested measures as metrics: {"pck_0.2": {"mean": 0.6}} is {"test/pck_0.2/mean": 0.6} for the test part.

    What is no number (an interval, a measure that nothing counted for) is left out.
    """
    flat = {}
    for name, value in measured.items():
        if isinstance(value, dict):
            flat |= named(f"{part}/{name}", value)
        elif isinstance(value, (int, float)):
            flat[f"{part}/{name}"] = float(value)
    return flat


def tracking_uri() -> str:
    """MLFLOW_TRACKING_URI, or the database in the main repository's root; a relative database lies there too."""
    uri = os.environ.get("MLFLOW_TRACKING_URI") or "sqlite:///mlflow.db"
    database = uri.removeprefix("sqlite:///")
    if database in (uri, ":memory:") or database.startswith("/"):
        return uri
    root = str(main_root()).replace("%", "%25").replace("?", "%3F")  # what an address reads as its own signs
    return f"sqlite:///{root}/{database}"


def _public(text: object) -> str:
    """A text without the passwords of the addresses in it."""
    return re.sub(r"//[^/@\s]*@", "//", str(text))


def _remote(uri: str) -> bool:
    return uri.startswith(("http:", "https:", "databricks"))


def _open(data_name: str) -> _Store:
    """Connect to the store and find or create the experiment, also while another process does."""
    # Before the import, which reads them. Fewer repetitions than MLflow's 7, which take minutes a call.
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "3")
    os.environ.setdefault("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", "true")
    import mlflow

    for name in ("alembic", "mlflow"):
        logging.getLogger(name).setLevel(logging.WARNING)
    uri, experiment = tracking_uri(), f"adversarial-posenet-{data_name}"
    deadline = time.monotonic() + 30
    while True:
        try:
            with _alone(uri):
                client = mlflow.MlflowClient(tracking_uri=uri)
                return _Store(client, uri, experiment, _experiment(client, uri, experiment))
        except Exception as error:  # noqa: BLE001  MLflow, SQLAlchemy, sqlite3: each raises its own
            # A local database may be half made or locked by a process that takes no lock here, as `mlflow ui`.
            exists = getattr(error, "error_code", "") == "RESOURCE_ALREADY_EXISTS"
            final = isinstance(error, OSError) or (_remote(uri) and not exists)
            if final or time.monotonic() > deadline:
                said = _public(f"cannot track at {uri}: {error}; MLFLOW_TRACKING_URI names another place")
                raise TrackingError(said) from None
            time.sleep(1)


@contextmanager
def _alone(uri: str) -> Iterator[None]:
    """Hold the lock beside a local database: MLflow creates its tables without one."""
    if not uri.startswith("sqlite:///") or uri.endswith(":memory:"):
        yield
        return
    path = Path(unquote(uri.removeprefix("sqlite:///").split("?")[0]) + ".lock")
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _experiment(client, uri: str, name: str) -> str:
    known = client.get_experiment_by_name(name)
    if known is None:
        # Else MLflow takes the current directory, which DVC may delete. A server knows its own place.
        place = None if _remote(uri) else (main_root() / "mlartifacts" / name).as_uri()
        known = client.get_experiment(client.create_experiment(name, artifact_location=place))
    if known.lifecycle_stage == "deleted":
        client.restore_experiment(known.experiment_id)
    if VIEW not in known.tags:
        client.set_experiment_tag(known.experiment_id, VIEW, _view("Results"))
    return known.experiment_id


def _view(name: str) -> str:
    """A saved view of MLflow's table of runs, as its web page writes one: COLUMNS, sorted by the first."""
    state = {"selectedColumns": COLUMNS, "orderByKey": COLUMNS[0], "orderByAsc": False}
    packed = base64.b64encode(zlib.compress(json.dumps(state).encode())).decode()
    return json.dumps({"name": name, "createdAt": 0, "updatedAt": 0, "state": f"deflate;{packed}"})


def _create(store: _Store, name: str, tags: dict[str, str], settings: dict) -> Run:
    with suppress(Exception):  # an account without a name
        tags = {"mlflow.user": getpass.getuser()} | tags
    tags = {"mlflow.source.name": Path(sys.argv[0]).name, "mlflow.source.type": "LOCAL"} | tags
    run = Run(store, store.client.create_run(store.experiment, tags=tags, run_name=name).info.run_id)
    run.params(settings)
    return run


def _unfinished(store: _Store, tags: dict[str, str]) -> Run | None:
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


def _origin() -> dict[str, str]:
    """Tags that say which code runs, as which experiment."""
    commit, changed = _git("rev-parse", "HEAD"), _git("status", "--porcelain", "--", *CODE)
    tags = {
        "git.commit": commit or "unknown",
        "git.dirty": "true" if changed or not commit else "false",
        "reproduce": command(),
    }
    experiment = os.environ.get("DVC_EXP_NAME")
    if experiment:  # a queued grid `--name sweep` is sweep-1, sweep-2, ...
        tags |= {"dvc.exp": experiment, "sweep": re.sub(r"-\d+$", "", experiment)}
    return tags


def command() -> str:
    """What repeats this training at its commit: `dvc repro`, or `dvc exp run` with what params.yaml has changed."""
    path = Path("params.yaml")
    texts = _git("show", f"HEAD:./{path}"), path.read_text() if path.is_file() else ""
    committed, now = (dict(_flat(yaml.safe_load(text) or {})) for text in texts)
    changed = [
        f"-S {shlex.quote(f'{name}={json.dumps(value)}')}"
        for name, value in now.items()
        if committed.get(name) != value
    ]
    return " ".join(["dvc exp run", *changed]) if changed and committed else "dvc repro"


def _run_name(data_name: str) -> str:
    commit = _git("rev-parse", "--short", "HEAD") or "uncommitted"
    return os.environ.get("DVC_EXP_NAME") or f"{data_name}-{commit}-{time.strftime('%Y%m%d-%H%M%S')}"


def _git(*words: str) -> str:
    """What a git command prints, or nothing where there is no git, no repository or no commit."""
    try:
        return subprocess.run(["git", *words], capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return ""


def _flat(values: dict, prefix: str = "") -> Iterator[tuple[str, object]]:
    for name, value in values.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", list(value) if isinstance(value, tuple) else value
