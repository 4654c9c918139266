"""The committed weights from a bare address, without a clone: by DVC, and used outside any
repository."""

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from functools import partial
from hashlib import md5, sha256
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest
import yaml
from packaging.requirements import Requirement

from conftest import ROOT, environment, git, sh
from pipeline.__main__ import main
from pipeline.errors import PipelineError
from pipeline.photographs.estimator import PoseEstimator
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


@pytest.fixture
def folder(tmp_path, monkeypatch) -> Path:
    """A copy of what is published; what is fetched is kept beside it."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return shutil.copytree(ROOT / "pretrained", tmp_path / "published")


@pytest.fixture
def web(folder) -> Iterator[str]:
    """The folder's address on a real HTTP server."""

    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            pass

    handler = partial(Quiet, directory=str(folder))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def named(web: str, folder: Path) -> str:
    return f"{web}#sha256={sha256((folder / 'SHA256SUMS').read_bytes()).hexdigest()}"


def test_a_model_is_loaded_from_an_address_and_fetched_once(web, folder, capsys):
    address, photograph = named(web, folder), ROOT / "examples/own/images/figure-0.jpg"
    there = PoseEstimator.load(folder / "generator.safetensors").find([photograph])
    (found,) = PoseEstimator.load(address).find([photograph])
    assert [person.description() for person in found] == [p.description() for p in there[0]]
    for path in folder.iterdir():
        path.unlink()
    out = folder / "found"
    assert main(["predict", str(photograph), "--weights", address, "--out", str(out)]) == 0
    assert len(list(out.glob("*.json"))) == 1


def test_what_was_damaged_on_this_machine_is_fetched_anew(web, folder, tmp_path):
    address = named(web, folder)
    PoseEstimator.load(address)
    (kept,) = (tmp_path / "cache").rglob("finder.safetensors")
    kept.write_bytes(kept.read_bytes()[:-1])
    PoseEstimator.load(address)
    assert kept.read_bytes() == (folder / "finder.safetensors").read_bytes()


@pytest.mark.parametrize("name", ["SHA256SUMS", *FILES])
def test_a_file_that_is_missing_or_another_is_not_taken(name, web, folder, tmp_path):
    address = named(web, folder)
    (folder / name).write_bytes(b"another")
    with pytest.raises(PipelineError, match=f"/{name}: not the file whose SHA-256 is [0-9a-f]"):
        PoseEstimator.load(address)
    (folder / name).unlink()
    with pytest.raises(PipelineError, match=f"/{name}: not fetched: 404") as error:
        PoseEstimator.load(address)
    assert "\n" not in str(error.value)
    assert not list((tmp_path / "cache").rglob(name))


def test_sums_that_lack_a_file_are_refused(web, folder):
    sums = folder / "SHA256SUMS"
    lines = sums.read_text().splitlines(keepends=True)
    sums.write_text("".join(line for line in lines if "finder" not in line))
    with pytest.raises(PipelineError, match="SHA256SUMS: names no finder.safetensors"):
        PoseEstimator.load(named(web, folder))


@pytest.mark.parametrize(
    "address",
    ["https://example.org/a", "https://example.org/a#sha256=12", "s3://a/b#sha256=" + "0" * 64],
)
def test_an_address_without_a_digest_is_not_asked(address, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["predict", "a.jpg", "--out", "out", "--weights", address]) == 1
    said = capsys.readouterr().err
    assert said.startswith(f"error: {address}: expected https://.../FOLDER#sha256=DIGEST, a folder")
    with pytest.raises(PipelineError, match="expected https"):
        PoseEstimator.load(address)


def test_a_server_that_is_away_is_said_in_one_sentence(folder):
    address = named(f"http://127.0.0.1:{free_port()}", folder)
    with pytest.raises(PipelineError, match="/SHA256SUMS: not fetched: ") as error:
        PoseEstimator.load(address)
    assert "\n" not in str(error.value)


def test_the_sums_beside_the_weights_are_theirs():
    sh(ROOT / "pretrained", "sha256sum", "--check", "--strict", "SHA256SUMS")


def test_the_image_is_made_of_files_that_can_be_installed_in_locked_versions(tmp_path):
    """Its three steps that need no Docker: what is copied, what is built, which versions."""
    source = tmp_path / "source"
    source.mkdir()
    kept = [
        line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line[:1] == "!"
    ]
    for name in kept:
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, source / name)
        elif not name.endswith(".onnx"):
            shutil.copy(ROOT / name, source / name)
    words = ("--no-deps", "--no-build-isolation", "--quiet", "--wheel-dir", tmp_path)
    sh(tmp_path, sys.executable, "-m", "pip", "wheel", *words, source)
    assert list(tmp_path.glob("adversarial_posenet-*.whl"))

    (script,) = re.findall(r"sed '(.*?)' /source", (ROOT / "Dockerfile").read_text())
    versions = sh(ROOT, "sed", script, "requirements.txt").splitlines()
    named = [line for line in versions if not line.strip().startswith("#")]
    assert all(Requirement(line).specifier for line in named) and len(named) > 50
