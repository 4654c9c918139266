"""A page to try the model on, in the browser.

    python -m pipeline demo

Drop a picture on it: everybody's joints are drawn over the picture, a table says how sure of each
person the model is, and what it saw of the person chosen is shown as heatmaps. Nothing is sent
anywhere; what was dropped is deleted when Ctrl-C ends the page.
"""

import argparse
import os
import signal
import socket
import time
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, NamedTuple

import cv2
import numpy as np

from pipeline.commands.options import add_weights
from pipeline.data.crops import cut_out
from pipeline.drawing.overlay import draw_people
from pipeline.errors import PipelineError
from pipeline.figures import drawn_people
from pipeline.finding.views import resized, scaled
from pipeline.photographs.estimator import PoseEstimator
from pipeline.photographs.people import Person
from pipeline.reading import SUFFIXES, PhotographError, read
from pipeline.skeleton import JOINTS

if TYPE_CHECKING:  # imported where it is used: the command explains itself without it
    import gradio

HOST, PORT = "127.0.0.1", 7860
TITLE = "Adversarial PoseNet"
WELCOME = f"""# {TITLE}
Everybody's joints in a picture, which goes to the machine that runs the model, and nowhere else."""
ASKED = "Drop a picture, or choose one of the drawn ones."
COLUMNS = ("No.", "Score", "Found", "Hidden", "Outside")
EXPLAINED = f"Of {len(JOINTS)} joints: those found, of these the hidden, those outside the picture"
JOINTS_ALONE = (
    "This exported model gives the joints alone: the heatmaps need the .safetensors weights."
)
EVERYBODY = 0.0  # the least score at which whoever may be a person is told of
LARGEST = 1600  # px, the longer side of a picture that is sent to the browser
DRAWN = ((26,), (27,), (36, 5, 29))  # examples: who is drawn, and beside whom
HEIGHT = 240  # px, of an example
# Labels and buttons lie above pictures, not on them; a figure is scrolled where the page, of a
# telephone, is so narrow that it could not be read.
STYLE = """
.overlay img, .figure img { padding-top: 2rem; }
.overlay img { max-height: 80vh; }
.figure .image-frame { justify-content: safe center; overflow-x: auto; }
.figure img { min-width: 40rem; }
"""


class Looked(NamedTuple):
    """A picture (H, W, 3) uint8 and whoever may be in it, of whatever score, the surest first."""

    image: np.ndarray
    people: list[Person]

    def shown(self, least: float) -> list[Person]:
        """Those who score `least` or more."""
        return [person for person in self.people if person.score >= least]


class Answer(NamedTuple):
    """What the page tells of a picture."""

    said: str  # a sentence
    overlay: np.ndarray  # (h, w, 3) uint8
    table: list[list[int | str]]  # a row a person, as of COLUMNS


def look(estimator: PoseEstimator, image: np.ndarray) -> Looked:
    """Whoever may be in a picture (H, W, 3) uint8. The model looks once, whatever is shown."""
    [people] = estimator.find([image], least=EVERYBODY)
    return Looked(image, people)


def answer(looked: Looked, least: float) -> Answer:
    """What is told of those who score `least` or more."""
    people = looked.shown(least)
    return Answer(
        said=said(looked, least),
        overlay=fitted(draw_people(looked.image, people)),
        table=[row(number, person) for number, person in enumerate(people, 1)],
    )


def said(looked: Looked, least: float) -> str:
    """How many people are in the picture, in words."""
    count = len(looked.shown(least))
    if count:
        return "One person." if count == 1 else f"{count} people."
    if looked.people:
        surest = looked.people[0].score
        return f"Nobody scores {least:.2f} or more; the surest candidate scores {surest:.2f}."
    return "Nobody is in this picture."


def row(number: int, person: Person) -> list[int | str]:
    """A person's values of COLUMNS."""
    found = len(JOINTS) - int(person.outside.sum())
    hidden = int(person.hidden.sum())
    return [number, f"{person.score:.2f}", found, hidden, len(JOINTS) - found]


def fitted(picture: np.ndarray) -> np.ndarray:
    """A picture (H, W, 3) uint8, its longer side no longer than LARGEST."""
    height, width = picture.shape[:2]
    if max(height, width) <= LARGEST:
        return picture
    return resized(picture, scaled((width, height), LARGEST))


def has_heatmaps(estimator: PoseEstimator) -> bool:
    """Whether the model gives heatmaps: an exported one gives the joints alone."""
    return hasattr(estimator.network, "heatmaps")


def heatmaps(estimator: PoseEstimator, image: np.ndarray, person: Person) -> np.ndarray | None:
    """A figure (h, w, 3) uint8: the heatmaps of somebody in a picture (H, W, 3) uint8, over the
    crop.

    Those of the pose and, where the model has that task, of hidden joints. None of a model that
    gives the joints alone.
    """
    if not has_heatmaps(estimator):
        return None
    # Imported here: who has an exported model need have neither PyTorch nor Matplotlib.
    import torch

    from pipeline.drawing import people as drawing
    from pipeline.drawing.style import pixels
    from pipeline.networks.estimator import CropEstimator, decode, inputs

    network, first = estimator.network, np.arange(1)
    assert isinstance(network, CropEstimator)
    crops = cut_out([image], person.box.corners[None], network.geometry)
    with torch.inference_mode():
        maps = network.heatmaps(inputs(crops, first).to(network.device)).float()
        joints, _, _ = decode(maps, network.geometry, network.geometry.reach)
    pose, *occlusion = (each.cpu().numpy() for each in maps.split(len(JOINTS), dim=1))
    hidden = occlusion[0] if occlusion else None
    return pixels(drawing.heatmaps(crops.inputs(first), joints.cpu().numpy(), pose, hidden))


def examples() -> list[np.ndarray]:
    """Pictures (HEIGHT, w, 3) uint8 of drawn people, alone and side by side."""
    return [np.hstack([_drawn(index) for index in beside]) for beside in DRAWN]


def _drawn(index: int) -> np.ndarray:
    picture, _, _ = drawn_people.draw(0, index)
    width = round(picture.width * HEIGHT / picture.height)
    return cv2.resize(np.asarray(picture), (width, HEIGHT), interpolation=cv2.INTER_CUBIC)


def page(estimator: PoseEstimator) -> "gradio.Blocks":
    """The page, which `serve` shows."""
    import gradio

    drawn = examples()

    def opened(content: bytes, least: float) -> list[Any]:
        """The place for a file, empty again, and `seen` of what was dropped there."""
        try:
            return [None, *seen(read(content), least)]
        except PhotographError as error:
            sentence = f"This picture cannot be used: {error}."
            return [None, None, sentence, None, *[gradio.update(visible=False)] * 4]

    def picked(index: int, least: float) -> list[Any]:
        """`seen` of an example."""
        return seen(drawn[index], least)

    def seen(image: np.ndarray, least: float) -> list[Any]:
        """What is kept of a picture, and `told` of it."""
        looked = look(estimator, image)
        return [looked, *told(looked, least, 1)]

    def told(looked: Looked | None, least: float, number: int | None) -> list[Any]:
        """What is shown of a picture: values of `results`."""
        if looked is None:
            return [gradio.skip()] * len(results)
        found, count = answer(looked, least), len(looked.shown(least))
        number = min(number or 1, count) or None
        return [
            found.said,
            found.overlay,
            gradio.update(value=found.table, visible=count > 0),
            gradio.update(
                choices=list(range(1, count + 1)),
                value=number,
                visible=count > 1 and has_heatmaps(estimator),
            ),
            *chosen(looked, least, number),
        ]

    def chosen(looked: Looked, least: float, number: int | None) -> list[Any]:
        """The figure of a person, or why there is none."""
        if number is None:
            return [gradio.update(visible=False)] * 2
        figure = heatmaps(estimator, looked.image, looked.shown(least)[number - 1])
        alone = figure is None
        return [gradio.update(value=figure, visible=not alone), gradio.update(visible=alone)]

    with gradio.Blocks(title=TITLE, analytics_enabled=False) as blocks:
        gradio.Markdown(WELCOME)
        kept = gradio.State()
        with gradio.Row():
            with gradio.Column(scale=1, min_width=300):
                file = gradio.File(
                    label="A picture", type="binary", file_types=["image", *SUFFIXES], height=150
                )
                least = gradio.Slider(
                    0,
                    1,
                    value=round(estimator.judgement.least, 2),
                    step=0.01,
                    label="Least score",
                    info="Whoever scores less is left out",
                )
                samples = gradio.Dataset(
                    label="Drawn people",
                    components=[gradio.Image(render=False)],
                    samples=[[picture] for picture in drawn],
                    type="index",
                )
            with gradio.Column(scale=2, min_width=300):
                sentence = gradio.Markdown(ASKED)
                overlay = gradio.Image(
                    label="The joints; a hidden one is white",
                    alt_text="The picture with everybody's joints",
                    format="jpeg",
                    interactive=False,
                    buttons=["download", "fullscreen"],
                    elem_classes="overlay",
                )
                table = gradio.Dataframe(
                    headers=list(COLUMNS),
                    label=EXPLAINED,
                    interactive=False,
                    visible=False,
                    buttons=[],
                )
                number = gradio.Radio([], label="Heatmaps of person", visible=False)
                figure = gradio.Image(
                    label="What the model saw",
                    alt_text="Heatmaps of the person",
                    format="png",
                    interactive=False,
                    visible=False,
                    buttons=["download", "fullscreen"],
                    elem_classes="figure",
                )
                alone = gradio.Markdown(JOINTS_ALONE, visible=False)
        results = [sentence, overlay, table, number, figure, alone]
        file.upload(opened, [file, least], [file, kept, *results])
        samples.click(picked, [samples, least], [kept, *results])
        least.change(told, [kept, least, number], results)
        number.input(chosen, [kept, least, number], [figure, alone])
    return blocks


def serve(blocks: "gradio.Blocks", host: str, port: int) -> None:
    """Show a page until Ctrl-C."""
    from gradio import themes

    # It asks itself whether it answers, which is no question for a proxy.
    others = os.environ.get("no_proxy") or os.environ.get("NO_PROXY")
    os.environ["no_proxy"] = ",".join(filter(None, ["localhost", "127.0.0.1", host, others]))
    fonts = themes.Font("system-ui"), themes.Font("sans-serif")  # none that would be fetched
    _, address, _ = blocks.launch(
        server_name=host,
        server_port=port,
        theme=themes.Default(font=fonts, font_mono=fonts),
        css=STYLE,
        quiet=True,
        share=False,
        ssr_mode=False,
        mcp_server=False,
        run_history=False,
        enable_monitoring=False,
        footer_links=[],
        prevent_thread_lock=True,
    )
    print(f"{address} (Ctrl-C ends it)", flush=True)
    # Whoever ends it in another way wants the pictures deleted too.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        while True:  # a signal may reach another thread: this one hears of it when it wakes
            time.sleep(0.5)
    except KeyboardInterrupt:
        print()
    finally:
        blocks.close(verbose=False)


def check_free(host: str, port: int) -> None:
    """Raises PipelineError where nothing can be served: before anybody waits for the weights."""
    try:
        socket.create_server((host, port)).close()
    except (OSError, OverflowError) as error:
        reason = str(error).partition(" (")[0]
        raise PipelineError(f"{host}, port {port}: {reason}; --port names another") from None


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What the command is told."""
    add_weights(parser, ".safetensors, or .onnx as `export` writes it: then without heatmaps")
    parser.add_argument("--host", default=HOST, help=f"address to serve on; default: {HOST}")
    parser.add_argument("--port", type=int, default=PORT, help=f"default: {PORT}")


def run(options: argparse.Namespace) -> int:
    """Exit status 0, once Ctrl-C has ended it."""
    check_free(options.host, options.port)
    estimator = PoseEstimator.load(options.weights)
    with TemporaryDirectory(prefix="adversarial-posenet-") as folder:
        os.environ["GRADIO_TEMP_DIR"] = folder  # where it puts what was dropped
        serve(page(estimator), options.host, options.port)
    return 0
