"""pipelines/searching/trial.py beside a trial of a run that was killed a moment ago. What it makes: tests/pipelines/test_sweep.py."""

import threading

from pipelines.searching.experiments import Base
from pipelines.searching.trial import Ticket, alone_with, wait_for_all


def test_a_trial_that_is_still_ending_is_waited_for(tmp_path):
    for number in ("001", "002"):
        (tmp_path / f"{number}.json").touch()
    waiter = threading.Thread(target=wait_for_all, args=(tmp_path,))
    with alone_with(tmp_path / "002.json"):
        waiter.start()
        waiter.join(0.5)
        assert waiter.is_alive()
    waiter.join(10)
    assert not waiter.is_alive()


def test_where_no_trial_was_ever_made_nothing_is_waited_for(tmp_path):
    wait_for_all(tmp_path / "work")
    assert not (tmp_path / "work").exists()


def test_a_ticket_is_read_as_it_was_written(tmp_path):
    values = {"models.toy.train.lr": 1e-05, "models.toy.architecture.hidden": [6, 4], "models.toy.train.clip_norm": None}
    ticket = Ticket("/repository", Base("a", "b"), "train@toy", values, "toy-a-001")
    ticket.write(tmp_path / "001.json")
    assert Ticket.read(tmp_path / "001.json") == ticket
