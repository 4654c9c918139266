"""MLflow's web pages: where they are, and what an experiment tells them to open on."""

import base64
import json
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from urllib.parse import urlencode

import jinja2

PREFIX = "adversarial-posenet-"  # of an experiment's name
GENERATOR, FINDER = "generator", "finder"  # networks that are trained
DATA = {"lspet": "LSPet", "figures": "drawn people", "own": "own photographs"}

# MLflow's charts are in the order of the alphabet, its page Compare begins with the metric that the
# store was told of first: with these.
HEADLINES = {
    GENERATOR: "accuracy/validation_pck",
    FINDER: "accuracy/people_found",
}
# A headline's curve while training, each step once, and what is measured in the end, which counts.
LIVE = {"val/pck_0.2/mean": "accuracy/validation_pck"}
FINAL = {
    "validation/pck_0.2/mean": "accuracy/validation_pck",
    "validation/mosaics/recall_at_precision_0.9": "accuracy/people_found",
}
COLUMNS = {  # of the view: what runs are chosen by, what is varied most, the rest of the result
    GENERATOR: (
        "metrics.`accuracy/validation_pck`",
        "params.`train.alpha`",
        "params.`train.seed`",
        "params.`train.adversarial`",
        "params.`model.occlusion`",
        "metrics.`validation/pckh_0.5/mean`",
        "metrics.`test/pck_0.2/mean`",
        "metrics.`test/pckh_0.5/mean`",
    ),
    FINDER: (
        "metrics.`accuracy/people_found`",
        "params.`finder.input_size`",
        "params.`finder.steps`",
        "params.`finder.seed`",
        "metrics.`validation/mosaics/average_precision`",
        "metrics.`validation/photographs/best`",
    ),
}
LETTER, MARGIN = 6.4, 32  # px that a letter of a column's head takes, and what is around it

# Tags of an experiment, by MLflow's names.
VIEW = "mlflow.sharedViewState.results"  # a view that is saved
KIND = "mlflow.experimentKind"
NOTE = "mlflow.note.content"
# Without it MLflow opens the pages about language models.
TRAINING = {"workflowType": "machine_learning"}

NOTES = Path(__file__).with_name("notes.md.jinja")


def shown(data: str) -> str:
    """A data set's name for people."""
    return DATA.get(data, data)


def noted(kind: str, **values: str) -> str:
    """What is said, in Markdown, of an `experiment`, a registered `model` or a `version`; values:
    of that macro."""
    strict = jinja2.Environment(undefined=jinja2.StrictUndefined)  # noqa: S701  Markdown
    return str(getattr(strict.from_string(NOTES.read_text()).module, kind)(**values))


def experiment(data: str, network: str) -> str:
    """The name of the experiment of a network on a data set."""
    return f"{PREFIX}{data}" + ("" if network == GENERATOR else f"-{network}")


def network_of(name: str) -> str:
    """The network that an experiment of that name is about."""
    return FINDER if name.endswith(f"-{FINDER}") else GENERATOR


def tags(name: str) -> dict[str, str]:
    """What an experiment of that name says of itself: its kind, its description, its view."""
    network = network_of(name)
    data = shown(name.removeprefix(PREFIX).removesuffix(f"-{FINDER}"))
    note = noted("experiment", network=network, data=data, name=name)
    return {KIND: "custom_model_development", NOTE: note, VIEW: _view("Results", COLUMNS[network])}


def is_own(tag: str, value: str) -> bool:
    """Whether a tag's value is still one that this project gave, which a newer one may replace."""
    if tag.startswith(VIEW):  # MLflow's page notes when somebody saves it
        return json.loads(value).get("updatedAt") == 0
    return tag == NOTE and value.startswith("Trainings of ")


def trials(sweep: str) -> str:
    """The condition by which MLflow finds the runs of a sweep."""
    return f'tags.sweep = "{sweep}"'


def varied(params_of: Sequence[Mapping[str, str]]) -> list[str]:
    """The parameters in which trials differ; those that have not told theirs yet do not count."""
    told = [params for params in params_of if params]
    names = dict.fromkeys(name for params in told for name in params)
    return [name for name in names if len({params.get(name) for params in told}) > 1]


def sweep_view(name: str, sweep: str, differ: Sequence[str] = ()) -> tuple[str, str]:
    """A tag of an experiment of that name, and its value: the view of a sweep's runs, with the
    parameters in which they differ in place of those that are varied most."""
    columns = COLUMNS[network_of(name)]
    if differ:
        first, *others = (column for column in columns if column.startswith("metrics."))
        columns = (first, *(f"params.`{param}`" for param in differ), *others)
    return f"{VIEW}-{sweep}", _view(f"Sweep {sweep}", columns, trials(sweep))


def runs(experiment_id: str, sweep: str | None = None) -> str:
    """The table of an experiment's runs, or of a sweep's, the best by validation first."""
    view = VIEW.rpartition(".")[2] + (f"-{sweep}" if sweep else "")
    return (
        f"/#/experiments/{experiment_id}/runs?{urlencode(TRAINING | {'viewStateShareKey': view})}"
    )


def run(experiment_id: str, run_id: str, *path: str) -> str:
    """A run's page, or that of an artifact of its: `artifacts` and the artifact's path."""
    return (
        "/".join([f"/#/experiments/{experiment_id}/runs/{run_id}", *path])
        + f"?{urlencode(TRAINING)}"
    )


def headlines(metrics: Mapping[str, float], names: Mapping[str, str]) -> dict[str, float]:
    """The headlines among metrics, by their own names; names: LIVE or FINAL."""
    return {names[name]: value for name, value in metrics.items() if name in names}


def _view(name: str, columns: Sequence[str], search: str = "") -> str:
    """A view of MLflow's table of runs as its web page saves one, sorted by the first column."""
    heads = {column: column.partition(".")[2].strip("`") for column in columns}
    state = {
        "selectedColumns": columns,
        "columnOrder": columns,
        "columnWidths": {name: round(LETTER * len(head) + MARGIN) for name, head in heads.items()},
        "orderByKey": columns[0],
        "orderByAsc": False,
    } | ({"searchFilter": search} if search else {})
    packed = base64.b64encode(zlib.compress(json.dumps(state).encode())).decode()
    view = {"name": name, "createdAt": 0, "updatedAt": 0, "state": f"deflate;{packed}"}
    return json.dumps(view)
