"""Stages as forks of a process that has imported torch (pipelines/running/forks.py, stages/shell/forks.py): real processes and signals."""

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from pipelines.running.commands import Commands
from tests.pipelines.running.test_supervisor import is_alive, wait_until

ROOT = Path(__file__).parents[3]
SHARED = "stages.evaluate"  # imports torch and more
STAGE = """
import os, signal, subprocess, sys, time
from stages import words

def main():
    print("libraries shared:", "torch" in sys.modules and "pandas" in sys.modules, flush=True)
    kind = sys.argv[1]
    if kind == "says":
        print(words.WORD, os.getcwd(), os.environ["DVC_STAGE"], os.environ.get("FORGOTTEN"), sys.argv[1:])
    elif kind == "fails":
        sys.exit("error: the key is wrong")
    elif kind == "breaks":
        raise ArithmeticError("broken")
    elif kind == "dies":
        os.kill(os.getpid(), signal.SIGKILL)
    else:
        if kind == "saves":
            def save(*_):
                print("error: Stopped, saved.")
                sys.exit(143)
            signal.signal(signal.SIGTERM, save)
        if kind == "litters":
            child = subprocess.Popen(["sleep", "600"], start_new_session=True)
            print(child.pid, flush=True)
            return
        print(os.getpid(), flush=True)
        while True:
            time.sleep(0.01)

if __name__ == "__main__":
    main()
"""
pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="stages are forked on Linux alone")


@pytest.fixture
def folder(tmp_path):
    """A project whose stage `evaluate` is STAGE."""
    (tmp_path / "stages").mkdir()
    (tmp_path / "stages/__init__.py").touch()
    (tmp_path / "stages/evaluate.py").write_text(STAGE)
    (tmp_path / "stages/words.py").write_text("WORD = 'first'\n")
    return tmp_path


@pytest.fixture
def commands(tmp_path):
    with Commands(tmp_path / "logs") as commands:
        yield commands
    assert commands.forks.process is None or commands.forks.process.returncode == 0


def run(commands, folder, kind, tell=None):
    lines = []
    ended = commands.run(f"evaluate@{kind}", f"python -m {SHARED} {kind}", folder, {"DVC_STAGE": kind}, tell or lines.append)
    assert lines[:1] in ([], ["libraries shared: True"]), "it was forked"
    return ended, lines[1:]


def test_a_forked_stage_sees_its_own_code_folder_environment_and_arguments(commands, folder, monkeypatch):
    monkeypatch.chdir(folder.parent)
    ended, lines = run(commands, Path(folder.name), "says")
    assert (ended.code, lines) == (0, [f"first {folder} says None ['says']"])
    (folder / "stages/words.py").write_text("WORD = 'another word'\n")
    assert run(commands, folder, "says")[1] == [f"another word {folder} says None ['says']"]
    assert (folder / "logs/evaluate@says.log").read_text().count("libraries shared: True\n") == 2


@pytest.mark.parametrize(
    ("kind", "code", "said"),
    [("fails", 1, "the key is wrong"), ("breaks", 1, "see {log}"), ("dies", 137, "see {log}")],
)
def test_how_a_forked_stage_ends_is_told_as_that_of_a_command(commands, folder, kind, code, said):
    ended, _ = run(commands, folder, kind)
    log = folder / f"logs/evaluate@{kind}.log"
    assert (ended.code, ended.said, ended.is_stopped) == (code, said.format(log=log), False)
    assert ("ArithmeticError: broken" in log.read_text()) == (kind == "breaks")


def test_what_a_forked_stage_leaves_behind_is_killed(commands, folder):
    ended, (pid,) = run(commands, folder, "litters")
    assert ended.code == 0 and not is_alive(int(pid))


def running(commands, folder, kind):
    """Runs it in a thread; the thread, the stage's process and how it ends."""
    pids, ends = [], []
    thread = threading.Thread(target=lambda: ends.append(run(commands, folder, kind, lambda line: pids.append(line))[0]))
    thread.start()
    wait_until(lambda: len(pids) == 2, 60)
    return thread, int(pids[1]), ends


def test_stopped_forks_save_and_none_is_left(commands, folder):
    stages = [running(commands, folder, kind) for kind in ("saves", "waits")]
    commands.stop()
    for thread, pid, _ in stages:
        thread.join(10)
        assert not is_alive(pid)
    (saved,), (silent,) = (ends for _, _, ends in stages)
    assert (saved.code, saved.said, saved.is_stopped) == (143, "Stopped, saved.", True)
    assert silent.is_stopped and silent.code == 143


def test_a_stage_survives_the_process_that_forked_it_and_the_next_one_starts_without(commands, folder):
    thread, pid, ends = running(commands, folder, "saves")
    commands.forks.process.kill()
    commands.forks.process.wait()
    assert is_alive(pid)
    lines = []
    assert commands.run("other", f"python -m {SHARED} says", folder, {"DVC_STAGE": "x"}, lines.append).code == 0
    assert lines[0] == "libraries shared: False"
    os.kill(pid, signal.SIGTERM)
    thread.join(10)
    assert ends[0].code == 143
    commands.forks.process = None


def test_nothing_is_left_of_a_caller_that_is_killed(folder):
    program = (
        "import sys; from pathlib import Path; from pipelines.running.commands import Commands\n"
        "def tell(line): print(line, flush=True)\n"
        f"Commands(Path('logs')).run('x', 'python -m {SHARED} saves', Path.cwd(), {{'DVC_STAGE': 'x'}}, tell)"
    )
    caller = subprocess.Popen(
        [sys.executable, "-c", program], cwd=folder, env={**os.environ, "PYTHONPATH": str(ROOT)}, stdout=subprocess.PIPE, text=True
    )
    pid = int([caller.stdout.readline(), caller.stdout.readline()][1])
    parents = ancestors(pid)
    caller.kill()
    caller.wait()
    caller.stdout.close()
    wait_until(lambda: not any(map(is_alive, [pid, *parents])))
    assert (folder / "logs/x.log").read_text().endswith("error: Stopped, saved.\n")


def ancestors(pid):
    """Its supervisor, and the process that has forked that."""
    found = []
    for _ in range(2):
        pid = int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
        found.append(pid)
    return found
