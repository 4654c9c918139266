"""params.yaml is read whole, each mistake in it is named, and DVC's copies know their main
repository."""

import re
from copy import deepcopy

import pytest
import yaml
from pydantic import BaseModel

from conftest import ROOT
from pipeline import PipelineError
from pipeline.paths import main_root
from pipeline.settings import Settings, SettingsError, check, load

PARAMS = ROOT / "params.yaml"
GROUPS = {name: field.annotation for name, field in Settings.model_fields.items()}


@pytest.fixture
def values():
    """What params.yaml says, with the geometry that the cross checks below are worked for."""
    values = yaml.safe_load(PARAMS.read_text())
    values["cache"] |= {"input_size": 128, "heatmap_size": 32}
    values["model"]["features"] = [64, 96, 128, 128]
    values["train"] |= {"input_sizes": [96, 128], "log_every": 50, "validate_every": 500}
    return values


def changed(values, **changes):
    """A copy of the values with changes, group__key=value."""
    values = deepcopy(values)
    for path, value in changes.items():
        group, key = path.split("__")
        values[group][key] = value
    return values


def complaints(values):
    """The lines of the SettingsError that the values raise, without the name of the file."""
    with pytest.raises(SettingsError) as error:
        check(values, "some.yaml")
    lines = str(error.value).splitlines()
    assert all(line.startswith("some.yaml: ") for line in lines)
    return [line.removeprefix("some.yaml: ") for line in lines]


def test_params_yaml_loads_with_exactly_the_values_it_says():
    loaded = load(PARAMS)
    said = yaml.safe_load(PARAMS.read_text())
    assert loaded.model_dump(mode="json") == said
    assert loaded.train.steps == said["train"]["steps"]


def test_unknown_key_is_named_with_the_allowed_ones(values):
    [line] = complaints(changed(values, train__aplha=0.1))
    assert line.startswith("train.aplha: unknown key; allowed here: ")
    assert set(line.split("allowed here: ")[1].split(", ")) == set(values["train"])


def test_unknown_group_is_named_with_the_allowed_ones(values):
    [line] = complaints(values | {"training": {}})
    assert line == f"training: unknown key; allowed here: {', '.join(GROUPS)}"


@pytest.mark.parametrize(
    "change, start, allowed",
    [
        ({"train__batch": 0}, "train.batch = 0: ", "greater than or equal to 1"),
        ({"train__learning_rate": -0.5}, "train.learning_rate = -0.5: ", "greater than 0"),
        ({"train__ema": 1.0}, "train.ema = 1.0: ", "less than 1"),
        ({"augment__flip": 1.5}, "augment.flip = 1.5: ", "less than or equal to 1"),
        ({"augment__rotation": 181}, "augment.rotation = 181: ", "less than or equal to 180"),
        ({"augment__scale": [0.1, 1]}, "augment.scale.0 = 0.1: ", "greater than or equal to 0.25"),
        ({"split__test": 0.5}, "split.test = 0.5: ", "less than 0.5"),
        ({"data__count": "many"}, "data.count = 'many': ", "valid integer"),
        ({"data__count": 10**7}, "data.count = 10000000: ", "less than or equal to 6000000"),
        ({"data__name": "mpii"}, "data.name = 'mpii': ", "'lspet', 'figures' or 'own'"),
        ({"model__block": "resnet"}, "model.block = 'resnet': ", "'bottleneck', 'basic' or"),
        ({"model__features": [64, 100]}, "model.features.1 = 100: ", "multiple of 8"),
        ({"model__features": [64]}, "model.features = [64]: ", "at least 2"),
        ({"train__alpha": True}, "train.alpha = True: ", "valid number"),
        ({"train__alpha": "0.02"}, "train.alpha = '0.02': ", "valid number, without quotes"),
        ({"train__alpha": "1e-3"}, "train.alpha = '1e-3': ", "valid number, without quotes"),
        ({"train__steps": 8000.0}, "train.steps = 8000.0: ", "valid integer"),
        ({"train__seed": 2**64}, "train.seed = 18446744073709551616: ", "less than 4294967296"),
        (
            {"train__learning_rate": 1e308},
            "train.learning_rate = 1e+308: ",
            "less than or equal to 10000",
        ),
        ({"train__alpha": 1e308}, "train.alpha = 1e+308: ", "less than or equal to 10000"),
        ({"train__batch": 10**8}, "train.batch = 100000000: ", "equal to 65536"),
        ({"model__features": [8_000_000, 64]}, "model.features.0 = 8000000: ", "equal to 4096"),
        ({"model__occlusion": 1}, "model.occlusion = 1: ", "valid boolean"),
        ({"split__scenes": "yes"}, "split.scenes = 'yes': ", "valid boolean"),
        ({"evaluate__part": "validation"}, "evaluate.part = 'validation': ", "'test' or 'train'"),
    ],
)
def test_value_out_of_range_is_named_with_what_is_allowed(values, change, start, allowed):
    [line] = complaints(changed(values, **change))
    assert line.startswith(start) and allowed in line


def test_all_mistakes_are_named_at_once(values):
    lines = complaints(changed(values, train__batch=0, split__seed=-1, cache__blur=3))
    assert {line.split(" ")[0].rstrip(":") for line in lines} == {
        "train.batch",
        "split.seed",
        "cache.blur",
    }


def test_missing_key_and_missing_group_are_named(values):
    del values["train"]["alpha"], values["cache"]
    assert sorted(complaints(values)) == ["cache: missing", "train.alpha: missing"]


@pytest.mark.parametrize(
    "change, words",
    [
        ({"cache__input_size": 120}, ["cache", "input_size", "1, 2, 4 or 8 times heatmap_size"]),
        (
            {"train__input_sizes": [128, 96]},
            ["train.input_sizes", "[128, 96] must end with cache.input_size 128"],
        ),
        ({"train__input_sizes": [80, 128]}, ["train.input_sizes [80]", "multiples of 32"]),
        (
            {"train__validate_every": 75},
            ["train", "validate_every", "75 must be a multiple of log_every 50"],
        ),
        (
            {"augment__scale": [1.25, 0.75]},
            ["augment", "scale [1.25, 0.75] must be [smallest, largest]"],
        ),
        (
            {"augment__occluder_size": [0.3, 0.1]},
            ["augment", "occluder_size [0.3, 0.1] must be [smallest, largest]"],
        ),
    ],
)
def test_values_that_contradict_each_other_are_named(values, change, words):
    [line] = complaints(changed(values, **change))
    assert all(word in line for word in words), line


@pytest.mark.parametrize(
    "change",
    [
        {"cache__heatmap_size": 16, "model__features": [64, 96, 128]},
        {"train__input_sizes": [64, 96, 128]},
        {"augment__scale": [1, 1]},
        {"train__compile": True},
        {"train__compile": "auto"},
    ],
)
def test_values_at_the_edge_of_the_checks_are_accepted(values, change):
    assert check(changed(values, **change), "some.yaml")


@pytest.mark.parametrize("written", ["1e-05", "1e+30", "1.0e-3", "0x10"])
def test_a_number_is_read_as_dvc_writes_it(tmp_path, written):
    path, text = tmp_path / "params.yaml", PARAMS.read_text()
    path.write_text(re.sub(r"(?m)^  alpha: [^ ]+", f"  alpha: {written}", text))
    assert load(path).train.alpha == (16 if written == "0x10" else float(written))


def test_a_file_that_is_not_yaml_is_named(tmp_path):
    path = tmp_path / "params.yaml"
    path.write_text("train: [1, 2\n")
    with pytest.raises(SettingsError, match=f"^{re.escape(str(path))}: not YAML: "):
        load(path)


def test_an_empty_file_is_named(tmp_path):
    path = tmp_path / "params.yaml"
    path.write_text("# nothing\n")
    with pytest.raises(SettingsError, match=re.escape(str(path))):
        load(path)


def test_a_missing_file_is_named_with_what_to_do(tmp_path):
    with pytest.raises(SettingsError, match="absent.yaml: no such file; run this from the root"):
        load(tmp_path / "absent.yaml")


def test_settings_errors_are_told_without_a_traceback():
    assert issubclass(SettingsError, PipelineError)


def test_models_hold_no_default_values():
    assert set(GROUPS) == set(yaml.safe_load(PARAMS.read_text()))
    for model in (Settings, *GROUPS.values()):
        assert issubclass(model, BaseModel)
        assert [name for name, field in model.model_fields.items() if not field.is_required()] == []


def test_settings_do_not_change_after_they_were_checked():
    with pytest.raises(ValueError, match="frozen"):
        load(PARAMS).train.steps = 1


def test_every_value_in_params_yaml_has_a_comment():
    lines = [line for line in PARAMS.read_text().splitlines() if re.match(r" +\w+:", line)]
    assert len(lines) == sum(len(group.model_fields) for group in GROUPS.values())
    assert [line for line in lines if not re.search(r" # \S", line)] == []


def test_main_root_of_a_temporary_copy_is_the_repository_around_it(tmp_path, monkeypatch):
    copy = tmp_path / ".dvc" / "tmp" / "exps" / "standalone" / "tmpx"
    (copy / "stages").mkdir(parents=True)
    for root in (tmp_path, copy):
        (root / "params.yaml").write_text("")
    assert main_root(copy) == main_root(copy / "stages") == tmp_path.resolve()
    monkeypatch.setenv("DVC_ROOT", str(copy))
    assert main_root() == tmp_path.resolve()


def test_main_root_is_found_from_a_folder_inside_the_repository(tmp_path, monkeypatch):
    (tmp_path / "stages" / "deep").mkdir(parents=True)
    (tmp_path / "params.yaml").write_text("")
    assert main_root(tmp_path / "stages" / "deep") == tmp_path.resolve()
    monkeypatch.delenv("DVC_ROOT", raising=False)
    monkeypatch.chdir(tmp_path / "stages")
    assert main_root() == tmp_path.resolve()


@pytest.mark.parametrize(
    ("group", "changes", "said"),
    [
        ("train", {"discriminator_features": [32, 64, 64, 64, 64]}, "train.discriminator_features"),
        ("cache", {"heatmap_size": 32}, "model.stem 'paper'"),
        ("train", {"compile": "maybe"}, "train.compile = 'maybe'"),
        ("train", {"learning_rate": float("inf")}, "train.learning_rate = inf"),
    ],
)
def test_what_would_fail_hours_later_is_refused_at_once(group, changes, said):
    values = yaml.safe_load(PARAMS.read_text())
    values["model"] |= {"encoder": "hourglass", "pretrained": False, "stem": "paper"}
    values["cache"] |= {"input_size": 64, "heatmap_size": 16}
    values["train"]["input_sizes"] = [64]
    values[group] |= changes
    with pytest.raises(SettingsError) as error:
        check(values, "params.yaml")
    assert said in str(error.value) and str(error.value).count("\n") == 0


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "found None"),
        (b"- 1\n", r"found \[1\]"),
        (b"\xff\xfe\x00", "not YAML: 'utf-8' codec can't decode byte 0xff"),
        (b"data: 1\ndata: 2\n", 'line 2, column 1: .*: found duplicate key "data"'),
        (b"data:\n\tname: 1\n", "line 2, column 1: .*: found character"),
        (b"data: 1\n---\ndata: 1\n", "line 2, column 1: expected a single document"),
        (b"\x00", "not YAML: unacceptable character"),
        (b"[" * 3000, "nested too deeply"),
        (b"data: 1" + b"0" * 5000, "not YAML: Exceeds the limit"),
        (b'"' + b"x" * 99_999 + b'"', "found 'xxx"),
    ],
)
def test_a_file_without_settings_is_refused_in_one_sentence(content, said, tmp_path):
    (tmp_path / "params.yaml").write_bytes(content)
    with pytest.raises(SettingsError, match=f"params.yaml: .*{said}") as error:
        load(tmp_path / "params.yaml")
    assert "\n" not in str(error.value) and len(str(error.value)) < 600


def test_what_is_long_is_not_repeated_and_of_many_mistakes_some_are_named(values):
    (line,) = complaints(changed(values, train__alpha="x" * 5000))
    assert line.startswith("train.alpha = 'xxx") and len(line) < 400
    values["train"]["x" * 5000 + "\x1b\n"] = 1
    (line,) = complaints(values)
    assert line.startswith("train.xxx") and line.isprintable() and len(line) < 1000
    lines = complaints({f"group{k}": 1 for k in range(100)})
    assert len(lines) == 21 and lines[-1] == "88 more mistakes"  # eight groups are missing, too
