"""The whole pipeline as people use it: a real repository, a real dvc, a real MLflow store."""

import json
import os
import shutil
import sys
import time
from io import StringIO
from pathlib import Path

import pandas as pd
import pytest

from conftest import git, sh
from pipeline.files import digest
from tiny import repository

MEANS = ("pck_0.2", "pckh_0.5", "covered.pck_0.2")


def runs(folder: Path, network: str = "generator") -> pd.DataFrame:
    """The MLflow runs of a network's trainings in a project's own store."""
    import mlflow

    uri = f"sqlite:///{folder / 'mlflow.db'}"
    experiments = mlflow.MlflowClient(uri).search_experiments()
    names = [each.name for each in experiments if each.name != "Default"]
    mlflow.set_tracking_uri(uri)
    of_finder = [name for name in names if name.endswith("-finder")]
    others = [name for name in names if name not in of_finder]
    return mlflow.search_runs(experiment_names=of_finder if network == "finder" else others)


def store(folder: Path):
    import mlflow

    return mlflow.MlflowClient(f"sqlite:///{folder / 'mlflow.db'}")


def artifacts(run: pd.Series) -> set[str]:
    folder = Path(run.artifact_uri.removeprefix("file://"))
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


@pytest.fixture(scope="module")
def project(tmp_path_factory) -> Path:
    return repository(tmp_path_factory.mktemp("project") / "main")


@pytest.fixture(scope="module")
def reproduced(project) -> Path:
    """The project after `dvc repro`, `make publish`'s push, and a commit."""
    sh(project, "dvc", "repro")
    sh(project, "dvc", "push", "train", "finder", "calibrate")
    git(project, "add", "-A")
    git(project, "commit", "-qm", "result")
    return project


@pytest.mark.parametrize("name", ["mine", "../notes", "lspet"])
def test_a_folder_of_ones_own_stays_whatever_data_set_is_named(project, name):
    text, own = (project / "params.yaml").read_text(), (project / "data" / name).resolve()
    own.mkdir(parents=True)
    (own / "thesis.txt").write_text("all of it")
    try:
        (project / "params.yaml").write_text(text.replace("name: figures", f"name: {name}"))
        command = ["dvc", "repro", "download"]
        printed = sh(project, "env", "LSPET_ARCHIVE=nothing.zip", *command, fails=True)
    finally:
        (project / "params.yaml").write_text(text)
    assert f"data.name = '{name}'" in printed or "nothing.zip: no such file" in printed
    assert [path.name for path in own.iterdir()] == ["thesis.txt"]
    shutil.rmtree(own)


def test_an_experiment_in_a_temporary_folder_leaves_run_and_pictures_in_the_main_repository(
    project,
):
    before = git(project, "status", "--porcelain")
    printed = sh(project, "dvc", "exp", "run", "--temp", "--name", "aside", "-S", "train.steps=10")
    assert "PCK@0.2" in printed and "mlflow ui" in printed
    assert git(project, "status", "--porcelain") == before
    (run,) = [run for _, run in runs(project).iterrows() if run["tags.dvc.exp"] == "aside"]
    assert run.status == "FINISHED" and run["tags.mlflow.runName"] == "aside"
    assert Path(run.artifact_uri.removeprefix("file://")).is_relative_to(project / "mlartifacts")
    assert {
        "report.html",
        "pictures/test_overlay.png",
        "pictures/validation_heatmaps.png",
        "params.yaml",
    } <= artifacts(run)
    assert run["tags.reproduce"] == "dvc exp run -S train.steps=10"
    assert "aside" in sh(project, "dvc", "exp", "list")
    followed = [name for name in artifacts(run) if name.startswith("images/validation")]
    assert sum(name.endswith(".png") for name in followed) == 2
    measured = json.loads(git(project, "show", f"{experiment(project, 'aside')}:metrics/test.json"))
    assert run["metrics.test/pck_0.2/mean"] == pytest.approx(measured["pck_0.2"]["mean"])


def experiment(project: Path, name: str) -> str:
    return next(
        line.split()[0]
        for line in git(project, "show-ref").splitlines()
        if line.endswith(f"/{name}")
    )


def test_a_second_repro_does_nothing(reproduced):
    assert "up to date" in sh(reproduced, "dvc", "status")
    count = len(runs(reproduced))
    assert "didn't change, skipping" in sh(reproduced, "dvc", "repro")
    assert len(runs(reproduced)) == count and not git(reproduced, "status", "--porcelain")


def test_the_run_tells_what_was_run(reproduced):
    run = runs(reproduced).query("`tags.mlflow.runName` != 'aside'").iloc[0]
    assert run["params.train.steps"] == "60" and run["params.data.name"] == "figures"
    for tag in ("git.commit", "git.dirty", "device", "fingerprint", "model.sha256", "data.sha256"):
        assert run[f"tags.{tag}"]
    assert {"dvc.lock", "pictures/test_worst.png", "pictures/learning_curves.png"} <= artifacts(run)
    stored = json.loads((reproduced / "metrics/validation.json").read_text())
    used = {
        each.dataset.name: each.dataset.digest
        for each in store(reproduced).get_run(run.run_id).inputs.dataset_inputs
    }
    assert used.keys() == {"figures", "figures-validation", "figures-test"}
    assert run["tags.data.sha256"].startswith(used["figures"])
    described = run["tags.mlflow.note.content"]
    assert all(said in described for said in ("| validation |", "| test |", "    dvc repro"))
    name = "adversarial-posenet-figures"
    registered = store(reproduced).get_model_version_by_alias(name, "champion")
    assert registered.run_id in set(runs(reproduced).run_id)
    assert run["metrics.validation/pck_0.2/mean"] == pytest.approx(stored["pck_0.2"]["mean"])
    assert len(pd.read_csv(reproduced / "metrics/learning_curve.csv")) == 12
    # One: the experiment aside had taught the same finder, which is not taught again.
    (finder,) = runs(reproduced, "finder").run_id
    metrics = store(reproduced).get_run(finder).data.metrics
    assert {"finder/centres", "validation/mosaics/average_precision"} <= metrics.keys()


@pytest.fixture(scope="module")
def swept(reproduced) -> Path:
    """The project after a sweep of two alphas and one experiment that must fail, by two
    workers."""
    queue = ("dvc", "exp", "run", "--queue", "-S", "train.steps=20", "-S", "train.game_start=0.5")
    sh(reproduced, *queue, "--name", "alpha", "-S", "train.alpha=0.001,0.01")
    too_fast = "-S", "train.learning_rate=1e30", "-S", "train.clip=1e30"
    sh(reproduced, *queue, "--name", "diverging", *too_fast)
    sh(reproduced, "dvc", "queue", "start", "-j", "2")
    deadline = time.monotonic() + 300
    while "Running" in (status := sh(reproduced, "dvc", "queue", "status")) or "Queued" in status:
        assert time.monotonic() < deadline, status
        time.sleep(1)
    return reproduced


def shown(project: Path) -> pd.DataFrame:
    """The experiments in `dvc exp show`, by name."""
    table = pd.read_csv(StringIO(sh(project, "dvc", "exp", "show", "--csv", "--only-changed")))
    return table[table.typ != "baseline"].dropna(subset="Experiment").set_index("Experiment")


def test_a_sweep_by_two_workers_loses_and_mixes_nothing(swept):
    table, names = shown(swept), ["alpha-1", "alpha-2"]
    assert table.loc[names, "train.alpha"].tolist() == [0.001, 0.01]
    recorded = runs(swept).set_index("tags.mlflow.runName")
    for name in names:
        run = recorded.loc[name]  # one of the name
        assert run.status == "FINISHED" and run["tags.sweep"] == "alpha"
        assert float(run["params.train.alpha"]) == table.loc[name, "train.alpha"]
        for part in ("validation", "test"):
            for measure in ("pck_0.2", "pckh_0.5"):
                said = table.loc[name, f"metrics/{part}.json:{measure}.mean"]
                assert run[f"metrics.{part}/{measure}/mean"] == pytest.approx(said, abs=1e-5)
        weights = git(swept, "show", f"{experiment(swept, name)}:dvc.lock")
        assert {"pictures/test_overlay.png", "report.html"} <= artifacts(run)
        assert "models/" in weights
        (model,) = store(swept).get_run(run.run_id).outputs.model_outputs
        assert store(swept).get_logged_model(model.model_id).status == "READY"
    assert len(recorded.loc[names, "tags.model.sha256"].unique()) == 2


def test_the_table_of_experiments_has_few_columns(swept):
    columns = {name for name in shown(swept).columns if ":" in name or "." in name}
    means = {
        f"metrics/{part}.json:{name}.mean" for part in ("validation", "test") for name in MEANS
    }
    varied = {"train.alpha", "train.learning_rate", "train.clip", "train.steps", "train.game_start"}
    assert "metrics/validation.json:pck_0.2.mean" in columns
    assert not {name for name in columns - means - varied if "finder.json" not in name} - {
        "without_box.pck_0.2.mean", "people.recall_at_precision_0.9",
        "models/generator.safetensors", "models/finder.safetensors", "models/judgement.json",
    }  # fmt: skip


def test_an_experiment_that_fails_says_so_and_touches_no_other(swept):
    assert "Failed" in sh(swept, "dvc", "queue", "status")
    run = runs(swept).set_index("tags.mlflow.runName").loc["diverging"]
    assert run.status == "FAILED" and "lower train.learning_rate" in run["tags.error"]
    assert "diverging" not in sh(swept, "dvc", "exp", "list")
    assert not git(swept, "status", "--porcelain")


def test_the_best_experiment_is_applied_with_its_weights_and_metrics(swept):
    table = shown(swept).filter(like="alpha-", axis=0)
    best = table["metrics/validation.json:pck_0.2.mean"].idxmax()
    sh(swept, "dvc", "exp", "apply", best)
    try:
        assert "up to date" in sh(swept, "dvc", "status")
        run = runs(swept).set_index("tags.mlflow.runName").loc[best]
        assert digest(swept / "models/generator.safetensors") == run["tags.model.sha256"]
        measured = json.loads((swept / "metrics/test.json").read_text())
        assert measured["pck_0.2"]["mean"] == run["metrics.test/pck_0.2/mean"]
        changed = sh(swept, "dvc", "metrics", "diff")
        results = [line for line in changed.splitlines() if "models/judgement.json" not in line]
        assert "metrics/test.json" in changed and len(results) < 12
        assert "train.alpha" in sh(swept, "dvc", "params", "diff")
        sh(swept, "dvc", "plots", "diff")
        page = (swept / "dvc_plots/index.html").read_text()
        expected = "reconstruction loss", "confidence/loss", "pose/loss", "workspace"
        assert all(said in page for said in expected)
    finally:
        git(swept, "checkout", "--", ".")
        sh(swept, "dvc", "checkout", "--force")


def test_a_clone_pulls_the_weights_and_measures_the_same(reproduced, tmp_path):
    clone = tmp_path / "clone"
    git(tmp_path, "clone", "-q", str(reproduced), str(clone))
    sh(clone, "dvc", "pull", "models/generator.safetensors", "models/finder.safetensors")
    sh(clone, sys.executable, "-m", "stages.download")
    sh(clone, sys.executable, "-m", "stages.cache")
    (clone / "metrics/test.json").unlink()
    sh(clone, sys.executable, "-m", "stages.evaluate")
    assert not git(clone, "diff", "metrics")
    assert not git(clone, "status", "--porcelain")
    run = runs(clone).iloc[0]
    assert (
        run["tags.imported"] == "true"
        and run["tags.data.sha256"] == runs(reproduced).iloc[0]["tags.data.sha256"]
    )
    assert run["params.train.steps"] == "60"
    assert run["metrics.train/reconstruction"] > 0 and "pictures/test_overlay.png" in artifacts(run)


def test_a_clone_is_rebuilt_without_training_again(reproduced, tmp_path):
    clone = tmp_path / "clone"
    git(tmp_path, "clone", "-q", str(reproduced), str(clone))
    printed = sh(clone, "dvc", "repro", "--pull")
    assert "Running stage 'cache'" in printed and "Running stage 'train'" not in printed
    assert "up to date" in sh(clone, "dvc", "status")
    assert not git(clone, "status", "--porcelain")


def test_a_wrong_parameter_ends_the_stage_in_one_sentence(reproduced):
    text = (reproduced / "params.yaml").read_text()
    try:
        (reproduced / "params.yaml").write_text(text.replace("alpha:", "aplha:"))
        printed = sh(reproduced, sys.executable, "-m", "stages.train", fails=True)
    finally:
        (reproduced / "params.yaml").write_text(text)
    assert "train.aplha" in printed and "Traceback" not in printed
    assert (reproduced / "models/generator.safetensors").exists()


def test_lsp_images_are_measured_with_the_same_weights(reproduced, tmp_path):
    """LSP's layout: (3, 14, N), third row 1 = occluded; its second half of 2,000 is the test
    part."""
    from scipy.io import loadmat, savemat

    source = reproduced / "data/dataset"
    joints = loadmat(source / "truth.mat")["joints"]
    count = joints.shape[2]
    (tmp_path / "images").mkdir()
    for index in range(1010):  # the first thousand are LSP's training part
        image = source / f"images/im{index % count + 1:05d}.jpg"
        os.link(image, tmp_path / f"images/im{index + 1:04d}.jpg")
    repeated = joints[:, :, [i % count for i in range(1010)]]
    savemat(tmp_path / "joints.mat", {"joints": repeated.transpose(1, 0, 2)})
    printed = sh(reproduced, sys.executable, "-m", "pipeline", "lsp", str(tmp_path))
    assert "LSP test" in printed and "PCK@0.2" in printed
    assert not git(reproduced, "status", "--porcelain")
