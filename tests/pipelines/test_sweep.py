"""The flow `sweep` on a toy whose training is a short script, with real git, DVC and a real Prefect server."""

import json
import re
import shutil
import signal
import sys
from pathlib import Path

import pytest
from dvc.api import exp_show
from dvc.repo import Repo
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import ArtifactFilter, ArtifactFilterKey
from ruamel.yaml import YAML

from pipelines.dvc.pipeline import Pipeline
from pipelines.searching.space import SearchError
from pipelines.searching.study import only_one
from pipelines.searching.trial import check_out, experiments_of, git, keep
from pipelines.sweep import Sweep, TrialFailed, as_metric, main, read_figure, sweep
from tests.pipelines.running.test_supervisor import is_alive, wait_until
from tests.pipelines.small import command_line, make_repository, repro

pytestmark = [
    pytest.mark.filterwarnings("ignore:_NoneStep.value:DeprecationWarning"),  # of pygtrie, by DVC
    pytest.mark.usefixtures("server"),
]

GRAPH = """
stages:
  prepare:
    foreach: ${datasets}
    do:
      cmd: mkdir -p data/${key} && echo ${item.rows} > data/${key}/rows && echo x >> $TOY/prepared
      params: ["datasets.${key}"]
      outs: [{"data/${key}": {persist: true}}]
  train:
    foreach: {toy: {dataset: points}}
    do:
      cmd: PYTHON train.py ${key}
      deps: ["data/${item.dataset}", train.py]
      params: ["models.${key}.dataset", "models.${key}.train", recipes.plain]
      outs: [{"models/${key}/model.txt": {persist: true}}]
      metrics: [{"models/${key}/training.json": {persist: true, cache: false}}]
"""

PARAMS = """
runtime: {threads: 1}
datasets: {points: {rows: 3}}
# a comment that stays
models:
  toy:
    dataset: points
    train: {recipe: plain, lr: 0.5}
recipes:
  plain: {lr: 0.1, size: 2, optimizer: {name: SGD, momentum: 0.9}, best_by: loss}
"""

TRAIN = """
import json, os, signal, sys, time
from pathlib import Path
from ruamel.yaml import YAML

params = YAML(typ="safe").load(Path("params.yaml"))
params = params["recipes"]["plain"] | params["models"][sys.argv[1]]["train"]
here, state = Path(os.environ["TOY"]), Path("logs/resume/state")
if params["lr"] > 100:
    sys.exit("error: the loss has grown to 1e9: lower models.toy.train.lr.")

def save(*_):
    state.parent.mkdir(parents=True, exist_ok=True)
    state.write_text("half")
    sys.exit("error: Stopped by SIGTERM.")

if (here / "gate").exists() and not state.exists():
    signal.signal(signal.SIGTERM, save)
    (here / f"began-{params['lr']}").write_text(str(os.getpid()))
    while (here / "gate").exists():
        time.sleep(0.02)
loss = round((params["lr"] - 0.3) ** 2 + int(Path("data/points/rows").read_text()), 6)
folder = Path("models") / sys.argv[1]
folder.mkdir(parents=True, exist_ok=True)
(folder / "model.txt").write_text(f"{params}\\n")
figures = {"best_epoch": 1, "epochs": 1, "val_loss": loss, "val_accuracy": 1 - params["size"] / 10}
(folder / "training.json").write_text(json.dumps(figures | ({"taken_up": 1} if state.exists() else {})))
(here / "trained").open("a").write(f"{params['lr']}\\n")
"""


def write_facts(root, score="accuracy"):
    """What the stage check writes of the dataset."""
    file = root / "data/checked/datasets/points.json"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps({"score": score, "metrics": {"accuracy": "higher", "mae": "lower"}}))


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """A repository in which all is built and committed."""
    folder = tmp_path_factory.mktemp("built") / "toy"
    folder.mkdir()
    ignored = {".gitignore": "/data/points\n/models/*/model.txt\n/logs\n", ".dvcignore": "logs/\n"}
    graph = GRAPH.replace("PYTHON", sys.executable)
    make_repository(folder, {"dvc.yaml": graph, "params.yaml": PARAMS, "train.py": TRAIN, **ignored})
    write_facts(folder)
    git("config", "user.name", "a", folder=folder)
    git("config", "user.email", "a@b", folder=folder)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TOY", str(tmp_path_factory.mktemp("notes")))
        repro(folder=folder)
    git("add", ".", folder=folder)
    git("commit", "--quiet", "--message", "all", folder=folder)
    return folder


@pytest.fixture
def notes(tmp_path, monkeypatch):
    """Where the stages look for what to do and note what they have done."""
    (folder := tmp_path / "notes").mkdir()
    monkeypatch.setenv("TOY", str(folder))
    return folder


@pytest.fixture
def toy(built, notes, tmp_path, monkeypatch):
    """A repository in which all is built and nothing has been searched; the current folder."""
    shutil.copytree(built, tmp_path / "toy", symlinks=True)
    monkeypatch.chdir(tmp_path / "toy")
    return tmp_path / "toy"


@pytest.fixture
def at_once(toy, monkeypatch):
    """Trials make their experiments in this process, and train nothing."""

    def make(self, trial, name):
        train = {"lr": 0.5, "size": 2} | {self.short(key): value for key, value in self.study.values(trial).items()}
        if train["lr"] > 100:
            raise TrialFailed("exit code 1: the loss has grown")
        folder, index = toy / "logs" / name, toy / "logs" / f"{name}.index"
        shutil.rmtree(folder, ignore_errors=True)
        check_out(toy, self.tree, folder, index)
        (folder / self.training).write_text(json.dumps({"val_loss": train["lr"], "val_accuracy": 1 - train["size"] / 10}))
        keep(toy, self.commit, folder, index, [folder / self.training], name)

    monkeypatch.setattr(Sweep, "make", make)
    return toy


SPACE = {"lr": "0.1..1.0"}


def search(**parameters):
    """Runs the flow; its last state."""
    return sweep(**({"model": "toy", "space": SPACE, "trials": 2, "jobs": 2, "name": "a"} | parameters), return_state=True)


def of(name, path="models/toy/training.json"):
    """A file of an experiment."""
    ref = experiments_of(Path.cwd(), "toy-a")[name]
    return YAML(typ="safe").load(git("show", f"{ref}:{path}", folder=Path.cwd()))


def names():
    return sorted(experiments_of(Path.cwd(), "toy-a"))


def table():
    """The rows that the last sweep has shown."""
    with get_client(sync_client=True) as client:
        (found,) = client.read_latest_artifacts(artifact_filter=ArtifactFilter(key=ArtifactFilterKey(any_=["sweep"])))
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in found.data.splitlines() if line.startswith("|")]


def test_trials_are_experiments_beside_the_present_values_and_can_be_shown_and_applied(toy, notes):
    before = git("status", "--porcelain=v2", "--branch", "--untracked-files=all", folder=toy)
    state = search()
    assert state.is_completed(), state.message
    found = {row["Experiment"]: (row["models.toy.train.lr"], row["val_loss"]) for row in exp_show() if row["Experiment"]}
    assert sorted(found) == names() == ["toy-a-001", "toy-a-002"]
    assert all(loss == pytest.approx((lr - 0.3) ** 2 + 3, abs=1e-5) and 0.1 <= lr <= 1 for lr, loss in found.values())
    best, other = sorted(found, key=lambda name: found[name][1])
    than = "" if found[best][1] < 3.04 else ", so none is better than they are"
    figure = f"{found[best][1]:g}"
    assert state.message == f"2 trials: the best is {best} with loss {figure} (dvc exp apply {best}); the present values have 3.04{than}."
    rows = [[str(int(name[-3:])), f"{found[name][1]:g}", str(found[name][0]), name] for name in (best, other)]
    assert table() == [["trial", "loss", "lr", "experiment"], table()[1], ["0", "3.04", "0.5", "the present values"], *rows]

    # The workspace is as it was, and nothing is left of the trials' folders, in git neither; what was built was not built again.
    assert git("status", "--porcelain=v2", "--branch", "--untracked-files=all", folder=toy) == before
    assert sorted(path.name for path in (toy / "logs/sweep/toy-a").iterdir()) == ["said", "study.json"]
    assert not (notes / "prepared").exists() and len((notes / "trained").read_text().split()) == 2
    assert {ref.split("/")[1] for ref in git("for-each-ref", "--format=%(refname)", folder=toy).split()} == {"heads", "exps"}

    with Repo() as repository:
        repository.experiments.apply(best)
    assert f"lr: {found[best][0]}" in Path("params.yaml").read_text() and "# a comment that stays" in Path("params.yaml").read_text()
    assert f"'lr': {found[best][0]}," in Path("models/toy/model.txt").read_text()
    assert Pipeline(toy, print).is_up_to_date("train@toy")


def test_what_is_not_committed_is_part_of_the_trials_and_the_present_values_are_trained_once(toy, notes):
    text = Path("params.yaml").read_text().replace("size: 2,", "size: 7,")
    Path("params.yaml").write_text(text)
    known = {"space": {"datasets.points.rows": [3, 8]}, "jobs": 1, "seed": 1}
    state = search(**known)
    assert [of(name, "params.yaml")["datasets"]["points"]["rows"] for name in names()] == [3, 3, 8]
    assert state.message == (
        "2 trials: the best is toy-a-001 with loss 3.04 (dvc exp apply toy-a-001); "
        "the present values have 3.04, so none is better than they are."
    )
    assert names() == ["toy-a-000", "toy-a-001", "toy-a-002"]
    assert [of(name)["val_accuracy"] for name in names()] == pytest.approx([0.3] * 3)
    assert Path("params.yaml").read_text() == text and Path("data/points/rows").read_text() == "3\n"
    assert (notes / "prepared").read_text() == "x\n", "data is made anew for the trial that has another"
    assert search(**known).message == state.message
    assert len((notes / "trained").read_text().split()) == 2, "what the cache has is not trained again"


def test_a_trial_that_fails_says_why_and_the_others_go_on(at_once):
    state = search(space={"lr": [0.5, 200], "size": [1, 5]}, metric="accuracy", trials=4, seed=2)
    made = {name: of(name)["val_accuracy"] for name in names()}
    assert set(made.values()) == {0.5, 0.9}
    failed = [number for number in (1, 2, 3, 4) if f"toy-a-00{number}" not in made]
    best, sentence = max(made, key=lambda name: made[name]), "exit code 1: the loss has grown"
    assert state.is_failed()
    assert state.message == (
        f"{len(failed)} of 4 trials failed: {', '.join(f'trial {number} ({sentence})' for number in failed)}; "
        f"the best is {best} with accuracy 0.9 (dvc exp apply {best}); the present values have 0.8."
    )
    figures = [row[1] for row in table()[2:]]
    assert figures == ["0.8", *(f"{figure:g}" for figure in sorted(made.values(), reverse=True)), *["failed"] * len(failed)]
    assert all(row[2] == "200" and row[-1] == sentence for row in table()[3 + len(made) :])


# Whatever ends it


A = ("toy", "--range", "lr=0.1..1.0", "--name", "a", "--jobs", "2", "--trials")


@pytest.mark.parametrize(("number", "trials"), [(signal.SIGKILL, 1), pytest.param(signal.SIGTERM, 2, marks=pytest.mark.slow)])
def test_a_sweep_that_is_ended_resumes_with_the_same_trials_where_they_were(toy, notes, server, number, trials):
    (notes / "gate").touch()
    process = command_line("pipelines.sweep", *A, str(trials), server=server)
    wait_until(lambda: len([path for path in notes.glob("began-*") if path.read_text()]) == trials, 60)
    began = {path.name: int(path.read_text()) for path in notes.glob("began-*")}
    process.send_signal(number)
    output, _ = process.communicate()
    assert process.returncode == {signal.SIGKILL: -signal.SIGKILL, signal.SIGTERM: 143}[number], output
    if number == signal.SIGTERM:
        sentence = "error: stopped by SIGTERM: what was done until now is kept; the same command resumes there."
        assert output.splitlines()[-1] == sentence and "Crash" not in output and "Traceback" not in output
    (toy / "logs/sweep/toy-a/work/009").mkdir()  # of a trial that is not known any more
    (notes / "gate").unlink()
    state = search(trials=trials)
    assert state.is_completed(), state.message
    assert not any(map(is_alive, began.values()))
    assert names() == [f"toy-a-00{number}" for number in range(1, trials + 1)]
    assert {f"began-{of(name, 'params.yaml')['models']['toy']['train']['lr']}" for name in names()} == set(began)
    assert all("taken_up" in of(name) for name in names())
    assert not (toy / "logs/sweep/toy-a/work").exists()


def test_what_has_ended_is_not_made_again_even_where_the_sweep_could_not_note_it(at_once):
    state, study = search(trials=1), at_once / "logs/sweep/toy-a/study.json"
    noted = json.loads(study.read_text())
    noted["trials"][1]["figure"] = None
    study.write_text(json.dumps(noted))
    before = git("rev-parse", *experiments_of(at_once, "toy-a").values(), folder=at_once)
    assert search(trials=1).message == state.message
    assert git("rev-parse", *experiments_of(at_once, "toy-a").values(), folder=at_once) == before
    assert search(trials=2).message.startswith("2 trials: the best is toy-a-00")
    assert names() == ["toy-a-001", "toy-a-002"]


@pytest.mark.slow
def test_a_trial_that_something_else_hinders_is_made_by_the_next_run(toy, notes):
    blocked = toy / ".git/refs/exps"
    blocked.write_text("a file where git wants a folder")
    state = search(trials=1)
    assert state.message.startswith("1 of 1 trials failed: trial 1 (git update-ref: ")
    assert state.message.endswith("; the same command tries it again); none has a figure.")
    blocked.unlink()
    assert search(trials=1).is_completed()
    assert names() == ["toy-a-001"] and len((notes / "trained").read_text().split()) == 1


# Mistakes


def plan(model="toy", space=SPACE, metric=None, name="a"):
    """What the flow does before it starts anything."""
    found = Sweep(Pipeline(Path.cwd(), print), model, space, metric, 0, name)
    found.refuse_what_trials_lack()
    return found


@pytest.mark.parametrize(
    ("parameters", "sentence"),
    [
        ({"model": "toys"}, "params.yaml has no model toys; known there: toy."),
        ({"space": {"runtime.threads": [1, 2]}}, "runtime.threads changes nothing of train@toy: search over keys that"),
        ({"metric": "auc"}, "the metric is 'auc'; expected loss or accuracy, which is what the training of toy measures."),
        ({"name": "a/b"}, "the name is 'a/b'; expected letters, digits, _ and -, a letter or digit first."),
    ],
)
def test_a_mistake_is_refused_in_a_sentence_before_anything_starts(built, parameters, sentence, monkeypatch):
    monkeypatch.chdir(built)
    with pytest.raises(SearchError, match=re.escape(sentence)):
        plan(**parameters)


def test_data_that_is_not_up_to_date_and_code_that_git_does_not_know_are_refused_in_a_sentence(toy):
    Path("params.yaml").write_text(Path("params.yaml").read_text().replace("rows: 3", "rows: 4"))
    sentence = "prepare@points must be up to date, or every trial would make it again: dvc repro prepare@points first."
    with pytest.raises(SearchError, match=re.escape(sentence)):
        plan()
    Path("more.py").write_text("")
    Path("dvc.yaml").write_text(Path("dvc.yaml").read_text().replace(", train.py]", ", train.py, more.py]"))
    with pytest.raises(SearchError, match=r"git does not know more\.py, so no trial would have it: git add it, or move it away\."):
        plan()


def test_a_study_that_is_anothers_is_refused_in_a_sentence_until_it_is_forgotten(at_once):
    search(trials=1)
    study = at_once / "logs/sweep/toy-a/study.json"
    message = search(trials=1, space={"lr": "0.1..0.2"}).message
    assert message.startswith(
        "the study toy-a has another space: lr=0.1..1.0, and now lr=0.1..0.2; --name gives this search a name of its own"
    )
    Path("params.yaml").write_text(Path("params.yaml").read_text().replace("size: 2,", "size: 7,"))
    assert "the study toy-a has another state of the files: commit " in search(trials=1).message
    study.write_text("nonsense\n" + study.read_text())
    assert search(trials=1).message.startswith(f"{study} is damaged (")
    study.unlink()
    assert search(trials=1).message.startswith("there are experiments toy-a-001 to toy-a-001, and logs/sweep/toy-a knows nothing of them: ")
    with only_one(study.parent):
        assert search(trials=1, fresh=True).message == "another sweep is at work on the study toy-a: wait until it has ended."
    assert search(trials=1, space={"size": [4]}, fresh=True).is_completed()
    assert names() == ["toy-a-000", "toy-a-001"] and of("toy-a-001")["val_accuracy"] == 0.6


def test_the_metric_is_by_which_the_recipe_chooses_unless_another_is_given(tmp_path):
    def metric(best_by, given):
        train = {"recipe": "plain", "best_by": best_by}
        return as_metric(given, "toy", {"models": {"toy": {"dataset": "points", "train": train}}, "recipes": {"plain": {}}}, tmp_path)

    with pytest.raises(OSError, match=r"No such file or directory: .*points\.json"):
        metric("loss", None)
    write_facts(tmp_path, "accuracy")
    chosen = [metric("loss", None), metric("metric", None), metric("metric", "loss")]
    assert chosen == [("loss", True), ("accuracy", False), ("loss", True)]
    write_facts(tmp_path, "mae")
    assert metric("loss", "mae") == ("mae", True)


def test_the_figure_is_of_val_and_of_train_where_there_is_no_val():
    assert read_figure('{"train_loss": 1, "val_loss": 2.5}', "loss") == 2.5
    assert read_figure('{"epochs": 1, "train_loss": 0}', "loss") == 0.0
    with pytest.raises(TrialFailed, match=r"training\.json has no mae, but epochs, train_loss"):
        read_figure('{"epochs": 1, "train_loss": 0}', "mae")


def test_a_study_without_a_name_has_one_that_follows_from_the_search(built, monkeypatch):
    monkeypatch.chdir(built)
    searches = [{}, {"space": {"lr": "0.1..2"}}, {"space": {"lr": [0.1, 1.0]}}, {"metric": "accuracy"}]
    found = [plan(name=None, **parameters).name for parameters in searches]
    assert len(set(found)) == 4 and all(re.fullmatch("toy-[0-9a-f]{6}", name) for name in found)
    assert plan(name=None, space={"models.toy.train.lr": "0.10..1"}).name == found[0]


@pytest.mark.parametrize(
    ("arguments", "sentence"), [(["--range", "lr"], "error: --range lr: expected KEY="), (["--jobs", "0"], "error: jobs is 0; expected")]
)
def test_the_command_line_ends_in_a_sentence(built, monkeypatch, arguments, sentence):
    monkeypatch.chdir(built)
    monkeypatch.setattr(sys, "argv", ["sweep", "toy", *arguments])
    with pytest.raises(SystemExit) as left:
        main()
    assert str(left.value.code).startswith(sentence)
