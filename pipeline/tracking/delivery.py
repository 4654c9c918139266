"""The messages of a run, as the store is given them. Each may be given twice: it is there once."""

import json
import math
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from contextlib import suppress
from importlib.metadata import version
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np
from PIL import Image

from pipeline.tracking import pages
from pipeline.tracking.outbox import Message, Refused
from pipeline.tracking.store import Store, alone, offer

METRICS_A_CALL, PARAMS_A_CALL = 1000, 100  # what MLflow takes at once
TRIALS = 1000  # of a sweep, the newest ones, whose parameters its view looks at
Row = tuple[int, int, Mapping[str, float]]  # step, time in ms, values by name
VERSIONS = "mlflow.modelVersions"  # a model's tag, by MLflow's name
NO_STEP = -1  # else a model takes over whatever its run measured at step 0, the machine's load
FINAL = {"INVALID_PARAMETER_VALUE", "RESOURCE_DOES_NOT_EXIST", "BAD_REQUEST"}  # no use to ask again


class Delivery:
    """Gives a run's messages to its store.

    connect: opens the store and finds, or makes, the run; asked with the first message. files: the
    folder that messages name files in.
    """

    def __init__(self, connect: Callable[[], tuple[Store, str]], files: Path) -> None:
        self._connect, self.files = connect, files
        self._connecting = Lock()
        self._found: tuple[Store, str] | None = None
        self._begun: set[str] | None = None  # names of curves that the store had before
        self._curves: dict[str, list[tuple[int, float]]] = {}

    @property
    def _place(self) -> tuple[Store, str]:
        with self._connecting:  # else two threads might make a run each
            if self._found is None:
                self._found = self._connect()
            return self._found

    @property
    def store(self) -> Store:
        """The open store."""
        return self._place[0]

    @property
    def run_id(self) -> str:
        """The run's id in it."""
        return self._place[1]

    def __call__(self, message: Message) -> None:
        """Raises Refused, or MLflow's and other errors while the store cannot take it."""
        from mlflow.exceptions import MlflowException

        kind, values = message["kind"], {k: v for k, v in message.items() if k != "kind"}
        try:
            getattr(self, kind)(**values)
        except MlflowException as error:
            if error.error_code in FINAL:
                raise Refused(f"{kind}: {error}") from None
            raise

    def points(self, rows: Sequence[Row]) -> None:
        """Points of curves, each step of a curve once, also where it was computed anew after a
        stop; and those of the headlines among them."""
        live = [(s, t, pages.headlines(row, pages.LIVE) | dict(row)) for s, t, row in rows]
        names = {name for _, _, row in live for name in row}
        known = {name: {step for step, _ in self._curve(name)} for name in names}
        self._add(live, lambda name, step, _: step in known[name])
        self._final_headlines(rows)

    def measures(self, rows: Sequence[Row]) -> None:
        """Values that may be measured anew: the last one counts."""
        self._add(rows, self._has)
        self._final_headlines(rows)

    def expected(self, names: Iterable[str]) -> None:
        """Metrics that nobody has measured yet, before all others: no numbers.

        MLflow compares runs by the metric that a store was told of first.
        """
        from mlflow.entities import Metric

        unmeasured = [Metric(name, math.nan, 0, 0) for name in names]
        self.store.client.log_batch(self.run_id, metrics=unmeasured)

    def _final_headlines(self, rows: Sequence[Row]) -> None:
        final = [(step, time, pages.headlines(row, pages.FINAL)) for step, time, row in rows]
        self._add(final, self._has)

    def _has(self, name: str, step: int, value: float) -> bool:
        return (step, value) in self._curve(name)

    def _add(self, rows: Sequence[Row], there: Callable[[str, int, float], bool]) -> None:
        from mlflow.entities import Metric

        points = [
            Metric(name, value, time, step)
            for step, time, row in rows
            for name, value in row.items()
            if math.isfinite(value) and not there(name, step, value)
        ]
        for start in range(0, len(points), METRICS_A_CALL):
            some = points[start : start + METRICS_A_CALL]
            self.store.client.log_batch(self.run_id, metrics=some)
        for point in points:
            self._curve(point.key).append((point.step, point.value))

    def _curve(self, name: str) -> list[tuple[int, float]]:
        """Steps and values that the store has. It is asked only for curves that it has begun: one
        question for each of an evaluation's hundreds took minutes where each needs a password."""
        if self._begun is None:
            self._begun = set(self.store.client.get_run(self.run_id).data.metrics)
        if name not in self._curves:
            known = name in self._begun
            history = self.store.client.get_metric_history(self.run_id, name) if known else ()
            self._curves[name] = [(point.step, point.value) for point in history]
        return self._curves[name]

    def tag(self, name: str, value: str) -> None:
        """A tag."""
        self.store.client.set_tag(self.run_id, name, value)

    def params(self, values: Mapping[str, str]) -> None:
        """Parameters by their dotted names."""
        from mlflow.entities import Param

        params = [Param(name, value) for name, value in values.items()]
        for start in range(0, len(params), PARAMS_A_CALL):
            some = params[start : start + PARAMS_A_CALL]
            self.store.client.log_batch(self.run_id, params=some)

    def dataset(self, name: str, sha256: str, source: str, context: str) -> None:
        """The data that the run used."""
        from mlflow.entities import Dataset, DatasetInput, InputTag

        used = Dataset(name, sha256[:32], "dvc", source)  # MLflow takes 36 characters
        tag = InputTag("mlflow.data.context", context)
        self.store.client.log_inputs(self.run_id, [DatasetInput(used, [tag])])

    def artifact(self, file: str, folder: str | None) -> None:
        """A file, under its own name in a folder of the run's."""
        path = self._kept(file)
        self.store.client.log_artifact(self.run_id, str(path), folder)
        path.unlink()

    def image(self, file: str, key: str, step: int, time: int) -> None:
        """An image of a step, which MLflow shows beside those of other steps."""
        path = self._kept(file)
        pixels = np.asarray(Image.open(path))
        self.store.client.log_image(self.run_id, pixels, key=key, step=step, timestamp=time)
        path.unlink()

    def _kept(self, file: str) -> Path:
        """The copy of a file that a message names. Raises Refused where it is gone."""
        path = self.files / file
        if not path.exists():
            raise Refused(f"{path.name}: its copy is gone")
        return path

    def model(
        self,
        code: str,
        package: str,
        artifacts: Mapping[str, str],
        example: object,
        packages: Iterable[str],
        registered: Mapping[str, Any],
        params: Mapping[str, str] | None = None,
    ) -> None:
        """An MLflow model, once a run, and the newest version under a name.

        code: a file of this package, whose copy is `package`; artifacts: files by the names that
        the code knows them by; packages: whose installed versions it will ask for; registered: see
        `_register`; params: what made it, by dotted names.
        """
        import mlflow

        if whole := self._models():
            model_id = whole[0].model_id
        else:
            # A model's home follows the store that is set, its experiment the one it is made in.
            mlflow.set_tracking_uri(self.store.uri)
            empty = self.store.client.create_logged_model(
                self.store.experiment,
                name="generator",
                source_run_id=self.run_id,
                params=dict(params or {}),
                model_type="pose estimation",
            )
            model_id = empty.model_id
            mlflow.models.Model.log(
                None,
                mlflow.pyfunc,
                name="generator",
                model_id=model_id,
                run_id=self.run_id,
                step=NO_STEP,
                python_model=str(self.files / package / code),
                code_paths=[str(self.files / package)],
                artifacts={name: str(self.files / file) for name, file in artifacts.items()},
                input_example=example,
                pip_requirements=[f"{name}=={version(name)}" for name in packages],
            )
        self._register(model_id, **registered)

    def _models(self) -> list[Any]:
        """The run's models that are whole: what was cut short is there too, without its files."""
        client = self.store.client
        outputs = client.get_run(self.run_id).outputs
        known = [client.get_logged_model(each.model_id) for each in outputs.model_outputs or ()]
        return [each for each in known if each.status == "READY"]

    def _register(self, model_id: str, name: str, score: float, protocol: str) -> None:
        """Make the model the newest version under a name, and its champion where it beats the
        present one.

        score: what versions are compared by, the higher the better; only where the protocol, what
        was measured and how, is the same. The first version is the champion.
        """
        from mlflow.exceptions import MlflowException

        client = self.store.client
        tags = {"score": str(score), "protocol": protocol}
        with alone(self.store.uri):
            with suppress(MlflowException):  # there already
                client.create_registered_model(name)
            versions = client.search_model_versions(f"name = '{name}' and run_id = '{self.run_id}'")
            if versions:
                link(client, model_id, versions[0])
                return
            source = f"models:/{model_id}"
            new = client.create_model_version(
                name, source, self.run_id, tags=tags, model_id=model_id
            )
            link(client, model_id, new)
            champion = client.get_registered_model(name).aliases.get("champion")
            if champion is None or better(tags, client.get_model_version(name, champion).tags):
                crown(client, name, new)

    def card(
        self, about: str, card: str, step: int, time: int, results: Sequence[Mapping[str, Any]]
    ) -> None:
        """What the run's model and its version say of themselves, and its measures; nothing where
        it has none yet.

        about: of all versions, in Markdown, where nobody wrote anything; card: of this one; step,
        time (ms): of the measures; results: `data` and `digest`, the photographs, `context`, what
        for, and `metrics`, their values by name.
        """
        from mlflow.entities import Dataset, DatasetInput, InputTag, Metric

        models, client = self._models(), self.store.client
        if not models:
            return
        inputs = client.get_run(self.run_id).inputs
        known = {(each.dataset.name, each.dataset.digest) for each in inputs.dataset_inputs}
        for model in models:
            measured = {(each.key, each.value, each.dataset_digest) for each in model.metrics or ()}
            metrics = []
            for each in results:
                data, digest = each["data"], each["digest"]
                if (data, digest) not in known:
                    used = Dataset(data, digest, "dvc", each["source"])
                    tag = InputTag("mlflow.data.context", each["context"])
                    client.log_inputs(self.run_id, [DatasetInput(used, [tag])])
                    known.add((data, digest))
                metrics += [
                    Metric(name, value, time, step, model.model_id, data, digest)
                    for name, value in each["metrics"].items()
                    if (name, value, digest) not in measured
                ]
            client.log_batch(self.run_id, metrics=metrics)
            client.set_logged_model_tags(model.model_id, {pages.NOTE: card})
        self._final_headlines([(step, time, each["metrics"]) for each in results])
        for each in client.search_model_versions(f"run_id = '{self.run_id}'"):
            client.update_model_version(each.name, each.version, card)
            if not client.get_registered_model(each.name).description:
                client.update_registered_model(each.name, about)

    def sweep(self, name: str) -> None:
        """A view of the sweep that the run is one of, beside that of all runs: with what its trials
        differ in, as far as they have begun."""
        client, place = self.store.client, self.store.experiment
        trials = client.search_runs([place], pages.trials(name), max_results=TRIALS)
        differ = pages.varied([trial.data.params for trial in trials])
        offer(
            client, client.get_experiment(place), *pages.sweep_view(self.store.name, name, differ)
        )

    def end(self, status: str, time: int) -> None:
        """The final status, FINISHED, FAILED or KILLED, at a time in ms."""
        self.store.client.set_terminated(self.run_id, status, time)


def link(client: Any, model_id: str, version: Any) -> None:
    """Let a model's page name its version, as `mlflow.register_model` and MLflow's server do."""
    known = json.loads(client.get_logged_model(model_id).tags.get(VERSIONS, "[]"))
    own = {"name": version.name, "version": str(version.version)}
    if own not in [each | {"version": str(each["version"])} for each in known]:
        client.set_logged_model_tags(model_id, {VERSIONS: json.dumps([*known, own])})


def crown(client: Any, name: str, version: Any, aside: Collection[str] = ()) -> None:
    """Make a version the champion, or what beats it: others may be crowning theirs at this moment,
    and a server has no lock, so whoever sets the alias last looks again, with all versions there.

    aside: numbers of versions that were passed over on purpose.
    """
    while True:
        champion = version
        found = client.search_model_versions(f"name = '{name}'")
        for each in sorted(found, key=lambda each: int(each.version)):
            if str(each.version) not in aside and better(each.tags, champion.tags):
                champion = each
        present = client.get_registered_model(name).aliases.get("champion")
        if str(present) == str(champion.version):
            return
        client.set_registered_model_alias(name, "champion", champion.version)


def better(new: Mapping[str, str], champion: Mapping[str, str]) -> bool:
    """Whether a version beats the champion, by their tags: measured in the same way, and higher."""
    same = new.get("protocol") == champion.get("protocol") is not None
    return same and float(new["score"]) > float(champion["score"])
