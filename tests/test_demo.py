"""The page of `python -m pipeline demo`: what it tells of a picture, and a real browser on it."""

import signal
import socket
import subprocess
import sys
import time
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from urllib.parse import urlsplit

import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import expect

import servers
import untrained
from conftest import ROOT, environment
from pipeline.__main__ import main
from pipeline.commands import demo
from pipeline.commands.demo import Looked
from pipeline.photographs.estimator import PoseEstimator
from pipeline.photographs.onnx_file import OnnxEstimator
from pipeline.photographs.people import Box, Person

WAIT = 30_000  # ms
# Every name that a process asks for and every place that it connects to, into a file.
LISTENING = """
import sys

def heard(event, values):
    if event in ("socket.connect", "socket.getaddrinfo"):
        with open({file!r}, "a") as file:
            print(values[event == "socket.connect"], file=file)

sys.addaudithook(heard)
"""
needs_gradio = pytest.mark.skipif(
    find_spec("gradio") is None, reason="no gradio: `pip install '.[demo]'` brings it"
)


@pytest.fixture(scope="module")
def weights(tmp_path_factory) -> Path:
    return untrained.write(tmp_path_factory.mktemp("model"))


@pytest.fixture(scope="module")
def estimator(weights) -> PoseEstimator:
    return PoseEstimator.load(weights, "fp32")


def person(score: float, x: float = 20, hidden: int = 0, outside: int = 0) -> Person:
    """Somebody 40 px tall, of whose joints some are hidden, and some others outside."""
    points = np.stack([np.linspace(x, x + 20, 14), np.linspace(20, 60, 14)], axis=1)
    return Person(
        size=(120, 80),
        box=Box.around(points[[0, -1]]),
        box_given=False,
        score=score,
        points=points,
        scores=np.full(14, 0.5),
        hidden=np.arange(14) < hidden,
        outside=np.arange(14) >= 14 - outside,
    )


def looked(*scores: float) -> Looked:
    """A grey picture with people of these scores beside each other."""
    people = [person(score, x=5 + 25 * place) for place, score in enumerate(scores)]
    return Looked(np.full((80, 120, 3), 128, np.uint8), people)


def test_the_model_looks_for_everybody_however_little_they_score(estimator):
    strict = replace(estimator, judgement=replace(estimator.judgement, least=1.0))
    image = demo.examples()[0]
    assert strict.find([image]) == [[]]
    found = demo.look(strict, image)
    scores = [each.score for each in found.people]
    assert scores and scores == sorted(scores, reverse=True)
    assert found.image is image


def test_those_who_score_enough_are_drawn_and_listed_by_number():
    everybody, two = (demo.answer(looked(0.9, 0.5, 0.2), least) for least in (0.0, 0.5))
    assert [row[:2] for row in everybody.table] == [[1, "0.90"], [2, "0.50"], [3, "0.20"]]
    assert two.table == everybody.table[:2] and two.said == "2 people."
    assert two.overlay.shape == (80, 120, 3)
    drawn = (two.overlay != 128).any(axis=(0, 2))
    assert drawn[5:50].any() and not drawn[60:].any()
    assert (everybody.overlay[:, 60:] != 128).any()


@pytest.mark.parametrize(
    ("scores", "said"),
    [
        ((), "Nobody is in this picture."),
        ((0.3, 0.2), "Nobody scores 0.40 or more; the surest candidate scores 0.30."),
        ((0.4, 0.2), "One person."),
        ((0.8, 0.7, 0.6), "3 people."),
    ],
)
def test_how_many_people_there_are_is_a_sentence(scores, said):
    told = demo.answer(looked(*scores), 0.4)
    assert told.said == said
    assert len(told.table) == sum(score >= 0.4 for score in scores)
    if not told.table:
        assert (told.overlay == 128).all()


def test_a_row_counts_the_joints_found_those_of_them_hidden_and_those_outside():
    assert len(demo.COLUMNS) == 5
    assert demo.row(2, person(0.756, hidden=3, outside=5)) == [2, "0.76", 9, 3, 5]
    assert demo.row(1, person(0.5, hidden=12, outside=2)) == [1, "0.50", 12, 12, 2]


@pytest.mark.parametrize(
    ("size", "sent"), [((1600, 900), (1600, 900)), ((2000, 3200), (1000, 1600)), ((40, 30),) * 2]
)
def test_a_large_picture_is_sent_smaller(size, sent):
    picture = demo.fitted(np.zeros((*size[::-1], 3), np.uint8))
    assert picture.shape == (*sent[::-1], 3)


def test_the_heatmaps_are_those_of_the_person_over_the_crop(estimator):
    image = np.zeros((200, 400, 3), np.uint8)
    image[:, :200, 0] = image[:, 200:, 2] = 255  # red, and blue
    for x, seen, unseen in ((80, 0, 2), (280, 2, 0)):
        figure = demo.heatmaps(estimator, image, person(0.5, x=x))
        assert figure.dtype == np.uint8 and figure.shape[2] == 3
        pure = (figure == 255).sum(axis=2) == 1
        counts = [(pure & (figure[..., colour] == 255)).sum() for colour in (seen, unseen)]
        assert counts[0] > 10_000 and counts[1] < 100


def test_a_model_without_the_occlusion_task_has_heatmaps_of_the_pose_alone(estimator, tmp_path):
    alone = PoseEstimator.load(untrained.write(tmp_path, occlusion=False), "fp32")
    image, somebody = demo.examples()[0], person(0.5)
    both, one = (demo.heatmaps(each, image, somebody).shape for each in (estimator, alone))
    assert both[1] > one[1] + 100


def test_an_exported_model_has_no_heatmaps(estimator):
    exported = replace(estimator, network=OnnxEstimator.__new__(OnnxEstimator))  # of no file
    assert demo.heatmaps(exported, demo.examples()[0], person(0.5)) is None


def test_the_examples_are_drawn_people_and_always_the_same():
    pictures = demo.examples()
    assert len(pictures) == len(demo.DRAWN)
    for picture, again in zip(pictures, demo.examples(), strict=True):
        assert picture.dtype == np.uint8 and picture.shape[::2] == (demo.HEIGHT, 3)
        np.testing.assert_array_equal(picture, again)


def test_without_gradio_one_sentence_says_what_to_install(weights, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "gradio", None)
    monkeypatch.setenv("GRADIO_TEMP_DIR", "")  # and what the command sets ends with the test
    assert main(["demo", "--weights", str(weights)]) == 1
    told = capsys.readouterr()
    assert told.err.splitlines() == [
        "error: this needs gradio: run `pip install '.[demo]'` in the repository"
    ]
    assert not told.out


def test_weights_that_are_missing_are_one_sentence(tmp_path, capsys):
    assert main(["demo", "--weights", str(tmp_path / "none.safetensors")]) == 1
    (said,) = capsys.readouterr().err.splitlines()
    assert said.startswith(f"error: {tmp_path / 'none.safetensors'}: no weights there")


def test_a_port_that_is_taken_is_one_sentence(weights, capsys):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert main(["demo", "--weights", str(weights), "--port", str(port)]) == 1
    (said,) = capsys.readouterr().err.splitlines()
    assert said.startswith(f"error: 127.0.0.1, port {port}: [Errno ")
    assert said.endswith("Address already in use; --port names another")


@pytest.fixture(scope="module")
def server(weights, tmp_path_factory):
    """The page's address, its process, and a folder: `heard`, where it wanted to connect to, and
    `temporary`, for its files."""
    folder = tmp_path_factory.mktemp("server")
    (folder / "temporary").mkdir()
    (folder / "sitecustomize.py").write_text(LISTENING.format(file=str(folder / "heard")))
    port = servers.free_port()
    address, log = f"http://127.0.0.1:{port}", folder / "log"
    with log.open("w") as file:
        process = subprocess.Popen(
            [sys.executable, "-m", "pipeline", "demo", "--weights", weights, "--port", str(port)],
            cwd=ROOT,
            env=environment() | {"PYTHONPATH": str(folder), "TMPDIR": str(folder / "temporary")},
            stdout=file,
            stderr=file,
            start_new_session=True,
        )
    try:
        deadline = time.monotonic() + 120
        while not servers.answers(address) or address not in log.read_text():
            assert process.poll() is None and time.monotonic() < deadline, log.read_text()
            time.sleep(0.2)
        yield address, process, folder
    finally:
        servers.stop(process)


@pytest.fixture
def page(browser, server):
    """The page; the test fails where its scripts do, or where it asks anybody else for anything."""
    address, _, _ = server
    context = browser.new_context(viewport={"width": 1300, "height": 1000}, locale="en-US")
    page, errors, asked = context.new_page(), [], set()
    page.set_default_timeout(WAIT)
    expect.set_options(timeout=WAIT)
    page.on("pageerror", lambda error: errors.append(error))
    page.on("console", lambda said: errors.append(said.text) if said.type == "error" else None)
    page.on("request", lambda request: asked.add(urlsplit(request.url)))
    page.goto(address)
    yield page
    context.close()
    assert not errors
    assert {url.netloc for url in asked if url.scheme not in ("data", "blob")} == {
        urlsplit(address).netloc
    }


def width(picture) -> int:
    """Of a picture on the page, as it was sent."""
    expect(picture).to_be_visible()
    picture.evaluate("picture => picture.decode()")
    return picture.evaluate("picture => picture.naturalWidth")


@needs_gradio
def test_a_picture_that_is_dropped_is_answered_with_joints_table_and_heatmaps(page, tmp_path):
    Image.fromarray(demo.examples()[0]).save(tmp_path / "drawn.png")
    (tmp_path / "broken.png").write_text("no picture")
    file = page.locator("input[type=file]").first
    overlay, figure = page.locator(".overlay img"), page.locator(".figure img")
    table, people = page.locator("table").first, page.get_by_role("radio")
    page.get_by_text(demo.ASKED).wait_for()
    expect(overlay).to_have_count(0)

    file.set_input_files(tmp_path / "drawn.png")
    page.get_by_text("people.", exact=False).wait_for()
    assert width(overlay) == Image.open(tmp_path / "drawn.png").width
    assert width(figure) > 600
    for name in demo.COLUMNS:
        expect(table.get_by_text(name)).to_be_visible()
    expect(people.first).to_be_checked()

    shown = figure.get_attribute("src")
    people.nth(1).check()
    expect(figure).not_to_have_attribute("src", shown)

    least = page.get_by_role("spinbutton")
    least.fill("1")
    least.press("Enter")
    page.get_by_text("Nobody scores 1.00 or more").wait_for()
    expect(figure).to_have_count(0)
    expect(page.locator("table")).to_have_count(0)
    least.fill("0")
    least.press("Enter")
    expect(figure).to_be_visible()

    file.set_input_files(tmp_path / "broken.png")
    page.get_by_text("cannot be used: not a photograph of a kind that is read").wait_for()
    expect(figure).to_have_count(0)
    expect(overlay).to_have_count(0)


@needs_gradio
def test_a_drawn_example_is_answered_too(page):
    page.locator(".gallery-item").last.click()
    assert width(page.locator(".overlay img")) == demo.examples()[-1].shape[1]


@needs_gradio
def test_files_of_the_machine_are_not_to_be_had(server):
    address, _, folder = server
    [example, *_] = (folder / "temporary").rglob("*.webp")
    assert servers.answers(f"{address}/gradio_api/file={example}")
    assert not servers.answers(f"{address}/gradio_api/file={ROOT / 'pyproject.toml'}")


@needs_gradio
def test_ctrl_c_ends_it_and_leaves_no_pictures_behind(server):
    """The last of the server's tests."""
    address, process, folder = server
    assert list((folder / "temporary").rglob("*.webp"))
    process.send_signal(signal.SIGINT)
    assert process.wait(timeout=60) == 0
    assert (folder / "log").read_text() == f"{address}/ (Ctrl-C ends it)\n\n"
    assert not list((folder / "temporary").iterdir())
    heard = (folder / "heard").read_text().splitlines()
    assert heard and all("127.0.0.1" in each or "localhost" in each for each in heard)
