"""pipelines/searching/study.py: what a study remembers of runs that have died."""

import fcntl
import threading

import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

from pipelines.searching.space import SearchError
from pipelines.searching.study import Study, only_one

SPACE = {
    "lr": FloatDistribution(0.001, 1.0, log=True),
    "hidden": CategoricalDistribution(("[6, 4]", "[8]")),
    "epochs": IntDistribution(1, 9),
}


def begin(folder, about=None, direction="minimize", seed=0):
    return Study(folder, about or {"space": "lr=1..2", "seed": 0}, SPACE, direction, seed)


def test_a_trial_that_was_running_has_the_same_values_when_it_is_resumed(tmp_path):
    study, trials = begin(tmp_path), []
    trials.append(study.ask())
    study = begin(tmp_path)
    trials.append(study.ask())
    again = begin(tmp_path)
    assert [(trial.number, again.values(trial)) for trial in again.unfinished()[1:]] == [(one.number, study.values(one)) for one in trials]
    assert [trial.number for trial in again.unfinished()] == [0, 1, 2], "the present values come first"
    assert again.values(again.unfinished()[0]) == {}
    again.tell(again.unfinished()[1], 0.5)
    assert [(trial.number, trial.figure) for trial in begin(tmp_path).best_first()] == [(1, 0.5)]
    assert [path.name for path in tmp_path.iterdir()] == ["study.json"]


def search(folder, count, runs=1, seed=0):
    """The values that `count` trials get, in one run or in as many as there are trials."""
    study = begin(folder, seed=seed)
    values = []
    for _ in range(count):
        study = begin(folder, seed=seed) if runs > 1 else study
        values.append(study.values(trial := study.ask()))
        study.tell(trial, values[-1]["lr"])
    return values


def test_a_study_that_was_resumed_tries_what_it_would_have_tried(tmp_path):
    """Ten of them are drawn at random; the later ones follow from what the earlier ones have reached."""
    whole = search(tmp_path / "one", 14)
    assert search(tmp_path / "many", 14, runs=14) == whole
    assert search(tmp_path / "other", 14, seed=1) != whole
    assert len({str(values) for values in whole}) == 14


@pytest.mark.parametrize(("direction", "order"), [("minimize", [2, 1, 4, 3]), ("maximize", [4, 1, 2, 3])])
def test_the_best_comes_first_and_what_failed_last(tmp_path, direction, order):
    study = begin(tmp_path, direction=direction)
    for figure in (0.5, -0.1, None, 0.9):
        study.tell(study.ask(), figure, "" if figure is not None else "the loss has grown")
    ended = begin(tmp_path, direction=direction).best_first()
    assert [trial.number for trial in ended] == order
    assert (ended[-1].why, ended[-1].figure, set(ended[-1].drawn)) == ("the loss has grown", None, set(SPACE))


@pytest.mark.parametrize("content", ["{}", "[1]", '{"about": {"space": "lr=1..2", "seed": 0}, "trials": [1]}', "\0\0"])
def test_a_damaged_file_is_refused_in_a_sentence_and_left_as_it_is(tmp_path, content):
    (tmp_path / "study.json").write_text(content)
    with pytest.raises(
        SearchError, match=r"study\.json is damaged \(.*\): --fresh forgets it and its experiments, and starts from scratch"
    ):
        begin(tmp_path)
    assert (tmp_path / "study.json").read_text() == content


def test_a_study_of_something_else_is_refused_in_a_sentence(tmp_path):
    begin(tmp_path).ask()
    with pytest.raises(SearchError, match=r"has another space: lr=1\.\.2, and now lr=1\.\.3; --name gives this search a name of its own"):
        begin(tmp_path, {"space": "lr=1..3", "seed": 0})
    with pytest.raises(SearchError, match="has another seed: 0, and now 1"):
        begin(tmp_path, {"space": "lr=1..2", "seed": 1})


def test_a_study_waits_for_the_trials_of_a_killed_sweep_and_two_sweeps_of_one_are_refused(tmp_path):
    folder, entered = tmp_path / "toy-a", []

    def enter():
        with only_one(folder):
            entered.append(True)

    with folder.with_name("toy-a.trials.lock").open("a") as held:
        fcntl.flock(held, fcntl.LOCK_EX)  # as a trial has it that saves its state
        waiter = threading.Thread(target=enter)
        waiter.start()
        waiter.join(0.3)
        assert entered == []
    waiter.join()
    assert entered == [True]
    with only_one(folder), pytest.raises(SearchError, match="another sweep is at work on the study toy-a: wait until"), only_one(folder):
        pass
