"""`python -m pipeline`: which commands there are, and what is said where one cannot be done."""

import subprocess
import sys

import pytest
from PIL import Image

from conftest import ROOT
from pipeline.__main__ import COMMANDS, main


def pipeline(*words: object) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, "-m", "pipeline", *map(str, words)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )


def test_help_names_the_commands():
    done = pipeline("--help")
    assert done.returncode == 0 and not done.stderr
    modules = (ROOT / "pipeline/commands").glob("*.py")
    assert set(COMMANDS) == {each.stem for each in modules if "\ndef run(" in each.read_text()}
    for name, said in COMMANDS.items():
        assert f"{name} " in done.stdout and said in " ".join(done.stdout.split())


def test_help_waits_for_no_library():
    code = (
        "import sys; from pipeline.__main__ import main\n"
        "try: main(['--help'])\n"
        "finally: print({'numpy', 'torch'} & set(sys.modules))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout.endswith("set()\n")


@pytest.mark.parametrize("words", [("predicts",), (), ("predict",)])
def test_words_that_are_no_command_exit_with_2(words):
    done = pipeline(*words)
    assert done.returncode == 2 and not done.stdout
    assert "usage: adversarial-posenet" in done.stderr and "Traceback" not in done.stderr
    if words == ("predicts",):
        assert all(name in done.stderr for name in COMMANDS)


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_explains_itself(name, capsys):
    with pytest.raises(SystemExit) as ended:
        main([name, "--help"])
    assert ended.value.code == 0
    said = capsys.readouterr().out
    assert f"usage: adversarial-posenet {name}" in said and f"python -m pipeline {name}" in said


@pytest.mark.parametrize("kind", ["safetensors", "onnx"])
def test_weights_that_are_missing_are_one_sentence(tmp_path, kind):
    Image.new("RGB", (20, 20)).save(tmp_path / "a.png")
    missing = tmp_path / f"none.{kind}"
    out = tmp_path / "out"
    done = pipeline("predict", tmp_path / "a.png", "--out", out, "--weights", missing)
    assert done.returncode == 1 and not done.stdout and not out.exists()
    (said,) = done.stderr.splitlines()
    assert said.startswith(f"error: {missing}: no ")


@pytest.mark.parametrize(
    "words", [("export", "--onnx", "joints.onnx"), ("lsp", ".")], ids=["export", "lsp"]
)
def test_every_command_by_weights_says_so(tmp_path, monkeypatch, capsys, words):
    monkeypatch.chdir(tmp_path)
    assert main([*words, "--weights", "none.safetensors"]) == 1
    told = capsys.readouterr()
    (said,) = told.err.splitlines()
    assert said.startswith("error: none.safetensors: no weights there") and not told.out
    assert "`dvc pull models/generator.safetensors models/finder.safetensors` brings" in said
    assert "dvc pull none" not in said and not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "words",
    [
        ("predict", "{}", "--out", "out"),
        ("predict", "a.jpg", "--out", "{}"),
        ("predict", "a.jpg", "--out", "out", "--boxes", "{}"),
        ("lsp", "{}"),
    ],
    ids=["path", "out", "boxes", "lsp"],
)
def test_an_address_is_refused_with_all_its_slashes(tmp_path, monkeypatch, capsys, words):
    monkeypatch.chdir(tmp_path)
    address = "https://example.org//a/b.jpg"
    assert main([word.format(address) for word in words]) == 1
    (said,) = capsys.readouterr().err.splitlines()
    assert said == (
        f"error: {address}: an address; expected a path on this machine, as nothing is fetched"
    )
    assert not list(tmp_path.iterdir())
