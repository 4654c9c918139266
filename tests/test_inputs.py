"""What a stage depends on, and what becomes of a stage while which it changes."""

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from conftest import ROOT
from pipeline.inputs import Inputs, InputsError, files, parameters

STAGES = """
stages:
  work:
    cmd: python -m stages.work
    deps: [data, pipeline, stages/work.py]
    params: [group, other.named]
"""
PARAMS = "group: {a: 1, b: [2, 3]}\nother: {named: 4, unread: 5}\n"
WORK = """
import signal, sys, time
from pathlib import Path
from stages import stage, stopping

@stage
def main():
    with stopping() as stopped:
        Path("began").touch()
        while not Path("go").exists():
            if stopped():
                raise KeyboardInterrupt("stopped, and saved")
            time.sleep(0.01)
    Path("done").touch()

main()
"""


@pytest.fixture
def project(tmp_path, monkeypatch) -> Path:
    """A stage `work` with its inputs, as the current directory."""
    (tmp_path / "data").mkdir()
    (tmp_path / "data/one.npy").write_bytes(bytes(100))
    (tmp_path / "dvc.yaml").write_text(STAGES)
    (tmp_path / "params.yaml").write_text(PARAMS)
    shutil.copytree(ROOT / "pipeline", tmp_path / "pipeline")
    shutil.copytree(ROOT / "stages", tmp_path / "stages")
    (tmp_path / "stages/work.py").write_text(WORK)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.usefixtures("project")
def test_files_and_parameters_are_those_that_dvc_yaml_names():
    assert Path("data/one.npy") in files("work") and Path("pipeline/inputs.py") in files("work")
    assert Path("stages/train.py") not in files("work")
    assert parameters("work") == {"group.a": 1, "group.b": [2, 3], "other.named": 4}


def append(path: Path, text: str) -> None:
    path.write_text(path.read_text() + text)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda f: (f / "params.yaml").write_text(PARAMS.replace("1", "7")), "group.a (from 1 to"),
        (lambda f: (f / "params.yaml").write_text(PARAMS.replace("4", "7")), "other.named (from 4"),
        (lambda f: append(f / "pipeline/geometry.py", "#"), "pipeline/geometry.py"),
        (lambda f: (f / "pipeline/new.py").write_text(""), "pipeline/new.py"),
        (lambda f: (f / "pipeline/geometry.py").unlink(), "pipeline/geometry.py"),
        (lambda f: (f / "data/one.npy").write_bytes(bytes(99)), "data/one.npy"),
    ],
)
def test_what_changes_while_a_stage_runs_is_named(project, change, said):
    inputs = Inputs.now("work")
    inputs.check()
    change(project)
    with pytest.raises(InputsError, match="nothing is recorded") as caught:
        inputs.check()
    assert said in str(caught.value)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"group: [1\n", "not YAML: while parsing"),
        (b"group: \xff\n", "not YAML: 'utf-8' codec"),
        (b"[" * 3000, "not YAML: maximum recursion depth"),
        (b"", r"group.a \(from 1 to None\)"),
        (b"- 1\n", r"group.a \(from 1 to None\)"),
        (b"group: 5\nother: 5\n", r"other.named \(from 4 to None\)"),
    ],
)
def test_params_yaml_that_is_none_any_more_is_one_sentence(project, content, said):
    inputs = Inputs.now("work")
    (project / "params.yaml").write_bytes(content)
    with pytest.raises(InputsError, match=said) as caught:
        inputs.check()
    assert "\n" not in str(caught.value)


def test_what_a_stage_does_not_depend_on_may_change(project):
    inputs = Inputs.now("work")
    (project / "params.yaml").write_text("# a comment\n" + PARAMS.replace("5", "7"))
    (project / "stages/other.py").write_text("")
    (project / "pipeline/__pycache__").mkdir(exist_ok=True)
    (project / "pipeline/__pycache__/x.pyc").write_bytes(b"compiled")
    content = (project / "pipeline/geometry.py").read_text()
    (project / "pipeline/geometry.py").write_text(content)  # saved anew, the same
    inputs.check()


@pytest.fixture
def work(project):
    """A running stage, as DVC starts it, that waits for a file `go`."""
    environment = os.environ | {"DVC_STAGE": "work", "PYTHONPATH": str(project)}
    pipe = {"stderr": subprocess.PIPE, "text": True, "env": environment}
    with subprocess.Popen([sys.executable, "stages/work.py"], **pipe) as process:
        while not Path("began").exists():
            assert process.poll() is None, process.stderr.read()
        yield process
        process.kill()


def test_a_stage_whose_parameter_changed_meanwhile_fails_in_one_sentence(project, work):
    (project / "params.yaml").write_text(PARAMS.replace("1", "0.5"))
    Path("go").touch()
    said = work.communicate(timeout=30)[1]
    assert work.returncode == 1 and Path("done").exists()
    assert said.startswith(
        "error: while the stage work ran, there changed: group.a (from 1 to 0.5)"
    )
    assert len(said.splitlines()) == 1


@pytest.mark.usefixtures("project")
def test_a_stage_whose_inputs_stay_succeeds(work):
    Path("go").touch()
    assert work.communicate(timeout=30)[1] == "" and work.returncode == 0


@pytest.mark.usefixtures("project")
def test_a_second_process_of_a_stage_says_who_runs_it_and_ends(work):
    code = "import stages; stages.PATIENCE = 0.1; from stages import work"
    environment = os.environ | {"PYTHONPATH": "."}
    command = [sys.executable, "-c", code]
    second = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    assert second.returncode == 1
    assert second.stderr.startswith(f"error: process {work.pid} on ")
    assert second.stderr.endswith("runs the stage work here: wait for it, or stop it\n")
    Path("go").touch()
    assert work.wait(30) == 0 and not list(Path(".dvc/tmp/locks").glob("*.holder"))


PARENT = """
import subprocess, sys, time
child = subprocess.Popen([sys.executable, "stages/work.py"]); print(child.pid, flush=True)
time.sleep(60)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="the kernel of Linux offers it")
@pytest.mark.usefixtures("project")
def test_a_stage_whose_dvc_is_killed_stops_as_if_it_were_told_to(project):
    environment = os.environ | {"DVC_STAGE": "work", "PYTHONPATH": str(project)}
    pipe = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    command = [sys.executable, "-c", PARENT]
    with subprocess.Popen(command, env=environment, **pipe) as dvc:
        stage = psutil.Process(int(dvc.stdout.readline()))
        while not Path("began").exists():
            assert stage.is_running()
        dvc.kill()
        stage.wait(30)
        said = dvc.stderr.read()
    assert said.splitlines() == ["stopping after this step", "stopped, and saved"]
    assert not Path("done").exists()


@pytest.mark.usefixtures("project")
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_stage_that_is_told_to_stop_says_what_became_of_it(work, number):
    work.send_signal(number)
    said = work.communicate(timeout=30)[1]
    assert work.returncode == 130 and not Path("done").exists()
    assert said.splitlines() == ["stopping after this step", "stopped, and saved"]
