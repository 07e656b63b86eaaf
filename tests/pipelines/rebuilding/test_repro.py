"""pipelines/rebuilding/repro.py on the small pipeline: what `make repro` leaves, prints and exits with. The engine is test_rebuild.py's."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from pipelines.rebuilding.build import SECONDS, Outcome, Result, expected_seconds
from pipelines.rebuilding.repro import Terminal
from pipelines.running.locks import alone
from tests.pipelines.running.test_supervisor import is_alive, wait_until
from tests.pipelines.small import KNOWN, ROOT, environment, everything, make_small, repro

pytestmark = pytest.mark.filterwarnings("ignore:_NoneStep.value:DeprecationWarning")  # of pygtrie, by DVC


def start(*arguments):
    command = [sys.executable, "-m", "pipelines.rebuilding.repro", *arguments]
    return subprocess.Popen(command, env=environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def make_repro(*arguments):
    """Its exit code, and what it prints to stdout and stderr."""
    process = start(*arguments)
    output, errors = process.communicate()
    return process.returncode, output, errors


def results_of(folder):
    return {name: content for name, content in everything(folder).items() if not name.startswith("logs/")}


def test_it_leaves_what_dvc_repro_leaves_and_a_second_time_makes_nothing(small, tmp_path):
    serial = tmp_path / "serial"
    serial.mkdir()
    make_small(serial)
    for folder in (small, serial):
        (folder / "dvc.yaml").write_text(KNOWN)
    repro(folder=serial)
    code, output, errors = make_repro("--jobs", "2")
    assert (code, errors) == (0, "")
    lines = output.splitlines()
    assert {line.split()[1] for line in lines[:-1]} == {"each@one", "each@two", "both", "measured"}
    assert lines[-2].split()[:4] == ["[4/4]", "measured", "ran", "in"]
    assert lines[-1].startswith("4 stages are up to date; 4 of them were made in ")
    assert results_of(small) == results_of(serial)
    code, output, _ = make_repro()
    assert code == 0 and output.startswith("4 stages are up to date; 0 of them were made in ")
    assert set(json.loads(SECONDS.read_text())) == {"each@one", "each@two", "both", "measured"}


def test_a_failure_is_said_where_it_happened_and_at_the_end_and_skips_what_depends_on_it(small):
    Path("fail.sh").write_text("echo 'error: the key is wrong, fix it.'; exit 1")
    Path("dvc.yaml").write_text(Path("dvc.yaml").read_text().replace("cat out/one.txt", ". ./fail.sh; cat out/one.txt"))
    code, output, errors = make_repro()
    why = "exit code 1: the key is wrong, fix it."
    assert code == 1 and errors == f"error: 2 of 4 stages were not rebuilt: both ({why}), measured (skipped: both failed).\n"
    assert re.search(rf"\] both +failed in [\d.]+ s: {why}\n", output)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_stops_what_runs_and_says_so(small, number):
    text = Path("dvc.yaml").read_text()
    Path("dvc.yaml").write_text(text.replace("cat out/one.txt", "echo $$ > pid; while :; do sleep 0.05; done; cat out/one.txt"))
    process = start()
    wait_until(lambda: Path("pid").exists() and Path("pid").read_text(), 60)
    process.send_signal(number)
    _, errors = process.communicate()
    assert process.returncode == 128 + number
    assert errors.startswith(f"error: stopped by {number.name}: both (") and errors.endswith("the same command resumes.\n")
    assert not is_alive(int(Path("pid").read_text()))
    Path("dvc.yaml").write_text(text)
    assert make_repro()[0] == 0


@pytest.mark.parametrize(
    ("arguments", "code", "sentence"),
    [
        (["no_such_stage"], 1, "error: Stage 'no_such_stage' not found inside 'dvc.yaml' file"),
        (["--jobs", "0"], 2, "'0'; expected a whole number from 1 on"),
    ],
)
def test_wrong_arguments_are_refused_in_a_sentence(small, arguments, code, sentence):
    ended_with, _, errors = make_repro(*arguments)
    assert ended_with == code and sentence in errors and "Traceback" not in errors


def test_it_gives_way_to_another_rebuild_in_the_folder(small):
    with alone("rebuild"):
        code, _, errors = make_repro()
    assert code == 1 and errors.startswith("error: rebuild (process ") and "is at work in this folder" in errors


def test_what_is_left_is_told_by_what_stages_took_here_or_elsewhere(small):
    Path("logs/rebuild").mkdir(parents=True)
    SECONDS.write_text(json.dumps({"train@a": 30, "train@b": 10, "check": 1}))
    seconds = expected_seconds(["train@a", "train@new", "check"])
    assert seconds["train@a"] == 30 and 1 < seconds["train@new"] < 30 and seconds["check"] == 1
    terminal = Terminal({"train@a": 30.0, "train@b": 30.0, "check": 60.0}, jobs=2)
    try:
        assert terminal._state() == ""
        terminal.note("check", [], Result(Outcome.UP_TO_DATE))
        terminal.since["train@a"] = time.monotonic() - 10
        assert terminal._state() == "[1/3] done, about 25 s left; running: train@a (10 s)"
        terminal._count("train@a", Result(Outcome.RAN, seconds=60))  # this machine takes twice as long
        terminal.since["train@b"] = time.monotonic()
        assert terminal._state() == "[2/3] done, about 30 s left; running: train@b (0 s)"
    finally:
        terminal.close()


def test_what_a_stage_says_cannot_steer_the_terminal(capsys):
    terminal = Terminal({"check": 1.0}, jobs=1)
    try:
        terminal.say("a name\x1b]0;title\x07 and \u202eback")
    finally:
        terminal.close()
    assert capsys.readouterr().out == "a name\\x1b]0;title\\x07 and \\u202eback\n"


def test_prefect_and_torch_are_not_imported():
    program = "import sys, pipelines.rebuilding.repro; print([name for name in ('prefect', 'torch') if name in sys.modules])"
    done = subprocess.run(
        [sys.executable, "-c", program], env=os.environ | {"PYTHONPATH": str(ROOT)}, capture_output=True, text=True, check=True
    )
    assert done.stdout == "[]\n"


def test_asked_twice_it_ends_as_asked_once(small):
    Path("slow.sh").write_text("trap 'sleep 0.5; echo error: Stopped, saved.; exit 143' TERM; echo $$ > pid; while :; do sleep 0.05; done")
    Path("dvc.yaml").write_text(Path("dvc.yaml").read_text().replace("cat out/one.txt", ". ./slow.sh; cat out/one.txt"))
    process = start()
    wait_until(lambda: Path("pid").exists() and Path("pid").read_text(), 60)
    process.send_signal(signal.SIGINT)
    wait_until(lambda: "SIG_IGN" in repr(ignored(process.pid)))
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate()
    assert process.returncode == 130 and errors.startswith("error: stopped by SIGINT: both (Stopped, saved.)"), errors


def ignored(pid):
    """SIG_IGN where the process ignores SIGINT."""
    (mask,) = [line.split()[1] for line in Path(f"/proc/{pid}/status").read_text().splitlines() if line.startswith("SigIgn")]
    return signal.SIG_IGN if int(mask, 16) & 1 << signal.SIGINT - 1 else None


def test_a_reader_that_is_gone_ends_no_build(small):
    process = start()
    process.stdout.close()
    with process.stderr:
        assert process.stderr.read() == "" and process.wait() == 0
    assert repro() == []


def test_many_skipped_stages_are_counted_and_a_failures_last_line_is_shown(small):
    lines = "".join(f"  s{n}:\n    cmd: cat both.txt > s{n}.txt\n    deps: [both.txt]\n    outs: [s{n}.txt]\n" for n in range(4))
    Path("dvc.yaml").write_text(Path("dvc.yaml").read_text().replace("cat out/one.txt", "echo ValueError; exit 1; cat out/one.txt") + lines)
    code, output, errors = make_repro()
    assert code == 1 and "both: ValueError\n" in output and "skipped" not in output
    assert errors.startswith("error: 6 of 8 stages were not rebuilt: both (exit code 1: see ")
    assert errors.endswith("), and 5 that wait for what failed.\n")
