"""What is written beside and renamed is there whole or not at all, whatever happened before."""

import errno
import fcntl
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from stages.common.files import as_csv, as_json, replacing_folder, write_files
from stages.shell.errors import UserError

ROOT = Path(__file__).parents[3]


class Interrupted(BaseException):
    """Stands for anything that can end a block, a Ctrl-C too."""


def names_in(folder):
    return sorted(path.name for path in folder.iterdir())


@pytest.fixture
def raw(tmp_path):
    """A folder with the file `old`."""
    with replacing_folder(tmp_path / "data" / "raw") as beside:
        (beside / "old").write_text("old")
    return tmp_path / "data" / "raw"


def test_rows_have_unix_line_ends_and_empty_cells_for_none():
    assert as_csv([{"epoch": 1, "name": 'a "b", c'}, {"epoch": None, "name": "é"}]).decode() == 'epoch,name\n1,"a ""b"", c"\n,é\n'


def test_json_keeps_the_order_of_keys_and_letters_beyond_ascii_and_has_only_numbers():
    text = as_json({"z": "é", "a": [1, 2.5, None]}).decode()
    assert text.index('"z"') < text.index('"a"') and "é" in text and text.endswith("}\n")
    assert json.loads(text) == {"z": "é", "a": [1, 2.5, None]}
    with pytest.raises(ValueError, match="JSON"):
        as_json({"loss": float("nan")})


def test_a_folder_takes_the_place_of_the_old_one_whole(raw):
    with replacing_folder(raw) as beside:
        assert names_in(beside) == []
        (beside / "new").write_text("new")
    assert names_in(raw) == ["new"] and names_in(raw.parent) == ["raw"]


def test_a_block_that_fails_leaves_the_old_folder_and_nothing_else(raw):
    for path in (raw, raw.parent / "other"):
        with pytest.raises(Interrupted), replacing_folder(path) as beside:
            (beside / "deep").mkdir()
            (beside / "deep" / "half").write_text("half")
            raise Interrupted
    assert names_in(raw) == ["old"] and names_in(raw.parent) == ["raw"]


def test_a_kill_between_the_two_renames_is_put_right_by_the_next_run(raw):
    raw.rename(raw.with_name(".raw.old"))
    with pytest.raises(Interrupted), replacing_folder(raw):
        assert names_in(raw) == ["old"]
        raise Interrupted
    assert names_in(raw) == ["old"] and names_in(raw.parent) == ["raw"]


def test_a_second_rename_that_fails_brings_the_old_folder_back(raw, monkeypatch):
    rename = Path.rename

    def fail_for_the_new(path, target):
        if path.name == ".raw.part":
            raise Interrupted
        return rename(path, target)

    monkeypatch.setattr(Path, "rename", fail_for_the_new)
    with pytest.raises(Interrupted), replacing_folder(raw):
        pass
    assert names_in(raw) == ["old"] and names_in(raw.parent) == ["raw"]


KILLED = """
import os, signal, sys
from pathlib import Path
from stages.common.files import replacing_folder
with replacing_folder(Path(sys.argv[1])) as beside:
    (beside / "half").write_text("half")
    os.kill(os.getpid(), signal.SIGKILL)
"""


def test_a_killed_run_leaves_the_old_folder_and_the_next_run_cleans_up(raw):
    done = subprocess.run([sys.executable, "-c", KILLED, str(raw)], env={**os.environ, "PYTHONPATH": str(ROOT)}, check=False)
    assert done.returncode == -9 and names_in(raw) == ["old"]
    with replacing_folder(raw) as beside:
        assert names_in(beside) == []
    assert names_in(raw) == [] and names_in(raw.parent) == ["raw"]


def test_several_files_are_replaced_together_or_not_at_all(tmp_path):
    paths = [tmp_path / "a.csv", tmp_path / "plots/b.csv"]
    write_files(dict.fromkeys(paths, b"older and longer"))
    write_files(dict.fromkeys(paths, b"old"))
    (tmp_path / "a folder").write_text("in the way")
    with pytest.raises(OSError, match="a folder"):
        write_files(dict.fromkeys([*paths, tmp_path / "a folder" / "c.csv"], b"new"))
    assert [path.read_text() for path in paths] == ["old", "old"]
    assert names_in(tmp_path) == ["a folder", "a.csv", "plots"] and names_in(tmp_path / "plots") == ["b.csv"]


def test_a_failure_names_the_file_that_was_to_be_written(tmp_path):
    """A rename that fails names the file beside it, and a write none."""
    (tmp_path / "a").mkdir()
    with pytest.raises(IsADirectoryError) as raised:
        write_files({tmp_path / "a": b"new"})
    assert raised.value.filename == str(tmp_path / "a") and raised.value.filename2 is None

    def pieces():
        yield b"new"
        raise OSError(errno.ENOSPC, "full")

    with pytest.raises(OSError, match="full") as raised:
        write_files({tmp_path / "b": pieces()})
    assert raised.value.errno == errno.ENOSPC and raised.value.filename == str(tmp_path / "b")
    assert names_in(tmp_path) == ["a"]


def test_two_processes_never_write_the_same_file_or_into_the_same_folder(tmp_path):
    (tmp_path / ".a.json.part").touch()
    with (tmp_path / ".a.json.part").open("rb") as first:  # a lock is of one opening of a file, in whichever process
        fcntl.flock(first, fcntl.LOCK_EX)
        with pytest.raises(UserError, match=r"Another process is writing .*/\.a\.json\.part: wait until it has ended"):
            write_files({tmp_path / "a.json": b"new"})
        assert (tmp_path / ".a.json.part").exists(), "it is the first one's"
    write_files({tmp_path / "a.json": b"new"})
    assert names_in(tmp_path) == ["a.json"]
    with replacing_folder(tmp_path / "processed") as fresh:
        (fresh / "mine").touch()
        with pytest.raises(UserError, match=f"Another process is writing {tmp_path}: wait"), replacing_folder(tmp_path / "processed"):
            pass
    assert names_in(tmp_path) == ["a.json", "processed"] and names_in(tmp_path / "processed") == ["mine"]


def test_a_file_where_the_folder_should_be_is_replaced_and_leaves_nothing(tmp_path):
    (tmp_path / "raw").write_text("not a folder")
    for _ in range(2):
        with replacing_folder(tmp_path / "raw") as beside:
            (beside / "a").touch()
    assert names_in(tmp_path) == ["raw"] and names_in(tmp_path / "raw") == ["a"]
