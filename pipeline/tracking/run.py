"""A run in MLflow, and what it can be told.

Nothing here determines a result: the stages compute the same without it. What a run is told is kept
on disk and sent by a thread (`pipeline.tracking.outbox`), so that a store that is slow, or gone,
costs no time and loses nothing; no run's name or id enters an output of a stage.
"""

import json
import logging
import shlex
import shutil
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

import numpy as np
from PIL import Image

from pipeline.files import FullDiskError, copied, written_whole
from pipeline.paths import main_root
from pipeline.settings import flat
from pipeline.tracking import pages
from pipeline.tracking.delivery import Delivery
from pipeline.tracking.outbox import PATIENCE, Outbox
from pipeline.tracking.provenance import Source, part_of_a_sweep
from pipeline.tracking.store import (
    AwayError,
    Store,
    TrackingError,
    known_as,
    public,
    remote,
)

if TYPE_CHECKING:
    from matplotlib.figure import Figure

PACKAGE = Path(__file__).parents[1]  # the whole of this package goes with a model
ABOUT = "about.json"
HURRIED = 5.0  # s for the store, where a person or a scheduler waits
_log = logging.getLogger(__name__)


# (about, its outbox's name) -> the open store, and the run's id in it.
Connect = Callable[[Mapping[str, Any], str], tuple[Store, str]]


class Run:
    """A run to add to. To tell it something takes no time, and fails nothing."""

    def __init__(
        self, about: Mapping[str, Any], connect: Connect, folder: Path | None = None
    ) -> None:
        """about: what `connect` finds or makes it by, JSON. folder: an outbox that is there; else
        one is made.

        Raises filelock.Timeout where another process uses that outbox.
        """
        folder = folder or _new_outbox(about)
        name = folder.name
        self._delivery = Delivery(lambda: connect(about, name), folder / "files")
        self._outbox = Outbox(folder, self._delivery)

    @property
    def id(self) -> str:
        """The run's id. Raises what the store raises, where it was not there yet."""
        return self._delivery.run_id

    @property
    def hint(self) -> str:
        """Where a person finds the table of all runs, the run, and the sweep that it is one of:
        addresses, after the command that shows a local store."""
        store = self._delivery.store
        server, tags = _server(store), store.client.get_run(self.id).data.tags
        lines = [] if remote(store.uri) else [_shows(public(store.uri))]
        lines.append(f"all runs   {server}{pages.runs(store.experiment)}")
        if part_of_a_sweep(tags):
            lines.append(f"its sweep  {server}{pages.runs(store.experiment, tags['sweep'])}")
        lines.append(f"this run   {server}{pages.run(store.experiment, self.id)}")
        return f"\n{'':31}".join(lines)

    def place(self, path: str) -> str:
        """Where a browser finds the artifact `path`: a file's path in a local store, a server's
        page that shows it, else its address."""
        store = self._delivery.store
        if remote(store.uri):
            return _server(store) + pages.run(store.experiment, self.id, "artifacts", path)
        uri = f"{store.client.get_run(self.id).info.artifact_uri}/{path}"
        return unquote(uri.removeprefix("file://")) if uri.startswith("file://") else uri

    @property
    def source(self) -> Source:
        """The run's code and command, where it has them, and its page; empty where the store is
        away."""
        with observing():
            store = self._delivery.store
            tags = store.client.get_run(self.id).data.tags
            return Source(
                commit=tags.get("git.commit", ""),
                changed=tags.get("git.dirty") == "true",
                command=tags.get("reproduce", ""),
                run=_server(store) + pages.run(store.experiment, self.id),
                show="" if remote(store.uri) else _shows(known_as(store.uri)),
            )
        return Source()

    def log(self, step: int, metrics: Mapping[str, float]) -> None:
        """Add a point to each named curve; values that are not finite are left out."""
        self._outbox.say("points", rows=[(step, now(), dict(metrics))])

    def measured(self, step: int, metrics: Mapping[str, float]) -> None:
        """Say what was measured at a step, in place of what was said of it before."""
        self._outbox.say("measures", rows=[(step, now(), dict(metrics))])

    def tag(self, name: str, value: object) -> None:
        """Set a tag."""
        self._outbox.say("tag", name=name, value=str(value)[:5000])

    def params(self, settings: Mapping[str, Any]) -> None:
        """Note the parameters, by their dotted names."""
        self._outbox.say("params", values={key: str(value) for key, value in flat(settings)})

    def sweep(self, name: str) -> None:
        """Note the sweep that the run is one of, once its parameters are told."""
        self._outbox.say("sweep", name=name)

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
            self._outbox.say("image", file=kept, key=key, step=step, time=now())

    def model(
        self,
        code: Path,
        artifacts: Mapping[str, Path],
        example: object,
        packages: Iterable[str],
        registered: Mapping[str, Any],
        params: Mapping[str, str],
    ) -> None:
        """Keep an MLflow model, made from the file `code` of this package, once a run, and register
        it.

        artifacts: files that belong to it, by the names the code knows them by. packages: whose
        installed versions it will ask for. registered: name, score and protocol, params: what
        made it, as of `Delivery.model`.
        """
        ignored = shutil.ignore_patterns("__pycache__")
        copy = self._outbox.keep(
            lambda place: shutil.copytree(PACKAGE, place, ignore=ignored), PACKAGE.name
        )
        # Side by side, as those who load one expect the others.
        beside = self._outbox.keep(lambda place: copied(place, *artifacts.values()), "artifacts")
        if copy and beside:
            self._outbox.say(
                "model",
                code=code.relative_to(PACKAGE).as_posix(),
                package=copy,
                artifacts={name: f"{beside}/{path.name}" for name, path in artifacts.items()},
                example=example,
                packages=list(packages),
                registered=registered,
                params=params,
            )

    def card(self, about: str, card: str, step: int, results: Iterable[Mapping[str, Any]]) -> None:
        """Let the run's model say what it is, and how good; as of `Delivery.card`."""
        self._outbox.say(
            "card", about=about, card=card, step=step, time=now(), results=list(results)
        )

    def end(self, status: str) -> None:
        """Set the final status: FINISHED, FAILED or KILLED; all is said."""
        self.tag("complete", "true")
        self._outbox.say("end", status=status, time=now())

    def watch(self) -> Callable[[], None]:
        """Let MLflow watch processor, memory, disk, network and GPU from a thread; returns what
        stops it. Not where the store is away.

        Raises TrackingError where the store can never be opened; the run is forgotten then.
        """
        try:
            uri, run_id = self._delivery.store.uri, self.id
        except Exception as error:
            if isinstance(error, TrackingError) and not isinstance(error, AwayError):
                self._outbox.forget()
                raise
            _log.warning(
                "the tracking store is away, all is kept and sent later: %s", public(error)
            )
            return lambda: None
        try:
            from mlflow.system_metrics.system_metrics_monitor import SystemMetricsMonitor

            monitor = SystemMetricsMonitor(run_id, resume_logging=True, tracking_uri=uri)
            monitor.start()
        except Exception as error:  # noqa: BLE001  a machine that hides its counters
            _log.warning("no system metrics: %s", public(error))
            return lambda: None
        return monitor.finish

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


def _server(store: Store) -> str:
    """Where the pages of a store are; of a local one, where `mlflow ui` shows them."""
    return public(store.uri).rstrip("/") if remote(store.uri) else "http://127.0.0.1:5000"


def _shows(uri: str) -> str:
    """The command that shows a local store."""
    return f"mlflow ui --backend-store-uri {shlex.quote(uri)}"


def outboxes() -> Path:
    """Where the outboxes of all runs lie."""
    return main_root() / ".dvc" / "tmp" / "tracking"


def _new_outbox(about: Mapping[str, Any]) -> Path:
    """A folder for an outbox; among the system's temporary files where there is no room here."""
    for parent in (outboxes(), Path(tempfile.gettempdir())):
        try:
            parent.mkdir(parents=True, exist_ok=True)
            prefix = time.strftime("adversarial-posenet-%Y%m%d-%H%M%S-")
            folder = Path(tempfile.mkdtemp(prefix=prefix, dir=parent))
            with written_whole(folder / ABOUT) as beside:
                beside.write_text(json.dumps(about))
            return folder
        except (OSError, FullDiskError) as error:
            reason = error
            _log.warning("what a run is told cannot be kept in %s: %s", parent, error)
    raise TrackingError(f"a run needs a place for what it is told: {reason}")


def now() -> int:
    """The time in ms, as MLflow takes it."""
    return int(time.time() * 1000)


@contextmanager
def observing() -> Iterator[None]:
    """A block, or a function, that only observes: where it fails there is a warning, no more."""
    try:
        yield
    except Exception as error:  # noqa: BLE001  whatever it is: the results are computed
        _log.warning("not tracked: %s: %s", type(error).__name__, public(error))


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
