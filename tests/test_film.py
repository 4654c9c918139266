"""People in films: numbered, smoothed, and films read and written; drawn people, who move as is
known."""

import shutil
import signal
import subprocess
import sys
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest
from PIL import Image
from playwright.sync_api import Page

import untrained
from conftest import ROOT
from pipeline import paths
from pipeline.commands.film import predict_film
from pipeline.errors import PipelineError
from pipeline.figures.body import draw_person
from pipeline.figures.canvas import FINE, SCENE, Canvas
from pipeline.figures.poses import sample_look, sample_pose, skeleton
from pipeline.film.reading import ASSUMED, FILMS, FilmError, opened
from pipeline.film.smoothing import Motion
from pipeline.film.tracking import PATIENCE, Track, Tracks, pairs
from pipeline.film.writing import written_film
from pipeline.finding.boxes import OVERLAP, overlaps
from pipeline.photographs.estimator import PoseEstimator
from pipeline.photographs.people import Box, Person
from pipeline.skeleton import JOINTS

RATE, SIZE, FRAMES = 25.0, (360, 200), 100
GREY = (150, 155, 150)
JITTER = 0.01  # of a person's side: standard deviation of a joint's place, each way


@dataclass(frozen=True)
class Actor:
    """Somebody who is drawn once and moved over a plain background."""

    picture: np.ndarray  # (h, w, 3) uint8
    drawn: np.ndarray  # (h, w, 1), in [0, 1]: the share of a pixel that the person covers
    joints: np.ndarray  # (14, 2), px of the picture
    way: np.ndarray  # (FRAMES, 2) int, the picture's first pixel in the film; -1: not there

    @classmethod
    def of(cls, seed: int, way: np.ndarray, height: int = 120) -> "Actor":
        rng = np.random.default_rng(seed)
        look, pose = sample_look(rng, GREY), sample_pose(rng)
        joints = skeleton(look, pose) * height
        joints += complex(20 - joints.real.min(), 20 - joints.imag.min())
        width, height_px = int(np.ptp(joints.real)) + 41, int(np.ptp(joints.imag)) + 41
        canvas = Canvas(Image.new("RGB", (width * FINE, height_px * FINE), GREY), -1j)
        draw_person(canvas, joints, look, pose, height)
        parts = canvas.parts.point(lambda part: 255 * (part != SCENE))
        return cls(
            np.asarray(canvas.image.reduce(FINE)),
            np.asarray(parts.reduce(FINE))[..., None] / 255,
            np.stack([joints.real, joints.imag], axis=-1),
            way,
        )

    def there(self, frame: int) -> bool:
        return bool((self.way[frame] >= 0).all())

    def points(self, frame: int) -> np.ndarray:
        """The joints (14, 2), px of the film."""
        return self.joints + self.way[frame]

    def draw(self, frame: int, image: np.ndarray) -> None:
        (x, y), (height, width) = self.way[frame], self.drawn.shape[:2]
        under = image[y : y + height, x : x + width]
        seen = self.drawn[: under.shape[0], : under.shape[1]]
        person = self.picture[: under.shape[0], : under.shape[1]]
        under[:] = np.rint(under * (1 - seen) + person * seen)


def ways() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Two people who cross, of whom the second is away in the frames 80 to 84, and one who appears
    in frame 60."""
    time = np.arange(FRAMES)[:, None]
    first = np.rint([5, 30] + time * [2.0, 0.0])
    second = np.rint([205, 30] - time * [2.0, 0.0])
    second[80:85] = -1
    third = np.rint([110, 30] + 3 * np.sin(time / 8) * [1.0, 0.0])
    third[:60] = -1
    return first.astype(int), second.astype(int), third.astype(int)


@pytest.fixture(scope="module")
def actors() -> list[Actor]:
    return [Actor.of(seed, way) for seed, way in zip((33, 6, 27), ways(), strict=True)]


@pytest.fixture(scope="module")
def frames(actors) -> list[np.ndarray]:
    images = []
    for frame in range(FRAMES):
        image = np.full((SIZE[1], SIZE[0], 3), GREY, np.uint8)
        for actor in actors:
            if actor.there(frame):
                actor.draw(frame, image)
        images.append(image)
    return images


@pytest.fixture(scope="module")
def film(frames, tmp_path_factory) -> Path:
    """The actors' film, as another program would write it."""
    path = tmp_path_factory.mktemp("film") / "people.avi"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), RATE, SIZE)
    for image in frames:
        writer.write(cv2.cvtColor(image, cv2.COLOR_RGB2BGR))
    writer.release()
    return path


def box_of(points: np.ndarray) -> np.ndarray:
    """First and last corner (2, 2)."""
    return np.stack([points.min(axis=0), points.max(axis=0)])


class Witness:
    """Answers for the trained networks: knows the actors, and trembles as a network does. Of two
    who overlap by more than the finder's OVERLAP it sees one, as the finder does; the order is any.
    """

    def __init__(self, actors: list[Actor], jitter: float = JITTER):
        self.actors, self.jitter, self.frame = actors, jitter, 0
        self.rng = np.random.default_rng(0)
        self.asked: list[float | None] = []
        self.places: list[dict[int, np.ndarray]] = []  # what was said, by actor, a frame each

    def find(
        self, images: list[np.ndarray], boxes: None = None, least: float | None = None
    ) -> list[list[Person]]:
        assert 1 <= len(images) <= 8
        self.asked.append(least)
        return [self.look(image) for image in images]

    def look(self, image: np.ndarray) -> list[Person]:
        frame, self.frame = self.frame, self.frame + 1
        people: list[Person] = []
        places: dict[int, np.ndarray] = {}
        for k in self.rng.permutation(len(self.actors)):
            if not self.actors[k].there(frame):
                continue
            points = self.actors[k].points(frame)
            side = np.ptp(points, axis=0).max()
            points = points + self.rng.normal(0, self.jitter * side, points.shape)
            taken = np.array([person.box.corners for person in people]).reshape(-1, 2, 2)
            if (overlaps(box_of(points)[None], taken) > OVERLAP).any():
                continue
            places[k] = points
            scores = self.rng.uniform(0.3, 1, len(JOINTS)).astype(np.float32)
            none = np.zeros(len(JOINTS), bool)
            people.append(
                Person(
                    size=SIZE,
                    box=Box.around(box_of(points)),
                    box_given=False,
                    score=0.9,
                    points=points,
                    scores=scores,
                    hidden=none,
                    outside=none,
                )
            )
        self.places.append(places)
        return people


def read_back(path: Path) -> tuple[list[np.ndarray], float]:
    capture = cv2.VideoCapture(str(path))
    images = []
    while (each := capture.read())[0]:
        images.append(cv2.cvtColor(each[1], cv2.COLOR_BGR2RGB))
    rate = capture.get(cv2.CAP_PROP_FPS)
    capture.release()
    return images, rate


def by_actor(table: pd.DataFrame, actors: list[Actor]) -> dict[int, dict[int, np.ndarray]]:
    """Rows of the table, places (14, 2) by frame, by actor: the one whose joints are nearest."""
    places: dict[int, dict[int, np.ndarray]] = {k: {} for k in range(len(actors))}
    for (frame, _), rows in table.groupby(["frame", "person"]):
        points = rows[["x", "y"]].to_numpy()
        off = [np.abs(points - actor.points(frame)).mean() for actor in actors]
        places[int(np.argmin(off))][frame] = points
    return places


def flicker(places: dict[int, np.ndarray], actor: Actor) -> float:
    """Mean square, px, of how the error changes from a frame to the next."""
    errors = {frame: points - actor.points(frame) for frame, points in places.items()}
    steps = [errors[k] - errors[k - 1] for k in errors if k - 1 in errors]
    return float(np.square(steps).mean())


def error(places: dict[int, np.ndarray], actor: Actor) -> float:
    """Mean square of the distance from the truth, px."""
    off = [points - actor.points(frame) for frame, points in places.items()]
    return float(np.square(off).sum(axis=-1).mean())


@pytest.fixture(scope="module")
def page(browser) -> Page:
    """Of a real browser."""
    return browser.new_page()


@pytest.fixture(scope="module")
def witness(actors) -> Witness:
    return Witness(actors)


@pytest.fixture(scope="module")
def out(film, witness, tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("out")
    assert predict_film(film, out, Path("deeper/people.avi"), witness, 0.3) == FRAMES
    return out / "deeper"


def test_a_film_with_skeletons_has_the_frames_the_size_and_the_rate_of_the_film(
    out, frames, actors, witness
):
    assert sorted(path.name for path in out.iterdir()) == [
        "people.avi.joints.csv",
        "people.avi.overlay.mp4",
    ]
    images, rate = read_back(out / "people.avi.overlay.mp4")
    assert len(images) == FRAMES and rate == RATE
    assert all(image.shape == (200, 360, 3) for image in images)
    assert set(witness.asked) == {0.3}
    for frame in (0, 45, 99):  # the picture below, and colour where joints are
        drawn, plain = images[frame].astype(float), frames[frame]
        assert np.median(np.abs(drawn - plain)) < 4
        spots = [tuple(np.rint(point).astype(int)) for point in actors[0].points(frame)]
        changed = [np.abs(drawn[y, x] - plain[y, x]).max() > 40 for x, y in spots]
        assert np.mean(changed) > 0.6


def test_the_table_has_a_row_a_frame_person_and_joint(out, witness):
    table = pd.read_csv(out / "people.avi.joints.csv")
    assert list(table) == [
        *("frame", "seconds", "person", "person_score"),
        *("joint", "x", "y", "score", "hidden", "outside"),
    ]
    found = [len(places) for places in witness.places]
    assert sum(found) > 210 and len(table) == 14 * sum(found)
    assert table.groupby("frame").size().to_dict() == {k: 14 * n for k, n in enumerate(found) if n}
    assert (table.groupby(["frame", "person"]).joint.apply(tuple) == JOINTS).all()
    np.testing.assert_allclose(table.seconds, table.frame / RATE, atol=5e-4)
    assert table.person_score.eq(0.9).all() and table.score.between(0.3, 1).all()
    assert not table.hidden.any() and not table.outside.any()


def test_people_keep_their_numbers(out, actors):
    """The two who cross, seen as one for some frames; who is away for five; who appears."""
    table = pd.read_csv(out / "people.avi.joints.csv")
    assert sorted(table.person.unique()) == [1, 2, 3]
    numbers = {}
    for number, rows in table.groupby("person"):
        near = {k: len(places) for k, places in by_actor(rows, actors).items()}
        who = max(near, key=near.get)
        assert near[who] >= 0.97 * sum(near.values()), (number, near)
        numbers[who] = number
    assert numbers.keys() == {0, 1, 2} and numbers[2] == 3
    both = table.groupby("frame").person.nunique()
    assert (both[:10] == 2).all() and (both[:60] == 1).sum() >= 3  # where they cross
    away = table[table.frame.between(80, 84)].person.unique()
    assert numbers[1] not in away and numbers[1] in table[table.frame == 85].person.values


def test_joints_flicker_less_and_lag_little(out, actors, witness):
    """Of the jitter's variance between frames a quarter is left of who walks, a tenth of who all
    but stands and who is also nearer to the truth; who walks is within 0.02 sides of it."""
    places = by_actor(pd.read_csv(out / "people.avi.joints.csv"), actors)
    for k, left in enumerate([0.3, 0.3, 0.12]):
        found = {frame: said[k] for frame, said in enumerate(witness.places) if k in said}
        assert flicker(places[k], actors[k]) < left * flicker(found, actors[k])
        side = np.ptp(actors[k].joints, axis=0).max()
        assert error(places[k], actors[k]) < np.square(0.02 * side)
    assert error(places[2], actors[2]) < 0.4 * error(found, actors[2])


class Stops(Witness):
    """Is interrupted, as by Ctrl+C, or fails, in the third batch."""

    def __init__(self, actors: list[Actor], interrupted: bool):
        super().__init__(actors)
        self.interrupted = interrupted

    def find(self, images, boxes=None, least=None):
        if self.frame >= 16:
            if self.interrupted:
                signal.raise_signal(signal.SIGINT)
            raise PipelineError("out of memory")
        return super().find(images, boxes, least)


@pytest.mark.parametrize("interrupted", [True, False])
@pytest.mark.parametrize("earlier", [True, False])
def test_what_stops_in_the_middle_leaves_nothing_or_what_was_there(
    film, actors, tmp_path, interrupted, earlier
):
    names = ["people.avi.joints.csv", "people.avi.overlay.mp4"] if earlier else []
    for name in names:
        (tmp_path / name).write_text("of an earlier call")
    with pytest.raises(KeyboardInterrupt if interrupted else PipelineError):
        predict_film(film, tmp_path, Path("people.avi"), Stops(actors, interrupted), None)
    assert sorted(path.name for path in tmp_path.iterdir()) == names
    assert all((tmp_path / name).read_text() == "of an earlier call" for name in names)


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("empty.mp4", b"", "an empty file"),
        ("text.mp4", b"not a film\n" * 99, "not a film of a kind that is read (.avi, .m4v, "),
        ("noise.mkv", bytes(range(256)) * 99, "not a film of a kind that is read"),
        ("short.mp4", None, "not a film of a kind that is read"),
        ("none.mov", None, "no such file"),
    ],
)
def test_what_is_no_film_is_said_in_one_sentence(tmp_path, film, name, content, said):
    if name == "short.mp4":
        with written_film(tmp_path / "whole.mp4", RATE, (64, 48)) as add:
            add(np.zeros((48, 64, 3), np.uint8))
        content = (tmp_path / "whole.mp4").read_bytes()[:-200]
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(FilmError) as failure:
        predict_film(tmp_path / name, tmp_path / "out", Path(name), Witness([]), None)
    assert said in str(failure.value) and "\n" not in str(failure.value)
    assert not (tmp_path / "out").exists()
    assert Path(name).suffix in FILMS


def test_a_film_without_frames_is_refused(tmp_path):
    code = cv2.VideoWriter.fourcc(*"mp4v")
    cv2.VideoWriter(str(tmp_path / "none.mp4"), code, RATE, (64, 48)).release()
    assert (tmp_path / "none.mp4").stat().st_size
    with pytest.raises(FilmError), opened(tmp_path / "none.mp4"):
        pass


def test_libraries_print_nothing_of_a_broken_film(tmp_path):
    """In a new process, as they read once what they may print."""
    (tmp_path / "text.mp4").write_text("not a film")
    code = f"""
from pathlib import Path
from pipeline.film.reading import FilmError, opened
try:
    with opened(Path({str(tmp_path / "text.mp4")!r})):
        pass
except FilmError as error:
    print(error)
"""
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout.startswith("not a film") and not done.stderr


def test_a_film_that_breaks_off_ends_there(film, tmp_path):
    content = film.read_bytes()
    (tmp_path / "half.avi").write_bytes(content[: len(content) // 2])
    with opened(tmp_path / "half.avi") as half:
        assert half.size == SIZE and half.rate == RATE
        assert 30 < len(list(half.frames)) < 60


def test_frames_are_those_of_the_film(film, frames):
    with opened(film) as whole:
        assert (whole.rate, whole.size, whole.count) == (RATE, SIZE, FRAMES)
        read = list(whole.frames)
    assert len(read) == FRAMES
    for image, expected in zip(read, frames, strict=True):
        assert image.dtype == np.uint8 and image.shape == expected.shape
        assert np.abs(image.astype(float) - expected).mean() < 3  # JPEG; red is not blue


def test_a_film_is_turned_upright(tmp_path):
    """As of one that a phone turned by 90 degrees took: its first corner is the right upper one."""
    image = np.zeros((48, 64, 3), np.uint8)
    image[:12, :16] = 255
    with written_film(tmp_path / "plain.mp4", RATE, (64, 48)) as add:
        add(image)
    content = bytearray((tmp_path / "plain.mp4").read_bytes())
    # The matrix of ISO/IEC 14496-12, 8.3.2, 16.16 and 2.30 fixed-point: (0, 1, 0, -1, 0, 0, ...).
    matrix = content.index(b"tkhd") + 4 + 40
    one, minus, last = (v.to_bytes(4, "big") for v in (1 << 16, 2**32 - (1 << 16), 1 << 30))
    zero = bytes(4)
    content[matrix : matrix + 36] = b"".join((zero, one, zero, minus, zero, zero, zero, zero, last))
    (tmp_path / "turned.mp4").write_bytes(content)
    with opened(tmp_path / "turned.mp4") as film:
        assert film.size == (48, 64)
        [turned] = film.frames
    assert turned.shape == (64, 48, 3)
    assert turned[:12, -8:].mean() > 200 and turned[:, :20].mean() < 20


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        ({cv2.CAP_PROP_FPS: 29.97, cv2.CAP_PROP_FRAME_COUNT: 300.0}, (29.97, 300)),
        ({cv2.CAP_PROP_FRAME_COUNT: 0.0}, (RATE, None)),
        ({cv2.CAP_PROP_FRAME_COUNT: -9.2e18}, (RATE, None)),
        ({cv2.CAP_PROP_FRAME_COUNT: float("nan")}, (RATE, None)),
        ({cv2.CAP_PROP_FPS: 0.0}, (RATE, FRAMES)),  # as the frames' times say
        ({cv2.CAP_PROP_FPS: 1000.0, cv2.CAP_PROP_FRAME_COUNT: 1990.0}, (RATE, FRAMES)),
        ({cv2.CAP_PROP_FPS: float("nan"), cv2.CAP_PROP_POS_MSEC: 0.0}, (ASSUMED, FRAMES)),
    ],
)
def test_rates_and_counts_that_cannot_be_are_not_believed(film, monkeypatch, said, expected):
    """OpenCV, but for what it says of this film."""

    class Saying:
        opens = cv2.VideoCapture

        def __init__(self, *words):
            self.capture = self.opens(*words)

        def get(self, which):
            return said.get(which, self.capture.get(which))

        def __getattr__(self, name):
            return getattr(self.capture, name)

    monkeypatch.setattr(cv2, "VideoCapture", Saying)
    with opened(film) as whole:
        assert (whole.rate, whole.count) == (pytest.approx(expected[0]), expected[1])
        assert len(list(whole.frames)) == FRAMES


RECORD = """async () => {
  const canvas = document.createElement('canvas');
  [canvas.width, canvas.height] = [64, 48];
  const paper = canvas.getContext('2d'), parts = [];
  const recorder = new MediaRecorder(canvas.captureStream(), {mimeType: 'video/webm'});
  recorder.ondataavailable = event => parts.push(event.data);
  recorder.start();
  for (let k = 0; k < 30; k++) {
    paper.fillStyle = `rgb(${8 * k}, 60, 120)`;
    paper.fillRect(0, 0, 64, 48);
    await new Promise(after => setTimeout(after, 50));
  }
  recorder.stop();
  await new Promise(after => recorder.onstop = after);
  return Array.from(new Uint8Array(await new Blob(parts).arrayBuffer()));
}"""


def test_a_recording_of_a_browser_has_the_rate_of_its_frames(page, tmp_path):
    """Which mostly says of itself a thousand frames a second, as its clock has."""
    page.goto("about:blank")
    (tmp_path / "recorded.webm").write_bytes(bytes(page.evaluate(RECORD)))
    with opened(tmp_path / "recorded.webm") as recorded:
        assert recorded.size == (64, 48)
        assert 1 < recorded.rate < 25  # 20 where the machine is idle
        images = list(recorded.frames)
    assert 5 <= len(images) <= 30 and abs(len(images) - recorded.count) <= 3
    # The browser's colours are those of another standard, which the file does not name.
    np.testing.assert_allclose(images[-1].mean(axis=(0, 1)), [232, 60, 120], atol=40)


@pytest.mark.parametrize("rate", [10.0, 23.976, 29.97, 60.0])
@pytest.mark.parametrize("size", [(64, 48), (63, 49)])
def test_a_film_is_written_at_its_rate_and_in_its_colours(tmp_path, rate, size):
    path = tmp_path / "new.mp4"
    shades = np.linspace(30, 220, 12).astype(np.uint8)
    with written_film(path, rate, size) as add:
        for shade in shades:
            assert not path.exists()
            add(np.broadcast_to(np.array([shade, 60, 120], np.uint8), (size[1], size[0], 3)))
    images, found = read_back(path)
    assert len(images) == len(shades) and abs(found - rate) < 0.01
    for image, shade in zip(images, shades, strict=True):
        assert image.shape == (size[1] + size[1] % 2, size[0] + size[0] % 2, 3)  # even sides
        np.testing.assert_allclose(
            image.reshape(-1, 3), [[shade, 60, 120]] * (image.size // 3), atol=9
        )
    assert [each.name for each in tmp_path.iterdir()] == ["new.mp4"]


def test_a_frame_of_another_size_is_refused(tmp_path):
    with (
        pytest.raises(PipelineError, match="expected 48 x 64"),
        written_film(tmp_path / "new.mp4", RATE, (64, 48)) as add,
    ):
        add(np.zeros((64, 48, 3), np.uint8))
    assert not list(tmp_path.iterdir())


@pytest.mark.skipif(sys.platform == "win32", reason="no limit of a file's size there")
def test_a_full_disk_is_said_and_leaves_nothing(tmp_path):
    code = f"""
import resource, signal
import numpy as np
from pathlib import Path
from pipeline.errors import PipelineError
from pipeline.film.writing import written_film
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))
rng = np.random.default_rng(0)
try:
    with written_film(Path({str(tmp_path / "new.mp4")!r}), 25, (64, 48)) as add:
        for _ in range(60):
            add(rng.integers(0, 256, (48, 64, 3), dtype=np.uint8))
except PipelineError as error:
    print(error)
"""
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert "of 60 frames could be written" in done.stdout, done.stderr
    assert not list(tmp_path.iterdir())


# Tracking, by hand-worked values


def boxes(*places: tuple[float, float], side: float = 40) -> np.ndarray:
    """Squares around places (x, y)."""
    middles = np.array(places, float).reshape(-1, 1, 2)
    return middles + np.array([[-side / 2], [side / 2]])


def numbers_of(looks: list[np.ndarray], rate: float = 20) -> list[list[int]]:
    tracks, said = Tracks(), []
    for frame, each in enumerate(looks):
        tracks, numbers = tracks.followed(frame, each, rate)
        said.append(numbers)
    return said


def test_the_best_pair_is_first_and_each_is_paired_once():
    likeness = np.array([[0.9, 0.8, 0.0], [0.85, 0.3, 0.0], [0.1, 0.19, 0.05]])
    assert list(pairs(likeness)) == [(0, 0), (1, 1)]
    assert list(pairs(np.empty((0, 3)))) == [] and list(pairs(np.empty((3, 0)))) == []


def test_numbers_start_at_one_and_follow_the_boxes_whatever_their_order():
    looks = [boxes((50, 50), (200, 50)), boxes((202, 50), (52, 50)), boxes((54, 50), (204, 50))]
    assert numbers_of(looks) == [[1, 2], [2, 1], [1, 2]]
    assert numbers_of([boxes(), boxes(), boxes((9, 9))]) == [[], [], [1]]


def test_who_comes_back_in_time_keeps_the_number_and_later_gets_a_new_one():
    for away, number in ((1, 1), (10, 1), (11, 2)):  # of 20 frames a second, 10 are half a second
        looks = [boxes((50, 50))] + [boxes()] * away + [boxes((52, 50))]
        assert numbers_of(looks)[-1] == [number], away
    assert PATIENCE == 0.5


def test_who_appears_elsewhere_is_somebody_else():
    assert numbers_of([boxes((50, 50)), boxes((300, 50))]) == [[1], [2]]


def test_two_who_cross_keep_their_numbers_though_one_is_not_seen_there():
    looks, order = [], []
    for frame in range(60):
        left, right = 50 + 3 * frame, 227 - 3 * frame
        if abs(left - right) < 10:  # at an overlap above 0.6 the finder sees one
            looks.append(boxes((left, 50)))
        elif frame % 2:
            looks.append(boxes((left, 50), (right, 50)))
        else:
            looks.append(boxes((right, 50), (left, 50)))
        order.append(frame % 2)
    said = numbers_of(looks)
    assert {len(each) for each in said} == {1, 2}
    kept = [each if odd else each[::-1] for each, odd in zip(said, order, strict=True)]
    first = kept[0]
    assert all(each == first for each in kept if len(each) == 2)


def test_a_box_is_expected_where_its_motion_takes_it():
    track = Track(1, 0, boxes((50, 50))[0])
    for frame in range(1, 40):
        track = track.seen(frame, boxes((50 + 4 * frame, 50 - frame))[0])
    np.testing.assert_allclose(track.motion, [4, -1], atol=1e-4)
    np.testing.assert_allclose(track.expected(45), boxes((230, 5))[0], atol=1e-2)
    # 0.3 of the first step, hand-worked; a step of two frames is half as fast.
    once = Track(1, 0, boxes((50, 50))[0]).seen(2, boxes((54, 50))[0])
    np.testing.assert_allclose(once.motion, [0.6, 0])


# Smoothing, by hand-worked values

ALL = np.ones(len(JOINTS), bool)


def smoothed(places: np.ndarray, seen=None, side: float = 100, rate: float = 25) -> np.ndarray:
    """What becomes of all joints' places (T, 2) or (T, 14, 2): (T, 14, 2)."""
    points = np.broadcast_to(places.reshape(len(places), -1, 2), (len(places), len(JOINTS), 2))
    motion, smooth = Motion.unknown(), []
    for frame, each in enumerate(points):
        motion = motion.followed(frame, each, ALL if seen is None else seen[frame], side, rate)
        smooth.append(motion.points)
    return np.array(smooth)


def across(x: np.ndarray) -> np.ndarray:
    return np.stack([x, np.zeros_like(x)], axis=-1).astype(float)


def test_what_rests_stays_exactly():
    rest = np.tile(np.array([123.4, 56.7]), (30, 1))
    np.testing.assert_array_equal(smoothed(rest)[:, 0], rest)


def test_the_first_steps_after_a_jump_are_those_worked_by_hand():
    # The step is 10 / 100 / 0.04 = 2.5 sides/s; its weight 1 / (1 + 1 / (2 pi 2 0.04)) = 0.334511;
    # the speed 0.836278, so the cutoff 1 + 8 * 0.836278 = 7.690223 and its weight 0.659025. Then
    # the speed 0.836278 * 0.665489 = 0.556534, the cutoff 5.452269 and its weight 0.578113, so
    # 6.59025 + 0.578113 * 3.40975 = 8.56147.
    smooth = smoothed(across(np.array([0, 10, 10])))[:, 0, 0]
    np.testing.assert_allclose(smooth, [0, 6.59025, 8.56147], atol=1e-4)


def test_a_step_converges_without_overshoot():
    smooth = smoothed(across(np.repeat([0.0, 10.0], [5, 50])))[:, 0, 0]
    assert (np.diff(smooth) >= 0).all() and smooth.max() <= 10
    assert smooth[10] > 9.5 and smooth[-1] > 9.99  # a quarter of a second, two seconds


@pytest.mark.parametrize(("rate", "left", "between"), [(25, 0.25, 0.1), (60, 0.13, 0.03)])
def test_jitter_falls_by_the_factors_that_are_stated(rate, left, between):
    noise = np.random.default_rng(0).normal(0, 1, (40 * rate, len(JOINTS), 2))  # 0.01 sides
    smooth = smoothed(noise, rate=rate)[rate:]
    assert smooth.var() < left * noise.var()
    assert np.diff(smooth, axis=0).var() < between * np.diff(noise, axis=0).var()


@pytest.mark.parametrize("rate", [10, 25, 60])
def test_the_lag_of_what_moves_steadily_is_bounded(rate):
    for speed in (0.2, 1, 5):  # sides a second
        way = across(np.arange(4 * rate) / rate * speed * 100)
        lag = (way[:, 0] - smoothed(way, rate=rate)[:, 0, 0])[-1]
        assert 0 < lag < 100 / (2 * np.pi * 8)


def test_a_limb_that_swings_is_followed():
    """A quarter of the side to and fro each second: within 0.04 sides."""
    way = across(25 * np.sin(2 * np.pi * np.arange(200) / 25))
    assert np.abs(way[:, 0] - smoothed(way)[:, 0, 0])[25:].max() < 4


def test_the_settings_are_independent_of_the_size():
    way = np.random.default_rng(0).normal(0, 2, (50, len(JOINTS), 2)).cumsum(axis=0)
    np.testing.assert_allclose(smoothed(way * 7, side=700), smoothed(way) * 7)


def test_a_joint_that_was_outside_starts_anew_elsewhere_and_goes_on_near_by():
    seen = np.ones((9, len(JOINTS)), bool)
    seen[4:6, 0] = False
    x = np.zeros((9, len(JOINTS)))
    x[4:6] = 500  # a guess, far off
    for place, expected in ((60.0, 60.0), (4.0, None)):
        x[6:] = place
        x[:, 1:] = 0
        smooth = smoothed(np.stack([x, np.zeros_like(x)], axis=-1), seen)[:, 0, 0]
        assert (smooth[:6] == 0).all()  # the guess moved nothing
        if expected is None:
            assert 0 < smooth[6] < 4 and smooth[6] < smooth[7] < 4
        else:
            assert (smooth[6:] == expected).all()
    assert (smoothed(np.zeros((9, len(JOINTS), 2)), seen) == 0).all()


# With real networks


def whole_estimator(trained: bool, folder: Path) -> PoseEstimator:
    if not trained:
        return PoseEstimator.load(untrained.write(folder), "fp32")
    for path in (paths.WEIGHTS, paths.FINDER, paths.JUDGEMENT):
        if not (ROOT / path).is_file():
            pytest.skip(f"no {path}: `dvc pull` brings the trained weights")
    return PoseEstimator.load(ROOT / paths.WEIGHTS)


@pytest.mark.parametrize("trained", [False, True])
def test_a_film_by_real_networks(film, tmp_path, trained):
    """Whoever they see of drawn people: the film and the table agree."""
    estimator = whole_estimator(trained, tmp_path)
    with opened(film) as whole, written_film(tmp_path / "few.mp4", RATE, SIZE) as add:
        for image in islice(whole.frames, 12):
            add(image)
    out = tmp_path / "out"
    assert predict_film(tmp_path / "few.mp4", out, Path("few.mp4"), estimator, None) == 12
    images, _ = read_back(out / "few.mp4.overlay.mp4")
    table = pd.read_csv(out / "few.mp4.joints.csv")
    assert len(images) == 12
    assert len(table) or trained
    assert table.frame.between(0, 11).all() and (table.person >= 1).all()
    assert (table.groupby(["frame", "person"]).joint.apply(tuple) == JOINTS).all()
    assert table.person_score.between(0, 1).all() and table.score.between(0, 1).all()


def test_a_browser_plays_the_film(out, page, tmp_path):
    shutil.copy(out / "people.avi.overlay.mp4", tmp_path / "film.mp4")
    (tmp_path / "page.html").write_text('<video src="film.mp4" muted autoplay></video>')
    page.goto((tmp_path / "page.html").as_uri())
    playing = "document.querySelector('video').currentTime > 0.5"
    page.wait_for_function(playing, timeout=15_000)
    video = page.eval_on_selector("video", "v => [v.videoWidth, v.videoHeight, v.duration]")
    assert video == [*SIZE, FRAMES / RATE]
