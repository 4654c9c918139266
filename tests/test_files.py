"""Files and folders that are whole or not there, whatever happens while they are written."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.torch import save_file

from conftest import ROOT, environment
from disks import mountable, small_disk
from pipeline.files import FullDiskError, written_whole

KINDS = ("file", "folder")
KILLED = """
import os, sys
from pathlib import Path
from pipeline.files import written_whole
kind, path, moment = sys.argv[1], Path(sys.argv[2]), sys.argv[3]
if moment == "after moving the old one aside":
    os.replace = lambda *_: os._exit(9)
with written_whole(path) as beside:
    if kind == "folder":
        beside.mkdir()
    (beside / "one" if kind == "folder" else beside).write_text("half")
    if moment == "while writing":
        os._exit(9)
"""


def write(kind: str, path: Path, content: str) -> None:
    """A file of this content, or a folder with one in it that is named like its content."""
    if kind == "file":
        path.write_text(content)
    else:
        (path / "deep").mkdir(parents=True)
        (path / "deep" / content).write_text(content)


def held(folder: Path) -> dict[str, str]:
    """The content of every file below a folder, and an empty one for every folder."""
    return {
        path.relative_to(folder).as_posix(): path.read_text() if path.is_file() else ""
        for path in folder.rglob("*")
    }


def expected(kind: str, content: str) -> dict[str, str]:
    """What `held` says of a folder that holds `kept`, of this content, and nothing else."""
    if kind == "file":
        return {"kept": content}
    return {"kept": "", "kept/deep": "", f"kept/deep/{content}": content}


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_written_appears_when_the_block_ends(kind, tmp_path):
    path = tmp_path / "new" / "kept"
    with written_whole(path) as beside:
        assert beside.parent == path.parent and not beside.exists()
        write(kind, beside, "whole")
        assert not path.exists()
    assert held(path.parent) == expected(kind, "whole")


@pytest.mark.parametrize("kind", KINDS)
def test_the_old_one_stays_until_the_block_ends_and_is_then_replaced_whole(kind, tmp_path):
    path = tmp_path / "kept"
    write(kind, path, "old")
    before = held(tmp_path)
    with written_whole(path) as beside:
        write(kind, beside, "new")
        assert before.items() <= held(tmp_path).items()
    assert held(tmp_path) == expected(kind, "new")


@pytest.mark.parametrize("failure", [ValueError("no"), KeyboardInterrupt(), SystemExit(3)])
@pytest.mark.parametrize("there", [True, False])
@pytest.mark.parametrize("kind", KINDS)
def test_a_block_that_fails_leaves_nothing_and_what_was_there(kind, there, failure, tmp_path):
    path = tmp_path / "kept"
    if there:
        write(kind, path, "old")
    with pytest.raises(type(failure)), written_whole(path) as beside:
        write(kind, beside, "half")
        raise failure
    assert held(tmp_path) == (expected(kind, "old") if there else {})


@pytest.mark.parametrize("kind", KINDS)
def test_a_block_that_writes_nothing_fails_and_leaves_what_was_there(kind, tmp_path):
    write(kind, tmp_path / "kept", "old")
    with pytest.raises(FileNotFoundError), written_whole(tmp_path / "kept"):
        pass
    assert held(tmp_path) == expected(kind, "old")


def test_a_file_does_not_replace_a_folder(tmp_path):
    write("folder", tmp_path / "kept", "old")
    with pytest.raises(OSError), written_whole(tmp_path / "kept") as beside:
        write("file", beside, "new")
    assert held(tmp_path) == expected("folder", "old")


def killed(kind: str, path: Path, moment: str) -> None:
    """Write to a path in a process that ends at this moment with no time to tidy up."""
    words = [sys.executable, "-c", KILLED, kind, str(path), moment]
    variables = environment() | {"PYTHONPATH": str(ROOT)}
    assert subprocess.run(words, env=variables, check=False).returncode == 9


@pytest.mark.parametrize("there", [True, False])
@pytest.mark.parametrize("kind", KINDS)
def test_what_a_killed_run_left_is_removed_by_the_next(kind, there, tmp_path):
    path = tmp_path / "kept"
    if there:
        write(kind, path, "old")
    before = held(tmp_path)
    killed(kind, path, "while writing")
    assert before.items() < held(tmp_path).items()
    with written_whole(path) as beside:
        assert held(tmp_path) == before
        write(kind, beside, "new")
    assert held(tmp_path) == expected(kind, "new")


def test_a_run_that_was_killed_in_the_last_moment_loses_nothing(tmp_path):
    write("folder", tmp_path / "kept", "old")
    killed("folder", tmp_path / "kept", "after moving the old one aside")
    assert {"old", "half"} <= set(held(tmp_path).values())
    with pytest.raises(ValueError), written_whole(tmp_path / "kept"):
        raise ValueError
    assert held(tmp_path) == expected("folder", "old")
    with written_whole(tmp_path / "kept") as beside:
        write("folder", beside, "new")
    assert held(tmp_path) == expected("folder", "new")


def with_numpy(path: Path) -> None:
    with path.open("wb") as file:
        np.savez(file, noise=np.random.default_rng(0).random(10**6))


def with_safetensors(path: Path) -> None:
    save_file({"weights": torch.zeros(10**6)}, path)


def with_torch(path: Path) -> None:
    torch.save({"weights": torch.zeros(10**6)}, path)


def with_pandas(path: Path) -> None:
    pd.DataFrame({"x": np.arange(10**6)}).to_csv(path)


@pytest.mark.parametrize("write", [with_numpy, with_safetensors, with_torch, with_pandas])
def test_a_disk_that_is_full_is_said_to_be_whatever_library_writes(tmp_path, write):
    if reason := mountable():
        pytest.skip(f"no small file system can be mounted here: {reason}")
    with small_disk(tmp_path / "disk", 1000) as disk:
        path = disk / "results.bin"
        path.write_text("of before")
        said = r"results\.bin: no room is left on its disk"
        with pytest.raises(FullDiskError, match=said), written_whole(path) as beside:
            write(beside)
        assert [each.name for each in disk.iterdir()] == ["results.bin"]
        assert path.read_text() == "of before"


def test_a_file_that_is_too_large_for_the_room_that_is_left_is_said_to_be(tmp_path):
    """Some libraries see it before they write."""
    with pytest.raises(FullDiskError, match="file: no room"), written_whole(tmp_path / "file"):
        raise RuntimeError("I/O error: No space left on device (os error 28)")


def test_what_fails_for_another_reason_is_said_as_it_is(tmp_path):
    with pytest.raises(ValueError, match="no such luck"), written_whole(tmp_path / "file"):
        raise ValueError("no such luck")
