"""A sweep by Ray: its trials' names, grids and ranges by hand; and one that is real and small, of
which a worker is killed.

The long form, eight trials while workers and nodes are killed, is in the faults:
`make test-faults ARGS='--only sweep'`.
"""

import subprocess
import sys
import time
from contextlib import suppress

import psutil
import pytest
import yaml

import sweeping
from conftest import ROOT, git
from pipeline.__main__ import main
from pipeline.errors import PipelineError
from pipeline.processes import OccupiedError, alone
from pipeline.sweeps import SweepError, space
from pipeline.sweeps.base import STORE, Base, base
from pipeline.sweeps.plan import Grid
from pipeline.sweeps.space import Trial
from pipeline.sweeps.trial import OCCUPIED

needs_ray = pytest.mark.skipif(bool(sweeping.missing()), reason=sweeping.missing())


def overrides(texts: list[str]) -> list[tuple[str, ...]]:
    return [trial.overrides for trial in space.grid("a", texts)]


def test_a_trials_name_is_a_function_of_the_sweep_and_its_overrides():
    # sha256 of "train.alpha=0\ntrain.seed=1", as `printf ... | sha256sum` says it, modulo 10^12
    trial = Trial.of("alpha", ["train.seed=1", "train.alpha=0"])
    assert trial == Trial.of("alpha", ["train.alpha=0", "train.seed=1"])
    assert trial.name == "alpha-999816021987"
    assert trial.overrides == ("train.alpha=0", "train.seed=1")
    assert Trial.of("beta", trial.overrides).name == "beta-999816021987"
    assert Trial.of("alpha", ["train.alpha=0", "train.seed=2"]).name != trial.name


def test_a_grid_is_every_combination_in_the_syntax_of_dvc():
    assert overrides(["train.alpha=0,0.020", "train.seed=1"]) == [
        ("train.alpha=0", "train.seed=1"),
        ("train.alpha=0.02", "train.seed=1"),
    ]
    assert overrides(["train.seed=range(1,4)", "model.occlusion=false,true"]) == [
        (f"model.occlusion={occlusion}", f"train.seed={seed}")
        for seed in (1, 2, 3)
        for occlusion in ("False", "True")
    ]
    assert overrides(["model.features=[8,16],[16]"]) == [
        ("model.features=[8,16]",),
        ("model.features=[16]",),
    ]
    assert overrides(["train.alpha=0,0"]) == [("train.alpha=0",)]  # each once
    assert overrides(["other.yaml:a=1"]) == [("other.yaml:a=1",)]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("train.alpha=interval(0,1)", "an interval has no end of values: `--search N`"),
        ("train.alpha", "expected parameter=value"),
        ("+train.new=1", "fixed set of parameters"),
        ("~train.alpha", "fixed set of parameters"),
        ("train.alpha=glob(*)", "Glob"),
    ],
)
def test_what_is_no_grid_is_one_sentence(text, said):
    with pytest.raises(SweepError, match="-S .*") as refused:
        space.grid("a", [text])
    assert said in str(refused.value) and text in str(refused.value)
    assert "\n" not in str(refused.value)


@needs_ray
def test_ranges_are_those_of_hydras_optuna_sweeper():
    from optuna.distributions import (
        CategoricalDistribution,
        FloatDistribution,
        IntDistribution,
    )

    searched, fixed = space.ranges(
        [
            "train.alpha=interval(0.001,0.1)",
            "train.beta=tag(log,interval(1e-4,1))",
            "train.batch=int(interval(8,64))",
            "train.warmup=range(1,9,2)",
            "train.optimiser=adamw,muon",
            "model.features=[8,16],[16]",
            "train.steps=20",
        ]
    )
    assert searched == {
        "train.alpha": FloatDistribution(0.001, 0.1),
        "train.beta": FloatDistribution(1e-4, 1, log=True),
        "train.batch": IntDistribution(8, 64),
        "train.warmup": IntDistribution(1, 7, step=2),
        "train.optimiser": CategoricalDistribution(("adamw", "muon")),
        "model.features": CategoricalDistribution(("[8,16]", "[16]")),
    }
    assert fixed == ["train.steps=20"]
    assert space.asked({"train.beta": 1e-05, "train.batch": 8}) == [
        "train.beta=1e-05",
        "train.batch=8",
    ]


@needs_ray
@pytest.mark.parametrize(
    "text",
    [
        "train.alpha=interval(1,0)",
        "train.alpha=tag(lgo,interval(1,2))",
        "train.alpha=tag(log,interval(0,2))",
        "train.alpha=range(3,3)",
        "train.alpha=1",
    ],
)
def test_what_is_no_range_is_one_sentence(text):
    with pytest.raises(SweepError) as refused:
        space.ranges([text])
    assert str(refused.value).startswith(f"-S {text}: ") and "\n" not in str(refused.value)


def test_values_that_params_yaml_may_not_have_are_refused_before_anything_runs(monkeypatch):
    monkeypatch.chdir(ROOT)
    before = (ROOT / "params.yaml").read_bytes()
    space.check_settings(Trial.of("a", ["train.alpha=0.5", "model.features=[8,16,24,32]"]))
    for text, said in (
        ("train.alpha=-1", "train.alpha = -1"),
        ("train.alpah=1", "train.alpah"),
        ("train.alpha=much", "train.alpha = 'much'"),
    ):
        with pytest.raises(PipelineError) as refused:
            space.check_settings(Trial.of("a", [text]))
        assert said in str(refused.value) and f"-S {text}" in str(refused.value)
    assert (ROOT / "params.yaml").read_bytes() == before


def test_a_grid_leaves_out_what_is_finished():
    trials = [Trial(name, ()) for name in ("a-1", "a-2", "a-3")]
    plan = Grid(trials, ["a-2", "b-1"])
    assert (plan.total, plan.finished) == (3, 1)
    assert [plan.next(), plan.next(), plan.next()] == [trials[0], trials[2], None]


def test_the_best_by_validation_is_first_and_named():
    from pipeline.commands.sweep import report

    trials = [Trial(f"a-{seed}", (f"train.seed={seed}", "train.steps=9")) for seed in (1, 2, 3)]
    assert report(trials, {"a-1": 0.25, "a-2": 0.5}, "origin").splitlines() == [
        "trial train.seed  PCK@0.2",
        "  a-2          2   0.5000",
        "  a-1          1   0.2500",
        "  a-3          3        -",
        "",
        "the best by validation: a-2",
        "dvc exp pull origin a-2 && dvc exp apply a-2",
    ]
    assert report(trials, {}, "origin") == "no trial has finished"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("a/b",), "NAME 'a/b'"),
        (("a", "--search", "3"), "--study URL belong together"),
        (("a", "--search", "0", "--study", "sqlite:///x.db"), "--search 0"),
        (("a", "--cpus", "-1"), "--cpus"),
        (("a", "--cpus", "0"), "no end of room"),
    ],
)
@needs_ray
def test_options_that_say_nothing_together_are_one_sentence(words, said, capsys):
    assert main(["sweep", *words, "-S", "train.alpha=0,1"]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: ") and said in line


def test_a_training_that_still_runs_elsewhere_is_told_from_other_failures(tmp_path):
    lock = tmp_path / "task.lock"
    with alone(lock, "does it"), pytest.raises(OccupiedError) as said, alone(lock, "does it"):
        pass
    assert str(said.value).endswith(OCCUPIED)


def test_without_ray_one_sentence_says_what_to_install():
    code = (
        "import sys; sys.modules['ray'] = None; from pipeline.__main__ import main\n"
        "sys.exit(main(['sweep', 'a', '-S', 'train.alpha=0,1']))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 1 and not done.stdout
    assert done.stderr == "error: this needs ray: run `pip install '.[sweep]'` in the repository\n"


@pytest.fixture(scope="module")
def team(tmp_path_factory):
    folder = tmp_path_factory.mktemp("sweep")
    return sweeping.Team.of(folder, f"sqlite:///{folder}/mlflow.db", sweeping.SMALL, "train")


def test_what_other_machines_would_lack_is_refused(team, monkeypatch):
    monkeypatch.chdir(team.caller)
    monkeypatch.setenv(STORE, team.tracking)
    start = base("origin")
    commit = git(team.caller, "rev-parse", "HEAD").strip()
    assert start == Base(str(team.folder / "shared.git"), commit, {STORE: team.tracking})
    params = (team.caller / "params.yaml").read_text()
    (team.caller / "params.yaml").write_text(params + "\n")
    with pytest.raises(SweepError, match="uncommitted changes.*commit and push"):
        base("origin")
    git(team.caller, "commit", "-qam", "mine alone")
    with pytest.raises(SweepError, match="is not on origin.*git push"):
        base("origin")
    git(team.caller, "reset", "-q", "--hard", "HEAD~")
    git(team.caller, "config", "core.excludesFile", "/dev/null")
    (team.caller / ".dvc/config.local").write_text("[core]\n    remote = weights\n")
    with pytest.raises(SweepError, match="lies inside this clone"):
        base("origin")
    (team.caller / ".dvc/config.local").unlink()
    monkeypatch.delenv(STORE)
    with pytest.raises(SweepError, match=f"{STORE} is not set"):
        base("origin")
    with pytest.raises(SweepError, match="remote get-url nowhere"):
        base("nowhere")


def result(team, start: Base, name: str, value: float) -> None:
    """An experiment as it is on the remote, of which nothing was run."""
    bare = team.folder / "shared.git"
    git(team.caller, "checkout", "-q", "--detach", start.commit)
    measures = team.caller / "metrics/validation.json"
    measures.parent.mkdir(exist_ok=True)
    measures.write_text(f'{{"pck_0.2": {{"mean": {value}}}}}')
    git(team.caller, "add", "-f", str(measures))
    git(team.caller, "commit", "-qm", name)
    git(team.caller, "push", "-q", str(bare), f"HEAD:{start.reference(name)}")
    git(team.caller, "checkout", "-q", "main")


@needs_ray
def test_a_search_goes_on_where_another_call_was_killed(team, monkeypatch, tmp_path):
    from pipeline.sweeps.search import Search

    monkeypatch.chdir(team.caller)
    monkeypatch.setenv(STORE, team.tracking)
    start = base("origin")
    about = ("found", ["train.alpha=interval(0,1)", "train.steps=4"], 3)
    storage = f"sqlite:///{tmp_path}/study.db"
    first = Search(*about, storage, start)
    one, two = first.next(), first.next()
    assert one != two and all("train.steps=4" in trial.overrides for trial in (one, two))
    result(team, start, one.name, 0.5)
    first.succeeded(one)
    assert start.validation([one.name, two.name]) == {one.name: 0.5}

    second = Search(*about, storage, start)  # the first was killed
    assert second.finished == 1 and second.next() == two
    three = second.next()
    assert three not in (one, two) and second.next() is None  # one finished, two run
    second.failed(three)
    assert second.next() is None
    result(team, start, two.name, 0.75)
    second.succeeded(two)
    assert [trial.name for trial in second.trials] == [one.name, two.name]

    third = Search(*about, storage, start)
    four = third.next()
    assert four not in (one, two, three) and third.next() is None
    with pytest.raises(SweepError, match="the study found .* is about .*another name"):
        Search("found", ["train.alpha=interval(0,2)"], 3, storage, start)
    with pytest.raises(SweepError, match="--study nothing://x: "):
        Search(*about, "nothing://user:secret@x", start)


@needs_ray
def test_a_sweep_of_which_a_worker_is_killed_arrives_and_is_not_run_again(team):
    # Two experiments of one training, which the second finds in the machine's cache.
    words = ("small", "-S", "evaluate.part=test,train")
    names = {trial.name for trial in space.grid(words[0], [words[2]])}
    with sweeping.cluster(team.folder) as cluster:
        node = cluster.start("node")
        process = team.start(cluster, *words)
        killed = []
        waited = time.monotonic() + 200
        while not killed:
            assert process.poll() is None and time.monotonic() < waited, team.said
            time.sleep(0.05)
            for worker in node.workers():
                with suppress(psutil.Error):
                    killed = [each for each in worker.children(recursive=True)
                              if each.cmdline()[-2:-1] == ["-m"]]  # fmt: skip
                    if killed:
                        worker.kill()
                        break
        _, alive = psutil.wait_procs(killed, timeout=20)
        assert not alive  # its stage does not outlive it
        assert process.wait(300) == 0, team.said
        found = team.experiments()
        assert names <= found.keys()
        assert "the best by validation: small-" in team.said
        best = team.said.split("the best by validation: ")[1].split()[0]
        assert f"dvc exp pull origin {best} && dvc exp apply {best}" in team.said
        (home,) = (node.folder).glob("*/")
        assert not list(home.glob("*/.dvc/tmp/exps/standalone/tmp*"))

        assert team.start(cluster, *words).wait(120) == 0, team.said
        assert team.experiments() == found
        assert "2/2" in team.said
    lock = yaml.safe_load(git(team.folder / "shared.git", "show", f"{found[best]}:dvc.lock"))
    for out in lock["stages"]["train"]["outs"]:
        md5 = out["md5"]
        assert (team.folder / "remote/files/md5" / md5[:2] / md5[2:]).exists(), out
