"""DVC's pages of plots, in a real browser that has no network."""

import subprocess
import sys

import pytest
import yaml

from conftest import ROOT, environment, git, sh

pytest.importorskip("vl_convert")


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    """The page of a clone in which a training has just begun: of four plots two have values."""
    clone = tmp_path_factory.mktemp("clone")
    git(clone, "init", "-q")
    sh(clone, "dvc", "init", "-q")
    (clone / ".dvc/plots").mkdir()
    template = (ROOT / ".dvc/plots/curves.json").read_text()
    (clone / ".dvc/plots/curves.json").write_text(template)
    (clone / "curve.csv").write_text("step,pck,loss\n10,,3.5\n20,0.25,3.25\n30,0.5,3.125\n")
    plots = {
        title: {"template": "curves", "x": "step", "y": {"curve.csv": names}, "title": title}
        for title, names in (
            ("One", "pck"),
            ("Both", ["pck", "loss"]),
            ("Later", "pose"),
            ("Much later", ["pose", "confidence"]),
        )
    }
    (clone / "dvc.yaml").write_text(yaml.safe_dump({"plots": [{k: v} for k, v in plots.items()]}))
    command = [sys.executable, "-m", "pipeline", "plots"]
    more = environment() | {"PYTHONPATH": f"{ROOT}:{':'.join(sys.path)}"}
    done = subprocess.run(command, cwd=clone, env=more, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    said = sh(clone, "dvc", "plots", "show")
    assert "dvc_plots" in said
    yield clone / "dvc_plots/index.html"


@pytest.mark.parametrize("width", [390, 1300])
def test_plots_are_drawn_without_a_network(page, browser, width):
    """On a telephone, too; those without values are left out."""
    context = browser.new_context(viewport={"width": width, "height": 844}, offline=True)
    seen, asked, errors = context.new_page(), [], []
    seen.on("request", lambda request: asked.append(request.url))
    seen.on("pageerror", lambda error: errors.append(error))
    seen.goto(page.as_uri())
    plots = seen.locator("svg.marks")
    plots.nth(1).wait_for()
    assert asked == [page.as_uri()] and not errors
    one, both = ([*plot.locator("text").all_text_contents()] for plot in plots.all())
    assert {"One", "step", "pck"} <= set(one) and {"Both", "pck", "loss"} <= set(both)
    assert "undefined" not in one + both and "0.0" in one + both
    assert seen.locator("svg.marks .mark-line path").count() >= 3
    boxes = [plot.bounding_box() for plot in plots.all()]
    assert all(box["width"] > 300 and box["x"] + box["width"] <= width for box in boxes)
    context.close()


def test_outside_of_a_clone_that_is_one_sentence(tmp_path):
    more = environment() | {"PYTHONPATH": f"{ROOT}:{':'.join(sys.path)}"}
    command = [sys.executable, "-m", "pipeline", "plots"]
    done = subprocess.run(
        command, cwd=tmp_path, env=more, capture_output=True, text=True, check=False
    )
    assert done.returncode == 1 and not list(tmp_path.iterdir())
    assert done.stderr == f"error: {tmp_path}: no repository of DVC; run it in the clone\n"
