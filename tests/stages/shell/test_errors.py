"""Whatever ends a stage ends it with an exit code and one sentence."""

import errno
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from stages.common.files import replacing_folder
from stages.shell.errors import DISK_FULL, UserError, first_line, reason, run_stage

ROOT = Path(__file__).parents[3]
USAGE = "python -m stages.sow FIELD"

Leave = Callable[..., tuple[object, str]]


def raising(error: BaseException) -> Callable[[str], None]:
    def stage(name: str) -> None:
        raise error

    return stage


@pytest.fixture
def leave(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Leave:
    """Runs a stage with the command line's arguments; returns the exit code and stderr."""

    def run(stage: Callable[[str], None], *arguments: str) -> tuple[object, str]:
        monkeypatch.setattr(sys, "argv", ["stage", *arguments])
        with pytest.raises(SystemExit) as left:
            run_stage(stage, usage=USAGE)
        captured = capsys.readouterr()
        assert captured.out == ""
        return left.value.code, captured.err

    return run


def test_a_stage_that_ends_well_is_silent_and_gets_its_name(leave: Leave) -> None:
    called: list[str] = []
    assert leave(called.append, "north") == (0, "")
    assert called == ["north"]


def test_what_a_sentence_names_cannot_command_the_terminal(leave: Leave) -> None:
    name = "\x1b]0;title\x07\u202egnp.exe\x9b2J\udcff"
    assert leave(raising(UserError(f"{name}: no picture.")), "north") == (
        1,
        "error: \\x1b]0;title\\x07\\u202egnp.exe\\x9b2J\\udcff: no picture.\n",
    )


FULL = "free some space and run the stage again; earlier results were kept."
SENTENCES = [
    (UserError("torch says:\n\n  size mismatch\r\n\tfor weight."), "torch says: size mismatch for weight."),
    *(
        (OSError(number, "No space", "data/wheat.csv"), f"The disk (or a limit on file size) is full while writing data/wheat.csv: {FULL}")
        for number in sorted(DISK_FULL)
    ),
    (OSError(errno.ENOSPC, "No space"), f"The disk (or a limit on file size) is full: {FULL}"),
    (MemoryError(), "The machine ran out of memory: lower train.batch_size, or close other programs, and run the stage again."),
    (
        PermissionError(errno.EACCES, "Permission denied", "data/a"),
        "data/a cannot be used (Permission denied): fix the path or its permissions, and run the stage again.",
    ),
    (
        FileNotFoundError(errno.ENOENT, "No such file", "models/a/metrics.json"),
        "models/a/metrics.json is missing: run dvc repro, which makes what a stage reads, or fix the path.",
    ),
]


@pytest.mark.parametrize(("error", "sentence"), SENTENCES)
def test_what_a_user_can_fix_is_one_line(leave: Leave, error: BaseException, sentence: str) -> None:
    assert leave(raising(error), "north") == (1, f"error: {sentence}\n")


@pytest.mark.parametrize("arguments", [(), ("north", "south"), ("--lr=3",)])
def test_wrong_arguments_show_the_usage(leave: Leave, arguments: tuple[str, ...]) -> None:
    assert leave(raising(AssertionError("it ran")), *arguments) == (2, f"usage: {USAGE}\n")


@pytest.mark.parametrize("option", ["-h", "--help"])
def test_asking_for_help_is_no_mistake(leave: Leave, option: str) -> None:
    assert leave(raising(AssertionError("it ran")), option) == (0, f"usage: {USAGE}\n")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_is_one_line_and_what_was_half_done_is_cleared_away(leave: Leave, tmp_path: Path, number: signal.Signals) -> None:
    def stage(name: str) -> None:
        with replacing_folder(tmp_path / name):
            assert list(tmp_path.iterdir())
            signal.raise_signal(number)

    before = signal.getsignal(number)
    assert leave(stage, "north") == (128 + number, f"error: Stopped by {number.name}; earlier results were kept.\n")
    assert list(tmp_path.iterdir()) == [] and signal.getsignal(number) == before


def test_a_signal_that_is_ignored_stays_so(leave: Leave) -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        assert leave(lambda _: signal.raise_signal(signal.SIGHUP), "north") == (0, "")
    finally:
        signal.signal(signal.SIGHUP, before)


def run(*command: str, cwd: Path, path: str = str(ROOT)) -> tuple[int, str, str]:
    environment = os.environ | {"PYTHONPATH": path}
    done = subprocess.run([sys.executable, *command], cwd=cwd, env=environment, capture_output=True, text=True, check=False, timeout=60)
    return done.returncode, done.stdout, done.stderr


@pytest.mark.parametrize(
    ("command", "imported"), [("stages.train", "torch"), ("entries.new", "charset_normalizer"), ("entries.remove", "ruamel")]
)
def test_a_ctrl_c_while_a_command_still_imports_prints_no_traceback(tmp_path: Path, command: str, imported: str) -> None:
    (tmp_path / f"{imported}.py").write_text("import signal\nsignal.raise_signal(signal.SIGINT)\n")
    assert run("-m", command, "own", cwd=tmp_path, path=f"{tmp_path}:{ROOT}") == (-signal.SIGINT, "", "")


def test_a_real_process_leaves_with_one_line(tmp_path: Path) -> None:
    said = "error: params.yaml is not in this folder: run the command in the root of the repository.\n"
    assert run("-m", "stages.download", "wheat", cwd=tmp_path) == (1, "", said)


@pytest.mark.parametrize("error", [PermissionError(errno.EACCES, "denied"), ValueError("a bug")])
def test_what_is_nobodys_mistake_keeps_its_traceback(monkeypatch: pytest.MonkeyPatch, error: BaseException) -> None:
    monkeypatch.setattr(sys, "argv", ["stage", "north"])
    with pytest.raises(type(error)) as raised:
        run_stage(raising(error), usage=USAGE)
    assert raised.value is error


def test_debugging_adds_the_traceback_and_keeps_the_sentence_last(leave: Leave, monkeypatch: pytest.MonkeyPatch) -> None:
    stage = raising(UserError("No such field."))
    monkeypatch.setenv("REPRISE_DEBUG", "yes")
    assert leave(stage, "north") == (1, "error: No such field.\n")
    monkeypatch.setenv("REPRISE_DEBUG", "1")
    code, said = leave(stage, "north")
    assert code == 1 and said.startswith("Traceback") and said.endswith("\nerror: No such field.\n")


@pytest.mark.parametrize("stage", ["check", "download", "preprocess", "audit", "train", "evaluate", "export", "report"])
def test_every_stage_ends_its_file_by_running_itself(stage: str) -> None:
    lines = (ROOT / "stages" / f"{stage}.py").read_text(encoding="utf-8").rstrip().splitlines()
    assert lines[-2] == 'if __name__ == "__main__":'
    assert lines[-1].startswith(f'    run_stage({stage}, usage="python -m stages.{stage} ')


def test_a_reason_is_part_of_a_sentence() -> None:
    assert [reason(ValueError("Expected 2 rows.")), reason(EOFError())] == ["Expected 2 rows", "EOFError"]
    error = RuntimeError("sizes do\n  not fit.")
    assert [reason(error), first_line(error)] == ["sizes do not fit", "sizes do"]
