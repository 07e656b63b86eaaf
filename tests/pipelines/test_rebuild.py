"""The flow `rebuild` on the small pipeline, with a real Prefect server."""

import argparse
import errno
import json
import os
import re
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from dvc.config import Config
from prefect.exceptions import ParameterTypeError

from pipelines.rebuild import main, rebuild
from pipelines.rebuilding.arguments import number
from pipelines.rebuilding.build import longest_way_to_the_end
from pipelines.running.locks import alone
from pipelines.serving.presence import RUNNING
from pipelines.serving.server import free_port, password, server_at
from tests.pipelines.running.test_supervisor import is_alive, wait_until
from tests.pipelines.small import KNOWN, ask, command_line, everything, make_small, repro

ROOT = Path(__file__).parents[2]
NAMES = ["each@one", "each@two", "both", "measured"]
pytestmark = [
    pytest.mark.filterwarnings("ignore:_NoneStep.value:DeprecationWarning"),  # of pygtrie, by DVC
    pytest.mark.usefixtures("server"),
]


def build(**parameters):
    """Runs the flow; its last state."""
    return rebuild(**parameters, return_state=True)


def newest_run():
    return max(path for path in Path("logs/rebuild").iterdir() if path.is_dir())


def ran():
    """The stages that the last run has run, by the files of what they said."""
    return sorted(path.stem for path in newest_run().iterdir())


def change_command(old, change):
    """Changes the command of dvc.yaml that holds `old`."""
    lines = Path("dvc.yaml").read_text().splitlines()
    (place,) = [place for place, line in enumerate(lines) if "cmd: " in line and old in line]
    indent, _, command = lines[place].partition("cmd: ")
    lines[place] = f"{indent}cmd: {json.dumps(change(command))}"
    Path("dvc.yaml").write_text("\n".join(lines) + "\n")


def set_gpus(number):
    """Of which `each` makes use."""
    text = Path("dvc.yaml").read_text()
    Path("dvc.yaml").write_text(text.replace("      deps: [source.txt]", f"      meta: {{gpus: {number}}}\n      deps: [source.txt]"))


def results_of(folder):
    return {name: content for name, content in everything(folder).items() if not name.startswith("logs/")}


def test_a_rebuild_leaves_what_dvc_repro_leaves(small, tmp_path):
    serial = tmp_path / "serial"
    serial.mkdir()
    make_small(serial)
    for folder in (small, serial):
        (folder / "dvc.yaml").write_text(KNOWN)
    repro(folder=serial)
    build(jobs=2)
    assert ran() == sorted(NAMES)
    assert results_of(small) == results_of(serial)


def test_what_is_up_to_date_runs_only_by_force(small):
    assert (build().is_completed(), ran()) == (True, sorted(NAMES))
    before = results_of(small)
    assert (build().is_completed(), ran()) == (True, [])
    assert results_of(small) == before
    assert (build(force=True).is_completed(), ran()) == (True, sorted(NAMES))


def test_what_is_left_of_a_model_that_is_no_more_is_said(small, caplog):
    build(targets=["each@one"])
    assert "has no entry" not in caplog.text
    Path("models/gone").mkdir(parents=True)
    Path("models/gone/training.json").write_text("{}")
    lock = Path("dvc.lock").read_text()
    Path("dvc.lock").write_text(f"{lock}  preprocess@old:\n    cmd: python\n")
    assert build(targets=["each@one"]).is_completed()
    assert "params.yaml has no entry for data/old, models/gone, but data/, models/ or dvc.lock still hold something of it" in caplog.text
    assert 'make remove NAME="data/old models/gone"' in caplog.text


def test_a_target_and_what_it_needs_alone_is_rebuilt(small):
    build(targets=["each@two"])
    assert ran() == ["each@two"]


MEETING = "touch ${key}.here; while [ ! -e one.here ] || [ ! -e two.here ]; do sleep 0.01; done; "


def test_stages_that_wait_for_nothing_run_beside_each_other(small):
    change_command("source.txt", lambda command: MEETING + command)  # each ends only once both have begun
    assert build(jobs=2).is_completed()


def test_no_more_stages_run_at_once_than_jobs(small):
    change_command("source.txt", lambda command: f"mkdir busy && {command} && sleep 0.2 && rmdir busy")
    assert build(jobs=1).is_completed()


@pytest.mark.parametrize(("num_gpus", "seen"), [(1, {"GPU-0"}), (2, {"GPU-0", "GPU-1"})])
def test_stages_on_gpus_have_one_each_and_wait_for_it(small, tmp_path, monkeypatch, num_gpus, seen):
    driver = tmp_path / "nvidia-smi"
    driver.write_text("#!/bin/sh\n" + "".join(f"echo 'GPU {number}: NVIDIA (UUID: GPU-{number})'\n" for number in range(num_gpus)))
    driver.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    note = "mkdir busy.$CUDA_VISIBLE_DEVICES && echo $CUDA_VISIBLE_DEVICES >> seen; "
    meet = MEETING if num_gpus == 2 else "sleep 0.2; "
    change_command("source.txt", lambda command: f"{note}{meet}{command} && rmdir busy.$CUDA_VISIBLE_DEVICES")
    set_gpus(1)
    assert build(jobs=3).is_completed()
    assert set(Path("seen").read_text().split()) == seen


def test_a_wish_for_gpus_that_is_no_number_is_refused_in_a_sentence(small):
    set_gpus("all")
    assert build().message == "dvc.yaml: meta.gpus of each@one is 'all'; expected a number of GPUs, such as 1."
    assert not Path("dvc.lock").exists()


def tasks_of(run_id, server, number=4):
    """What Prefect shows of each stage of a run."""

    def is_told():
        response = ask(f"{server}/task_runs/filter", json={"flow_runs": {"id": {"any_": [str(run_id)]}}})
        shown.update({run["name"]: run["state_name"] for run in response})
        return len(response) == number and all(run["state_name"] not in ("Running", "Pending") for run in response)

    shown = {}
    wait_until(is_told)  # Prefect notes tasks a moment after they have ended
    return shown


def test_every_stage_is_a_task_of_the_run_whatever_became_of_it(small, server):
    assert tasks_of(build().state_details.flow_run_id, server) == dict.fromkeys(NAMES, "Completed")
    change_command("out/one.txt", lambda command: FAILURE + command)
    shown = tasks_of(build().state_details.flow_run_id, server)
    assert shown == {"each@one": "Cached", "each@two": "Cached", "both": "Failed", "measured": "NotReady"}


FAILURE = "echo some lines; echo 'error: the key is wrong, fix it.' >&2; exit 1 # "


def test_a_failure_skips_what_depends_on_it_and_nothing_else(small):
    stages = Path("dvc.yaml").read_text()
    Path("dvc.yaml").write_text(f"{stages}  other:\n    cmd: echo x > x.txt\n    outs: [x.txt]\n")
    change_command("out/one.txt", lambda command: FAILURE + command)
    state = build()
    assert state.is_failed()
    assert state.message == (
        "2 of 5 stages were not rebuilt: both (exit code 1: the key is wrong, fix it.), measured (skipped: both failed)."
    )
    assert ran() == ["both", "each@one", "each@two", "other"]
    Path("dvc.yaml").write_text(stages)
    assert build().is_completed()
    assert ran() == ["both", "measured"]


def test_without_keep_going_a_failure_ends_all_that_has_not_begun(small):
    change_command("source.txt", lambda command: f"exit 1; {command}")
    assert build(jobs=1, keep_going=False).message.startswith("4 of 4 stages were not rebuilt")
    assert len(ran()) == 1


def test_an_output_that_is_not_written_is_a_failure_and_the_log_is_kept(small):
    change_command("out/one.txt", lambda _: "echo said")
    assert "output 'both.txt' does not exist" in build().message
    assert (newest_run() / "both.log").read_text() == "said\n"


LINES = """
stages:
  lines:
    wdir: sub
    cmd:
      - cd /
      - pwd > where.txt
    outs: [where.txt]
  broken:
    cmd: |
      exit 3
      touch never.txt
  frozen:
    cmd: echo new > kept.txt
    frozen: true
    outs: [kept.txt]
"""


def test_a_command_runs_where_and_as_dvc_runs_it(small):
    Path("dvc.yaml").write_text(LINES)
    Path("sub").mkdir()
    Path("kept.txt").write_text("old\n")
    assert build().message == f"1 of 3 stages were not rebuilt: broken (exit code 3: see {newest_run() / 'broken.log'})."
    assert Path("sub/where.txt").read_text() == f"{small / 'sub'}\n"
    assert not Path("never.txt").exists()
    assert Path("kept.txt").read_text() == "old\n"


@pytest.mark.parametrize("jobs", ["0", "-1", "x", "1.5"])
def test_a_number_of_jobs_that_is_none_is_refused(small, jobs):
    with pytest.raises(argparse.ArgumentTypeError, match=f"'{jobs}'; expected a whole number from 1 on"):
        number(jobs)
    with pytest.raises(ParameterTypeError, match="jobs"):
        rebuild(jobs=jobs)


def test_the_longest_way_to_the_end_counts_what_lies_behind_a_stage():
    after = {"a": [], "b": [], "c": ["a"], "d": ["c"]}
    assert longest_way_to_the_end(after, {"a": 1, "b": 5, "c": 2, "d": 3}) == {"a": 6, "b": 5, "c": 5, "d": 3}


# The command line


@pytest.fixture
def command(monkeypatch, capfd):
    """Runs the command in this process; its exit code, and what it prints."""

    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["rebuild", *arguments])
        try:
            main()
        except SystemExit as end:
            is_sentence = isinstance(end.code, str)  # which Python prints
            return 1 if is_sentence else end.code, capfd.readouterr().err + str(end.code) * is_sentence
        return 0, capfd.readouterr().err

    return run


def test_the_command_line_takes_the_same_names(small, command):
    code, output = command("--jobs", "2", "--no-keep-going", "each@two")
    assert code == 0, output
    assert ran() == ["each@two"]


MISTAKES = {
    "a stage that fails": (
        lambda: change_command("out/one.txt", lambda command: FAILURE + command),
        "error: 2 of 4 stages were not rebuilt: both (exit code 1: the key is wrong, fix it.)",
    ),
    "dvc.yaml": (
        lambda: Path("dvc.yaml").write_text("stages: ["),
        "error: unable to read: 'dvc.yaml', YAML file structure is corrupted",
    ),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_failure_ends_in_a_sentence_and_exit_code_1(small, command, mistake):
    make, sentence = MISTAKES[mistake]
    make()
    code, output = command()
    assert code == 1 and output.splitlines()[-1].startswith(sentence)
    assert "NoneType" not in output and "Traceback" not in output


LONG = "trap '{} exit 143' TERM; echo $$ > pid; while :; do sleep 0.05; done; "
SAVES = LONG.format("echo error: Stopped by SIGTERM in epoch 2: the next run resumes there.;")
SILENT = LONG.format("")


def pid_of_stage():
    wait_until(lambda: Path("pid").exists() and Path("pid").read_text(), 60)
    return int(Path("pid").read_text())


@pytest.mark.parametrize(
    ("number", "code", "stage", "why"),
    [
        (signal.SIGINT, 130, SAVES, "Stopped by SIGTERM in epoch 2: the next run resumes there."),
        (signal.SIGTERM, 143, SILENT, "Stopped before it said where: the next run resumes from its last saved state, or starts it again."),
    ],
)
def test_a_stopped_stage_says_so_and_where_it_resumes(small, server, command, number, code, stage, why):
    stages = Path("dvc.yaml").read_text()
    change_command("out/one.txt", lambda command: stage + command)
    stopper = threading.Thread(target=lambda: (pid_of_stage(), os.kill(os.getpid(), number)))
    stopper.start()
    ended_with, output = command()
    stopper.join()
    assert not is_alive(pid_of_stage())
    assert ended_with == code, output
    expected = f"stopped by {number.name}: both ({why}); what was built is kept, and the same command resumes."
    assert output.splitlines()[-1] == f"error: {expected}"
    assert "Traceback" not in output and "Crash" not in output and "failed" not in output
    run = ask(f"{server}/flow_runs/filter", json={"sort": "START_TIME_DESC", "limit": 1})[0]
    assert (run["state_type"], run["state_name"], run["state"]["message"]) == ("CANCELLED", "Stopped", expected)
    tasks = tasks_of(run["id"], server, 3)
    assert tasks == {"each@one": "Completed", "each@two": "Completed", "both": "Stopped"}
    Path("dvc.yaml").write_text(stages)
    assert (build().is_completed(), ran()) == (True, ["both", "measured"])


def test_a_killed_run_leaves_nothing_alive_is_marked_as_crashed_and_the_next_one_resumes(small, server):
    stages = Path("dvc.yaml").read_text()
    change_command("out/one.txt", lambda command: SAVES + command)
    process = command_line("pipelines.rebuild", server=server)
    pid = pid_of_stage()
    process.kill()
    output, _ = process.communicate()
    wait_until(lambda: not is_alive(pid))
    assert process.returncode == -signal.SIGKILL, output
    (log,) = Path("logs/rebuild").rglob("both.log")
    wait_until(lambda: log.read_text().endswith("resumes there.\n"))
    (run_id,) = [path.name for path in RUNNING.glob("*-*")]
    url = f"{server}/flow_runs/{run_id}"
    assert ask(url, "GET")["state"]["type"] == "RUNNING"
    Path("dvc.yaml").write_text(stages)
    build()
    assert ran() == ["both", "measured"]
    assert ask(url, "GET")["state"]["message"].startswith("Its process died without a word")
    assert not (RUNNING / run_id).exists()


def test_two_rebuilds_at_once_in_one_folder_are_refused_in_a_sentence(small):
    with alone("rebuild"):
        message = build().message
    assert re.fullmatch(r"rebuild \(process \d+, since [\d:]+\) is at work in this folder: wait for its end, or stop it\.", message)
    assert build().is_completed()


def test_a_remote_that_refuses_is_said_in_a_sentence_and_what_was_built_stays(small, tmp_path):
    (tmp_path / "file").write_text("no folder")
    with Config(".dvc").edit("repo") as config:
        config["core"]["remote"] = "broken"
        config["remote"]["broken"] = {"url": str(tmp_path / "file")}
    state = build(push=True)
    assert state.is_failed() and "Traceback" not in state.message and str(tmp_path / "file") in state.message
    assert repro() == []
    assert ran() == sorted(NAMES)
    assert build().is_completed() and ran() == []


def test_a_full_disk_is_said_in_a_sentence_and_nothing_is_lost(small, monkeypatch):
    build(targets=["each"])
    before = Path("dvc.lock").read_bytes()

    def fsync(_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr("pipelines.dvc.lock_file.os.fsync", fsync)
        message = build().message
    assert message == ("2 of 4 stages were not rebuilt: both (both: [Errno 28] No space left on device), measured (skipped: both failed).")
    assert Path("dvc.lock").read_bytes() == before
    assert build().is_completed()


@pytest.mark.slow  # Prefect tries for most of a minute
def test_a_server_that_is_gone_ends_the_flow_in_a_sentence_and_what_was_built_stays(small):
    change_command("out/one.txt", lambda command: f"touch began; while [ ! -e go ]; do sleep 0.05; done; {command}")
    port = free_port()
    with server_at(port, "--no-ui") as url:
        process = subprocess.Popen(
            [sys.executable, "-m", "pipelines.rebuild"],
            env={**os.environ, "PYTHONPATH": str(ROOT), "PREFECT_API_URL": url, "PREFECT_API_AUTH_STRING": password()},
            stderr=subprocess.PIPE,
            text=True,
        )
        wait_until(lambda: Path("began").exists() or process.poll() is not None, 60)
    Path("go").touch()
    _, said = process.communicate(timeout=200)
    assert process.returncode == 1
    assert said.splitlines()[-1].startswith(f"error: the Prefect server at {url} does not answer (")
    assert build().is_completed() and ran() == []
