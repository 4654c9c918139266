"""dvc.yaml against the code: each stage depends on exactly the rooms of code that it imports;
imports run one way."""

import ast
from itertools import pairwise
from pathlib import Path

import pytest
import yaml

from conftest import ROOT
from pipeline import paths
from pipeline.settings import Settings

WHOLE = yaml.safe_load((ROOT / paths.STAGES).read_text())
STAGES = WHOLE["stages"]
PATHS = {str(value): name for name, value in vars(paths).items() if isinstance(value, Path)}
CHECKS_ONLY = {"pipeline/settings.py"}  # holds no values, as test_settings shows
OBSERVES_ONLY = ("pipeline/tracking/", "pipeline/drawing/")
BESIDE = {  # in a room of a stage, though the stage does not import it
    "finder": {
        "pipeline/data/shelf.py",
        "pipeline/data/split.py",
        "pipeline/data/storage.py",
        "pipeline/data/targets.py",
        "pipeline/networks/discriminators.py",
        "pipeline/networks/estimator.py",
        "pipeline/networks/heatmaps.py",
    },
    "calibrate": {
        "pipeline/evaluation/results.py",
        "pipeline/networks/beginning.py",
        "pipeline/networks/discriminators.py",
    },
    "evaluate": {
        "pipeline/judging/fit.py",
        "pipeline/networks/beginning.py",
        "pipeline/networks/discriminators.py",
    },
}
FLOORS = (  # what stands on a floor imports from those below it alone
    {"errors"},
    {"__init__"},
    {
        *("annotations", "device", "files", "geometry", "paths", "processes", "rates"),
        *("reading", "seeding", "skeleton"),
    },
    {"inputs", "repository"},
    {"settings", "data", "figures", "sources"},
    {"scenes", "distributed", "own", "presets"},
    {"networks"},
    {"finding"},
    {"evaluation", "mosaics", "photographs"},
    {"training", "finder_training", "judging", "film", "bodies"},
    {"drawing"},
    {"tracking"},
    {"sweeps"},
    {"commands"},
    {"__main__"},
)


def imports(path: Path) -> set[str]:
    """Files of this repository that a file imports, wherever the statement stands; types' alone do
    not count."""
    names, nodes = set(), [ast.parse(path.read_text())]
    while nodes:
        node = nodes.pop()
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            continue
        nodes += ast.iter_child_nodes(node)
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
    files = set()
    for name in names:
        parts = name.split(".")
        if parts[0] in ("pipeline", "stages"):
            inits = {"/".join([*parts[:i], "__init__.py"]) for i in range(1, len(parts) + 1)}
            files |= {"/".join(parts) + ".py"} | inits
    return {file for file in files if (ROOT / file).is_file()}


def code_of(stage: str) -> set[str]:
    """Files that a stage's script needs, without those that only check or observe."""
    found, new = set(), {f"stages/{stage}.py"}
    while new:
        found |= new
        new = {file for each in new for file in imports(ROOT / each)} - found - CHECKS_ONLY
        new = {file for file in new if not file.startswith(OBSERVES_ONLY)}
    return found


def declared_code(stage: str) -> set[str]:
    """Files of code in the files and folders that dvc.yaml names."""
    named = [
        ROOT / dep for dep in STAGES[stage]["deps"] if dep.startswith(("pipeline/", "stages/"))
    ]
    files = [file for path in named for file in (path.rglob("*.py") if path.is_dir() else [path])]
    return {str(file.relative_to(ROOT)) for file in files}


def in_cache(stage: str) -> dict[str, dict]:
    """A stage's outputs in DVC's cache; its metrics and plots are in git: small, and read for the
    report only."""
    outs = STAGES[stage].get("outs", [])
    named = [{out: {}} if isinstance(out, str) else out for out in outs]
    return {path: options for out in named for path, options in out.items()}


def settings_read_by(stage: str) -> set[str]:
    """`group` or `group.name` of every `settings.group.name` in a stage's code."""
    read = set()
    for file in code_of(stage):
        tree = ast.parse((ROOT / file).read_text())
        below = {
            id(node.value): node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute)
        }
        for node in ast.walk(tree):
            if not (isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name)):
                continue
            if node.value.id == "settings" and node.attr in Settings.model_fields:
                name = below.get(id(node))
                fields = Settings.model_fields[node.attr].annotation.model_fields
                read.add(f"{node.attr}.{name}" if name in fields else node.attr)
    return read


def test_every_stage_has_its_script():
    assert {path.stem for path in (ROOT / "stages").glob("*.py")} - {"__init__"} == set(STAGES)
    assert all(stage["cmd"] == f"python -m stages.{name}" for name, stage in STAGES.items())


@pytest.mark.parametrize("stage", STAGES)
def test_a_stage_depends_on_exactly_the_rooms_that_it_imports(stage):
    assert declared_code(stage) == code_of(stage) | BESIDE.get(stage, set())


@pytest.mark.parametrize("stage", STAGES)
def test_code_is_named_by_whole_rooms(stage):
    rooms = [Path(dep) for dep in STAGES[stage]["deps"] if dep.startswith("pipeline/")]
    assert all(len(path.parts) == 2 for path in rooms)


@pytest.mark.parametrize("stage", STAGES)
def test_a_stage_depends_on_exactly_the_parameters_that_it_reads(stage):
    declared, read = set(STAGES[stage].get("params", [])), settings_read_by(stage)
    covered = {name for name in read if name in declared or name.split(".")[0] in declared}
    assert covered == read, f"read, but not declared: {read - covered}"
    unread = {
        name
        for name in declared
        if name not in read and not any(r.startswith(f"{name}.") for r in read)
    }
    assert not unread, f"declared, but not read: {unread}"


@pytest.mark.parametrize("stage", STAGES)
def test_a_stage_depends_on_the_data_that_it_names(stage):
    tree = ast.parse((ROOT / f"stages/{stage}.py").read_text())
    used = {ast.unparse(node) for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
    outs = {path for each in STAGES for path in in_cache(each)}
    named = {out for out in outs if f"paths.{PATHS.get(out)}" in used}
    own = in_cache(stage).keys()
    declared = {path for path in STAGES[stage]["deps"] if path in outs}
    assert named - own <= declared <= named


@pytest.mark.parametrize("stage", STAGES)
def test_all_is_pushed_but_the_photographs_and_what_is_quickly_made_of_them(stage):
    kept = {path for path, out in in_cache(stage).items() if not out.get("push", True)}
    assert kept == (in_cache(stage).keys() if stage in ("download", "cache") else set())


@pytest.mark.parametrize("stage", STAGES)
def test_a_stage_can_enter_the_run_cache(stage):
    """DVC keeps none there that has outputs, other than metrics and plots, outside its cache."""
    assert all(out.get("cache", True) for out in in_cache(stage).values())


def test_the_artifacts_are_the_models_that_stages_make():
    made = {path for stage in STAGES for path in in_cache(stage)}
    models = {each["path"] for each in WHOLE["artifacts"].values()}
    assert models == {path for path in made if path.endswith(".safetensors")}
    assert all(each["type"] == "model" and each["desc"] for each in WHOLE["artifacts"].values())


def room(file: str) -> str:
    """The room of a file of the package, or the name of one that lies in none."""
    return Path(file).parts[1].removesuffix(".py")


def test_imports_run_one_way_from_commands_down():
    floor = {name: i for i, names in enumerate(FLOORS) for name in names}
    for path in sorted((ROOT / "pipeline").rglob("*.py")):
        here = room(str(path.relative_to(ROOT)))
        used = imports(path)
        assert not any(file.startswith("stages/") for file in used), path
        below = {room(file) for file in used} - {here}
        assert all(floor[name] < floor[here] for name in below), f"{path} imports {below}"


def test_no_module_imports_itself_by_others():
    modules = [str(path.relative_to(ROOT)) for path in (ROOT / "pipeline").rglob("*.py")]
    above = {file: imports(ROOT / file) - {file} for file in modules}
    while leaves := {file for file, used in above.items() if not used & above.keys()}:
        for file in leaves:
            del above[file]
    assert not above


def test_the_library_never_reads_params_yaml_itself():
    for path in (ROOT / "pipeline").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ImportFrom) and node.module == "pipeline.settings":
                assert "load" not in {alias.name for alias in node.names}, path


def test_no_line_of_the_plan_is_out_of_order():
    """A floor that holds nothing, or a room without a floor, is a mistake in FLOORS."""
    rooms = {room(str(path.relative_to(ROOT))) for path in (ROOT / "pipeline").rglob("*.py")}
    assert set().union(*FLOORS) == rooms
    assert not any(one & other for one, other in pairwise(FLOORS))
