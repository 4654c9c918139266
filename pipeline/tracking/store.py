"""The MLflow store: its address, its experiments, and the lock beside a local database.

Clients with explicit run ids are used throughout, never MLflow's global active run.
"""

import logging
import os
import re
import time
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import unquote

from filelock import FileLock

from pipeline.errors import PipelineError
from pipeline.files import written_whole
from pipeline.paths import main_root
from pipeline.tracking import pages
from pipeline.tracking.moving import ARTIFACTS, DATABASE, follow

GENERATOR, FINDER = pages.GENERATOR, pages.FINDER
EXISTS = "RESOURCE_ALREADY_EXISTS"  # another process makes it at this moment
# What MLflow says of a server that is away, or fails.
PASSING = {"INTERNAL_ERROR", "TEMPORARILY_UNAVAILABLE", "REQUEST_LIMIT_EXCEEDED", EXISTS}
# A user, or user:password, between "://" and the last "@" of an address; host:port is none.
SECRET = re.compile(r"""(?<=://)(?:[^\s/:@'"]*:(?!\d+(?:[/?\s]|$))[^\s'"]*|[^\s/:@'"]+)@""")


class TrackingError(PipelineError):
    """The tracking store cannot be opened; the message says which, why, how to choose another."""


class AwayError(TrackingError):
    """The tracking store does not answer now; it may later."""


class Store(NamedTuple):
    """An open store, and the experiment of a data set in it."""

    client: Any  # mlflow.MlflowClient
    uri: str
    name: str
    experiment: str

    def find(self, condition: str) -> Any:
        """The newest run that fulfils an MLflow search condition, or None."""
        newest = ["attributes.start_time DESC"]
        found = self.client.search_runs(
            [self.experiment], condition, max_results=1, order_by=newest
        )
        return found[0] if found else None


def tracking_uri() -> str:
    """MLFLOW_TRACKING_URI or a database in the main repository's root, where relative ones lie."""
    uri = os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{DATABASE}"
    database = uri.removeprefix("sqlite:///")
    if database in (uri, ":memory:") or database.startswith("/"):
        return uri
    return f"{_here()}{database}"


def known_as(uri: str) -> str:
    """What is kept of a store's address: no passwords, and of the main repository's root nothing,
    which may be moved."""
    return public(uri).replace(_here(), "sqlite:///")


def _here() -> str:
    """The main repository's root as the beginning of a database's address."""
    return f"sqlite:///{_escaped(main_root())}/"


def _escaped(path: Path) -> str:
    """As it is written in an address, whose own signs it may have."""
    return str(path).replace("%", "%25").replace("?", "%3F")


def open_store(data_name: str, network: str = GENERATOR) -> Store:
    """Connect to the store and find or create the experiment of a network on a data set, also while
    another process does. Raises TrackingError."""
    return open_at(tracking_uri(), pages.experiment(data_name, network))


def open_at(uri: str, experiment: str) -> Store:
    """The same of any store, and of an experiment by its name."""
    # Before the import, which reads them. Less patience than MLflow's 7 repetitions of 120 s.
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "10")
    os.environ.setdefault("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", "true")
    import mlflow

    for name in ("alembic", "mlflow"):
        logger = logging.getLogger(name)
        logger.setLevel(logging.WARNING)
        for handler in logger.handlers:
            if not any(isinstance(each, Discreet) for each in handler.filters):
                handler.addFilter(Discreet())
    deadline = time.monotonic() + 30
    while True:
        try:
            with alone(uri):
                database = database_of(uri)
                if database and not database.exists():
                    _make(database)
                client = mlflow.MlflowClient(tracking_uri=uri)
                follow(database, main_root())
                place = _experiment(client, uri, experiment)
                return Store(client, uri, experiment, place)
        except Exception as error:  # noqa: BLE001  MLflow, SQLAlchemy, sqlite3: each raises its own
            # A local database may be half made or locked by a process that takes no lock here, as
            # `mlflow ui`.
            code = getattr(error, "error_code", "")
            passing = code in PASSING if remote(uri) else "locked" in str(error)
            at_once = isinstance(error, OSError | TrackingError)
            at_once |= code == "INVALID_PARAMETER_VALUE" or (remote(uri) and code != EXISTS)
            if at_once or time.monotonic() > deadline:
                kind = AwayError if passing else TrackingError
                said = f"cannot track at {uri}: {error}; MLFLOW_TRACKING_URI names another place"
                raise kind(public(said)) from None
            time.sleep(1)


def public(text: object) -> str:
    """A text without the users and passwords of the addresses in it.

    A password may hold "/" and "@", as people write them though an address may not.
    """
    return SECRET.sub("", str(text))


class Discreet(logging.Filter):
    """Lets every record pass, without the passwords in it."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Always True."""
        record.msg, record.args = public(record.getMessage()), None
        return True


def remote(uri: str) -> bool:
    """Whether a server answers there."""
    return uri.startswith(("http:", "https:", "databricks"))


def alone(uri: str) -> AbstractContextManager[object]:
    """The lock beside a local database, to be held: MLflow creates its tables without one."""
    database = database_of(uri)
    if database is None:
        return nullcontext()
    path = database.with_name(f"{database.name}.lock")
    path.parent.mkdir(parents=True, exist_ok=True)
    return FileLock(path)


def database_of(uri: str) -> Path | None:
    """The file of a local store; None of another."""
    if not uri.startswith("sqlite:///") or uri.endswith(":memory:"):
        return None
    return Path(unquote(uri.removeprefix("sqlite:///").split("?")[0]))


def _make(database: Path) -> None:
    """MLflow makes its tables one by one, and takes no database that lacks some: it is there whole,
    or not at all."""
    import mlflow

    with written_whole(database) as beside:
        uri = f"sqlite:///{_escaped(beside)}"
        mlflow.MlflowClient(tracking_uri=uri).search_experiments(max_results=1)


def _experiment(client: Any, uri: str, name: str) -> str:
    known = client.get_experiment_by_name(name)
    if known is None:
        made = client.create_experiment(name, artifact_location=artifacts_of(uri, name))
        known = client.get_experiment(made)
    if known.lifecycle_stage == "deleted":
        client.restore_experiment(known.experiment_id)
    for tag, value in pages.tags(name).items():
        offer(client, known, tag, value)
    return known.experiment_id


def offer(client: Any, experiment: Any, tag: str, value: str) -> None:
    """Set an experiment's tag, unless a person has changed it."""
    there = experiment.tags.get(tag)
    if there is None or (there != value and pages.is_own(tag, there)):
        tag_experiment(client, experiment.experiment_id, tag, value)


def tag_experiment(client: Any, experiment: str, tag: str, value: str) -> None:
    """Set a tag that somebody else may be setting at this moment: of two that are new at once a
    server's database takes one, and refuses the other."""
    from mlflow.exceptions import MlflowException

    try:
        client.set_experiment_tag(experiment, tag, value)
    except MlflowException:
        if tag not in client.get_experiment(experiment).tags:
            raise
        client.set_experiment_tag(experiment, tag, value)  # there now, and so changed


def artifacts_of(uri: str, experiment: str) -> str | None:
    """Where an experiment's files go; None where a server knows.

    Else MLflow takes the current directory, which DVC may delete. Raises TrackingError for a
    database that other machines share too: they could not read what lies on this one's disk.
    """
    if remote(uri):
        return None
    if root := os.environ.get("MLFLOW_DEFAULT_ARTIFACT_ROOT"):
        return f"{root.rstrip('/')}/{experiment}"
    if database_of(uri) or uri.startswith(("sqlite:", "file:")) or "://" not in uri:
        return (main_root() / ARTIFACTS / experiment).as_uri()
    raise TrackingError(
        "a database that machines share has no place for models and pictures: start `mlflow server"
        " --backend-store-uri ... --artifacts-destination ...` and name its http address, or set"
        " MLFLOW_DEFAULT_ARTIFACT_ROOT, such as s3://bucket/folder"
    )
