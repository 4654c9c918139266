"""The committed weights from a bare address, without a clone: by DVC, and used outside any
repository."""

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from hashlib import md5
from pathlib import Path

import pytest
import yaml

from conftest import ROOT, environment, git, sh
from servers import free_port, program

FILES = ("generator.safetensors", "finder.safetensors", "judgement.json")
DVC = (sys.executable, "-m", "dvc")


def published() -> dict[str, str]:
    """The MD5 that dvc.lock has of each of the files."""
    stages = yaml.safe_load((ROOT / "dvc.lock").read_text())["stages"]
    outs = {out["path"]: out["md5"] for stage in stages.values() for out in stage["outs"]}
    return {name: outs[f"models/{name}"] for name in FILES}


def digests(folder: Path) -> dict[str, str]:
    return {name: md5((folder / name).read_bytes()).hexdigest() for name in FILES}


@pytest.fixture(scope="module")
def bare(tmp_path_factory) -> Path:
    """A bare clone of what is committed here."""
    folder = tmp_path_factory.mktemp("bare") / "posenet.git"
    git(folder.parent, "clone", "--quiet", "--bare", f"file://{ROOT}", str(folder))
    return folder


@pytest.fixture(params=["file", "git"])
def address(request, bare, tmp_path) -> Iterator[str]:
    """Where the bare clone is: a folder, or behind Git's own server on loopback."""
    if request.param == "file":
        yield f"file://{bare}"
        return
    port = free_port()
    command = ["git", "daemon", "--export-all", "--listen=127.0.0.1", f"--port={port}"]
    served = f"git://127.0.0.1:{port}/{bare.name}"

    def ready() -> bool:
        asked = ["git", "ls-remote", "--quiet", served]
        return subprocess.run(asked, capture_output=True, check=False).returncode == 0

    log, base = tmp_path / "daemon.log", f"--base-path={bare.parent}"
    with program([*command, base], tmp_path, log, ready, environment()):
        yield served


def test_what_is_published_is_what_dvc_lock_names():
    assert digests(ROOT / "pretrained") == published()


def test_the_weights_come_from_a_bare_address(address, tmp_path):
    outside = tmp_path / "outside"
    outside.mkdir()
    sh(outside, *DVC, "get", "--quiet", address, "pretrained")
    assert digests(outside / "pretrained") == published()


def test_they_find_people_outside_any_repository(tmp_path):
    shutil.copytree(ROOT / "pretrained", tmp_path / "pretrained")
    photograph = ROOT / "examples/own/images/figure-0.jpg"
    words = ["--weights", "pretrained/generator.safetensors", "--out", "found"]
    subprocess.run(
        [sys.executable, "-m", "pipeline", "predict", photograph, *words],
        cwd=tmp_path,
        env=environment() | {"PYTHONPATH": str(ROOT)},
        check=True,
    )
    [said] = (tmp_path / "found").glob("*.json")
    assert json.loads(said.read_text())["people"]
