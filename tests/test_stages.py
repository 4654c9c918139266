"""dvc.yaml against the code: each stage depends on exactly what determines its outputs."""

import ast
from pathlib import Path

import pytest
import yaml

from pipeline import weights
from pipeline.settings import Settings

ROOT = Path(__file__).parents[1]
STAGES = yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"]
CHECKS_ONLY = {"pipeline/settings.py"}  # holds no values, as test_settings shows
OBSERVES_ONLY = {
    "pipeline/tracking.py",
    "pipeline/drawing.py",
    "pipeline/report.py",
    "stages/pictures.py",
    "stages/registry.py",
}
RANK = (
    {"settings"},
    {"download", "figures", "lspet", "device", "optimisation", "photograph"},
    {"split", "heatmaps", "metrics"},
    {"cache", "augmentation", "layers", "comparison"},
    {"generator"},
    {"discriminators", "losses", "weights"},
    {"inference"},
    {"people"},
    {"evaluation"},
    {"training"},
)
COMMANDS = {
    "ablation",
    "export",
    "predict",
    "serving",
}  # above all of these: run by people, imported by nothing


def imports(path: Path) -> set[str]:
    """Files of this repository that a file imports, wherever the statement stands."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
    files = set()
    for name in names:
        if name.split(".")[0] in ("pipeline", "stages"):
            parts = name.split(".")
            files |= {"/".join(parts) + ".py"} | {
                "/".join(parts[:i]) + "/__init__.py" for i in range(1, len(parts) + 1)
            }
    return {file for file in files if (ROOT / file).is_file()}


def code_of(stage: str) -> set[str]:
    """Files that a stage's script needs, without those that only check or observe."""
    found, new = set(), {f"stages/{stage}.py"}
    while new:
        found |= new
        new = {file for each in new for file in imports(ROOT / each)} - found - CHECKS_ONLY - OBSERVES_ONLY
    return found


def in_cache(stage: str) -> dict[str, dict]:
    """A stage's outputs in DVC's cache; the others are in git: small, and read for the report only."""
    outs = {path: options for out in STAGES[stage]["outs"] for path, options in out.items()}
    return {path: options for path, options in outs.items() if options.get("cache", True)}


def settings_read_by(stage: str) -> set[str]:
    """`group` or `group.name` of every `settings.group.name` in a stage's code."""
    read = set()
    for file in code_of(stage):
        tree = ast.parse((ROOT / file).read_text())
        below = {id(node.value): node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
        for node in ast.walk(tree):
            if not (isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name)):
                continue
            if node.value.id == "settings" and node.attr in Settings.model_fields:
                name = below.get(id(node))
                fields = Settings.model_fields[node.attr].annotation.model_fields
                read.add(f"{node.attr}.{name}" if name in fields else node.attr)
    return read


def test_every_stage_has_its_script():
    assert {path.stem for path in (ROOT / "stages").glob("*.py")} - {
        "__init__",
        "pictures",
        "registry",
    } == set(STAGES)
    assert all(stage["cmd"] == f"python -m stages.{name}" for name, stage in STAGES.items())


@pytest.mark.parametrize("stage", STAGES)
def test_a_stage_depends_on_exactly_the_code_that_it_imports(stage):
    declared = {path for path in STAGES[stage]["deps"] if path.endswith(".py")}
    assert declared == code_of(stage)


@pytest.mark.parametrize("stage", STAGES)
def test_a_stage_depends_on_exactly_the_parameters_that_it_reads(stage):
    declared, read = set(STAGES[stage]["params"]), settings_read_by(stage)
    covered = {name for name in read if name in declared or name.split(".")[0] in declared}
    assert covered == read, f"read, but not declared: {read - covered}"
    unread = {
        name for name in declared if name not in read and not any(r.startswith(f"{name}.") for r in read)
    }
    assert not unread, f"declared, but not read: {unread}"


@pytest.mark.parametrize("stage", STAGES)
def test_a_stage_depends_on_the_data_that_it_names(stage):
    text = (ROOT / f"stages/{stage}.py").read_text().replace("weights.PATH", f'"{weights.PATH}"')
    outs = {path for each in STAGES for path in in_cache(each)}
    named = {out for out in outs if f'"{out}' in text}
    own = in_cache(stage).keys()
    declared = {path for path in STAGES[stage]["deps"] if path in outs}
    assert named - own <= declared | {"data/${data.name}"}
    assert declared - {"data/${data.name}"} <= named


def test_only_the_weights_are_pushed():
    pushed = [path for stage in STAGES for path, out in in_cache(stage).items() if out.get("push", True)]
    assert pushed == ["models/generator.safetensors"]


def test_imports_run_one_way_from_stages_down_to_settings():
    rank = {name: i for i, names in enumerate(RANK) for name in names}
    for path in sorted((ROOT / "pipeline").glob("*.py")):
        used = {Path(file).stem for file in imports(path)} - {"__init__"}
        assert not any(file.startswith("stages/") for file in imports(path))
        if path.stem in rank:
            assert not used & COMMANDS
            assert all(rank[name] < rank[path.stem] for name in used), f"{path.stem} imports {used}"
        else:
            assert path.stem in {"__init__", "tracking", "drawing", "overlay", "report", *COMMANDS}


def test_the_library_never_reads_params_yaml_itself():
    for path in {*(ROOT / "pipeline").glob("*.py")} - {ROOT / f"pipeline/{name}.py" for name in COMMANDS}:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ImportFrom) and node.module == "pipeline.settings":
                assert "load" not in {alias.name for alias in node.names}, path
