"""A change of home: what this project's store holds, copied into a team's server, each thing once.

A copy says what it is of in its tag `copied.from`, and is running until it is whole: what was cut
short is finished by the next try; what is there is copied again only if it has learnt something.
"""

import os
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from pipeline.paths import main_root
from pipeline.processes import alone
from pipeline.tracking.delivery import METRICS_A_CALL, VERSIONS, Delivery, better, crown, link
from pipeline.tracking.pages import PREFIX, VIEW
from pipeline.tracking.recording import resend
from pipeline.tracking.store import (
    Store,
    TrackingError,
    open_at,
    public,
    remote,
    tag_experiment,
    tracking_uri,
)

FROM = "copied.from"  # a tag: the id in the old store
# MLflow's own: there is nothing that waits for this.
PATIENCE = {"MLFLOW_HTTP_REQUEST_MAX_RETRIES": "7", "MLFLOW_HTTP_REQUEST_TIMEOUT": "120"}


def copy_to(uri: str) -> tuple[list[str], int]:
    """Send what waits for this project's store, then copy its experiments to a server: lines that
    say what was done, and how many runs had to stay.

    Raises TrackingError where a store cannot be opened, or fails on the way, OccupiedError where
    another process copies it.
    """
    if not remote(uri):
        raise TrackingError(f"{public(uri)} is no server: --to takes an http or https address")
    if uri.rstrip("/") == tracking_uri().rstrip("/"):
        raise TrackingError(f"{public(uri)} is the store itself: unset MLFLOW_TRACKING_URI")
    for name, value in PATIENCE.items():
        os.environ.setdefault(name, value)
    with alone(main_root() / ".dvc" / "tmp" / "copying.lock", "copies this store"):
        said, copying = resend(), Copying(uri)
        copying.all()
    said += [f"{number} {what}" for what, number in copying.counts.items()]
    return said, copying.counts["running: to be copied when they have ended"]


class Copying:
    """What is copied from this project's store to a server."""

    def __init__(self, uri: str) -> None:
        import mlflow

        self._uri = uri
        self._source = mlflow.MlflowClient(tracking_uri=tracking_uri())
        self._target = mlflow.MlflowClient(tracking_uri=uri)
        self._runs: dict[str, str] = {}  # ids of those that are there, by the old ones
        self._models: dict[str, str] = {}
        self.counts: Counter[str] = Counter()

    def all(self) -> None:
        """Every experiment of this project that was not deleted. Raises TrackingError."""
        from mlflow.exceptions import MlflowException

        condition = f"name LIKE '{PREFIX}%'"
        try:
            for each in _pages(self._source.search_experiments, filter_string=condition):
                target = open_at(self._uri, each.name)
                for tag, value in each.tags.items():
                    if tag.startswith(f"{VIEW}-"):  # of a sweep
                        tag_experiment(target.client, target.experiment, tag, value)
                for run in _pages(
                    self._source.search_runs,
                    experiment_ids=[each.experiment_id],
                    order_by=["attributes.start_time ASC"],
                ):
                    self._run(run, target)
            self._registered(self._target)
        except (MlflowException, OSError) as error:
            said = f"not all is copied to {self._uri}, the next try goes on: {error}"
            raise TrackingError(public(said)) from None

    def _run(self, run: Any, target: Store) -> None:
        old = run.info.run_id
        if run.info.status in ("RUNNING", "SCHEDULED"):
            self.counts["running: to be copied when they have ended"] += 1
            return
        copy = target.find(f"tags.`{FROM}` = '{old}'")
        if copy:
            self._runs[old] = copy.info.run_id
            if _whole(copy, run):
                self._models |= {
                    model.tags[FROM]: model.model_id for model in _models(target, copy)
                }
                self.counts["runs there already"] += 1
                return
            target.client.update_run(copy.info.run_id, status="RUNNING")
            for name, value in run.data.tags.items():
                target.client.set_tag(copy.info.run_id, name, value)
        else:
            place, start, name = target.experiment, run.info.start_time, run.info.run_name
            tags = run.data.tags | {FROM: old}
            copy = target.client.create_run(place, start_time=start, tags=tags, run_name=name)
            self._runs[old] = copy.info.run_id
        delivery = Delivery(lambda: (target, copy.info.run_id), Path())
        delivery.params(run.data.params)
        self._points(run, target, copy)
        if run.inputs.dataset_inputs:
            target.client.log_inputs(copy.info.run_id, run.inputs.dataset_inputs)
        with tempfile.TemporaryDirectory() as folder:
            if self._download(run.info.artifact_uri, Path(folder)):
                target.client.log_artifacts(copy.info.run_id, folder)
        for output in run.outputs.model_outputs if run.outputs else ():
            self._model(output, target, copy)
        delivery.end(run.info.status, run.info.end_time)
        self.counts["runs copied"] += 1

    def _points(self, run: Any, target: Store, copy: Any) -> None:
        """Every point of every curve that is not there."""
        points = []
        for name in run.data.metrics:
            history = self._source.get_metric_history(run.info.run_id, name)
            known: set[tuple[int, int, str]] = set()
            if name in copy.data.metrics:
                there = target.client.get_metric_history(copy.info.run_id, name)
                known = {_point(each) for each in there}
            points += [each for each in history if _point(each) not in known]
        for start in range(0, len(points), METRICS_A_CALL):
            some = points[start : start + METRICS_A_CALL]
            target.client.log_batch(copy.info.run_id, metrics=some)

    def _model(self, output: Any, target: Store, copy: Any) -> None:
        """A model with its files, which are told its new ids. One that lacks files stays."""
        from mlflow.entities import LoggedModelOutput
        from mlflow.models import Model

        old, client = self._source.get_logged_model(output.model_id), target.client
        known = {model.tags[FROM]: model.model_id for model in _models(target, copy)}
        if old.status != "READY" or old.model_id in known:
            self._models |= known
            return
        tags = {name: value for name, value in old.tags.items() if name != VERSIONS}
        new = client.create_logged_model(
            target.experiment,
            old.name,
            copy.info.run_id,
            tags | {FROM: old.model_id},
            old.params,
            old.model_type,
        )
        with tempfile.TemporaryDirectory() as folder:
            self._download(old.artifact_location, Path(folder))
            about = Model.load(folder)
            about.run_id, about.model_id = copy.info.run_id, new.model_id
            about.artifact_path = new.artifact_location
            about.save(str(Path(folder, "MLmodel")))
            client.log_model_artifacts(new.model_id, folder)
        client.log_outputs(copy.info.run_id, [LoggedModelOutput(new.model_id, output.step)])
        client.finalize_logged_model(new.model_id, "READY")
        own = [_of_model(each, new.model_id) for each in old.metrics or ()]
        if own:
            client.log_batch(copy.info.run_id, metrics=own)
        self._models[old.model_id] = new.model_id
        self.counts["models copied"] += 1

    def _download(self, place: str, folder: Path) -> bool:
        """Whether there is anything."""
        from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository

        repository = get_artifact_repository(place, tracking_uri=tracking_uri())
        if not repository.list_artifacts():
            return False
        repository.download_artifacts("", str(folder))
        return True

    def _registered(self, client: Any) -> None:
        """The versions of the copied models, in their order, and their aliases.

        An alias that the server has already stays, but for a champion that is beaten.
        """
        from mlflow.exceptions import MlflowException

        for model in _pages(self._source.search_registered_models):
            versions = _pages(self._source.search_model_versions, f"name = '{model.name}'")
            mine = [each for each in versions if _model_id(each) in self._models]
            if not mine:
                continue
            try:
                client.create_registered_model(model.name, model.tags, model.description)
            except MlflowException as error:
                if error.error_code != "RESOURCE_ALREADY_EXISTS":
                    raise
            there = dict(client.get_registered_model(model.name).aliases)
            new = {}
            for version in sorted(mine, key=lambda each: int(each.version)):
                new[version.version] = self._version(client, version)
            for alias, number in model.aliases.items():
                if number not in new:
                    continue
                if alias in there:
                    present = client.get_model_version(model.name, there[alias])
                    if alias != "champion" or not better(new[number].tags, present.tags):
                        continue
                if alias == "champion":
                    crown(client, model.name, new[number], [str(v.version) for v in new.values()])
                else:
                    client.set_registered_model_alias(model.name, alias, new[number].version)

    def _version(self, client: Any, version: Any) -> Any:
        """A version of a copied model; the one that is there, if it is."""
        run_id, model_id = self._runs[version.run_id], self._models[_model_id(version)]
        known = client.search_model_versions(f"name = '{version.name}' and run_id = '{run_id}'")
        for each in known:
            if _model_id(each) == model_id:
                link(client, model_id, each)
                return each
        self.counts["versions registered"] += 1
        new = client.create_model_version(
            version.name,
            f"models:/{model_id}",
            run_id,
            version.tags,
            description=version.description,
            model_id=model_id,
        )
        link(client, model_id, new)
        return new


def _pages(search: Callable[..., Any], *words: Any, **named: Any) -> Iterator[Any]:
    """All that an MLflow search finds."""
    token = None
    while True:
        page = search(*words, **named, page_token=token)
        yield from page
        token = page.token
        if not token:
            return


def _model_id(version: Any) -> str:
    """Whose version it is: a database keeps that in its address alone."""
    return str(version.source).removeprefix("models:/")


def _models(target: Store, copy: Any) -> list[Any]:
    """The whole models of a copied run that are copies themselves."""
    outputs = copy.outputs.model_outputs if copy.outputs else ()
    models = [target.client.get_logged_model(each.model_id) for each in outputs]
    return [each for each in models if each.status == "READY" and FROM in each.tags]


def _whole(copy: Any, run: Any) -> bool:
    """Whether a run's copy was finished, and the run has learnt nothing since."""
    return (
        copy.info.status == run.info.status
        and copy.data.params == run.data.params
        and {k: repr(v) for k, v in copy.data.metrics.items()}
        == {k: repr(v) for k, v in run.data.metrics.items()}
        and set(run.data.tags) <= set(copy.data.tags)
    )


def _of_model(metric: Any, model_id: str) -> Any:
    """A model's measure as that of its copy."""
    from mlflow.entities import Metric

    data = metric.dataset_name, metric.dataset_digest
    return Metric(metric.key, metric.value, metric.timestamp, metric.step, model_id, *data)


def _point(metric: Any) -> tuple[int, int, str]:
    """By which a point of a curve is known; of a value that is no number too."""
    return metric.step, metric.timestamp, repr(metric.value)
