"""pipelines/dvc beside DVC's own commands, on a small pipeline of shell commands."""

import json
import sqlite3
import subprocess
import threading
from pathlib import Path

import pytest
from dvc.exceptions import ReproductionError
from dvc.repo import Repo

from pipelines.dvc.errors import GraphError, refusals
from pipelines.dvc.lock_file import as_text, parsed_lock
from pipelines.dvc.pipeline import Pipeline
from pipelines.dvc.waiting import lock_of, paths_in_use
from tests.pipelines.small import STAGES, everything, rebuild, repro

pytestmark = pytest.mark.filterwarnings("ignore:_NoneStep.value:DeprecationWarning")  # of pygtrie, by DVC
NAMES = ["each@one", "each@two", "both", "measured"]


@pytest.fixture
def pipeline(small):
    return Pipeline(small, print)


def test_the_lock_file_is_the_same_whatever_ended_first(small, pipeline):
    plan = {stage.name: stage for stage in pipeline.plan()}
    for name in ("each@one", "each@two"):
        assert pipeline.begin(name)
        subprocess.run(plan[name].command, shell=True, check=True)  # noqa: S602
    pipeline.finish("each@two")
    pipeline.finish("each@one")
    rebuild(pipeline)
    ours = (small / "dvc.lock").read_bytes()
    (small / "dvc.lock").unlink()
    repro(force=True)
    assert ours == (small / "dvc.lock").read_bytes()


CHANGES = {
    "nothing": lambda: None,
    "a dependency": lambda: Path("source.txt").write_text("other\n"),
    "a param": lambda: Path("params.yaml").write_text("sizes: {one: 5, two: {deep: [2, 3]}}\n"),
    "a param within a section": lambda: Path("params.yaml").write_text("sizes: {one: 1, two: {deep: [2, 4]}}\n"),
    "a param's type": lambda: Path("params.yaml").write_text("sizes: {one: 1.0, two: {deep: [2, 3]}}\n"),
    "a param of nobody": lambda: Path("params.yaml").write_text("sizes: {one: 1, two: {deep: [2, 3]}, three: 3}\n"),
    "an output": lambda: Path("both.txt").write_text("other\n"),
    "an output is gone": lambda: Path("size.json").unlink(),
    "a command": lambda: Path("dvc.yaml").write_text(STAGES.replace("cat out/one.txt out/two.txt", "cat out/two.txt out/one.txt")),
    "a new dependency": lambda: Path("dvc.yaml").write_text(STAGES.replace("deps: [both.txt]", "deps: [both.txt, source.txt]")),
    "a new output": lambda: Path("dvc.yaml").write_text(STAGES.replace("outs: [report]", "outs: [report, source2.txt]")),
    "the cache is gone": lambda: subprocess.run(["rm", "-rf", ".dvc/cache"], check=True),
    "the lock file is gone": lambda: Path("dvc.lock").unlink(),
}


@pytest.mark.parametrize("change", CHANGES)
def test_what_is_up_to_date_is_what_dvc_says(built, change):
    CHANGES[change]()
    pipeline, repo = Pipeline(built, print), Repo(str(built))
    with repo.lock:
        ours_and_dvcs = {stage.addressing: not stage.changed() for stage in repo.index.stages}
    assert {stage.name: pipeline.is_up_to_date(stage.name) for stage in pipeline.plan()} == ours_and_dvcs


def test_what_was_built_before_comes_from_the_cache(built):
    before = everything(built)
    CHANGES["a dependency"]()
    rebuild(Pipeline(built, print))
    Path("source.txt").write_text("source\n")
    assert rebuild(Pipeline(built, print)) == ([], NAMES)
    assert before.items() <= everything(built).items()


def test_what_another_command_notes_meanwhile_is_kept(pipeline):
    assert pipeline.begin("each@one")
    subprocess.run(pipeline.plan()[0].command, shell=True, check=True)  # noqa: S602
    repro("each@two")
    pipeline.finish("each@one")
    assert pipeline.is_up_to_date("each@two")
    assert rebuild(pipeline) == (NAMES[2:], [])


def test_another_commands_lock_is_waited_for(built, tmp_path, monkeypatch):
    monkeypatch.setattr("dvc.lock.DEFAULT_TIMEOUT", 0.1)  # after which DVC itself would give up
    monkeypatch.setattr("pipelines.dvc.waiting.PATIENCE_S", 0.2)
    Path(".dvc/config").write_text(f"[core]\n    remote = store\n['remote \"store\"']\n    url = {tmp_path / 'store'}\n")
    told, lock, is_told, is_done = [], lock_of(built), threading.Event(), threading.Event()
    pipeline = Pipeline(built, lambda line: (told.append(line), is_told.set()))
    worker = threading.Thread(target=lambda: (pipeline.push(), is_done.set()))
    lock.lock()
    worker.start()
    try:
        assert is_told.wait(30) and not is_done.is_set()
    finally:
        lock.unlock()
    worker.join()
    assert is_done.is_set() and list((tmp_path / "store").rglob("*"))
    assert told == ["waiting: another DVC command has the repository's lock"]


def test_another_command_at_work_on_the_same_files_is_waited_for(small, pipeline, monkeypatch):
    waits, is_done = threading.Event(), threading.Event()
    monkeypatch.setattr("pipelines.dvc.pipeline.Patience.wait", lambda _: waits.set())
    worker = threading.Thread(target=lambda: (pipeline.begin("each@one"), is_done.set()))
    with paths_in_use(small, "dvc repro", [], [str(small / "out" / "one.txt")]):
        worker.start()
        assert waits.wait(30) and not is_done.is_set()
    worker.join()
    assert is_done.is_set()


def test_dvc_itself_keeps_off_the_files_of_a_stage_that_runs(pipeline):
    assert pipeline.begin("each@one")
    with pytest.raises(ReproductionError) as refused:
        repro("each@one")
    assert "is busy, it is being blocked by" in str(refused.value.__cause__)
    Path("source.txt").write_text("other\n")
    with pytest.raises(GraphError, match=r"each@one is not noted in dvc.lock, because source.txt changed while it ran: run it again\."):
        pipeline.finish("each@one")
    assert not Path("dvc.lock").exists()
    repro("each@one")


STRANGE: list[object] = [None, True, "on", "yes", "~", "1e3", "0x1F", 1e-08, 1e16, 0.1, -0.0, "", " ", "ü: x", "# no comment", "a\nb"]
STRANGE += ["long " * 40, [[], {}], {"a": [1]}]


def test_the_lock_file_is_written_as_dvc_writes_it(small):
    (small / "params.yaml").write_text(
        json.dumps({"sizes": {"one": STRANGE, "two": {"deep": {"deeper": STRANGE}}}, "runtime": {"threads": 1}})
    )
    repro()
    by_dvc = (small / "dvc.lock").read_text()
    lock = parsed_lock(by_dvc)
    assert list(lock["stages"]) == NAMES
    assert as_text(lock) == by_dvc
    assert as_text(parsed_lock("schema: '2.0'\nstages: {}\n")) == "schema: '2.0'\nstages: {}\n"


@pytest.mark.parametrize("torn", [lambda content: content[: len(content) // 2] + b"\n  x: [", lambda _: b"{}"])
def test_a_torn_lock_file_is_refused_in_a_sentence(built, torn):
    (built / "dvc.lock").write_bytes(torn((built / "dvc.lock").read_bytes()))
    with pytest.raises(GraphError, match=r"dvc\.lock.*git checkout dvc\.lock"):
        Pipeline(built, print)


def test_a_missing_dependency_is_refused_in_a_sentence(pipeline):
    Path("source.txt").unlink()
    with pytest.raises(GraphError, match=r"each@one: .*source\.txt"):
        pipeline.begin("each@one")


def test_data_that_dvc_add_watches_is_noted_when_it_changes(small):
    (small / "own.csv").write_text("1\n")
    Repo(str(small)).add("own.csv")
    (small / "own.csv").write_text("2\n")
    before = (small / "own.csv.dvc").read_text()
    pipeline = Pipeline(small, print)
    assert not pipeline.begin("own.csv.dvc")
    assert (small / "own.csv.dvc").read_text() != before
    assert Pipeline(small, print).is_up_to_date("own.csv.dvc")


@pytest.mark.parametrize("content", ['{"read": {"', "[]"])
def test_a_half_written_list_of_paths_in_use_is_removed(small, content):
    told = []
    (small / ".dvc" / "tmp" / "rwlock").write_text(content)
    assert Pipeline(small, told.append).begin("each@one")
    assert ["was half-written" in line for line in told] == [True]


def test_a_database_of_dvc_that_cannot_be_written_is_a_refusal_in_a_sentence():
    with pytest.raises(GraphError, match=r"^train: database or disk is full$"), refusals("train"):
        raise sqlite3.OperationalError("database or disk is full")
