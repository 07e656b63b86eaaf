"""pipelines/searching/study.py: what a study remembers of runs that have died."""

import json

import pytest

from pipelines.searching.space import Choice, Range, SearchError
from pipelines.searching.study import Study, forget, only_one

SPACE = {"lr": Range(0.001, 1.0, True), "hidden": Choice(("[6, 4]", "[8]")), "epochs": Range(1, 9, False)}


def begin(folder, about=None, direction="minimize", seed=0):
    folder.mkdir(exist_ok=True)
    return Study(folder, about or {"space": {"lr": "a"}}, SPACE, direction, seed)


def test_a_trial_that_was_running_has_the_same_values_when_it_is_taken_up(tmp_path):
    attempts = [begin(tmp_path).ask()]
    study = begin(tmp_path)
    attempts.append(study.ask())
    assert [(attempt.number, attempt.values) for attempt in begin(tmp_path).unfinished()] == [(one.number, one.values) for one in attempts]
    assert [attempt.number for attempt in attempts] == [1, 2]
    assert attempts[0].values != attempts[1].values


def test_a_trial_whose_values_were_half_written_gets_the_rest(tmp_path):
    whole = begin(tmp_path).ask()
    journal = tmp_path / "journal.log"
    lines = journal.read_text().splitlines(keepends=True)
    journal.write_text("".join(lines[:-1]) + lines[-1][:20])  # killed while it wrote the last value
    (again,) = begin(tmp_path).unfinished()
    assert again.values.keys() == whole.values.keys()
    assert {key: again.values[key] for key in ("lr", "hidden")} == {key: whole.values[key] for key in ("lr", "hidden")}
    assert 1 <= again.values["epochs"] <= 9
    begin(tmp_path).tell(again, 0.5)
    assert [trial.figure for trial in begin(tmp_path).ended()] == [0.5]


def search(folder, count, runs=1, seed=0):
    """The values that `count` trials get, in one run or in as many as there are trials."""
    study = begin(folder, seed=seed)
    values = []
    for _ in range(count):
        study = begin(folder, seed=seed) if runs > 1 else study
        values.append((attempt := study.ask()).values)
        study.tell(attempt, attempt.values["lr"])
    return values


def test_a_study_that_was_taken_up_tries_what_it_would_have_tried(tmp_path):
    """Ten of them are drawn at random; the later ones follow from what the earlier ones have reached."""
    whole = search(tmp_path / "one", 14)
    assert search(tmp_path / "many", 14, runs=14) == whole
    assert search(tmp_path / "other", 14, seed=1) != whole
    assert len({str(values) for values in whole}) == 14


@pytest.mark.parametrize(("direction", "order"), [("minimize", [2, 1, 4, 3]), ("maximize", [4, 1, 2, 3])])
def test_the_best_comes_first_and_what_failed_last(tmp_path, direction, order):
    study = begin(tmp_path, direction=direction)
    for figure in (0.5, -0.1, None, 0.9):
        attempt = study.ask()
        study.tell_failure(attempt, "the loss has grown") if figure is None else study.tell(attempt, figure)
    ended = begin(tmp_path, direction=direction).ended()
    assert [trial.number for trial in ended] == order
    assert ended[-1].why == "the loss has grown" and ended[-1].figure is None
    assert set(ended[-1].values) == set(SPACE)


@pytest.mark.parametrize("content", ["{}\n", "nonsense\n", "[1]\n", '{"op_code": 77}\n', "\0\0\0\n", "\n"])
def test_a_damaged_journal_is_refused_in_a_sentence_and_left_as_it_is(tmp_path, content):
    begin(tmp_path).ask()
    journal = tmp_path / "journal.log"
    damaged = journal.read_text() + content + journal.read_text()
    journal.write_text(damaged)
    with pytest.raises(SearchError, match=r"journal\.log is damaged \(.*\): --fresh forgets it and its experiments, and begins anew"):
        begin(tmp_path)
    assert journal.read_text() == damaged


def test_a_study_of_something_else_is_refused_in_a_sentence(tmp_path):
    begin(tmp_path, {"space": {"lr": "1..2"}, "seed": 0}).ask()
    with pytest.raises(SearchError, match=r"has another space: lr=1\.\.2, and now lr=1\.\.3; --name gives this search a name of its own"):
        begin(tmp_path, {"space": {"lr": "1..3"}, "seed": 0})
    with pytest.raises(SearchError, match="has another seed: 0, and now 1"):
        begin(tmp_path, {"space": {"lr": "1..2"}, "seed": 1})


def test_a_study_that_died_before_its_first_trial_begins(tmp_path):
    begin(tmp_path)
    journal = tmp_path / "journal.log"
    journal.write_text(journal.read_text().splitlines(keepends=True)[0])  # killed before it could say what it is about
    assert begin(tmp_path, {"space": {"lr": "b"}}).ask().number == 1


def test_two_sweeps_of_one_study_at_once_are_refused(tmp_path):
    with only_one(tmp_path / "toy-a"):
        second = only_one(tmp_path / "toy-a")
        with pytest.raises(SearchError, match="another sweep is at work on the study toy-a: wait until"):
            second.__enter__()
    with only_one(tmp_path / "toy-a"):
        assert (tmp_path / "toy-a" / "lock").exists()


def test_forgetting_leaves_the_lock_alone(tmp_path):
    with only_one(tmp_path):
        begin(tmp_path).ask()
        (tmp_path / "work" / "001").mkdir(parents=True)
        forget(tmp_path)
        assert [path.name for path in tmp_path.iterdir()] == ["lock"]


def test_the_journal_is_text(tmp_path):
    study = begin(tmp_path)
    study.tell(study.ask(), 0.5)
    assert all(isinstance(json.loads(line), dict) for line in (tmp_path / "journal.log").read_text().splitlines())
