"""The flow `rebuild` on the small pipeline, with a real Prefect server."""

import argparse
import errno
import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from pipelines.rebuild import number, rebuild
from pipelines.running.build import longest_way_to_the_end
from pipelines.running.locks import alone
from pipelines.serving.presence import RUNNING
from pipelines.serving.server import free_port, password, server_at
from tests.pipelines.running.test_supervisor import is_alive, wait_until
from tests.pipelines.small import KNOWN, ask, command_line, dvc, everything, make_small

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


def results_of(folder):
    return {name: content for name, content in everything(folder).items() if not name.startswith("logs/")}


def test_a_rebuild_leaves_what_dvc_repro_leaves(small, tmp_path):
    serial = tmp_path / "serial"
    serial.mkdir()
    make_small(serial)
    for folder in (small, serial):
        (folder / "dvc.yaml").write_text(KNOWN)
    dvc("repro", folder=serial)
    build(jobs=2)
    assert ran() == sorted(NAMES)
    assert results_of(small) == results_of(serial)


def test_a_second_rebuild_runs_nothing(small):
    build()
    before = results_of(small)
    build()
    assert ran() == []
    assert results_of(small) == before


def test_what_is_left_of_a_model_that_is_no_more_is_said(small, caplog):
    build()
    assert "has no entry" not in caplog.text
    Path("models/gone").mkdir(parents=True)
    Path("models/gone/training.json").write_text("{}")
    lock = Path("dvc.lock").read_text()
    Path("dvc.lock").write_text(f"{lock}  preprocess@old:\n    cmd: python\n")
    assert build().is_completed()
    assert "params.yaml has no entry for data/old, models/gone, of which data/, models/ or dvc.lock still hold something" in caplog.text
    assert 'make remove NAME="data/old models/gone"' in caplog.text


def test_a_target_and_what_it_needs_alone_is_rebuilt(small):
    build(targets=["each@two"])
    assert ran() == ["each@two"]


def test_force_runs_everything(small):
    build()
    build(force=True)
    assert ran() == sorted(NAMES)


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
    Path("dvc.yaml").write_text(
        Path("dvc.yaml").read_text().replace("      deps: [source.txt]", "      meta: {gpus: 1}\n      deps: [source.txt]")
    )
    assert build(jobs=3).is_completed()
    assert set(Path("seen").read_text().split()) == seen


def test_a_wish_for_gpus_that_is_no_number_is_refused_in_a_sentence(small):
    Path("dvc.yaml").write_text(
        Path("dvc.yaml").read_text().replace("      deps: [source.txt]", "      meta: {gpus: all}\n      deps: [source.txt]")
    )
    assert build().message == "dvc.yaml: meta.gpus of each@one is 'all'; expected a number of GPUs, such as 1."
    assert not Path("dvc.lock").exists()


def tasks_of(state, server):
    """What Prefect shows of each stage of a run."""
    wanted = {"flow_runs": {"id": {"any_": [str(state.state_details.flow_run_id)]}}}

    def is_told():
        response = ask(f"{server}/task_runs/filter", json=wanted)
        shown.update({run["name"]: run["state_name"] for run in response})
        return len(response) == len(NAMES) and all(run["state_name"] != "Running" for run in response)

    shown = {}
    wait_until(is_told)  # Prefect notes tasks a moment after they have ended
    return shown


def test_every_stage_is_a_task_of_the_run_whatever_became_of_it(small, server):
    assert tasks_of(build(), server) == dict.fromkeys(NAMES, "Completed")
    change_command("out/one.txt", lambda command: FAILURE + command)
    shown = tasks_of(build(), server)
    assert shown == {"each@one": "Cached", "each@two": "Cached", "both": "Failed", "measured": "NotReady"}


FAILURE = "echo some lines; echo 'error: the key is wrong, mend it.' >&2; exit 1 # "


def test_a_failure_skips_what_depends_on_it_and_nothing_else(small):
    stages = Path("dvc.yaml").read_text()
    Path("dvc.yaml").write_text(f"{stages}  other:\n    cmd: echo x > x.txt\n    outs: [x.txt]\n")
    change_command("out/one.txt", lambda command: FAILURE + command)
    state = build()
    assert state.is_failed()
    assert state.message == (
        "2 of 5 stages were not rebuilt: both (exit code 1: the key is wrong, mend it.), measured (skipped: both failed)."
    )
    assert ran() == ["both", "each@one", "each@two", "other"]
    Path("dvc.yaml").write_text(stages)
    assert build().is_completed()
    assert ran() == ["both", "measured"]


def test_without_keep_going_a_failure_ends_all_that_has_not_begun(small):
    change_command("source.txt", lambda command: f"exit 1; {command}")
    assert build(jobs=1, keep_going=False).message.startswith("4 of 4 stages were not rebuilt")
    assert len(ran()) == 1


def test_an_output_that_is_not_written_is_a_failure(small):
    change_command("out/one.txt", lambda _command: "true")
    assert "output 'both.txt' does not exist" in build().message


def test_what_a_stage_says_is_kept(small):
    change_command("out/one.txt", lambda command: f"echo said; {command}")
    build()
    (log,) = Path("logs/rebuild").rglob("both.log")
    assert log.read_text() == "said\n"


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


@pytest.mark.parametrize("jobs", [0, -1, "many"])
def test_a_number_of_jobs_that_is_none_is_refused(small, jobs):
    with pytest.raises(Exception, match="jobs"):
        rebuild(jobs=jobs)


def test_the_longest_way_to_the_end_counts_what_lies_behind_a_stage():
    after = {"a": [], "b": [], "c": ["a"], "d": ["c"]}
    assert longest_way_to_the_end(after, {"a": 1, "b": 5, "c": 2, "d": 3}) == {"a": 6, "b": 5, "c": 5, "d": 3}


# The command line


def command(*arguments, server):
    return command_line("pipelines.rebuild", *arguments, server=server)


def test_the_command_line_takes_the_same_names(small, server):
    process = command("--jobs", "2", "--no-keep-going", "each@two", server=server)
    output, _ = process.communicate()
    assert process.returncode == 0, output
    assert ran() == ["each@two"]


def test_a_failure_ends_in_a_sentence_and_exit_code_1(small, server):
    change_command("out/one.txt", lambda command: FAILURE + command)
    process = command(server=server)
    output, _ = process.communicate()
    assert process.returncode == 1, output
    assert output.splitlines()[-1].startswith("error: 2 of 4 stages were not rebuilt: both (exit code 1: the key is wrong, mend it.)")
    assert "NoneType" not in output and "Traceback" not in output


def test_a_mistake_in_dvc_yaml_ends_in_a_sentence_and_exit_code_1(small, server):
    Path("dvc.yaml").write_text("stages: [")
    process = command(server=server)
    output, _ = process.communicate()
    assert process.returncode == 1, output
    assert output.splitlines()[-1].startswith("error: unable to read: 'dvc.yaml', YAML file structure is corrupted")
    assert "Traceback" not in output


LONG = "trap 'echo saved; exit 143' TERM; echo $$ > pid; while :; do sleep 0.05; done; "


@pytest.mark.parametrize(
    ("number", "code"),
    [
        pytest.param(signal.SIGINT, 130, marks=pytest.mark.slow),
        pytest.param(signal.SIGTERM, -signal.SIGTERM, marks=pytest.mark.slow),
        (signal.SIGKILL, -signal.SIGKILL),
    ],
)
def test_whatever_ends_the_flow_ends_its_stages_and_the_next_one_goes_on(small, server, number, code):
    stages = Path("dvc.yaml").read_text()
    change_command("out/one.txt", lambda command: LONG + command)
    process = command(server=server)
    wait_until(lambda: Path("pid").exists() and Path("pid").read_text(), 60)
    pid = int(Path("pid").read_text())
    process.send_signal(number)
    output, _ = process.communicate()
    wait_until(lambda: not is_alive(pid))
    assert process.returncode == code, output
    (log,) = Path("logs/rebuild").rglob("both.log")
    wait_until(lambda: log.read_text().endswith("saved\n"))
    Path("dvc.yaml").write_text(stages)
    build()
    assert ran() == ["both", "measured"]


def test_two_rebuilds_at_once_in_one_folder_are_refused_in_a_sentence(small):
    with alone("rebuild"):
        message = build().message
    assert re.fullmatch(r"rebuild \(process \d+, since [\d:]+\) is at work in this folder: wait for its end, or stop it\.", message)
    assert build().is_completed()


def test_a_remote_that_refuses_is_said_in_a_sentence_and_what_was_built_stays(small, tmp_path):
    (tmp_path / "file").write_text("no folder")
    dvc("remote", "add", "--default", "broken", str(tmp_path / "file"))
    state = build(push=True)
    assert state.is_failed() and "Traceback" not in state.message and str(tmp_path / "file") in state.message
    dvc("repro")
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


def test_a_run_whose_process_died_is_marked_as_crashed(small, server):
    change_command("out/one.txt", lambda command: "touch began; sleep 1000")
    process = subprocess.Popen(
        [sys.executable, "-m", "pipelines.rebuild"],
        env={**os.environ, "PYTHONPATH": str(ROOT), "PREFECT_API_URL": server},
        stderr=subprocess.DEVNULL,
    )
    try:
        wait_until(Path("began").exists, 60)
    finally:
        process.kill()
        process.wait()
    (run_id,) = [path.name for path in RUNNING.glob("*-*")]
    url = f"{server}/flow_runs/{run_id}"
    assert ask(url, "GET")["state"]["type"] == "RUNNING"
    build(targets=["each"])
    assert ask(url, "GET")["state"]["message"].startswith("Its process died without a word")
    assert not (RUNNING / run_id).exists()


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


@pytest.mark.parametrize("jobs", ["0", "-1", "x", "1.5"])
def test_a_number_of_jobs_that_is_none_is_refused_in_a_sentence(jobs):
    with pytest.raises(argparse.ArgumentTypeError, match=f"'{jobs}'; expected a whole number from 1 on"):
        number(jobs)


def test_a_server_that_is_not_there_is_said_in_a_sentence(small):
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "PREFECT_API_URL": "http://127.0.0.1:9/api"}
    result = subprocess.run(
        [sys.executable, "-m", "pipelines.rebuild"], env=environment, capture_output=True, text=True, check=False, timeout=200
    )
    assert result.returncode == 1
    assert result.stderr.splitlines()[-1].startswith("error: the Prefect server at http://127.0.0.1:9/api does not answer (")
