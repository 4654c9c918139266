"""What a person sees of runs and models: real `mlflow server`s, a real browser."""

import dataclasses
import json
import os
import time
from pathlib import Path
from urllib.parse import quote

import mlflow
import numpy as np
import pandas as pd
import pytest
from playwright.sync_api import expect

import servers
import untrained
from conftest import ROOT
from pipeline.networks import checkpoint
from pipeline.networks.estimator import CropEstimator
from pipeline.settings import load
from pipeline.tracking import pages, registry
from pipeline.tracking.recording import training_run
from pipeline.tracking.run import named

EXPERIMENT = "adversarial-posenet-figures"
WAIT = 15_000  # ms


@pytest.fixture(scope="module")
def quickstart():
    """The newest finished run of `make quickstart` in this repository's store."""
    if not (ROOT / "mlflow.db").is_file():
        pytest.skip("no mlflow.db: `make quickstart` makes it")
    client = mlflow.MlflowClient(tracking_uri=f"sqlite:///{ROOT / 'mlflow.db'}")
    experiment = client.get_experiment_by_name(EXPERIMENT)
    wanted = "attributes.run_name = 'quickstart' and attributes.status = 'FINISHED'"
    found = client.search_runs([experiment.experiment_id], wanted) if experiment else []
    if not found:
        pytest.skip("no finished run `quickstart` in mlflow.db: `make quickstart` makes one")
    return found[0]


@pytest.fixture(scope="module")
def server(quickstart, tmp_path_factory):
    words = ("server", "--workers", "1", "--backend-store-uri", f"sqlite:///{ROOT / 'mlflow.db'}")
    log = tmp_path_factory.mktemp("server") / "log"
    with servers.running(*words, folder=ROOT, log=log, ready="/health") as (address, _):
        yield address


@pytest.fixture(scope="module")
def kept(tmp_path_factory) -> Path:
    """Where screenshots go: the folder that SCREENSHOTS names (the README's are in docs/), or a
    temporary one."""
    named = os.environ.get("SCREENSHOTS")
    return Path(named) if named else tmp_path_factory.mktemp("screenshots")


@pytest.fixture(scope="module")
def visitor(browser):
    """Who has seen MLflow's scripts before, and sent its assistant away."""
    context = browser.new_context(viewport={"width": 1500, "height": 1000}, locale="en-US")
    yield context
    context.close()


@pytest.fixture
def page(visitor):
    """An empty page that fails the test where its scripts do."""
    page, errors = visitor.new_page(), []
    page.set_default_timeout(WAIT)
    expect.set_options(timeout=WAIT)
    page.on("pageerror", lambda error: errors.append(error))
    yield page
    page.close()
    assert not errors


def without_assistant(page) -> None:
    """It opens by itself, which nobody asked for, at the first visit."""
    close = page.get_by_role("button", name="Close")
    if close.count():
        close.first.click()


def address(server: str, run, *path: str) -> str:
    return server + pages.run(run.info.experiment_id, run.info.run_id, *path)


def width(page, picture: str) -> int:
    """Width of the last picture that a selector finds, as it was sent; waits until it has
    arrived."""
    page.locator(picture).last.wait_for(state="attached")
    page.wait_for_function(
        "picture => [...document.querySelectorAll(picture)].at(-1).naturalWidth", arg=picture
    )
    return page.eval_on_selector_all(picture, "all => all.at(-1).naturalWidth")


def test_the_run_is_listed_with_its_result_in_the_saved_view(page, server, quickstart):
    page.set_viewport_size({"width": 1900, "height": 1000})  # for all columns
    page.goto(server + pages.runs(quickstart.info.experiment_id))
    page.get_by_role("link", name="quickstart").first.wait_for()
    without_assistant(page)
    for part in ("validation", "test"):
        for measure in ("pck_0.2", "pckh_0.5"):
            value = quickstart.data.metrics[f"{part}/{measure}/mean"]
            assert value > 0.5
            page.get_by_text(f"{value:.6f}".rstrip("0")).first.wait_for()


def test_the_page_of_the_run_tells_its_result_and_how_to_repeat_it(page, server, quickstart):
    page.goto(address(server, quickstart))
    page.get_by_role("columnheader", name="PCK@0.2 of covered joints").wait_for()
    page.get_by_text("Show more").first.click()
    page.get_by_text("dvc exp run -S", exact=False).first.wait_for()


def test_the_address_of_a_report_shows_it(page, server, quickstart):
    """As `pipeline.tracking.run.Run.place` gives it."""
    page.goto(address(server, quickstart, "artifacts", "report.html"))
    shown = page.frame_locator("iframe")
    expect(shown.get_by_role("heading").first).to_be_visible()


def test_the_page_of_the_run_draws_its_curves_and_the_pictures_of_its_steps(
    page, server, quickstart, kept
):
    page.goto(address(server, quickstart, "model-metrics"))
    page.get_by_placeholder("Search metric charts").wait_for()
    without_assistant(page)
    page.get_by_placeholder("Search metric charts").fill(
        "^train/(reconstruction|adversarial)|^validation$"
    )
    expect(page.locator(".js-plotly-plot")).to_have_count(3)
    page.locator(".js-plotly-plot .lines path").last.wait_for()
    steps = page.get_by_role("slider")
    steps.focus()
    interval, last = (
        int(quickstart.data.params[f"train.{name}"]) for name in ("validate_every", "steps")
    )
    for step in range(interval, last + 1, interval):
        page.keyboard.press("ArrowRight")
        expect(steps).to_have_attribute("aria-valuenow", str(step))
    thumbnail = "img[src*=get-artifact]"
    assert width(page, thumbnail) > 200
    page.locator(thumbnail).scroll_into_view_if_needed()
    page.screenshot(path=kept / "mlflow.png")
    page.locator(thumbnail).click()
    page.wait_for_function("document.images.length > 1")
    assert width(page, thumbnail) > 1000


@pytest.mark.parametrize("picture", ["test_overlay", "test_heatmaps", "learning_curves"])
def test_a_picture_of_the_run_can_be_looked_at(page, server, quickstart, picture):
    page.goto(address(server, quickstart, "artifacts", "pictures", f"{picture}.png"))
    assert width(page, "img[src^=blob]") > 500


def test_the_report_opens_inside_the_page(page, server, quickstart):
    page.goto(address(server, quickstart, "artifacts", "report.html"))
    report = page.frame_locator("iframe").last
    report.get_by_role("heading", name="Adversarial PoseNet").wait_for()


# What a person sees of two trials of a sweep, which nobody trained, and of their models.

SETTINGS = load(ROOT / "params.yaml")
NAME = pages.experiment("lspet", pages.GENERATOR)
PCK = {"alpha-1": 0.4, "alpha-2": 0.6}  # of the validation part


def trial(folder: Path, name: str, alpha: float) -> str:
    """A trial with all that a training and its evaluation tell a run, and a model; its id."""
    train = SETTINGS.train.model_copy(update={"alpha": alpha, "steps": 200})
    settings, value = SETTINGS.model_copy(update={"train": train}), PCK[name]
    with training_run(settings, tags={"fingerprint": name}, resumed=False) as run:
        store = mlflow.MlflowClient()
        until = time.monotonic() + 30
        while not any(each.startswith("system/") for each in store.get_run(run.id).data.metrics):
            assert time.monotonic() < until
            time.sleep(0.1)
        for step in (100, 200):
            row = {"confidence/loss": 1 / step, "train/loss": 1 / step}
            run.log(step, row | {"val/pck_0.2/mean": value * step / 250})
        shares = {"pck_0.2": {"mean": value}, "pckh_0.5": {"mean": value + 0.1}}
        measured = shares | {"covered": {"pck_0.2": {"mean": value - 0.2}}}
        run.log(200, named("validation", measured))
        path = folder / "generator.safetensors"
        made_by = checkpoint.read_settings(path) | {"train": train.model_dump()}
        registry.keep(run, path, made_by, measured, np.zeros((3, 14, 2)))
        estimator = dataclasses.replace(CropEstimator.load(path), settings=made_by)
        split = pd.DataFrame({"image": ["a", "b", "c"], "part": ["train", "validation", "test"]})
        registry.describe(run, estimator, split, {"validation": measured, "test": measured})
    return run.id


@pytest.fixture(scope="module")
def sweep(tmp_path_factory):
    """The trials' ids by their names, and their experiment's."""
    folder = tmp_path_factory.mktemp("sweep")
    with untrained.repository(folder), pytest.MonkeyPatch.context() as patch:
        uri = f"sqlite:///{folder / 'mlflow.db'}"
        patch.setenv("MLFLOW_TRACKING_URI", uri)
        patch.setenv("MLFLOW_SYSTEM_METRICS_SAMPLING_INTERVAL", "0.1")
        ids = {}
        for name, alpha in (("alpha-1", 0.01), ("alpha-2", 0.02)):
            patch.setenv("DVC_EXP_NAME", name)
            ids[name] = trial(folder, name, alpha)
        place = mlflow.MlflowClient(uri).get_experiment_by_name(NAME).experiment_id
        words = ("server", "--workers", "1", "--backend-store-uri", uri)
        log = folder / "log"
        with servers.running(*words, folder=folder, log=log, ready="/health") as (address, _):
            yield address, place, ids


def below(page, *texts: str) -> bool:
    """Whether texts stand one below the other."""
    places = [page.get_by_text(text, exact=True).first.bounding_box()["y"] for text in texts]
    return places == sorted(set(places))


@pytest.mark.parametrize("which", [None, "alpha"])
def test_the_address_of_the_runs_sorts_them_by_validation(page, sweep, kept, which):
    """And the experiment says what it is; of a sweep there are its trials alone."""
    server, place, _ = sweep
    page.goto(server + pages.runs(place, which))
    page.get_by_role("link", name="alpha-1").wait_for()
    page.screenshot(path=kept / f"runs-{which or 'all'}.png")
    assert below(page, "alpha-2", "alpha-1")
    expect(page.get_by_text("Sort: accuracy/validation_pck")).to_be_visible()
    for seen in ("0.6", "0.4", "train.alpha", "Trainings of Adversarial PoseNet's generator on"):
        expect(page.get_by_text(seen).first).to_be_visible()
    if which:
        expect(page.get_by_placeholder("metrics.rmse")).to_have_value('tags.sweep = "alpha"')
        expect(page.get_by_text("Sweep alpha").first).to_be_visible()
        expect(page.get_by_text("train.adversarial")).to_have_count(0)  # the same in both


def test_the_first_chart_of_a_run_is_the_validation(page, sweep, kept):
    server, place, ids = sweep
    page.goto(server + pages.run(place, ids["alpha-2"], "model-metrics"))
    page.locator(".js-plotly-plot .lines path").first.wait_for()
    assert below(page, "accuracy", "validation_pck", "confidence")
    expect(page.locator(".js-plotly-plot").first).to_be_visible()
    page.screenshot(path=kept / "charts.png")


def test_compare_opens_on_what_was_varied_and_the_validation(page, sweep, kept):
    server, place, ids = sweep
    runs = quote(json.dumps(list(ids.values())))
    page.goto(f"{server}/#/compare-runs?runs={runs}&experiments={quote(json.dumps([place]))}")
    chosen = page.locator("[class$=-selection-item-content]")
    expect(chosen).to_have_text(["train.alpha", "accuracy/validation_pck"])
    page.locator(".js-plotly-plot").first.wait_for()
    page.screenshot(path=kept / "compare.png")


def test_the_page_of_a_model_names_its_version_measures_and_parameters(page, sweep, kept):
    server, place, ids = sweep
    (output,) = mlflow.MlflowClient(server).get_run(ids["alpha-2"]).outputs.model_outputs
    page.goto(f"{server}/#/experiments/{place}/models/{output.model_id}")
    page.get_by_role("link", name=NAME).last.wait_for()
    for seen in ("validation/pck_0.2/mean", "lspet-test", "train.alpha", "Limits"):
        expect(page.get_by_text(seen).first).to_be_visible()
    expect(page.get_by_text("Not registered")).to_have_count(0)
    expect(page.get_by_text("system/")).to_have_count(0)
    page.screenshot(path=kept / "model.png")


def test_the_pages_of_a_registered_model_and_of_a_version_say_what_it_is(page, sweep, kept):
    server, _, _ = sweep
    page.goto(f"{server}/#/models/{NAME}")
    expect(page.get_by_text("taught on LSPet").first).to_be_visible()
    expect(page.get_by_text("PCK@0.2: 60.0 % on the").first).to_be_visible()
    page.screenshot(path=kept / "registered.png")
    page.goto(f"{server}/#/models/{NAME}/versions/2")
    expect(page.get_by_text("60.0 % on the validation part").first).to_be_visible()
    expect(page.get_by_text("champion").first).to_be_visible()
    page.get_by_text("Outputs (1)").click()
    expect(page.get_by_text("people: Array(").first).to_be_visible()
    page.screenshot(path=kept / "version.png")
