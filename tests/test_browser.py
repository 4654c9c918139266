"""What a person sees of the quickstart's run: a real `mlflow server`, a real browser."""

import os
from pathlib import Path

import mlflow
import pytest
from playwright.sync_api import expect

import servers
from conftest import ROOT
from pipeline.tracking.store import VIEW

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


@pytest.fixture
def page(browser):
    """An empty page that fails the test where its scripts do."""
    context = browser.new_context(viewport={"width": 1500, "height": 1000}, locale="en-US")
    page, errors = context.new_page(), []
    page.set_default_timeout(WAIT)
    expect.set_options(timeout=WAIT)
    page.on("pageerror", lambda error: errors.append(error))
    yield page
    context.close()
    assert not errors


def address(server: str, run, *path: str, **query: str) -> str:
    asked = "&".join(
        f"{name}={value}" for name, value in {"workflowType": "machine_learning", **query}.items()
    )
    return "/".join([f"{server}/#/experiments/{run.info.experiment_id}/runs", *path]) + f"?{asked}"


def width(page, picture: str) -> int:
    """Width of the last picture that a selector finds, as it was sent; waits until it has
    arrived."""
    page.locator(picture).last.wait_for(state="attached")
    page.wait_for_function(
        "picture => [...document.querySelectorAll(picture)].at(-1).naturalWidth", arg=picture
    )
    return page.eval_on_selector_all(picture, "all => all.at(-1).naturalWidth")


def test_the_run_is_listed_with_its_result_in_the_saved_view(page, server, quickstart):
    page.goto(address(server, quickstart, viewStateShareKey=VIEW.rpartition(".")[2]))
    page.get_by_role("link", name="quickstart").first.wait_for()
    for part in ("validation", "test"):
        for measure in ("pck_0.2", "pckh_0.5"):
            value = quickstart.data.metrics[f"{part}/{measure}/mean"]
            assert value > 0.5
            page.get_by_text(f"{value:.6f}".rstrip("0")).first.wait_for()


def test_the_page_of_the_run_tells_its_result_and_how_to_repeat_it(page, server, quickstart):
    page.goto(address(server, quickstart, quickstart.info.run_id))
    page.get_by_role("columnheader", name="PCK@0.2 of covered joints").wait_for()
    page.get_by_text("Show more").first.click()
    page.get_by_text("dvc exp run -S", exact=False).first.wait_for()


def test_the_address_of_a_report_shows_it(page, server, quickstart):
    """As `pipeline.tracking.run.Run.place` gives it."""
    run = quickstart.info.run_id
    page.goto(
        f"{server}/#/experiments/{quickstart.info.experiment_id}/runs/{run}/artifacts/report.html"
    )
    shown = page.frame_locator("iframe")
    expect(shown.get_by_role("heading").first).to_be_visible()


def test_the_page_of_the_run_draws_its_curves_and_the_pictures_of_its_steps(
    page, server, quickstart, kept
):
    page.goto(address(server, quickstart, quickstart.info.run_id, "model-metrics"))
    page.get_by_role("button", name="Close").first.click()  # an assistant that nobody asked for
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
    path = quickstart.info.run_id, "artifacts", "pictures", f"{picture}.png"
    page.goto(address(server, quickstart, *path))
    assert width(page, "img[src^=blob]") > 500


def test_the_report_opens_inside_the_page(page, server, quickstart):
    page.goto(address(server, quickstart, quickstart.info.run_id, "artifacts", "report.html"))
    report = page.frame_locator("iframe").last
    report.get_by_role("heading", name="Adversarial PoseNet").wait_for()
