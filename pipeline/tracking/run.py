"""A run in MLflow: what it is told of a training and of its evaluation.

Nothing here determines a result: the stages compute the same without it. What a run is told is kept
on disk and sent by a thread (`pipeline.tracking.outbox`), so that a store that is slow, or gone,
costs no time and loses nothing; no run's name or id enters an output of a stage. A run is found
again by what it is about: by its tag `fingerprint` (configuration, data and code) to resume it, by
`model.sha256` to add its evaluation.
"""

import csv
import getpass
import json
import logging
import math
import shlex
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

import numpy as np
from filelock import Timeout
from PIL import Image

from pipeline.files import digest
from pipeline.paths import PARAMS, main_root
from pipeline.settings import Settings
from pipeline.tracking.delivery import Delivery
from pipeline.tracking.outbox import PATIENCE, Outbox
from pipeline.tracking.provenance import flat, origin, run_name
from pipeline.tracking.store import (
    GENERATOR,
    PREFIX,
    Store,
    TrackingError,
    known_as,
    open_store,
    public,
    remote,
    tracking_uri,
    unreachable,
)

if TYPE_CHECKING:
    from matplotlib.figure import Figure

PACKAGE = Path(__file__).parents[1]  # the whole of this package goes with a model
ABOUT = "about.json"
HURRIED = 5.0  # s for the store, where a person or a scheduler waits
_log = logging.getLogger(__name__)


class Run:
    """A run to add to. To tell it something takes no time, and fails nothing."""

    def __init__(self, about: Mapping[str, Any], folder: Path | None = None) -> None:
        """about: as `connection` says. folder: an outbox that is there; else one is made.

        Raises filelock.Timeout where another process uses that outbox.
        """
        if folder is None:
            outboxes().mkdir(parents=True, exist_ok=True)
            prefix = time.strftime("%Y%m%d-%H%M%S-")
            folder = Path(tempfile.mkdtemp(prefix=prefix, dir=outboxes()))
            (folder / ABOUT).write_text(json.dumps(about))
        self._delivery = Delivery(lambda: connection(about), folder / "files")
        self._outbox = Outbox(folder, self._delivery)

    @property
    def id(self) -> str:
        """The run's id. Raises what the store raises, where it was not there yet."""
        return self._delivery.run_id

    @property
    def hint(self) -> str:
        """Where a person finds the run: its address, after the command that shows a local store."""
        store = self._delivery.store
        uri = public(store.uri)
        page = f"/#/experiments/{store.experiment}/runs/{self.id}"
        if remote(uri):
            return uri.rstrip("/") + page
        show = f"mlflow ui --backend-store-uri {shlex.quote(uri)}"
        return f"{show}\n{'':31}then http://127.0.0.1:5000{page}"

    def place(self, path: str) -> str:
        """Where the artifact `path` lies: a file's path in a local store, else its address."""
        found = self._delivery.store.client.get_run(self.id)
        uri = f"{found.info.artifact_uri}/{path}"
        return unquote(uri.removeprefix("file://")) if uri.startswith("file://") else uri

    @property
    def origin(self) -> dict[str, str]:
        """The run's tags `git.commit` and `reproduce`, where it has them."""
        with observing():
            tags = self._delivery.store.client.get_run(self.id).data.tags
            return {name: tags[name] for name in ("git.commit", "reproduce") if name in tags}
        return {}

    def log(self, step: int, metrics: Mapping[str, float]) -> None:
        """Add a point to each named curve; values that are not finite are left out."""
        finite = {name: value for name, value in metrics.items() if math.isfinite(value)}
        self._outbox.say("points", rows=[(step, _now(), finite)])

    def tag(self, name: str, value: object) -> None:
        """Set a tag."""
        self._outbox.say("tag", name=name, value=str(value)[:5000])

    def describe(self, markdown: str) -> None:
        """Set the description on the run's page."""
        self.tag("mlflow.note.content", markdown)

    def dataset(self, name: str, sha256: str, source: str, context: str) -> None:
        """Note the data that the run used, by its digest; context: what for, such as "training"."""
        self._outbox.say("dataset", name=name, sha256=sha256, source=source, context=context)

    def text(self, content: str, path: str) -> None:
        """Keep a text as the artifact `path`."""
        self._artifact(lambda place: place.write_text(content), path)

    def file(self, path: Path, folder: str | None = None) -> None:
        """Keep a file as an artifact, under its own name in `folder`."""
        name = f"{folder}/{path.name}" if folder else path.name
        self._artifact(lambda place: shutil.copyfile(path, place), name)

    def figure(self, figure: "Figure", path: str) -> None:
        """Keep a matplotlib Figure as the artifact `path`, whose ending says the format."""
        self._artifact(figure.savefig, path)

    def _artifact(self, make: Callable[[Path], object], path: str) -> None:
        folder, _, name = path.rpartition("/")
        if kept := self._outbox.keep(make, name):
            self._outbox.say("artifact", file=kept, folder=folder or None)

    def image(self, pixels: np.ndarray, key: str, step: int) -> None:
        """Keep an image (H, W, 3) uint8 of a step; MLflow shows it beside those of other steps."""
        if kept := self._outbox.keep(Image.fromarray(pixels).save, "image.png"):
            self._outbox.say("image", file=kept, key=key, step=step, time=_now())

    def model(
        self,
        code: Path,
        artifacts: Mapping[str, Path],
        example: object,
        packages: Iterable[str],
        registered: Mapping[str, Any],
    ) -> None:
        """Keep an MLflow model, made from the file `code` of this package, once a run, and register
        it.

        artifacts: files that belong to it, by the names the code knows them by. packages: whose
        installed versions it will ask for. registered: name, score and protocol, as of
        `Delivery.model`.
        """
        ignored = shutil.ignore_patterns("__pycache__")
        copy = self._outbox.keep(
            lambda place: shutil.copytree(PACKAGE, place, ignore=ignored), PACKAGE.name
        )
        beside = self._outbox.keep(partial(_copied, artifacts.values()), "artifacts")
        if copy and beside:
            self._outbox.say(
                "model",
                code=code.relative_to(PACKAGE).as_posix(),
                package=copy,
                artifacts={name: f"{beside}/{path.name}" for name, path in artifacts.items()},
                example=example,
                packages=list(packages),
                registered=registered,
            )

    def end(self, status: str) -> None:
        """Set the final status: FINISHED, FAILED or KILLED; all is said."""
        self.tag("complete", "true")
        self._outbox.say("end", status=status, time=_now())

    @property
    def ended(self) -> bool:
        """Whether its end was said."""
        return self._outbox.has("end")

    def close(self, patience: float = PATIENCE) -> int:
        """Wait for the store, for so many seconds; how many messages it still lacks."""
        left = self._outbox.close(patience)
        if left:
            _log.warning(
                "the tracking store lacks %d messages of this run; they are kept in %s, and"
                " `python -m pipeline track --resend` sends them",
                left,
                self._outbox.folder,
            )
        return left


def outboxes() -> Path:
    """Where the outboxes of all runs lie."""
    return main_root() / ".dvc" / "tmp" / "tracking"


def _copied(files: Iterable[Path], folder: Path) -> None:
    """Copies of files, side by side in a new folder, as those who load one expect the others."""
    folder.mkdir()
    for file in files:
        shutil.copyfile(file, folder / file.name)


def _now() -> int:
    return int(time.time() * 1000)


def connection(about: Mapping[str, Any]) -> tuple[Store, str]:
    """Open a run's store, and find, or make, the run; its id.

    about: `store`, its address without passwords; `data` and `network`, of the experiment; and
    either `run`, the id, or `weights`, the SHA-256 of those that it trained: where no run is known
    (weights that were pulled, or trained elsewhere) one is made of their `settings` and the points
    of their `curve`, tagged `imported`. Raises TrackingError.
    """
    if known_as(tracking_uri()) != known_as(about["store"]):
        raise TrackingError(
            f"this run belongs to {about['store']}, but MLFLOW_TRACKING_URI names"
            f" {public(tracking_uri())}"
        )
    store = open_store(about["data"], about["network"])
    if "run" in about:
        return store, about["run"]
    sha = about["weights"]
    if found := store.find(f"tags.`model.sha256` = '{sha}'"):
        return store, found.info.run_id
    name, settings = f"{about['data']}-imported-{sha[:8]}", about["settings"]
    run = _create(store, name, {"imported": "true"}, settings)
    run.points(about["curve"])
    run.end("FINISHED", _now())
    run.tag("model.sha256", sha)  # last: a run that is half imported is not found
    return store, run.run_id


@contextmanager
def answering(uri: str) -> Iterator[None]:
    """Turn whatever a store raises into a TrackingError."""
    try:
        yield
    except Exception as error:  # noqa: BLE001  MLflow, SQLAlchemy, requests: each its own
        raise unreachable(uri, error) from None


@contextmanager
def observing() -> Iterator[None]:
    """A block, or a function, that only observes: where it fails there is a warning, no more."""
    try:
        yield
    except Exception as error:  # noqa: BLE001  whatever it is: the results are computed
        _log.warning("not tracked: %s: %s", type(error).__name__, public(error))


@contextmanager
def training_run(
    settings: Settings, *, tags: Mapping[str, str], resumed: bool, network: str = GENERATOR
) -> Iterator[Run]:
    """Open the run of a training; it ends FINISHED, FAILED (tag `error`) or KILLED as the block
    does.

    tags: among them `device` and, where it can be resumed, `fingerprint`. network: GENERATOR or
    FINDER, each in an experiment of its own. With resumed, continue the newest run of that
    fingerprint that did not finish. Raises TrackingError where the store cannot be opened.
    """
    store = open_store(settings.data.name, network)
    resend(HURRIED)
    said = {name: str(value) for name, value in (origin() | dict(tags)).items()}
    with answering(store.uri):
        run_id = _continued(store, said) if resumed else None
        if run_id is None:
            said |= {"resumed": "true"} if resumed else {}
            name = run_name(store.name.removeprefix(PREFIX))
            run_id = _create(store, name, said, settings.model_dump()).run_id
    run = Run(_about(settings.data.name, network) | {"run": run_id, "ends": True})
    if PARAMS.is_file():
        run.file(PARAMS)
    stop = _system_metrics(store.uri, run_id)
    status, patience = "KILLED", HURRIED
    try:
        yield run
        status, patience = "FINISHED", PATIENCE
    except Exception as error:
        status, patience = "FAILED", PATIENCE
        run.tag("error", public(f"{type(error).__name__}: {error}"))
        raise
    finally:
        stop()
        run.end(status)
        run.close(patience)


@contextmanager
def evaluation_run(settings: Mapping, weights: Path, learning_curve: Path) -> Iterator[Run]:
    """Open the run that trained these weights, to add to it; its status stays as it is.

    settings: the nested configuration that the weights carry. Where no run is known one is made of
    the settings and the learning curve.
    """
    curve = []
    if learning_curve.is_file():
        with learning_curve.open(newline="") as lines:
            for row in csv.DictReader(lines):
                step = int(float(row.pop("step")))
                curve.append((step, _now(), {k: float(v) for k, v in row.items() if v}))
    name = settings.get("data", {}).get("name", "unknown")
    about = {"weights": digest(weights), "settings": settings, "curve": curve, "ends": False}
    run = Run(_about(name, GENERATOR) | about)
    run.tag("complete", "false")
    try:
        yield run
        run.tag("complete", "true")
    finally:
        run.close()


def resend(patience: float = PATIENCE) -> list[str]:
    """Send what processes that have ended left behind; a line for each run.

    The run of a training that was killed ends KILLED. patience: s for each.
    """
    said = []
    for path in sorted(outboxes().glob(f"*/{ABOUT}")):
        about, name = json.loads(path.read_text()), path.parent.name
        if known_as(about["store"]) != known_as(tracking_uri()):
            said.append(f"{name}: belongs to {about['store']}, set MLFLOW_TRACKING_URI to it")
            continue
        try:
            run = Run(about, path.parent)
        except Timeout:
            said.append(f"{name}: its process goes on")
            continue
        if about["ends"] and not run.ended:
            run.end("KILLED")
        left = run.close(patience)
        said.append(f"{name}: {left} messages left" if left else f"{name}: sent")
    return said


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


def _about(data: str, network: str) -> dict[str, Any]:
    return {"store": known_as(tracking_uri()), "data": data, "network": network}


def _create(store: Store, name: str, tags: Mapping[str, str], settings: Mapping) -> Delivery:
    """Make a run, of which not all is told yet."""
    said = {"mlflow.source.name": Path(sys.argv[0]).name, "mlflow.source.type": "LOCAL"}
    with suppress(Exception):  # an account without a name
        said["mlflow.user"] = getpass.getuser()
    said |= {"complete": "false"} | dict(tags)
    made = store.client.create_run(store.experiment, tags=said, run_name=name)
    run = Delivery(lambda: (store, made.info.run_id), outboxes())
    run.params({name: str(value) for name, value in flat(settings)})
    return run


def _continued(store: Store, tags: Mapping[str, str]) -> str | None:
    """The newest run of a fingerprint that did not finish, running again; None where none is."""
    same = f"tags.fingerprint = '{tags['fingerprint']}'"
    found = store.find(f"{same} and attributes.status != 'FINISHED'")
    if found is None:
        return None
    run_id = found.info.run_id
    store.client.update_run(run_id, status="RUNNING")
    if "error" in found.data.tags:
        store.client.delete_tag(run_id, "error")
    for name, value in ({"complete": "false"} | dict(tags)).items():
        store.client.set_tag(run_id, name, value)
    return run_id


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
