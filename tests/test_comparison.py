"""Experiments beside each other: shares worked by hand, paired intervals, the table's forms."""

import sys
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest
from pylatexenc.latex2text import LatexNodes2Text
from pylatexenc.latexwalker import LatexEnvironmentNode, LatexWalker

from conftest import git, sh
from pipeline import PipelineError
from pipeline.commands.compare import (
    COLUMNS,
    Question,
    experiments,
    fetch,
    for_paper,
    grouped,
    summarise,
    value_of,
    write,
)
from pipeline.commands.comparison import compare
from pipeline.drawing.curves import comparison

RNG = np.random.default_rng(0)
DVC = (sys.executable, "-m", "dvc")


def beside(one: list[np.ndarray], other: list[np.ndarray]) -> pd.DataFrame:
    """Two variants, each of seeds 0, 1 and so on."""
    return compare({("a",): dict(enumerate(one)), ("b",): dict(enumerate(other))}, 0.2)


def first_wrong(count: int) -> np.ndarray:
    """200 photographs, of which all joints of the first are wrong."""
    return np.where(np.arange(200)[:, None] < count, 1.0, np.zeros((200, 14)))


def test_means_spread_and_difference_are_those_of_the_seeds():
    # 4 photographs, every joint counts: shares below 0.2 of 0.25 and 0.75, then of 1.
    quarter, three = np.full((4, 14), 1.0), np.full((4, 14), 0.1)
    quarter[0], three[0] = 0.1, 1.0
    table = beside([quarter, three], [np.full((4, 14), 0.1)])
    assert table.variant.tolist() == [("a",), ("b",)] and table.seeds.tolist() == [2, 1]
    assert table["mean"].tolist() == [0.5, 1.0]
    assert table.loc[0, ["difference", "low", "high"]].isna().all() and table.difference[1] == 0.5
    assert table.sd[0] == pytest.approx(0.5 / 2**0.5) and np.isnan(table.sd[1])


def test_the_bootstrap_is_paired_over_photographs():
    """Where one variant is right in exactly one photograph of ten more, chance cannot make it
    worse."""
    one = np.where(RNG.random((100, 14)) < 0.5, 0.1, 1.0)
    other = one.copy()
    other[::10] = 0.1
    table = beside([one], [other])
    assert 0 < table.low[1] < table.difference[1] < table.high[1] < 0.12


def test_the_bootstrap_draws_seeds_in_pairs():
    # Seeds that differ much, each with the same gain of 0.1: as sure as the photographs allow.
    alike = beside([first_wrong(40), first_wrong(120)], [first_wrong(20), first_wrong(100)])
    assert alike.sd[0] > 0.2
    assert 0.05 < alike.low[1] < 0.1 < alike.high[1] < 0.15
    # The same mean gain, all of it by one seed: drawn may be that one twice, or the other.
    apart = beside([first_wrong(0), first_wrong(100)], [first_wrong(0), first_wrong(60)])
    assert apart.difference[1] == pytest.approx(0.1)
    assert apart.low[1] == 0 and apart.high[1] > 0.2


def test_an_interval_covers_the_difference_that_is_there():
    """Of 40 experiments without a difference, about 2 intervals miss zero."""
    missed = 0
    for _ in range(40):
        one, other = (np.where(RNG.random((80, 14)) < 0.6, 0.1, 1.0) for _ in range(2))
        table = beside([one], [other])
        missed += not table.low[1] <= 0 <= table.high[1]
    assert missed <= 7


def test_joints_that_do_not_count_are_left_out():
    distance = np.full((5, 14), 0.1)
    distance[:3] = np.nan
    distance[3, 0] = 1.0
    assert beside([distance], [distance])["mean"][0] == pytest.approx((0.5 + 13) / 14)


def test_each_group_has_its_own_baseline_and_the_last_rows_are_the_mean_over_groups():
    variants = {
        ("0.1", "game"): {0: first_wrong(120)},
        ("0.1", "none"): {0: first_wrong(140)},
        ("1.0", "game"): {0: first_wrong(80)},
        ("1.0", "none"): {0: first_wrong(40)},
    }
    table = compare(variants, 0.2, beside="none").set_index("variant")
    assert table.difference.dropna().round(6).to_dict() == {
        ("0.1", "game"): 0.1,
        ("1.0", "game"): -0.2,
        ("all", "game"): -0.05,
    }
    assert table.index[table.difference.isna()].tolist() == [("0.1", "none"), ("1.0", "none")]
    [pooled] = table.loc[[("all", "game")]].itertuples()
    assert np.isnan(pooled.mean) and pooled.low < -0.05 < pooled.high


QUESTION = Question(by=("model.occlusion", "train.alpha"))


def measured(better: float) -> dict[tuple[str, str], np.ndarray]:
    return {
        (joints, measure): np.where(RNG.random((50, 14)) < 0.5 + better, 0.1, 1.0)
        for joints, measure in [*COLUMNS, ("uncovered", "pck_0.2")]
    }


def table_of_runs() -> pd.DataFrame:
    runs = {
        (occlusion, alpha): {seed: measured(better) for seed in range(2)}
        for occlusion in ("false", "true")
        for alpha, better in (("0", 0.0), ("0.02", 0.2))
    }
    return summarise(runs, QUESTION)


def test_a_summary_has_a_row_for_each_kind_of_joint_measure_and_variant():
    table = table_of_runs()
    assert len(table) == 6 * 5
    keys = ["part", "joints", "measure", *QUESTION.by]
    assert not table.duplicated(keys).any()
    assert table.columns.tolist() == [*keys, "seeds", "mean", "sd", "difference", "low", "high"]
    assert (table.part == "validation").all()
    assert table[table["train.alpha"] == "0.02"].difference.between(0.1, 0.3).all()


def test_the_table_is_written_in_four_forms(tmp_path):
    table = table_of_runs()
    short = write(table, QUESTION, tmp_path / "metrics/alpha")
    first = short.set_index(list(QUESTION.by))["PCK@0.2"]
    assert first["false", "0"].count("±") == 1 and "to" not in first["false", "0"]
    assert " to +" in first["true", "0.02"] and "±" not in first["all", "0.02"]

    texts = pd.read_csv(tmp_path / "metrics/alpha.csv", dtype=str)
    assert set(texts.seeds.dropna()) == {"2"}
    kinds = texts.dtypes.to_dict() | table.dtypes.to_dict()
    pd.testing.assert_frame_equal(texts.astype(kinds), table)

    lines = (tmp_path / "metrics/alpha.md").read_text().splitlines()
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    assert cells[0] == short.columns.tolist() and set(cells[1][0]) <= set(":-")
    assert [row[2:] for row in cells[2:]] == short.iloc[:, 2:].to_numpy().tolist()

    nodes, _, _ = LatexWalker((tmp_path / "metrics/alpha.tex").read_text()).get_latex_nodes()
    [tabular] = [node for node in nodes if node.isNodeType(LatexEnvironmentNode)]
    text = LatexNodes2Text().nodelist_to_text(tabular.nodelist)
    assert tabular.environmentname == "tabular"
    assert all(cell in text for cell in first) and "PCK@0.2" in text

    image = cv2.imread(str(tmp_path / "metrics/alpha.png"))
    assert image.shape[1] > 800 and image.std() > 5


def test_what_is_compared_for_several_numbers_is_drawn_over_them():
    question = Question(by=("train.labelled", "train.unlabelled"), beside="none")
    gains = {"0.1": 0.2, "0.25": 0.1, "1.0": 0.0}
    runs = {
        (share, unlabelled): {0: measured(gain if unlabelled == "game" else 0.0)}
        for share, gain in gains.items()
        for unlabelled in ("none", "game")
    }
    table = summarise(runs, question)
    joints = comparison(table, question.by).axes[0]
    assert [text.get_text() for text in joints.get_xticklabels()] == list(gains)
    [line] = joints.containers
    rows = table[(table.measure == "pck_0.2") & (table.joints == "all")]
    drawn = rows[(rows["train.unlabelled"] == "game") & (rows["train.labelled"] != "all")]
    assert line.get_label() == "game"
    assert line[0].get_ydata().tolist() == pytest.approx((100 * drawn.difference).tolist())


def test_what_makes_no_difference_is_said_and_drawn_in_its_row():
    runs = {(alpha,): {0: measured(better)} for alpha, better in (("0", 0.0), ("0.1", 0.2))}
    runs["0.3",] = {0: runs["0.1",][0] | {("all", "doubled"): runs["0",][0]["all", "doubled"]}}
    question = Question(by=("train.alpha",))
    table = summarise(runs, question)
    cells = for_paper(table, question.by).set_index("train.alpha")["sides doubled"]
    assert cells["0.3"].endswith(", +0.0 (+0.0 to +0.0)") and "to" not in cells["0"]

    joints, *_, doubled = comparison(table, question.by).axes
    assert doubled.get_ylim() == joints.get_ylim()
    assert [text.get_text() for text in joints.get_yticklabels()] == ["0.1", "0.3"]
    [points] = doubled.containers
    assert points[0].get_xdata()[1] == 0 and points[0].get_ydata().tolist() == [1, 0]


def test_rows_stand_on_one_height_where_a_measure_lacks_a_variant():
    table = table_of_runs()
    lacking = (table.measure == "whole") & (table["model.occlusion"] == "false")
    table.loc[lacking, ["difference", "low", "high"]] = np.nan
    joints, _, whole, _ = comparison(table, QUESTION.by).axes
    assert whole.get_ylim() == joints.get_ylim()


def test_a_measure_that_nothing_has_is_an_empty_panel():
    table = table_of_runs()
    nothing = (table.measure == "pck_0.2") & (table.joints == "all")
    table.loc[nothing, ["difference", "low", "high"]] = np.nan
    joints, covered, *_ = comparison(table, QUESTION.by).axes
    assert pd.isna(joints.containers[0][0].get_xdata()).all()
    assert pd.notna(covered.containers[0][0].get_xdata()).all()


def test_a_variant_has_one_colour_and_its_name_where_a_measure_lacks_another():
    question = Question(by=("train.labelled", "train.unlabelled"), beside="none")
    runs = {
        (share, unlabelled): {0: measured(0.0)}
        for share in ("0.1", "1.0")
        for unlabelled in ("none", "game", "teacher")
    }
    table = summarise(runs, question)
    lacking = (table.measure == "pck_0.2") & (table["train.unlabelled"] == "game")
    table.loc[lacking, ["difference", "low", "high"]] = np.nan
    figure = comparison(table, question.by)
    joints, _, whole, _ = figure.axes
    colours = [[line[0].get_color() for line in each.containers] for each in (joints, whole)]
    assert colours[0] == colours[1] and len(colours[0]) == 2
    [legend] = figure.legends
    assert [text.get_text() for text in legend.get_texts()] == ["game", "teacher"]


def test_more_variants_than_colours_are_all_drawn():
    question = Question(by=("train.labelled", "train.alpha"))
    runs = {
        (share, str(alpha)): {0: measured(alpha / 100)}
        for share in ("0.1", "1.0")
        for alpha in range(10)
    }
    joints = comparison(summarise(runs, question), question.by).axes[0]
    assert [line.get_label() for line in joints.containers] == [str(k) for k in range(1, 10)]


def params(name: str, **changes) -> dict:
    """Of an experiment; `train__steps=6`."""
    values: dict = {
        "model": {"occlusion": True, "stacks": 1},
        "train": {"seed": 0, "alpha": 0.02, "steps": 5},
    }
    for key, value in changes.items():
        group, _, parameter = key.partition("__")
        values[group][parameter] = value
    return {name: values}


def test_experiments_are_grouped_by_variant_and_seed_in_the_order_of_the_values():
    found = grouped(
        params("c", train__alpha=0.1)
        | params("b", train__alpha=0.02, train__seed=1)
        | params("a", train__alpha=0.02)
        | params("d", train__alpha=0, train__seed=7)
        | params("e", train__alpha=0, model__occlusion=False),
        QUESTION,
    )
    assert list(found.items()) == [
        (("false", "0"), {0: "e"}),
        (("true", "0"), {7: "d"}),
        (("true", "0.02"), {0: "a", 1: "b"}),
        (("true", "0.1"), {0: "c"}),
    ]


def test_parameters_that_change_together_are_one():
    question = Question(("train.alpha", "model.occlusion+model.stacks"), beside="false+1")
    found = grouped(
        params("a", model__stacks=2)
        | params("b", model__occlusion=False)
        | params("c", model__occlusion=False, train__alpha=0),
        question,
    )
    assert list(found) == [("0", "false+1"), ("0.02", "false+1"), ("0.02", "true+2")]


@pytest.mark.parametrize(
    ("others", "question", "said"),
    [
        (
            params("b", train__alpha=0, train__steps=6),
            QUESTION,
            "b and a differ in train.steps: name it in --by too",
        ),
        (params("b"), QUESTION, "a and b are of one variant and seed"),
        (params("b", train__seed=1), QUESTION, "all of a, b have the same model.occlusion, train"),
        (params("b", train__seed=1), Question(("alpha",)), "--by alpha: expected a parameter of"),
        (
            params("b", train__alpha=0),
            Question(("train.alpha",), beside="0.5"),
            "--beside 0.5: train.alpha is 0, 0.02 here",
        ),
    ],
)
def test_what_cannot_be_compared_is_refused_in_one_sentence(others, question, said):
    with pytest.raises(PipelineError) as refused:
        grouped(params("a") | others, question)
    assert str(refused.value).startswith(said) and "\n" not in str(refused.value)


def test_a_parameter_that_did_not_exist_yet_is_none():
    assert value_of({"train": {}}, "train.labelled") is None


@pytest.fixture
def experiments_of_two_commits(tmp_path, monkeypatch):
    """A real DVC repository: experiments small-1 and small-2 of its first commit, other-1 of its
    second."""
    monkeypatch.chdir(tmp_path)

    def experiment(name, value):
        Path("params.yaml").write_text(f"value: {value}\n")
        sh(tmp_path, *DVC, "exp", "save", "--name", name)

    git(tmp_path, "init", "--quiet")
    git(tmp_path, "config", "user.name", "somebody")
    git(tmp_path, "config", "user.email", "somebody@example.org")
    sh(tmp_path, *DVC, "init", "--quiet")
    Path("params.yaml").write_text("value: 0\n")
    Path("dvc.yaml").write_text("stages:\n  one:\n    cmd: 'true'\n    params: [value]\n")
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "--quiet", "--message", "first")
    experiment("small-1", 1)
    experiment("small-2", 2)
    git(tmp_path, "commit", "--quiet", "--all", "--message", "second")
    experiment("other-1", 3)
    return experiment


def test_experiments_of_all_commits_are_found_by_the_beginning_of_their_names(
    experiments_of_two_commits,
):
    found = experiments("small-")
    assert list(found) == ["small-1", "small-2"] and len(set(found.values())) == 2
    assert list(experiments("")) == ["other-1", "small-1", "small-2"]
    with pytest.raises(PipelineError, match="no finished experiment's name begins with 'large'"):
        experiments("large")
    with pytest.raises(
        PipelineError, match="small-1: its models/generator.safetensors cannot be read"
    ):
        fetch("small-1", found["small-1"], "models/generator.safetensors", Path())
    fetched = [fetch(*each, "params.yaml", Path("copies")).read_text() for each in found.items()]
    assert fetched == ["value: 1\n", "value: 2\n"]
    experiments_of_two_commits("small-1", 4)
    with pytest.raises(PipelineError, match="called the same among small-1, small-2"):
        experiments("small-")


def test_the_picture_says_beside_what():
    figure = comparison(table_of_runs(), QUESTION.by)
    assert "beside 0," in figure.get_suptitle()
