"""The runs that stages open: of a training, of an evaluation; and those that killed ones left.

A run is found again by what it is about: by its tag `fingerprint` (configuration, data and code)
to go on with it, by `model.sha256` to add its evaluation.
"""

import csv
import getpass
import json
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from filelock import Timeout

from pipeline.files import digest
from pipeline.paths import PARAMS
from pipeline.settings import Settings, flat
from pipeline.tracking import pages
from pipeline.tracking.delivery import Delivery
from pipeline.tracking.outbox import PATIENCE
from pipeline.tracking.provenance import origin, part_of_a_sweep, run_name
from pipeline.tracking.run import ABOUT, Run, now, outboxes
from pipeline.tracking.store import (
    GENERATOR,
    Store,
    TrackingError,
    known_as,
    open_store,
    public,
    tracking_uri,
)

HURRIED = 5.0  # s for the store, where a person or a scheduler waits


@contextmanager
def training_run(
    settings: Settings, *, tags: Mapping[str, str], resumed: bool, network: str = GENERATOR
) -> Iterator[Run]:
    """Open the run of a training; it ends FINISHED, FAILED (tag `error`) or KILLED as the block
    does.

    tags: among them `device` and, by which it is found again, `fingerprint`. network: GENERATOR or
    FINDER, each in an experiment of its own. It continues the newest run of that fingerprint that
    did not finish. resumed: it goes on from a saved state. Where the store is away all is kept, and
    sent when it is back. Raises TrackingError where the store is one that can never be opened.
    """
    said = {name: str(value) for name, value in (origin() | dict(tags)).items()}
    training = {
        "name": run_name(settings.data.name + ("" if network == GENERATOR else f"-{network}")),
        "tags": said,
        "resumed": resumed,
    }
    about = _about(settings.data.name, network) | {"training": training, "ends": True}
    run = Run(about, connection)
    stop = run.watch()
    run.params(settings.model_dump())
    if part_of_a_sweep(said):
        run.sweep(said["sweep"])
    if PARAMS.is_file():
        run.file(PARAMS)
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
                curve.append((step, now(), {k: float(v) for k, v in row.items() if v}))
    name = settings.get("data", {}).get("name", "unknown")
    about = {"weights": digest(weights), "settings": settings, "curve": curve, "ends": False}
    run = Run(_about(name, GENERATOR) | about, connection)
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
        about, name = json.loads(path.read_text()), path.parent.name  # whole, or not there
        if known_as(about["store"]) != known_as(tracking_uri()):
            said.append(f"{name}: belongs to {about['store']}, set MLFLOW_TRACKING_URI to it")
            continue
        try:
            run = Run(about, _late_connection, path.parent)
        except Timeout:
            said.append(f"{name}: its process goes on")
            continue
        if about["ends"] and not run.ended:
            run.end("KILLED")
        left = run.close(patience)
        said.append(f"{name}: {left} messages left" if left else f"{name}: sent")
    return said


def connection(about: Mapping[str, Any], outbox: str) -> tuple[Store, str]:
    """Open a run's store, and find, or make, the run; its id.

    What other processes left unsaid is said first, so that it does not end a run that goes on.

    about: `store`, its address without passwords; `data` and `network`, of the experiment; and
    either `training`, or `weights`, the SHA-256 of those that it trained: where no run is known
    (weights that were pulled, or trained elsewhere) one is made of their `settings` and the points
    of their `curve`, tagged `imported`. outbox: the name of its folder. Raises TrackingError.
    """
    store = _store(about)
    resend(HURRIED)
    return store, _run_id(store, about, outbox)


def _late_connection(about: Mapping[str, Any], outbox: str) -> tuple[Store, str]:
    """The same, of an outbox that a process has left."""
    store = _store(about)
    return store, _run_id(store, about, outbox)


def _store(about: Mapping[str, Any]) -> Store:
    if known_as(tracking_uri()) != known_as(about["store"]):
        raise TrackingError(
            f"this run belongs to {about['store']}, but MLFLOW_TRACKING_URI names"
            f" {public(tracking_uri())}"
        )
    return open_store(about["data"], about["network"])


def _run_id(store: Store, about: Mapping[str, Any], outbox: str) -> str:
    if "training" in about:
        return _training(store, outbox, **about["training"])
    sha = about["weights"]
    if found := store.find(f"tags.`model.sha256` = '{sha}'"):
        return found.info.run_id
    name, settings = f"{about['data']}-imported-{sha[:8]}", about["settings"]
    run = _create(store, name, {"imported": "true"})
    run.params({key: str(value) for key, value in flat(settings)})
    run.points(about["curve"])
    run.end("FINISHED", now())
    run.tag("model.sha256", sha)  # last: a run that is half imported is not found
    return run.run_id


def _training(store: Store, outbox: str, name: str, tags: Mapping[str, str], resumed: bool) -> str:
    """The id of a training's run: the one that it began, or that another process began and left, or
    a new one."""
    if begun := store.find(f"tags.outbox = '{outbox}'"):
        return begun.info.run_id
    tags = dict(tags) | {"outbox": outbox}
    if found := _left(store, tags.get("fingerprint"), resumed):
        run_id = found.info.run_id
        store.client.update_run(run_id, status="RUNNING")
        if "error" in found.data.tags:
            store.client.delete_tag(run_id, "error")
        for key, value in ({"complete": "false"} | tags).items():
            store.client.set_tag(run_id, key, value)
        return run_id
    return _create(store, name, tags | ({"resumed": "true"} if resumed else {})).run_id


def _left(store: Store, fingerprint: str | None, resumed: bool) -> Any:
    """The newest run of a fingerprint that did not finish, or None. One that seems to run may do so
    on another machine, unless its saved state is here."""
    if fingerprint is None:
        return None
    ended = "attributes.status != 'FINISHED'"
    if not resumed:
        ended += " and attributes.status != 'RUNNING'"
    return store.find(f"tags.fingerprint = '{fingerprint}' and {ended}")


def _about(data: str, network: str) -> dict[str, Any]:
    return {"store": known_as(tracking_uri()), "data": data, "network": network}


def _create(store: Store, name: str, tags: Mapping[str, str]) -> Delivery:
    """Make a run, of which not all is told yet."""
    said = {"mlflow.source.name": Path(sys.argv[0]).name, "mlflow.source.type": "LOCAL"}
    with suppress(Exception):  # an account without a name
        said["mlflow.user"] = getpass.getuser()
    said |= {"complete": "false"} | dict(tags)
    made = store.client.create_run(store.experiment, tags=said, run_name=name)
    run = Delivery(lambda: (store, made.info.run_id), outboxes())
    run.expected([pages.HEADLINES[pages.network_of(store.name)]])
    return run
