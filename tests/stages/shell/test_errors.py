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
from stages.shell.errors import DISK_FULL, UserError, reason, run_stage

ROOT = Path(__file__).parents[3]
USAGE = "python -m stages.sow FIELD"


def raising(error: BaseException) -> Callable[[str], None]:
    def stage(name: str) -> None:
        raise error

    return stage


@pytest.fixture
def leave(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[object, str]]:
    """Runs a stage with the command line's arguments; returns the exit code and stderr."""

    def run(stage: Callable[[str], None], *arguments: str) -> tuple[object, str]:
        monkeypatch.setattr(sys, "argv", ["stage", *arguments])
        with pytest.raises(SystemExit) as left:
            run_stage(stage, usage=USAGE)
        captured = capsys.readouterr()
        assert captured.out == ""
        return left.value.code, captured.err

    return run


def test_a_stage_that_ends_well_is_silent_and_gets_its_name(leave: Callable[..., tuple[object, str]]) -> None:
    called: list[str] = []
    assert leave(called.append, "north") == (0, "")
    assert called == ["north"]


def test_a_users_mistake_is_one_line(leave: Callable[..., tuple[object, str]]) -> None:
    assert leave(raising(UserError("The lr is 0: raise it.")), "north") == (1, "error: The lr is 0: raise it.\n")


def test_a_sentence_stays_on_one_line_whatever_it_quotes(leave: Callable[..., tuple[object, str]]) -> None:
    quoted = UserError("torch says:\n\n  size mismatch\r\n\tfor weight.")
    assert leave(raising(quoted), "north") == (1, "error: torch says: size mismatch for weight.\n")


@pytest.mark.parametrize("arguments", [(), ("north", "south"), ("--lr=3",), ("-x",)])
def test_wrong_arguments_show_the_usage(leave: Callable[..., tuple[object, str]], arguments: tuple[str, ...]) -> None:
    called: list[str] = []
    assert leave(called.append, *arguments) == (2, f"usage: {USAGE}\n")
    assert called == []


@pytest.mark.parametrize("option", ["-h", "--help"])
def test_asking_for_help_is_no_mistake(leave: Callable[..., tuple[object, str]], option: str) -> None:
    assert leave(raising(AssertionError("it ran")), option) == (0, f"usage: {USAGE}\n")


@pytest.mark.parametrize("number", sorted(DISK_FULL))
def test_a_full_disk_is_one_line_that_names_the_file(leave: Callable[..., tuple[object, str]], number: int) -> None:
    code, said = leave(raising(OSError(number, os.strerror(number), "data/wheat.csv")), "north")
    assert code == 1
    assert said == (
        "error: The disk (or a limit on file size) is full while writing data/wheat.csv: "
        "free some space and run the stage again; earlier results were kept.\n"
    )


def test_a_full_disk_without_a_files_name_is_one_line_too(leave: Callable[..., tuple[object, str]]) -> None:
    code, said = leave(raising(OSError(errno.ENOSPC, "No space left on device")), "north")
    assert (code, said.count("\n")) == (1, 1)
    assert "is full: free some space" in said


def test_too_little_memory_is_one_line_that_says_what_to_lower(leave: Callable[..., tuple[object, str]]) -> None:
    code, said = leave(raising(MemoryError()), "north")
    assert (code, said.count("\n")) == (1, 1)
    assert "memory" in said
    assert "train.batch_size" in said


def test_a_path_that_cannot_be_used_is_named(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(sys, "argv", ["stage", "name"])
    with pytest.raises(SystemExit) as left:
        run_stage(raising(PermissionError(errno.EACCES, "Permission denied", "data/a")), usage=USAGE)
    said = "error: data/a cannot be used (Permission denied): fix the path or its permissions, and run the stage again.\n"
    assert (left.value.code, capsys.readouterr().err) == (1, said)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_is_one_line_and_what_was_half_done_is_cleared_away(
    leave: Callable[..., tuple[object, str]], tmp_path: Path, number: signal.Signals
) -> None:
    def stage(name: str) -> None:
        with replacing_folder(tmp_path / name):
            assert list(tmp_path.iterdir())
            signal.raise_signal(number)

    before = signal.getsignal(number)
    assert leave(stage, "north") == (128 + number, f"error: Stopped by {number.name}; earlier results were kept.\n")
    assert list(tmp_path.iterdir()) == [] and signal.getsignal(number) == before


def test_a_signal_that_is_ignored_stays_so(leave: Callable[..., tuple[object, str]]) -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        assert leave(lambda _: signal.raise_signal(signal.SIGHUP), "north") == (0, "")
    finally:
        signal.signal(signal.SIGHUP, before)


def test_a_ctrl_c_while_a_stage_still_imports_prints_no_traceback(tmp_path: Path) -> None:
    (tmp_path / "torch.py").write_text("import signal\nsignal.raise_signal(signal.SIGINT)\n")
    environment = os.environ | {"PYTHONPATH": f"{tmp_path}:{ROOT}"}
    command = [sys.executable, "-m", "stages.train", "own"]
    result = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False, timeout=60)
    assert (result.returncode, result.stdout, result.stderr) == (-signal.SIGINT, "", "")


@pytest.mark.parametrize("error", [PermissionError(errno.EACCES, "denied"), ValueError("a bug")])
def test_what_is_nobodys_mistake_keeps_its_traceback(monkeypatch: pytest.MonkeyPatch, error: BaseException) -> None:
    monkeypatch.setattr(sys, "argv", ["stage", "north"])
    with pytest.raises(type(error)) as raised:
        run_stage(raising(error), usage=USAGE)
    assert raised.value is error


def test_debugging_adds_the_traceback_and_keeps_the_sentence_last(
    leave: Callable[..., tuple[object, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REPRISE_DEBUG", "1")
    code, said = leave(raising(UserError("No such field.")), "north")
    assert code == 1
    assert said.startswith("Traceback")
    assert said.endswith("\nerror: No such field.\n")


@pytest.mark.parametrize("value", ["", "0", "yes"])
def test_only_debug_1_debugs(leave: Callable[..., tuple[object, str]], monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    monkeypatch.setenv("REPRISE_DEBUG", value)
    assert leave(raising(UserError("No such field.")), "north") == (1, "error: No such field.\n")


@pytest.mark.parametrize("stage", ["check", "download", "preprocess", "train", "evaluate", "export"])
def test_every_stage_ends_its_file_by_running_itself(stage: str) -> None:
    lines = (ROOT / "stages" / f"{stage}.py").read_text(encoding="utf-8").rstrip().splitlines()
    assert lines[-2] == 'if __name__ == "__main__":'
    assert lines[-1].startswith(f'    run_stage({stage}, usage="python -m stages.{stage} ')


def test_a_real_process_leaves_with_one_line(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "stages.download", "wheat"]
    result = subprocess.run(
        command, cwd=tmp_path, env=os.environ | {"PYTHONPATH": str(ROOT)}, capture_output=True, text=True, check=False, timeout=60
    )
    assert (result.returncode, result.stdout) == (1, "")
    assert result.stderr == "error: params.yaml is not in this folder: run the command in the root of the repository.\n"


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (ValueError("Expected 2 rows."), "Expected 2 rows"),
        (RuntimeError("sizes do\n  not fit"), "sizes do not fit"),
        (EOFError(), "EOFError"),
    ],
)
def test_a_reason_is_part_of_a_sentence(error: Exception, expected: str) -> None:
    assert reason(error) == expected
