"""The parts that docs/extending.md swaps: each of its changes applied as it stands, and trained
with, by the real stages."""

import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml

from conftest import ROOT, git, sh
from pipeline.networks.checkpoint import read_settings
from tiny import repository

TEXT = (ROOT / "docs/extending.md").read_text()
CHANGES = dict(re.findall(r"## Another (\w+)\n.*?```diff\n(.*?)```", TEXT, re.DOTALL))
CHOICES = {
    "P": {},
    "loss": {"reconstruction": "mae"},
    "backbone": {"encoder": "halvings", "block": "separable"},
}


@pytest.fixture(scope="module")
def project(tmp_path_factory) -> Path:
    """With its crops; the game begins at once."""
    project = repository(tmp_path_factory.mktemp("extending") / "main")
    params = project / "params.yaml"
    values = yaml.safe_load(params.read_text())
    values["train"] |= {"steps": 10, "game_start": 0.0}
    params.write_text(yaml.safe_dump(values))
    git(project, "commit", "-qam", "short")
    for stage in ("download", "cache"):
        sh(project, "python", "-m", f"stages.{stage}")
    return project


def test_the_page_has_a_change_for_each_part():
    assert set(CHANGES) == set(CHOICES)


@pytest.mark.parametrize("part", CHOICES)
def test_a_part_is_swapped_by_the_change_on_the_page(part, project):
    (project / ".git/change.diff").write_text(CHANGES[part])
    git(project, "apply", ".git/change.diff")
    try:
        sh(project, "ruff", "check", "pipeline")
        sh(project, "ruff", "format", "--check", "pipeline")
        params = project / "params.yaml"
        values = yaml.safe_load(params.read_text())
        values["model"] |= CHOICES[part]
        params.write_text(yaml.safe_dump(values))
        sh(project, "python", "-m", "stages.train")
        curve = pd.read_csv(project / "metrics/learning_curve.csv")
        assert curve.step.iloc[-1] == 10 and np.isfinite(curve["pose/loss"]).all()
        made_by = read_settings(project / "models/generator.safetensors")
        assert made_by["model"].items() >= CHOICES[part].items()
    finally:
        git(project, "checkout", "-q", "--", ".")
        git(project, "clean", "-qfd", "pipeline")
