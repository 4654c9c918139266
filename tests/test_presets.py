"""Sets of parameters by name: those that come with the project, and what becomes of them in DVC."""

from itertools import product

import pytest
import yaml

from conftest import ROOT, git, sh
from pipeline import presets
from pipeline.__main__ import main
from pipeline.presets import PresetError
from pipeline.settings import check, load
from tiny import repository


def test_there_is_a_preset_for_each_way_that_the_readme_shows():
    assert {"quickstart", "finetune", "gpu", "paper-lsp", "paper-mpii"} <= set(presets.names())


@pytest.mark.parametrize("name", [path.stem for path in (ROOT / "presets").glob("*.yaml")])
def test_every_value_of_a_preset_is_valid_and_each_one_changes_something(name):
    ours = load().model_dump()
    values = {
        f"{group}.{key}": [yaml.safe_load(each) for each in value.split(",")]
        if isinstance(value, str)
        else [value]
        for group, keys in presets.read(name).items()
        for key, value in keys.items()
    }
    assert len(values) > 5
    for chosen in product(*values.values()):
        changed = {group: dict(keys) for group, keys in ours.items()}
        for path, value in zip(values, chosen, strict=True):
            group, key = path.split(".")
            changed[group][key] = value
        check(changed, name)
        assert changed != ours


def test_a_later_preset_counts_and_values_are_written_as_dvc_takes_them(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "presets").mkdir()
    (tmp_path / "presets/a.yaml").write_text(
        "train: {alpha: 1.0e-5, seed: '0,1', compile: false}\nmodel: {features: [8, 16]}\n"
    )
    (tmp_path / "presets/b.yaml").write_text("train: {alpha: 0.25}\ndata: {annotations: [a.json]}")
    assert presets.overrides(["a", "b"]) == [
        "train.alpha=0.25",
        "train.seed=0,1",
        "train.compile=false",
        "model.features=[8, 16]",
        'data.annotations=["a.json"]',
    ]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "expected groups"),
        ("train: 3", "expected groups"),
        ("train: {alpha: 1}\ntrain: {beta: 1}", "not YAML"),
        ("train: {alfa: 1}", "train.alfa: not in params.yaml"),
        ("trian: {alpha: 1}", "trian.alpha: not in params.yaml"),
        ("train: {alpha: [}", "not YAML"),
    ],
)
def test_what_is_no_preset_is_refused_in_one_sentence(text, said, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "presets").mkdir()
    (tmp_path / "presets/mine.yaml").write_text(text)
    with pytest.raises(PresetError, match=f"mine.yaml: .*{said}") as error:
        presets.read("mine")
    assert "\n" not in str(error.value)


def test_an_unknown_preset_is_answered_with_those_that_there_are(capsys):
    assert main(["run", "../params", "--queue"]) == 1
    said = capsys.readouterr().err
    assert said.startswith("error: '../params': no such preset; there are ablation, ")
    with pytest.raises(SystemExit, match="2"):
        main(["run"])


def test_an_experiment_with_presets_has_their_parameters_by_a_real_dvc(tmp_path):
    project = repository(tmp_path / "main")
    (project / "presets/mine.yaml").write_text("data: {count: 41}\nmodel: {features: [8, 16]}\n")
    words = ("-m", "pipeline", "run", "quickstart", "mine", "--temp", "--name", "tried")
    sh(project, "python", *words, "-S", "train.alpha=0.5", "download")
    (made,) = git(project, "for-each-ref", "--format=%(refname)", "refs/exps").split()
    assert made.endswith("/tried")
    values = yaml.safe_load(git(project, "show", f"{made}:params.yaml"))
    assert values["data"]["count"] == 41 and values["train"]["alpha"] == 0.5
    assert values["model"]["features"] == [8, 16]
    assert values["train"]["ema"] == presets.read("quickstart")["train"]["ema"]
    # A second time, in DVC's own words and with its exit status:
    assert "existing experiment 'tried'" in sh(project, "python", *words, "download", fails=True)
