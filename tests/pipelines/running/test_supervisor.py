"""stages/shell/supervisor.py with real processes and signals."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from pipelines.running.commands import SUPERVISOR

READY = "echo ready; while :; do sleep 0.05; done"


@pytest.fixture
def start(tmp_path):
    """Starts a command under a supervisor, its log in tmp_path / "log"; whatever is left of it at the end is stopped."""
    started = []

    def start(command, grace_s=5.0, **options):
        arguments = [sys.executable, "-I", "-S", str(SUPERVISOR), str(tmp_path / "log"), str(grace_s), command]
        process = subprocess.Popen(arguments, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, **options)
        started.append(process)
        return process

    yield start
    for process in started:
        process.stdin.close()
        process.wait()
        process.stdout.close()


def wait_until(is_so, seconds=10):
    until = time.monotonic() + seconds
    while not is_so():
        assert time.monotonic() < until, f"not so after {seconds} s"
        time.sleep(0.01)


def is_alive(pid):
    """Whether it runs; one that has ended and that nobody has asked after does not."""
    stat = Path(f"/proc/{pid}/stat")
    return stat.exists() and stat.read_text().rpartition(")")[2].split()[0] != "Z"


def test_output_goes_to_stdout_and_to_the_log(start, tmp_path):
    process = start("echo one; echo two >&2; printf three")
    assert process.stdout.read() == "one\ntwo\nthree"
    assert (tmp_path / "log").read_text() == "one\ntwo\nthree"


@pytest.mark.parametrize(("command", "code"), [("true", 0), ("exit 3", 3), ("kill -TERM $$", 143), ("kill -KILL $$", 137)])
def test_the_exit_code_is_the_commands(start, command, code):
    assert start(command).wait() == code


def test_output_of_a_large_burst_is_all_there(start, tmp_path):
    process = start("seq 200000")
    assert process.stdout.read().splitlines() == [str(number) for number in range(1, 200001)]
    assert (tmp_path / "log").read_text().count("\n") == 200000


def test_the_end_of_stdin_asks_the_command_to_stop(start, tmp_path):
    process = start(f"trap 'echo saved; exit 143' TERM; {READY}")
    assert process.stdout.readline() == "ready\n"
    process.stdin.close()
    assert process.wait() == 143
    assert (tmp_path / "log").read_text().endswith("saved\n")


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells a process of its orphans")
def test_what_a_shell_waits_for_saves_though_the_shell_is_gone(start):
    saves = f"trap 'sleep 0.3; echo saved; exit 143' TERM; {READY}"
    process = start(f'sh -c "{saves}"; echo never')
    assert process.stdout.readline() == "ready\n"
    process.stdin.close()
    output = process.stdout.read()  # in which the shell may say that its sleep was terminated
    assert "saved\n" in output and "never" not in output
    assert process.wait() == 143


def test_a_command_that_does_not_stop_is_killed(start):
    process = start(f"trap '' TERM; {READY}", grace_s=0.3)
    assert process.stdout.readline() == "ready\n"
    process.stdin.close()
    assert process.wait(10) == 137


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_signal_to_the_supervisor_asks_the_command_to_stop(start, number):
    process = start(f"trap 'exit 5' TERM; {READY}")
    assert process.stdout.readline() == "ready\n"
    process.send_signal(number)
    assert process.wait(10) == 5


def test_a_command_whose_caller_is_killed_saves_and_ends(tmp_path):
    log = tmp_path / "log"
    arguments = [sys.executable, "-I", "-S", str(SUPERVISOR), str(log), "5", f"trap 'echo saved; exit 143' TERM; echo $$; {READY}"]
    code = f"import subprocess, time\nsubprocess.Popen({arguments!r}, stdin=subprocess.PIPE, stdout=subprocess.PIPE)\ntime.sleep(60)"
    caller = subprocess.Popen([sys.executable, "-c", code])
    wait_until(lambda: log.exists() and log.read_text().endswith("ready\n"))
    pid = int(log.read_text().split()[0])
    caller.kill()
    caller.wait()
    wait_until(lambda: not is_alive(pid))
    wait_until(lambda: log.read_text().endswith("saved\n"))  # the supervisor passes on what a command wrote last when it has ended


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells a process of its orphans")
def test_what_a_command_leaves_behind_is_killed(start, tmp_path):
    left = tmp_path / "left"
    process = start(f"setsid sh -c 'sleep 600 & echo $! > {left}; wait' > {os.devnull} 2>&1 & while [ ! -s {left} ]; do sleep 0.01; done")
    assert process.wait(10) == 0
    assert not is_alive(int(left.read_text()))


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux ends a child with its parent")
def test_a_command_ends_with_a_supervisor_that_is_killed(start):
    process = start("echo $$; exec sleep 600")
    pid = int(process.stdout.readline())
    process.kill()
    process.wait()
    wait_until(lambda: not is_alive(pid))


def test_a_reader_that_is_gone_does_not_end_the_command(start, tmp_path):
    reader, writer = os.pipe()
    arguments = [sys.executable, "-I", "-S", str(SUPERVISOR), str(tmp_path / "log"), "5", "cat; seq 100000; echo done"]
    process = subprocess.Popen(arguments, stdin=subprocess.PIPE, stdout=writer)
    os.close(writer)
    os.close(reader)
    try:
        assert process.wait(20) == 0
    finally:
        process.stdin.close()
    assert (tmp_path / "log").read_text().endswith("\ndone\n")
