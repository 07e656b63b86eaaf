"""`make new`: what it finds in a table, what it writes and what it leaves as it was, and that nothing is left of one that fails."""

import contextlib
import functools
import http.server
import itertools
import os
import pty
import re
import select
import shutil
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from dvc.repo import Repo

import entries.new
import entries.project
import entries.tables.proposal
from entries.lines import parse
from entries.remove import remove
from examples.cells import stripped
from pipelines.dvc.at_commit import is_in_cache
from pipelines.running.leftovers import leftovers
from pipelines.running.locks import alone
from stages.reading.schema import read_schema
from tests.entries.small import PARAMS, ROOT, everything, file, git, lock_blocks, new, refusal, write
from tests.test_real_data import MIRROR

pytestmark = [
    pytest.mark.usefixtures("small"),
    pytest.mark.filterwarnings("ignore:_NoneStep.value:DeprecationWarning"),  # of pygtrie, by DVC
]


def table(header="heat,bad", row=lambda place: f"{place * 7 % 60}.5,{place % 2}", rows=60, end="\n"):
    return end.join([header, *map(row, range(rows))]) + end


def columns(name):
    return {column: found.type for column, found in read_schema(name).columns.items()}


def command(*arguments, **how):
    environment = os.environ | {"PYTHONPATH": str(ROOT), "COLUMNS": "200"}
    return subprocess.Popen([sys.executable, "-m", "entries.new", *arguments], env=environment, text=True, **how)


def test_it_writes_two_short_entries_and_keeps_every_other_byte(quick, capsys):
    before = everything()
    assert new(file("orders.csv", table("heat,press,bad", lambda place: f"{place}.5,P{place % 3},{place % 2}")), "--target", "bad") == 0
    after = everything()
    assert set(after) - set(before) == {"data/orders/raw/orders.csv", "data/orders/raw.dvc", "data/schemas/orders.yaml"}
    for path, entry in {"params.yaml": "orders:", "dvc.yaml": "orders: {path: models/orders/exported/model.onnx, type: model}"}.items():
        old, text = before[path].decode().splitlines(), after[path].decode().splitlines()
        fresh = iter(text)
        assert all(line in fresh for line in old), f"{path}: every line of before, in its order"
        assert next(line.strip() for line in text if line.strip().startswith("orders:")) == entry
        assert len(text) - len(old) <= 12
    params = parse(after["params.yaml"].decode())
    assert params["datasets"]["orders"]["preprocess"] == {
        "task": "binary",
        "test_fraction": 0.2,
        "val_fraction": 0.15,
        "max_bad_fraction": 0.1,
    }
    assert params["models"]["orders"]["train"] == {"recipe": "tabm"}
    assert columns("orders") == {"heat": "number", "press": "category", "bad": "category"}
    said = capsys.readouterr().out
    assert "orders.csv: 60 rows, 3 columns; utf-8" in said and re.search(
        r"\n  press +category +3: P0, P1, P2 +P0 +3 words that repeat\n", said
    )
    assert "Next: dvc repro export@orders" in said


@pytest.mark.parametrize(
    ("target", "flags", "task", "loss"),
    [
        (["ok"], [], "binary", None),
        (["kind"], [], "multiclass", "CrossEntropy"),
        (["price"], [], "regression", "MSE"),
        (["price", "heat"], [], "regression", "MSE"),
        (["ok", "late"], [], "multilabel", "BCE"),
        (["ok"], ["--split", "part"], "binary", None),
        (["ok"], ["--group", "kind", "--test-fraction", "0.3"], "binary", None),
    ],
)
def test_the_task_follows_from_the_targets(quick, target, flags, task, loss):
    def row(place):
        words = ["no", "yes"][place % 2], ["no", "yes"][place // 2 % 2], f"k{place % 4}", ["train", "val", "test"][place % 3]
        return f"{place}.25,{place / 7:.2f},{','.join(words)}"

    data = file("orders.csv", table("price,heat,ok,late,kind,part", row))
    assert new(data, *flags, *itertools.chain(*(("--target", name) for name in target))) == 0
    params = parse(Path("params.yaml").read_text())
    section = params["datasets"]["orders"]["preprocess"]
    assert (section["task"], params["models"]["orders"]["train"].get("loss", {}).get("name")) == (task, loss)
    assert read_schema("orders").targets == target
    if flags:
        assert section[flags[0].removeprefix("--")] == flags[1]
        assert section["test_fraction"] == (0.0 if flags[0] == "--split" else 0.3)


def test_new_and_remove_give_back_the_same_bytes_with_the_real_dvc(capsys):
    before = everything()
    assert new(file("orders.csv", table()), "--target", "bad") == 0
    with Repo(".") as repo:
        assert {stage.addressing for stage in repo.index.stages} >= {"preprocess@orders", "export@orders", "data/orders/raw.dvc"}
    assert is_in_cache(Path.cwd(), Path.cwd() / "data/orders/raw.dvc")
    git("add", "--all")
    assert "data/orders/raw/orders.csv" not in git("ls-files")
    write("data/orders/processed/meta.json", "{}")
    write("models/orders/exported/model.onnx", "x")
    remove(["orders"])  # DVC's cache has the raw data: nothing is lost
    assert everything() == before
    assert "dataset orders: removed\n" in capsys.readouterr().out


def test_a_dry_run_shows_everything_and_writes_nothing(capsys):
    before = everything()
    assert new(file("orders.csv", table()), "--target", "bad", "--dry-run") == 0
    assert everything() == before and not Path("logs/running").exists()
    said = capsys.readouterr().out
    assert "\nunder datasets in params.yaml:\n  orders:\n    kind: table\n" in said and "\nfile: orders.csv\n" in said


@pytest.mark.parametrize(
    ("name", "refused"),
    [
        ("line", "params.yaml has a dataset line already: choose another name (NAME=...), or remove it first (make remove NAME=line)."),
        ("flat", "params.yaml has a model flat already: "),
        ("a b", "'a b' cannot be a name: use letters, digits, _ and -"),
        ("schemas", "'schemas' cannot be a name: "),
        ("gone", "data/gone or dvc.lock holds what is left of a dataset gone: choose another name (NAME=...), or remove it first"),
        ("mine", "data/mine or dvc.lock holds what is left of a source mine: "),
    ],
)
def test_a_name_that_is_taken_or_none_is_refused(capsys, name, refused):
    write("data/gone/processed/meta.json", "{}")
    write("data/mine/raw/table.csv", "mine")
    assert refusal(capsys, file("orders.csv", table()), "--target", "bad", "--name", name).startswith(f"error: {refused}")


def test_data_that_is_no_table_is_refused_in_one_sentence(capsys, tmp_path):
    (tmp_path / "both").mkdir()
    for split in ("train", "test"):
        (tmp_path / "both" / f"{split}.csv").write_text(table())
    for data, refused in {
        "": "Which data? Say it with DATA=..., and what is to be predicted with TARGET=... (make new DATA=~/orders.csv TARGET=price).",
        "none.csv": "none.csv is not a file: ",
        str(tmp_path / "both"): f"{tmp_path / 'both'} is a folder of 2 things: give one file. For a file each for train and test, make one",
        "https://host/": "https://host/ does not end in the name of a file: ",
        file(".source", table()): "'.source' cannot be the name of raw data: ",
        file("a\nb.csv", table()): "'a\\nb.csv' cannot be the name of raw data: ",
        file("orders.xlsx", b"PK"): "orders.xlsx is a workbook, ",
    }.items():
        assert refusal(capsys, data, "--target", "bad").startswith(f"error: {refused}")


def test_a_folder_of_one_file_stands_for_it(quick):
    Path("../delivery").mkdir()
    Path("../delivery/orders.csv").write_text(table())
    assert new("../delivery", "--target", "bad") == 0
    assert Path("data/orders/raw/orders.csv").read_text() == table()


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_): ...


def test_what_an_address_names_is_fetched_and_tracked(capsys, tmp_path):
    """By the real DVC, from a real server; the schema says whence, without the query, which may hold a token."""
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "orders.csv").write_text(table())
    handler = functools.partial(Quiet, directory=str(tmp_path / "site"))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        address = f"http://127.0.0.1:{server.server_port}/orders.csv"
        assert new(f"{address}?token=secret", "--target", "bad") == 0
        assert "cannot be fetched: " in refusal(capsys, f"{address}.gone", "--target", "bad")
        server.shutdown()
    assert Path("data/orders/raw/orders.csv").read_text() == table() and Path("data/orders/raw.dvc").exists()
    schema = Path("data/schemas/orders.yaml").read_text()
    assert f"# It was fetched from {address}\n" in schema and "secret" not in schema


# Failures

STEPS = [
    (entries.new, "write_schema"),
    (entries.tables.proposal.Table, "place"),
    (shutil, "copyfile"),
    (entries.new, "dvc"),
    (entries.project, "replace"),
]


def killed_at(place, data):
    """Runs it in a process of its own, which ends without a word before the step of that place; whether it came so far."""
    child = os.fork()
    if not child:
        count = itertools.count()
        for holder, name in STEPS:
            step = getattr(holder, name)
            setattr(holder, name, lambda *given, step=step, **how: os._exit(9) if next(count) == place else step(*given, **how))
        os._exit(new(data, "--target", "bad") if os.dup2(os.open(os.devnull, os.O_WRONLY), 1) else 1)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 9


def left_over():
    return leftovers(parse(Path("params.yaml").read_text()), lock_blocks(), Path.cwd())


@pytest.mark.parametrize("way", ["new again", "remove"])
def test_what_a_kill_leaves_is_named_and_goes_with_the_next_new_or_remove(quick, way, small, tmp_path, monkeypatch):
    data, before = file("orders.csv", table()), everything()
    assert new(data, "--target", "bad") == 0
    made = everything()
    for place in itertools.count():
        monkeypatch.chdir(shutil.copytree(tmp_path / "small", tmp_path / str(place)))
        remove(["orders"], yes=True)
        assert everything() == before
        if not killed_at(place, data):
            break
        if everything() != before:
            assert "data/orders" in left_over()
        if way == "new again":
            assert (new(data, "--target", "bad"), everything()) == (0, made)
        elif everything() != before:
            remove(["orders"])
            assert (everything(), left_over()) == (before, [])
    assert place >= 6


@pytest.mark.parametrize(("holder", "name"), STEPS)
@pytest.mark.parametrize("error", [OSError(28, "No space left on device", "data"), KeyboardInterrupt()], ids=["full disk", "Ctrl-C"])
def test_a_failure_at_any_step_leaves_nothing(quick, monkeypatch, capsys, holder, name, error):
    before = everything()

    def fail(*_, **__):
        raise error

    data = file("orders.csv", table())
    with monkeypatch.context() as patch:
        patch.setattr(holder, name, fail)
        with contextlib.suppress(KeyboardInterrupt):
            assert new(data, "--target", "bad") == 1
            assert "cannot be used (No space left on device)" in capsys.readouterr().err
    assert everything() == before
    assert new(data, "--target", "bad") == 0


def test_where_params_yaml_alone_cannot_be_written_dvc_yaml_is_as_before(quick, monkeypatch):
    before, replace = everything(), entries.project.replace

    def refuse(path, content, scratch):
        if path.name == "params.yaml":
            raise PermissionError(13, "Permission denied", "params.yaml")
        replace(path, content, scratch)

    monkeypatch.setattr(entries.project, "replace", refuse)
    assert new(file("orders.csv", table()), "--target", "bad") == 1
    assert everything() == before


def test_where_dvc_add_fails_its_reason_is_said_and_nothing_is_left(capsys):
    Path(".dvc/cache").mkdir(parents=True, exist_ok=True)
    Path(".dvc/cache/files").write_text("not a folder")
    assert "dvc add data/orders/raw failed: " in refusal(capsys, file("orders.csv", table()), "--target", "bad")


def test_a_limit_on_the_size_of_files_is_said_and_nothing_is_left():
    before, data = everything(), file("orders.csv", table(rows=40_000))
    shell = f"ulimit -f 100; exec {sys.executable} -m entries.new {data} --target bad"
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run(["bash", "-c", shell], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 1 and "data/orders/raw/orders.csv cannot be used (File too large)" in done.stderr
    assert everything() == before


def test_a_signal_while_dvc_works_leaves_nothing():
    before = everything()
    with command(file("orders.csv", table()), "--target", "bad", stdout=subprocess.DEVNULL, stderr=subprocess.PIPE) as process:
        while not Path("data/orders/raw/orders.csv").exists():
            time.sleep(0.01)
        process.terminate()
        assert process.stderr.read() == "error: Stopped by SIGTERM; the same command does the rest.\n"
    assert process.returncode == 143 and everything() == before


def test_two_at_once_are_refused_and_the_first_is_whole(quick, capsys):
    with alone("make new"):
        assert "make new (process" in refusal(capsys, file("orders.csv", table()), "--target", "bad")


def test_a_reader_that_goes_away_ends_it_quietly():
    before = everything()
    with command(file("orders.csv", table()), "--target", "bad", stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        process.stdout.close()
        assert process.stderr.read() == ""
    assert process.returncode == 141 and everything() == before


# Questions on a terminal


def conversation(answers, *arguments):
    """What is printed on a real terminal, where each answer is typed once a question stands there; and the exit code."""
    ours, theirs = pty.openpty()
    process = command(*arguments, stdin=theirs, stdout=theirs, stderr=theirs, start_new_session=True)
    os.close(theirs)
    said, asked = "", 0
    with contextlib.suppress(OSError):  # EIO: the other end has gone
        while select.select([ours], [], [], 60)[0] and (piece := os.read(ours, 4096)):
            said += piece.decode()
            if said.count("? ") > asked and said.endswith("? "):
                os.write(ours, answers[asked])
                asked += 1
    os.close(ours)
    return said.replace("\r\n", "\n"), process.wait(60)


def test_what_was_not_told_is_asked_for_until_it_is_a_column():
    data = file("orders.csv", table())
    said, code = conversation([data.encode() + b"\n", b"worse\n", b"bad\n"], "", "--dry-run")
    assert code == 0 and "orders.csv has heat, bad.\n" in said and "There is no column 'worse'.\n" in said
    assert "\nunder models in params.yaml:\n" in said


def test_the_end_of_the_input_is_an_answer_too():
    said, code = conversation([b"\x04"], file("orders.csv", table()), "--dry-run")
    assert code == 1
    assert "\nerror: Which column of orders.csv is to be predicted? Say it with TARGET=... (--target).\n" in said


# Hostile words

NASTY = [
    "a: {}", "#", "- x", "'", '"', 'a"b\\', "line\nend", "tab\there", "{", "[x]", "&a", "*a", "!!python/object", "%", "@", "`", "|", ">",
    "yes", "null", "~", "1", "1e3", "true", "2024-01-01", "---", "...", "? a", "ключ", "列", "😀", "a\x07b", "a\x1b[2Jb", "a\u202eb",
    "a\u0085b", "a\u2028b", "\ufeffb", "=1+1", "${x}", "${{x}}", "<<", "x" * 10_000,
]  # fmt: skip


def quoted(cell):
    return '"' + cell.replace('"', '""') + '"'


@pytest.mark.parametrize("nasties", [NASTY[start::6] for start in range(6)], ids=range(6))
def test_any_name_of_a_column_and_any_cell_is_written_so_that_it_is_read_again(quick, capsys, nasties):
    last, said_too = nasties[-1], f"{nasties[-1]} too"
    data = file(
        "orders.csv",
        table(
            ",".join([*map(quoted, nasties), "heat", quoted(said_too)]),
            lambda place: ",".join(
                [*(quoted(one) if place % 3 else "plain" for one in nasties), f"{place}.5", quoted(last[:900] + "no yes"[place % 2 :])]
            ),
        ),
    )
    names, target = list(map(stripped, nasties)), stripped(said_too)
    assert new(data, "--target", target, "--header") == 0, capsys.readouterr().err
    schema = read_schema("orders")
    assert list(schema.columns) == [*names, "heat", target] and schema.targets == [target]
    for name, nasty in zip(names, nasties, strict=True):
        if nasty not in ("1e3", NASTY[-1]):  # a number, and a free text
            assert set(schema.columns[name].levels) == {name, "plain"}
    params = Path("params.yaml").read_text()
    assert parse(params)["datasets"]["orders"]["about"]["use"] == f"To predict {target} from the other columns of orders.csv."
    assert all(line in params for line in PARAMS.splitlines())
    said = capsys.readouterr().out
    assert all(character.isprintable() or character == "\n" for character in said) and max(map(len, said.splitlines())) < 250
    remove(["orders"], yes=True)
    assert Path("params.yaml").read_text() == PARAMS


# Tables with one fault each: invented here in the shapes of the files of the mirror, which the second test reads where it is

HEAT, BAD, NOTE = "{}.5", ["0", "1", "1", "0", "1"], 'one\n"two", three'


def grid(header, *columns, sign=",", end="\n"):
    """60 rows; a column is words in turn, or a text with the row's number for {}."""
    rows = [[one.format(place) if isinstance(one, str) else one[place % len(one)] for one in columns] for place in range(60)]
    return end.join([header, *map(sign.join, rows)]) + end


def dotted(*firsts):
    """Cells of which the first ones are these, and the others numbers."""
    return [*firsts, *(f"{place}.5" for place in range(len(firsts), 60))]


FAULTS = {
    "bom_quoted_newline": (
        "\ufeff" + grid('"heat, °C",note,bad', HEAT, ["plain", quoted(NOTE)], BAD),
        "bad",
        {"heat, °C": "number", "note": "category"},
    ),
    "german_latin1": (
        grid("Hitze;Stückzahl;Größe;Güte", "{},5", "7.780", ["groß", "klein"], ["gut", "gut", "schlecht"], sign=";", end="\r\n").replace(
            "7.780", "3.120", 9
        ),
        "Güte",
        {"Hitze": "number", "Stückzahl": "number", "Größe": "category"},
    ),
    "thousands_currency_percent": (
        grid("cost,share,balance,length,bad", '"${},907.00"', "{}.8 %", ["(7.78)", "1.25", "(2.5)"], "{} mm", BAD),
        "bad",
        dict.fromkeys(["cost", "share", "balance", "length"], "number"),
    ),
    "mixed_types": (grid("heat,bad", dotted("1.5", "n/a", "broken"), BAD), "bad", {"heat": "number"}),
    "header_blank_duplicate": (
        grid("heat,,press ,press,bad,", HEAT, "1", "2", "3", BAD, ""),
        "bad",
        "column 2 and 6 without a name and columns 3 and 4 of one name: give a name to every column, in their order",
    ),
    "label_variants": (
        grid("heat,result", HEAT, ["Good", "good", "GOOD ", "Bad", "bad", ""]),
        "result",
        "result has classes that differ by case alone: 'Bad' (10), 'GOOD' (10), 'Good' (10), 'bad' (10), 'good' (10): ",
    ),
    "constant_and_empty": (
        grid("heat,plant,empty,bad", HEAT, "7", "", BAD),
        "bad",
        {"heat": "number", "plant": "dropped", "empty": "dropped"},
    ),
    "id_leaks_order": (
        grid("id,heat,bad", [str(1000 + place) for place in range(60)], HEAT, BAD),
        "bad",
        {"id": "dropped", "heat": "number"},
    ),
    "dates_three_formats": (
        grid("made_on,bad", ["2024-01-01", "08.02.2024", "3/15/2024", "2024-05-30"], BAD),
        "bad",
        "made_on has dates of several forms, such as '2024-01-01', '08.02.2024', '3/15/2024': name all of them (--date 'made_on=",
    ),
    "overflow": (
        grid("heat,serial,bad", dotted("1e400", "-inf", "nan", "1e-400", "0x1A"), [str(16777216 + place) for place in range(60)], BAD),
        "bad",
        {"heat": "number", "serial": "dropped"},
    ),
    "missing_words": (
        grid("heat,country,bad", dotted("NA", "-", "-999"), ["NA", "DE", "FR"], BAD),
        "bad",
        {"heat": "number", "country": "category"},
    ),
    "header_only": ("heat,press,bad\n", "bad", "header_only.csv has a header and no rows: there is nothing to learn from."),
    "empty": ("", "bad", "empty.csv is empty: there is no header and no row."),
    "label_only": (grid("bad", BAD), "bad", "label_only.csv has one column, 'bad', and no other to predict it from"),
    "no_header": (grid("190.7,7.78,1", HEAT, HEAT, BAD), "bad", "If the file has no header, say --no-header"),
    "ragged": (
        grid("heat,press,bad", HEAT, HEAT, BAD).replace("5.5,5.5,0\n", "1\n1,2,3,4\n\n# a remark\n", 1) + "Total,60,\n",
        "bad",
        {"heat": "number", "press": "number"},
    ),
    "codes_leading_zero": (grid("postcode,heat,bad", ["01067", "10115"], HEAT, BAD), "bad", {"postcode": "category"}),
    "booleans": (
        grid("a,b,c,bad", ["TRUE", "FALSE"], ["ja", "nein", "ja"], ["0", "1", "1", "1"], ["TRUE", "TRUE", "FALSE"]),
        "bad",
        dict.fromkeys("abc", "category"),
    ),
    "utf16_tab": (grid("heat\tbad", HEAT, BAD, sign="\t"), "bad", {"heat": "number"}),
}
ENCODINGS = {"german_latin1": "latin-1", "utf16_tab": "utf-16"}
MORE = {  # of the mirror alone: what audit says of them is not this command's
    "target_leak": ("bad", {"outcome_code": "category", "repaired_minutes": "number"}),
    "one_row_class": ("fault", {"heat": "number"}),
    "duplicate_rows": ("bad", {"heat": "number"}),
    "groups": ("bad", {"press_id": "category"}),
    "clay_train": ("bad", {"clay": "category"}),
    "clay_new": ("bad", "clay_new.csv has no column 'bad'; it has press, colour, heat."),
    "clay_unseen": ("bad", "clay_unseen.csv has no column 'bad'; it has clay, heat, press."),
}


def expect(capsys, data, target, expected):
    if isinstance(expected, str):
        assert expected in refusal(capsys, data, "--target", target)
        return
    assert new(data, "--target", target) == 0, capsys.readouterr().err
    assert expected.items() <= columns(Path(data).stem).items()


@pytest.mark.parametrize("fault", FAULTS)
def test_a_table_with_one_fault_is_read_or_refused_as_it_should(quick, capsys, fault):
    content, target, expected = FAULTS[fault]
    expect(capsys, file(f"{fault}.csv", content, ENCODINGS.get(fault, "utf-8")), target, expected)


@pytest.mark.parametrize("fault", [*FAULTS, *MORE])
def test_and_so_is_each_of_the_files_that_were_given(quick, capsys, fault):
    path = MIRROR / "tables" / "odd" / f"{fault}.csv"
    if not path.exists():
        pytest.skip(f"{path} is not there: set DATASETS_MIRROR to a folder with the real files")
    target, expected = MORE[fault] if fault in MORE else FAULTS[fault][1:]
    if fault in ("label_variants", "dates_three_formats"):  # words and counts are others there
        expected = re.split(": '|, such as", expected)[0]
    expect(capsys, str(path), target, expected)


def test_every_file_that_was_given_is_looked_at():
    files = {path.stem for path in (MIRROR / "tables" / "odd").glob("*.csv")}
    if not files:
        pytest.skip("set DATASETS_MIRROR to a folder with the real files")
    assert files == {*FAULTS, *MORE}


@pytest.mark.parametrize(
    ("flags", "column", "expected"),
    [
        (["--drop", "a"], "a", {"type": "dropped", "why": "told"}),
        (["--category", "b"], "b", {"type": "category", "levels": ["1", "2", "3"]}),
        (["--date", "c=%d/%m/%Y"], "c", {"type": "date", "formats": ["%d/%m/%Y"]}),
        (["--missing", "a=x|-"], "a", {"missing": ["x", "-"], "levels": ["y"]}),
        (["--ignore-case", "d"], "d", {"ignore_case": True, "levels": ["Yes"]}),
        (["--number", "e"], "e", {"type": "number"}),
    ],
)
def test_what_is_told_of_a_column_counts(quick, flags, column, expected):
    dates = [f"{month}/{month}/2024" for month in range(1, 13)]
    content = grid("a,b,c,d,e,bad", ["x", "y", "-"], ["1", "2", "3"], dates, ["Yes", "YES"], ["1.5", "none", "2", "3"], BAD)
    given = ["--date", "c=%m/%d/%Y"] if flags[0] != "--date" else []
    given += ["--number", "e"] if flags[0] != "--number" else []
    assert new(file("orders.csv", content), "--target", "bad", *flags, *given) == 0
    found = read_schema("orders").columns[column]
    assert {key: getattr(found, key) for key in expected} == expected


@pytest.mark.parametrize("flags", [["--drop", "none"], ["--group", "none"], ["--group", "bad"], ["--date", "heat"], ["--target", "none"]])
def test_an_unknown_column_or_half_an_option_is_refused(capsys, flags):
    assert flags[1] in refusal(capsys, file("orders.csv", table()), "--target", "bad", *flags)


@pytest.mark.parametrize(
    ("task", "rows", "columns", "otherwise"),
    [
        ("binary", 7_043, 21, {}),
        ("multiclass", 344, 17, {"loss": {"name": "CrossEntropy"}}),
        ("regression", 768, 10, {"loss": {"name": "MSE"}, "lr": 0.004, "batch_size": 64}),
        ("regression", 8_760, 15, {"loss": {"name": "MSE"}, "lr": 0.004, "batch_size": 64}),
        ("regression", 30_000, 10, {"loss": {"name": "MSE"}, "lr": 0.004, "epochs": 33}),
        ("binary", 100_000, 20, {"epochs": 8}),
        ("binary", 1_000_000, 20, {"epochs": 5, "batch_size": 1024}),
        ("binary", 3_000_000, 20, {"epochs": 2, "batch_size": 1024}),
        ("binary", 30_000_000, 20, {"epochs": 1, "batch_size": 1024}),
    ],
)
def test_steps_and_epochs_follow_the_size_of_the_table(task, rows, columns, otherwise):
    assert entries.tables.proposal.training(task, rows, columns) == otherwise


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--separator", "::"), "separator is '::'"),
        (("--scratch", "--classes", "a,b"), "error: --scratch and --classes mean nothing for tables: leave them out."),
        (("--split", "press", "--test-fraction", "0.3"), "--test-fraction means nothing where folders, files, a column"),
        (("--encoding", "nonsense"), "encoding is 'nonsense'; expected 'utf-8'"),
        (("--date", "heat=%Q"), "--date: '%Q' of heat is no pattern of dates"),
        (("--test-fraction", "5"), "preprocess.test_fraction is 5.0; expected less than 1"),
        (("--time", "heat", "--group", "press"), "--group and --time split the rows in different ways: say one of them"),
        (("--drop", "heat", "--time", "heat"), "--time is 'heat', which is neither a date nor a number (told)"),
    ],
)
def test_what_is_told_and_cannot_be_is_refused_before_anything_is_written(quick, capsys, options, said):
    assert said in refusal(capsys, file("t.csv", grid("heat,press,bad", HEAT, HEAT, BAD)), "--target", "bad", *options)


def test_a_column_of_splits_is_named_until_it_is_told(quick, capsys):
    data = file("t.csv", grid("heat,set,bad", HEAT, ["train", "valid", "Test"], BAD))
    told = "set reads like splits, and is an input now: --split 'set' uses it as such, --drop 'set' leaves it out"
    for flags, is_said in (([], True), (["--split", "set"], False), (["--drop", "set"], False)):
        assert new(data, "--target", "bad", "--dry-run", *flags) == 0
        assert (told in capsys.readouterr().out) == is_said


def test_a_last_row_that_looks_like_a_total_is_named(quick, capsys):
    data = file("t.csv", grid("heat,press,bad", HEAT, HEAT, BAD) + "Total,7,1\n")
    new(data, "--target", "bad", "--dry-run")
    assert "The last row, line 62, looks like a total: take it out of the file" in capsys.readouterr().out
