"""Variants beside each other: hand-worked shares, paired intervals, and what makes an ablation."""

import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from conftest import git, sh
from pipeline import PipelineError
from pipeline.commands import ablation
from pipeline.commands.comparison import compare
from pipeline.drawing import curves

RNG = np.random.default_rng(0)
DVC = (sys.executable, "-m", "dvc")


def test_means_spread_and_difference_are_those_of_the_seeds():
    # 4 photographs, every joint counts: shares below 0.2 of 0.25 and 0.75, then of 1.
    quarter, three = np.full((4, 14), 1.0), np.full((4, 14), 0.1)
    quarter[0], three[0] = 0.1, 1.0
    table = compare({"a": [quarter, three], "b": [np.full((4, 14), 0.1)]}, 0.2)
    assert table.variant.tolist() == ["a", "b"] and table.seeds.tolist() == [2, 1]
    assert table["mean"].tolist() == [0.5, 1.0] and table.difference.tolist() == [0.0, 0.5]
    assert table.sd[0] == pytest.approx(0.5 / 2**0.5) and np.isnan(table.sd[1])
    assert (table.low[0], table.high[0]) == (0, 0)


def test_the_bootstrap_is_paired():
    """Where one variant is right in exactly one photograph of ten more, chance cannot make it
    worse."""
    one = np.where(RNG.random((100, 14)) < 0.5, 0.1, 1.0)
    other = one.copy()
    other[::10] = 0.1
    table = compare({"one": [one], "other": [other]}, 0.2)
    assert 0 < table.low[1] < table.difference[1] < table.high[1] < 0.12


def test_an_interval_covers_the_difference_that_is_there():
    """Of 40 experiments without a difference, about 2 intervals miss zero."""
    missed = 0
    for _ in range(40):
        one, other = (np.where(RNG.random((80, 14)) < 0.6, 0.1, 1.0) for _ in range(2))
        table = compare({"one": [one], "other": [other]}, 0.2)
        missed += not table.low[1] <= 0 <= table.high[1]
    assert missed <= 7


def test_joints_that_do_not_count_are_left_out():
    distance = np.full((5, 14), 0.1)
    distance[:3] = np.nan
    distance[3, 0] = 1.0
    table = compare({"one": [distance]}, 0.2)
    assert table["mean"][0] == pytest.approx((0.5 + 13) / 14)


def measured(rng, better):
    return {
        (part, joints, measure): np.where(rng.random((50, 14)) < 0.5 + better, 0.1, 1.0)
        for part in ablation.PARTS
        for joints in ablation.JOINTS
        for measure in ablation.MEASURES
    }


def test_a_summary_has_a_row_for_each_part_kind_of_joint_measure_and_variant_and_can_be_drawn(
    tmp_path,
):
    runs = {
        name: [measured(RNG, 0.05 * i)] * 2 for i, name in enumerate(ablation.VARIANTS.values())
    }
    table = ablation.summarise(runs)
    assert len(table) == 2 * 3 * 2 * 5
    first = table.head(5).set_index("variant").difference
    gains = first["+ discriminators"], first["both"] - first["+ occlusion task"]
    assert first[ablation.POOLED] == pytest.approx(np.mean(gains), abs=1e-6)
    assert table.set_index("variant").seeds[ablation.POOLED].tolist() == [4] * 12
    keys = ["part", "joints", "measure", "variant"]
    assert not table.duplicated(keys).any() and not table.drop(columns="sd").isna().any().any()
    assert (table.sd.isna() == (table.variant == ablation.POOLED)).all()
    curves.ablation(table).savefig(tmp_path / "ablation.png")
    assert (tmp_path / "ablation.png").stat().st_size > 10_000


def test_experiments_that_differ_in_more_than_variant_and_seed_are_no_ablation():
    one = {
        "model": {"occlusion": True, "stacks": 1},
        "train": {"seed": 0, "adversarial": True, "steps": 5},
    }
    other = {
        "model": {"occlusion": False, "stacks": 1},
        "train": {"seed": 1, "adversarial": False, "steps": 5},
    }
    ablation.same_but_for_the_variant({"a": one, "b": other})
    longer = other | {"train": other["train"] | {"steps": 6}}
    with pytest.raises(PipelineError, match="b and a differ in train.steps"):
        ablation.same_but_for_the_variant({"a": one, "b": longer})


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
    found = ablation.experiments("small-")
    assert list(found) == ["small-1", "small-2"] and len(set(found.values())) == 2
    assert list(ablation.experiments("")) == ["other-1", "small-1", "small-2"]
    with pytest.raises(PipelineError, match="no finished experiment's name begins with 'large'"):
        ablation.experiments("large")
    with pytest.raises(
        PipelineError, match="small-1: its models/generator.safetensors cannot be read"
    ):
        ablation.fetch("small-1", found["small-1"], "models/generator.safetensors", Path())
    fetched = [
        ablation.fetch(*each, "params.yaml", Path("copies")).read_text() for each in found.items()
    ]
    assert fetched == ["value: 1\n", "value: 2\n"]
    experiments_of_two_commits("small-1", 4)
    with pytest.raises(PipelineError, match="called the same among small-1, small-2"):
        ablation.experiments("small-")


def test_the_table_keeps_the_rows_of_other_data_sets(tmp_path):
    path = tmp_path / "metrics/ablation.csv"
    table = ablation.summarise({name: [measured(RNG, 0.0)] for name in ablation.VARIANTS.values()})
    ablation.keep(table, "lspet", path)
    pd.testing.assert_frame_equal(pd.read_csv(path).drop(columns="data"), table)
    for number, data in ((1.0, "figures"), (2.0, "figures"), (3.0, "lspet")):
        ablation.keep(table.assign(mean=number), data, path)
    kept = pd.read_csv(path)
    assert len(kept) == 2 * len(table)
    assert kept.groupby("data")["mean"].unique().map(list).to_dict() == {
        "figures": [2.0],
        "lspet": [3.0],
    }
