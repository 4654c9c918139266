"""One process at a time, and none that outlives its parent; with real processes."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from conftest import ROOT
from pipeline.processes import OccupiedError, alone

HOLD = """
import sys; from pathlib import Path; from pipeline.processes import alone
with alone(Path(sys.argv[1]), "does it"): print("mine", flush=True); sys.stdin.read()
"""
PARENT = """
import subprocess, sys, time
child = subprocess.Popen([sys.executable, "-c", sys.argv[1]]); print(child.pid, flush=True)
time.sleep(60)
"""
CHILD = """
import signal, time; from pipeline.processes import end_with_parent
signal.signal(signal.SIGTERM, lambda *_: (open("told", "w").close(), exit()))
end_with_parent(signal.SIGTERM); open("ready", "w").close(); time.sleep(60)
"""


def holder(lock: Path) -> subprocess.Popen:
    command = [sys.executable, "-c", HOLD, str(lock)]
    pipe = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "cwd": ROOT, "text": True}
    process = subprocess.Popen(command, **pipe)
    assert process.stdout.readline() == "mine\n"
    return process


def test_one_process_at_a_time_is_at_a_task_and_is_named(tmp_path):
    lock = tmp_path / "locks" / "task.lock"
    with holder(lock) as first:
        said = f"^process {first.pid} on .* does it: wait for it, or stop it$"
        with pytest.raises(OccupiedError, match=said), alone(lock, "does it"):
            pass
        first.kill()
    with alone(lock, "does it"):  # whoever was killed holds nothing
        assert (tmp_path / "locks" / "task.holder").read_text().startswith(f"process {os.getpid()}")
    with alone(lock, "does it"):
        pass
    assert [path.name for path in lock.parent.iterdir()] == ["task.lock"]


def test_who_is_patient_comes_after_who_ends(tmp_path):
    with holder(tmp_path / "task.lock") as first:
        first.stdin.close()  # it ends, soon
        with alone(tmp_path / "task.lock", "does it", patience=20.0):
            assert first.wait(20) == 0


def test_what_the_block_raises_is_what_comes_out(tmp_path):
    """A Timeout of FileLock's too, which does not mean that somebody else is at it."""
    from filelock import Timeout

    with pytest.raises(Timeout), alone(tmp_path / "task.lock", "does it"):
        raise Timeout("another lock")


@pytest.mark.skipif(sys.platform != "linux", reason="the kernel of Linux offers it")
def test_who_is_an_orphan_already_ends_at_once(tmp_path):
    """Its parent was killed while it still imported."""
    waiting = "import os, time; [time.sleep(0.05) for _ in iter(os.getppid, 1)]"
    begin = "import subprocess, sys; subprocess.Popen([sys.executable, '-c', sys.argv[1]],"
    command = [sys.executable, "-c", begin + " start_new_session=True)", waiting + CHILD]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    subprocess.run(command, cwd=tmp_path, env=environment, check=True)
    waited = time.monotonic() + 20
    while not (tmp_path / "told").exists():
        assert time.monotonic() < waited and not (tmp_path / "ready").exists()
        time.sleep(0.05)


@pytest.mark.skipif(sys.platform != "linux", reason="the kernel of Linux offers it")
def test_who_began_it_is_outlived_by_nobody(tmp_path):
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", PARENT, CHILD]
    pipe = {"stdout": subprocess.PIPE, "cwd": tmp_path, "env": environment, "text": True}
    with subprocess.Popen(command, **pipe) as parent:
        child = psutil.Process(int(parent.stdout.readline()))
        waited = time.monotonic() + 20
        while not (tmp_path / "ready").exists():
            assert time.monotonic() < waited
            time.sleep(0.02)
        parent.send_signal(signal.SIGKILL)
    child.wait(20)
    assert (tmp_path / "told").exists()
