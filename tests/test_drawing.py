import io
from itertools import pairwise

import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure
from matplotlib.text import Text

from pipeline.drawing import curves, palette
from pipeline.drawing import people as figures
from pipeline.drawing.overlay import COLOURS, WHITE, colours_of, draw_people
from pipeline.drawing.style import pixels
from pipeline.photographs.people import Box, Person
from pipeline.skeleton import EDGES, SIDES

SIZE, JOINTS = 48, 14
FLIP = [5, 4, 3, 2, 1, 0, 11, 10, 9, 8, 7, 6, 12, 13]


@pytest.fixture
def rng():
    return np.random.default_rng(0)


@pytest.fixture
def people(rng):
    """Three grey photographs and poses; the second has joints without annotation, the third has
    none at all."""
    images = np.full((3, SIZE, SIZE, 3), 128, np.uint8)
    truth = rng.uniform(5, SIZE - 5, (3, JOINTS, 2))
    truth[1, 4:9] = np.nan
    truth[2] = np.nan
    return images, truth, rng.uniform(5, SIZE - 5, (3, JOINTS, 2))


@pytest.fixture
def table(rng):
    """A training of 100 points, the validation measured at every tenth."""
    steps = np.arange(50, 5001, 50)
    names = [name for _, panel in curves.PANELS for name in panel]
    made = pd.DataFrame({"step": steps} | {name: rng.random(len(steps)) for name in names})
    made.loc[made["step"] % 500 != 0, [name for name in names if name.startswith("val/")]] = np.nan
    return made


def has(picture: np.ndarray, colour: str) -> bool:
    """Whether at least 20 pixels are of a colour, but for rounding."""
    wanted = np.array([int(colour[k : k + 2], 16) for k in (1, 3, 5)])
    return (np.abs(picture.astype(int) - wanted).max(-1) <= 3).sum() >= 20


def panels(figure: Figure) -> list[str]:
    return [axis.get_title(loc="left") for axis in figure.axes if axis.get_visible()]


def test_every_limb_joins_one_side_and_flips_onto_a_limb():
    assert len(EDGES) == 14 and len(SIDES) == JOINTS
    limbs = {frozenset(edge[:2]): edge[2] for edge in EDGES}
    other = {"right": "left", "left": "right", "trunk": "trunk"}
    for limb, side in limbs.items():
        assert limbs[frozenset(FLIP[joint] for joint in limb)] == other[side]
        if side != "trunk":
            assert {SIDES[joint] for joint in limb} == {side}
    assert set().union(*limbs) == set(range(JOINTS))


def test_skeletons_show_each_side_in_its_colour(people):
    images, truth, predicted = people
    figure = figures.skeletons(
        images, truth, predicted, np.isfinite(truth).all(-1), ["PCK 0.86", "b", "c"]
    )
    picture = pixels(figure)
    assert all(has(picture, colour) for colour in palette.SIDE_COLOURS.values())
    assert [axis.get_title() for axis in figure.axes] == ["PCK 0.86", "b", "c"]
    assert len(figure.legends[0].get_texts()) == 4


def test_skeletons_draw_what_is_annotated_and_no_more(people):
    images, truth, predicted = people
    annotated = np.isfinite(truth).all(-1)
    annotated[0, 0] = False
    figure = figures.skeletons(images, truth, predicted, annotated)

    def circles(axis) -> np.ndarray:
        (line,) = [line for line in axis.lines if line.get_marker() == "o"]
        return line.get_xydata()

    first, second, third = (circles(axis) for axis in figure.axes)
    np.testing.assert_array_equal(first[1:], truth[0, 1:])
    assert np.isnan(first[0]).all() and np.isnan(third).all()
    np.testing.assert_array_equal(np.isfinite(second).all(-1), annotated[1])


def test_a_joint_beyond_the_edge_does_not_shrink_the_photograph(people):
    images, truth, predicted = people
    predicted[0, 0] = (-500, 900)
    figure = figures.skeletons(images, truth, predicted, np.isfinite(truth).all(-1))
    pixels(figure)
    assert figure.axes[0].get_xlim() == (-0.5, SIZE - 0.5)
    assert figure.axes[0].get_ylim() == (SIZE - 0.5, -0.5)


@pytest.mark.parametrize(
    ("count", "columns", "shape"), [(1, 5, (1, 1)), (3, 2, (2, 2)), (3, 5, (1, 3))]
)
def test_the_grid_has_room_for_all_and_hides_the_rest(people, count, columns, shape):
    images, truth, predicted = (part[:count] for part in people)
    figure = figures.skeletons(
        images, truth, predicted, np.isfinite(truth).all(-1), columns=columns
    )
    assert len(figure.axes) == shape[0] * shape[1]
    assert sum(axis.get_visible() for axis in figure.axes) == count


def test_heatmaps_are_beside_the_joints_that_were_decoded_from_them(people):
    images, truth, joints = people
    pose = np.zeros((3, JOINTS, 12, 12))
    pose[:, :, 3, 8] = 1.0
    figure = figures.heatmaps(images, joints, pose, pose * 0.5, truth)
    assert [axis.get_title() for axis in figure.axes[:3]] == [
        "Joints",
        "Pose heatmaps",
        "Occlusion heatmaps",
    ]
    np.testing.assert_array_equal(figure.axes[0].collections[0].get_offsets(), joints[0])
    pixels(figure)
    overlay = figure.axes[1].images[1]
    assert overlay.get_array().max() == 1 and figure.axes[2].images[1].get_array().max() == 0.5
    assert tuple(overlay.get_extent()) == (-0.5, SIZE - 0.5, SIZE - 0.5, -0.5)
    assert figure.axes[1].get_xlim() == (-0.5, SIZE - 0.5)


def test_heatmaps_change_the_picture_where_they_are_high_only(people):
    images, _, joints = people
    empty = np.zeros((3, JOINTS, 12, 12))
    full = empty.copy()
    full[:, :, 3, 8] = 1.0
    before, after = (
        pixels(figures.heatmaps(images, joints, pose, empty)) for pose in (empty, full)
    )
    changed = (before != after).any(-1).mean()
    assert 0.005 < changed < 0.2


def test_a_generator_without_occlusion_has_no_such_column(people, rng):
    images, truth, joints = people
    figure = figures.heatmaps(images, joints, rng.random((3, JOINTS, 12, 12)), None, truth)
    assert len(figure.axes) == 3 * 2 + 1  # and the colour bar
    assert pixels(figure).std() > 10


def test_what_discriminators_say_has_a_column_with_a_line_a_joint(people, rng):
    images, truth, joints = people
    maps, verdicts = (
        rng.random((3, JOINTS, 12, 12)),
        {"P": rng.random((3, JOINTS)), "C": rng.random((3, JOINTS))},
    )
    figure = figures.heatmaps(images, joints, maps, maps, truth, verdicts)
    assert [axis.get_title() for axis in figure.axes[:4]][-1] == "Discriminators"
    assert len(figure.axes) == 3 * 4 + 1
    for index in range(3):
        axis = figure.axes[4 * index + 3]
        for line, (name, values) in zip(axis.lines, verdicts.items(), strict=True):
            np.testing.assert_array_equal(line.get_xdata(), values[index])
            assert line.get_label() == name
        assert axis.get_yticklabels()[0].get_text() == "right ankle"
        assert axis.get_ylim()[0] > axis.get_ylim()[1]  # the first joint on top
    assert pixels(figure).std() > 10


def test_learning_curves_have_a_panel_a_subject(table):
    figure = curves.learning_curves(table)
    assert panels(figure) == [title for title, _ in curves.PANELS]
    assert has(pixels(figure), palette.LINES[0])
    validation = figure.axes[[title for title, _ in curves.PANELS].index("Validation")]
    measured = table.dropna()
    np.testing.assert_array_equal(
        validation.lines[0].get_xydata(), measured[["step", "val/pck_0.2/mean"]].to_numpy()
    )


def test_learning_curves_leave_out_what_was_not_measured(table):
    plain = table[["step", "train/reconstruction", "val/pck_0.2/mean"]]
    assert panels(curves.learning_curves(plain)) == ["Validation", "Generator: reconstruction loss"]
    early = table[table["step"] < 500]
    assert "Validation" not in panels(curves.learning_curves(early))
    pixels(curves.learning_curves(table[["step"]].head(0)))


def test_each_panel_of_the_learning_curves_is_large_and_begins_at_0(table):
    alone = curves.learning_panels(table + 10 * (table.columns != "step"))  # nothing is near 0
    assert list(alone) == [title for title, _ in curves.PANELS]
    for title, figure in alone.items():
        (axis,) = figure.axes
        low, high = axis.get_ylim()
        assert low == 0 and high == (1 if title in curves.SHARES else pytest.approx(high))
        assert axis.lines[0].get_ydata().min() >= 10 and (figure.get_size_inches() >= 3).all()
    together = curves.learning_curves(table)
    assert all(axis.get_ylim()[0] == 0 for axis in together.axes)
    first, last = (tuple(together.axes[k].get_position().bounds) for k in (0, -1))
    assert first[2] > 0.3 and first[1] > last[1]  # two in a row


def test_a_photograph_by_itself_is_seen_to_its_edges(people):
    images, truth, predicted = people
    images = images.copy()
    images[0, :, :4] = 255, 0, 0
    figure = figures.skeleton(images[0], truth[0], predicted[0], np.isfinite(truth[0]).all(-1))
    picture = pixels(figure)
    side = picture.shape[0]
    assert picture.shape == (side, side, 3) and side >= 300
    assert (picture[:, 2] == (255, 0, 0)).all(-1).mean() > 0.9
    assert all(has(picture, colour) for colour in palette.SIDE_COLOURS.values())


def test_pck_curves_are_labelled_at_their_ends_without_overlap():
    groups = ["mean", "head", "shoulder", "elbow", "wrist", "hip", "knee", "ankle"]
    thresholds = np.linspace(0, 0.5, 11)
    table = pd.DataFrame({"threshold": thresholds} | {name: thresholds * 1.5 for name in groups})
    figure = curves.pck_curves(table)
    pixels(figure)
    (axis,) = figure.axes
    labels = [(text.get_text(), Text.get_window_extent(text)) for text in axis.texts]
    assert sorted(name for name, _ in labels) == sorted(groups)
    bottoms = sorted((box.y0, box.y1) for _, box in labels)
    assert all(upper[0] >= lower[1] - 3 for lower, upper in pairwise(bottoms))
    assert all(box.x1 <= figure.bbox.x1 for _, box in labels)
    assert (
        len(axis.lines) == len(groups)
        and axis.get_xlabel()
        and axis.get_ylabel()
        and axis.get_title(loc="left")
    )
    np.testing.assert_array_equal(
        axis.lines[0].get_xydata(), table[["threshold", "mean"]].to_numpy()
    )


def test_curves_of_a_group_that_nothing_counted_for_still_draw():
    table = pd.DataFrame({"threshold": [0.0, 0.5], "mean": [0.0, 0.8], "head": [np.nan, np.nan]})
    assert pixels(curves.pck_curves(table)).std() > 10


def test_pictures_can_be_saved_without_a_display(people):
    images, truth, predicted = people
    file = io.BytesIO()
    figures.skeletons(images, truth, predicted, np.isfinite(truth).all(-1)).savefig(
        file, format="png"
    )
    assert file.getvalue().startswith(b"\x89PNG")


def test_a_score_is_drawn_over_how_often_it_is_right():
    rows = {"candidates": [90.0, 10.0], "score": [0.2, 0.9], "right": [0.25, 0.8]}
    figure = curves.reliability(pd.DataFrame(rows))
    assert pixels(figure).std() > 10 and len(panels(figure)) == 1
    (axis,) = figure.axes
    as_said, found = axis.lines
    np.testing.assert_array_equal(as_said.get_xdata(), as_said.get_ydata())
    np.testing.assert_array_equal(found.get_xydata(), [[0.2, 0.25], [0.9, 0.8]])
    assert [text.get_text() for text in axis.texts] == ["90", "10"]
    many, few = axis.collections[0].get_sizes()
    assert many > few and axis.get_xlabel() and axis.get_ylabel()
    nobody = pd.DataFrame({name: pd.Series(dtype=float) for name in rows})
    assert pixels(curves.reliability(nobody)).std() > 1


PLACES = np.stack([np.linspace(20, 180, JOINTS), np.full(JOINTS, 100.0)], axis=1)
PLACES[[0, 5], 1] = 20, 180  # the ankles by themselves


def person(points=PLACES, hidden=(), outside=()) -> Person:
    return Person(
        size=(200, 200),
        box=Box.around(np.stack([points.min(0), points.max(0)])),
        box_given=False,
        score=0.5,
        points=points,
        scores=np.full(JOINTS, 0.5),
        hidden=np.isin(np.arange(JOINTS), hidden),
        outside=np.isin(np.arange(JOINTS), outside),
    )


@pytest.fixture
def grey():
    image = np.full((200, 200, 3), 128, dtype=np.uint8)
    image.flags.writeable = False
    return image


def colour_at(picture: np.ndarray, places: np.ndarray) -> list[tuple[int, ...]]:
    return [tuple(picture[round(y), round(x)].tolist()) for x, y in places]


def changed(picture: np.ndarray, other: np.ndarray) -> np.ndarray:
    return (picture != other).any(-1)


def test_somebody_alone_has_the_sides_in_their_colours_and_the_hidden_white(grey):
    picture = draw_people(grey, [person(hidden=[5])])
    at = colour_at(picture, PLACES)
    assert at[0] == COLOURS["right"] and at[5] == WHITE
    assert at[7] == COLOURS["right"] and at[10] == COLOURS["left"] and at[13] == COLOURS["trunk"]
    assert (grey == 128).all() and (picture[0] == 128).all()
    assert len(set(COLOURS.values())) == 3


def test_what_is_outside_the_picture_is_not_drawn(grey):
    """Neither the ankle and the limb to it, nor what would lie far beyond any picture."""
    points = PLACES.copy()
    points[13] = 1e15, -1e15
    picture = draw_people(grey, [person(points, outside=[0, 13])])
    assert not changed(picture, grey)[:60].any()  # where ankle and shin would be
    assert changed(draw_people(grey, [person(outside=[13])]), grey)[:60].any()
    assert colour_at(picture, PLACES[7:8]) == [COLOURS["right"]]
    assert not changed(draw_people(grey, [person(outside=range(14))]), grey).any()


def test_nobody_leaves_the_photograph_as_it_is(grey):
    picture = draw_people(grey, [])
    assert (picture == grey).all() and picture is not grey


def test_several_people_have_a_colour_each_and_their_numbers(grey):
    low, high = PLACES * [1, 0.4] + [0, 110], PLACES * [1, 0.4]
    picture = draw_people(grey, [person(low), person(high)])
    for points, number in ((low, 1), (high, 2)):
        at = colour_at(picture, points)
        for k in (1, 7, 10):  # beside no label
            assert at[k] == colours_of(number)[SIDES[k]]
    # As given: other numbers are other colours, and are written; somebody alone may have one too.
    assert (picture == draw_people(grey, [person(low), person(high)], [1, 2])).all()
    other = draw_people(grey, [person(low), person(high)], [1, 9])
    assert PLACES.shape == (14, 2) and colours_of(9) == colours_of(2)
    written = np.argwhere(changed(picture, other))
    assert len(written) > 5 and (np.ptp(written, axis=0) < 60).all()  # 2 or 9, by the head
    assert (np.abs(written.mean(0) - high[13, ::-1]) < 40).all()
    alone = draw_people(grey, [person(low)], [3])
    assert colour_at(alone, low[10:11]) == [colours_of(3)["left"]]
    assert (alone != draw_people(grey, [person(low)])).any()


def test_the_surest_person_is_drawn_over_the_others(grey):
    at = colour_at(draw_people(grey, [person(), person(), person()]), PLACES[:12])
    assert at == [colours_of(1)[side] for side in SIDES[:12]]


def test_left_limbs_are_lighter_than_right_ones_and_colours_come_round():
    for number in range(1, len(palette.PEOPLE) + 1):
        colours = colours_of(number)
        light = [np.dot(colours[side], (0.2126, 0.7152, 0.0722)) for side in ("right", "left")]
        assert light[0] + 25 < light[1]
        assert all(0 <= value <= 255 for colour in colours.values() for value in colour)
        assert colours == colours_of(number + len(palette.PEOPLE))
    trunks = {colours_of(number)["trunk"] for number in range(1, 8)}
    assert len(trunks) == len(palette.PEOPLE) == 7


@pytest.mark.parametrize("side", [120, 200, 2000])
@pytest.mark.parametrize("far", [-1e4, 0, 1e4])
def test_a_number_is_in_the_picture_wherever_its_person_is(side, far):
    image = np.full((side, side, 3), 128, np.uint8)
    points = PLACES * side / 200 + far
    hardly = person(points, outside=range(14))
    written = np.argwhere(changed(draw_people(image, [hardly], [1]), image))
    assert len(written) > 10
    assert len(np.argwhere(changed(draw_people(image, [hardly], [18]), image))) > len(written)
