"""Models of tables as their owner asks them: with the very file that they were made from, rows by name, words that train did not have.

The file is as odd as files are; what a network was trained on of each cell is compared with what predict.py sends for it.
"""

import argparse
import contextlib
import datetime
import gzip
import io
import json
import math
import os
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import onnx
import pyarrow
import pytest
from pyarrow import parquet
from safetensors.numpy import load_file

from entries.tables import proposal
from examples import predict, rows, serve, triton
from stages.check import check
from stages.common.files import as_json
from stages.common.meta import read_meta
from stages.common.splits import SPLITS, read_split
from stages.exporting.parity import run_torch
from stages.preprocess import preprocess
from tests.examples.test_serve import ask, refusal, serving
from tests.exported import export
from tests.test_real_data import from_mirror
from tests.toy import PARAMS, RUNTIME, Data, build

COLUMNS = """
  'heat, °C': {type: number, missing: ["-", "-999"], decimal: ",", thousands: ".", units: ["°C", "€"], brackets: true}
  '2011': {type: number}
  '2010': {type: number, missing: ["0"]}
  made on: {type: date, formats: ["%d.%m.%Y", "%Y-%m-%d"], missing: ["never"]}
  seen: {type: date, formats: ["%Y-%m-%dT%H:%M"]}
  note: {type: category, levels: ["fine", "two\\nlines", "NA", "groß; klein"], missing: ["?"]}
  '007': {type: category, levels: ["01067", "1067", "TRUE", "false"]}
  id: {type: dropped, why: it counts}
  Güte: {type: category, levels: [gut, ungenügend]}
"""
CELLS = {
    "heat, °C": ["190,7", "1.907,5 °C", "(7,78)", "- 3", "\u22123", " \u00a012", "-", "-999", "", "1e3", "€ 5", "+0,5", "nan", "NaN "],
    "2011": ["1", "-2.5", ".5", "1e-400", "16777217", "", " 3 ", "nan", "NAN", "0"],
    "2010": ["0", "0.0", "1", "", "7"],
    "made on": ["01.02.2024", "2024-02-29", "never", "", "1.1.1969", "31.12.1899"],
    "seen": ["2024-01-01T00:00", "1969-12-31T23:59", "", " 2000-02-29T12:30 "],
    "note": ["fine", "two\nlines", "NA", "?", "", "groß; klein", "gro\u00df; klein", "GROSS", " fine\t", 'a "quote"'],
    "007": ["01067", "1067", "TRUE", "false", "", "nobody knows"],
    "Güte": ["gut", "ungenügend", " gut "],
}
BAD = {"heat, °C": "12a", "2011": "1,5", "2010": "1_000", "made on": "30.02.2024", "seen": "2024-01-01"}
FILES = {  # encoding and separator, header
    "german.csv": ("cp1252", ";", True),
    "tabs.tsv": ("utf-16", "\t", True),
    "no_header.csv.gz": ("utf-8", ",", False),
}
MODEL = {"name": "table", "members": 2, "hidden": [4], "dropout": 0.0}


def written(table: list[list[str]], encoding: str, separator: str, end: str = "\r\n") -> bytes:
    quoted = [separator.join('"' + cell.replace('"', '""') + '"' if set(cell) & set('";,\t\n') else cell for cell in row) for row in table]
    text = end.join(quoted)
    if encoding == "cp1252":
        text = text.replace("\u2212", "-")
    return text.encode(encoding)


def the_table() -> list[list[str]]:
    rng, names = np.random.default_rng(0), ["id", *CELLS]
    lines = [[str(place), *(rng.choice(CELLS[name]) for name in CELLS)] for place in range(200)]
    for place, (name, cell) in enumerate(BAD.items(), start=20):
        lines[place][names.index(name)] = cell
    return [names, *lines]


class Built:
    """What preprocess has made of a table's file, and a model that nobody has trained."""

    def __init__(self, folder: Path, file: str, content: bytes, schema: str, task: str = "binary"):
        raw = folder / "data" / "tiles" / "raw"
        raw.mkdir(parents=True)
        self.file = raw / file
        self.file.write_bytes(content)
        (folder / "data" / "schemas").mkdir()
        (folder / "data" / "schemas" / "tiles.yaml").write_text(schema, encoding="utf-8")
        entry = {"kind": "table", "raw": "data/tiles/raw", "about": {"use": "To try.", "limits": "None.", "licence": "none"}}
        entry["preprocess"] = {"task": task, "test_fraction": 0.3, "val_fraction": 0.2, "max_bad_fraction": 0.3}  # words are odd on purpose
        params = PARAMS | {"sources": {}, "datasets": {"tiles": entry}, "models": {}, "runtime": RUNTIME}
        (folder / "params.yaml").write_bytes(as_json(params))
        with contextlib.chdir(folder):
            check("params.yaml")
            preprocess("tiles")
        self.processed = folder / "data" / "tiles" / "processed"
        meta = read_meta(self.processed)
        data = Data(meta, {split: read_split(self.processed, split)[:2] for split in SPLITS})
        self.own = export("tiles", build(MODEL, meta), data)
        self.path = folder / "tiles.onnx"
        self.path.write_bytes(self.own.onnx)
        self.signature = json.loads(json.dumps(self.own.signature.model_dump()))

    def rows(self) -> dict[int, np.ndarray]:
        """What the network gets of each line of the file."""
        tensors = [load_file(self.processed / f"{split}.safetensors") for split in SPLITS]
        return {int(line): row for own in tensors for line, row in zip(own["lines"], own["inputs"], strict=True)}

    def compare(self) -> list[predict.Refused]:
        """What predict.py sends for every row of the file must be what preprocess has made of it; what it refuses."""
        expected, table, refused = self.rows(), self.own.model.meta.input.table, []
        assert table is not None
        codes = [{"": 1} | {level: code for code, level in enumerate(one.levels, start=2)} for one in table.categories]
        for item in predict.Model(str(self.path)).read(str(self.file)):
            if isinstance(item, predict.Refused):
                refused.append(item)
            elif (row := expected.pop(int(item.name.split(" line ")[1]), None)) is not None:  # else it has no label
                values = list(item.values)
                if table.numbers:
                    np.testing.assert_array_equal(values.pop(0), row[: len(table.numbers)])
                if table.categories:
                    own = [known.get(word, 0) for known, word in zip(codes, values.pop(0), strict=True)]
                    assert own == row[len(table.numbers) :].tolist()
        assert len(expected) <= len(refused), "every row is there"
        for row in expected.values():  # a bad cell counts as missing in training, and is named there
            assert np.isnan(row[: len(table.numbers)]).any()
        return refused


class Made(Built):
    """The table above, as one of FILES."""

    def __init__(self, folder: Path, file: str):
        encoding, separator, has_header = FILES[file]
        self.table = the_table()
        content = written(self.table if has_header else self.table[1:], encoding, separator)
        form = {"encoding": {"utf-16": "utf-8"}.get(encoding, encoding), "separator": separator, "header": has_header}
        if not has_header:
            form["names"] = self.table[0]
        schema = f"file: {file}\nformat: {json.dumps(form)}\ntargets: [Güte]\ncolumns:{COLUMNS}"
        super().__init__(folder, file, gzip.compress(content) if file.endswith(".gz") else content, schema)


@pytest.fixture(scope="module", params=FILES)
def made(request, tmp_path_factory):
    return Made(tmp_path_factory.mktemp("tiles"), request.param)


@pytest.fixture(scope="module")
def german(tmp_path_factory):
    return Made(tmp_path_factory.mktemp("german"), "german.csv")


@pytest.fixture(scope="module")
def model(german):
    return predict.Model(str(german.path))


@pytest.fixture
def said(german, tmp_path, monkeypatch, capsys):
    """A function that runs the command: its answers, by program; what it refused; its notes."""
    monkeypatch.chdir(tmp_path)

    def run(*inputs: str, model: Path = german.path):
        monkeypatch.setattr("sys.argv", ["predict.py", str(model), *inputs, "--json"])
        with pytest.raises(SystemExit) as ended:
            predict.main()
        out, err = capsys.readouterr()
        lines = [*err.splitlines(), *([ended.value.code] if isinstance(ended.value.code, str) else [])]
        return SimpleNamespace(
            answers=list(map(json.loads, out.splitlines())),
            refused=[line for line in lines if line.startswith("error: ")],
            notes=[line for line in lines if line.startswith("note: ")],
        )

    return run


def row_of(**changes) -> dict[str, str]:
    """A good row of the German file; "" where a cell is missing."""
    names = {"heat": "heat, °C", "made": "made on", "n2010": "2010", "n2011": "2011", "code": "007"}
    row = {
        "heat, °C": "190,7",
        "2011": "1",
        "2010": "7",
        "made on": "01.02.2024",
        "seen": "2024-01-01T00:00",
        "note": "fine",
        "007": "1067",
    }
    return row | {names.get(name, name): value for name, value in changes.items()}


# The same as preprocess


def test_what_is_sent_for_every_row_is_what_the_network_was_trained_on(made):
    refused = made.compare()
    assert len(refused) == len(BAD) and len(made.rows()) == len(made.table) - 1
    form = made.signature["format"]
    assert (form["separator"], form["header"]) == FILES[made.file.name][1:]
    assert form.get("names") == (None if form["header"] else made.table[0])
    assert made.signature["categories"] == ["note", "007"], "in the order of the input"


def test_the_file_itself_is_answered_as_pytorch_answers_what_preprocess_has_made_of_it(made):
    model = predict.Model(str(made.path))
    model.check_golden()
    items = {int(item.name.split(" line ")[1]): item for item in model.read(str(made.file)) if isinstance(item, predict.Item)}
    rows = {line: row for line, row in made.rows().items() if line in items}
    answers = model.answer([items[line].values for line in rows])
    expected, labels = run_torch(made.own.model, np.stack([*rows.values()]))
    np.testing.assert_allclose([list(answer["probabilities"].values()) for answer in answers], expected, atol=1e-5)
    assert [answer["label"] for answer in answers] == [["gut", "ungenügend"][label] for label in labels]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("file", "target", "flags"),
    [
        ("bank/bank-additional.csv", "y", []),
        ("california/housing.csv", "median_house_value", []),
        ("telco/Telco-Customer-Churn.csv", "Churn", []),
        ("german_credit/german.csv", "column 21", ["--no-header"]),
        ("penguins/penguins_raw.csv", "Species", []),
        ("seoul_bike/SeoulBikeData.csv", "Rented Bike Count", []),
        ("hamburg/Daten_fuer_die_Stadtteilprofile_2014.csv", "Durchschnitt-liches Einkommen je Steuerpflichtigen in EUR (2010)", []),
        ("shoppers/online_shoppers_intention.csv", "Revenue", []),
    ],
)
def test_real_tables_are_read_by_predict_as_by_preprocess(tmp_path, file, target, flags):
    """As `make new` describes them."""
    path = from_mirror(f"tables/{file}")
    parser = argparse.ArgumentParser()
    proposal.add_options(parser)
    found = proposal.look(path, argparse.Namespace(**vars(parser.parse_args(flags)), target=[target]))
    made = Built(tmp_path, path.name, path.read_bytes(), found.schema(""), found.task())
    assert made.compare() == []


# Files of the owner's


def ask_file(said, german, table, name="new.csv", encoding="cp1252", separator=";"):
    Path(name).write_bytes(written(table, encoding, separator))
    return said(name)


def test_columns_may_stand_in_any_order_and_others_are_ignored_and_said_once(said, german):
    row = row_of()
    names = [*reversed(row), "colour"]
    heard = ask_file(said, german, [names, [*reversed(row.values()), "blue"], [*reversed(row_of(note="?").values()), "red"]])
    assert [answer["input"] for answer in heard.answers] == ["new.csv line 2", "new.csv line 3"] and heard.refused == []
    assert heard.notes == ["note: new.csv: not taken by the model and ignored: colour."]
    (alone,) = said(json.dumps(row)).answers
    assert heard.answers[0]["probabilities"] == pytest.approx(alone["probabilities"], abs=1e-6)


def test_a_parquet_file_is_answered_as_the_same_table_in_text_is(said, german):
    """Its columns have the types that a program gives them, in any order; the text has the signs and formats of the model's own table."""
    days = [datetime.datetime(2024, 2, day) for day in (1, 29, 3)]  # noqa: DTZ001
    table = {
        "note": ["fine", None, "new"],
        "007": [True, True, True],
        "made on": pyarrow.array(days, pyarrow.timestamp("ns")),
        "seen": pyarrow.array([days[0], None, days[2].replace(hour=12, minute=30)], pyarrow.timestamp("us")),
        "2010": [7, None, 0],
        "2011": pyarrow.array([1, 2.5, None], pyarrow.float32()),
        "heat, °C": [1.125, float("nan"), -1234.5],
        "colour": ["blue"] * 3,
    }
    rows = [
        row_of(heat="1,125", seen="2024-02-01T00:00", code="TRUE"),
        row_of(heat="", n2011="2.5", n2010="", made="29.02.2024", seen="", note="", code="TRUE"),
        row_of(heat="-1.234,5", n2011="", n2010="0", made="03.02.2024", seen="2024-02-03T12:30", note="new", code="TRUE"),
    ]
    expected = ask_file(said, german, [[*rows[0]], *([*row.values()] for row in rows)])
    parquet.write_table(pyarrow.table(table), "new.parquet")
    heard = said("new.parquet")
    assert [answer.pop("input") for answer in heard.answers] == [f"new.parquet row {number}" for number in (1, 2, 3)], heard.refused
    assert [answer for answer in expected.answers if answer.pop("input")] == heard.answers
    assert heard.notes == ["note: new.parquet: not taken by the model and ignored: colour."]
    with serving({"it": predict.Model(str(german.path))}) as address:
        (first, *_) = answers = ask(address, "it", Path("new.parquet").read_bytes()).json()["answers"]
        assert first.pop("note") == "the body: not taken by the model and ignored: colour" and len(answers) == 3
        assert [answer["probabilities"] for answer in answers] == [answer["probabilities"] for answer in heard.answers]
        assert "cannot be read as Parquet" in refusal(ask(address, "it", b"PAR1 and no more"))
    parquet.write_table(pyarrow.table(table | {"note": [["fine"]] * 3}), "new.parquet")
    assert said("new.parquet").refused == ["error: new.parquet: column note is list<element: string>, of which there are no cells."]


def test_a_parquet_file_s_columns_go_by_place_where_those_of_the_model_do_and_its_names_are_others(tmp_path_factory, said):
    made = Made(tmp_path_factory.mktemp("placed"), "no_header.csv.gz")
    text = said(str(made.file), model=made.path)
    columns = [pyarrow.array(column) for column in zip(*made.table[1:], strict=True)]
    for names in (made.table[0], [f"_{place}" for place in range(len(columns))]):
        parquet.write_table(pyarrow.table(columns, names), "new.parquet")
        heard = said("new.parquet", model=made.path)
        assert [answer["probabilities"] for answer in heard.answers] == [answer["probabilities"] for answer in text.answers]
        assert len(heard.refused) == len(BAD)
    parquet.write_table(pyarrow.table(columns, made.table[0]).drop(["2011"]), "new.parquet")
    assert said("new.parquet", model=made.path).refused[0].startswith("error: new.parquet has no column 2011; it has ")


def test_words_that_the_model_does_not_know_are_answered_and_named(said, german):
    heard = ask_file(
        said, german, [[*row_of()], [*row_of(note="Green").values()], [*row_of(note="FINE", code="x").values()], [*row_of().values()]]
    )
    assert [answer.get("note") for answer in heard.answers] == [
        "note 'Green' is not known and counts as other",
        "note 'FINE' is not known and counts as other; 007 'x' is not known and counts as other",
        None,
    ]
    assert heard.answers[0]["probabilities"] == pytest.approx(
        said(json.dumps(row_of(note="another"))).answers[0]["probabilities"], abs=1e-6
    ), "one unknown word is like another"


def test_a_bad_cell_is_refused_naming_its_row_column_and_cell_and_the_others_are_answered(said, german):
    bad = [[*(row_of() | {name: cell}).values()] for name, cell in BAD.items()]
    heard = ask_file(said, german, [[*row_of()], *bad, [*row_of().values()]])
    assert [answer["input"] for answer in heard.answers] == [f"new.csv line {len(BAD) + 2}"] and len(heard.refused) == len(BAD)
    for line, (refused, (name, cell)) in enumerate(zip(heard.refused, BAD.items(), strict=True), start=2):
        assert refused.startswith(f"error: new.csv line {line}: {name} is {cell!r}: expected a ")
        assert refused.endswith(", or an empty cell where it is missing.")


@pytest.mark.parametrize(
    ("table", "named"),
    [
        (
            [["2011", "2010"], ["1", "2"]],
            "error: new.csv has no column heat, °C, made on, seen, note, 007; it has 2011, 2010: read as cp1252 with ';' between cells",
        ),
        ([[*row_of(), "2010"], [*row_of().values(), "1"]], "error: new.csv has two columns 2010."),
        ([[*row_of()], [*row_of().values(), "1"], ["1"]], "error: new.csv line 2 has 8 cells, expected 7."),
        ([[*row_of()]], "error: there is no input in 'new.csv'."),
        ([], "error: new.csv is empty."),
    ],
)
def test_a_file_that_is_not_like_the_model_s_own_is_refused_in_a_sentence(said, german, table, named):
    heard = ask_file(said, german, table)
    assert heard.answers == [] and heard.refused[0].startswith(named)


@pytest.mark.parametrize(
    ("name", "content", "named"),
    [
        ("commas.csv", b"2011,2010\n1,2\n", f"has no column {', '.join(row_of())}; it has 2011,2010: read as cp1252 with ';' "),
        ("a.csv", b'"2011";"2010\n1;2\n', "line 1: a quoted cell begins there and does not end as one (unexpected end of data): "),
        ("a.csv", b"\x81;\x8d\n", "is not text in cp1252 ("),
        ("a.csv", b"a\0b\n", "line 1 has a zero byte: "),
        ("a.csv", b'a;"' + b"b" * 200_000 + b'"\n', "line 1: a "),
        ("a.CSV.GZ", b"2011", "is damaged or cut short (BadGzipFile: "),
        ("a.csv", b"PAR1\x15\x04", "cannot be read as Parquet ("),
        ("a.parquet", b"a;b\n", "cannot be read as Parquet ("),
        ("a.parquet.gz", gzip.compress(b"PAR1\x15\x04", mtime=0), "is a Parquet file in gzip: unpack it"),
        ("a.xlsx", b"PK", "is a workbook, whose sheets and formulas this does not read: save the sheet as CSV "),
    ],
)  # fmt: skip
def test_a_hostile_file_is_refused_in_a_sentence(said, name, content, named):
    Path(name).write_bytes(content)
    heard = said(name)
    assert heard.answers == [] and len(heard.refused) == 1
    assert heard.refused[0].startswith(f"error: {name} {named}") and heard.refused[0].endswith("."), heard.refused


def test_a_pipe_is_refused_at_once(said):
    os.mkfifo("pipe")
    assert said("pipe").refused == ["error: pipe is not a plain file: save what it gives in one."]


def test_without_a_header_columns_go_by_place_and_the_target_at_the_end_may_be_left_out(tmp_path_factory, said):
    made = Made(tmp_path_factory.mktemp("places"), "no_header.csv.gz")
    whole = said(str(made.file), model=made.path)
    for name, table in (("no_target.csv", [row[:-1] for row in made.table[1:]]), ("short.csv", [row[:-2] for row in made.table[1:]])):
        Path(name).write_bytes(written(table, "utf-8", ","))
    assert [one["probabilities"] for one in said("no_target.csv", model=made.path).answers] == [
        one["probabilities"] for one in whole.answers
    ]
    (refused,) = said("short.csv", model=made.path).refused
    assert refused.startswith("error: short.csv has 7 columns, expected 9: id, heat, °C, 2011")


def test_names_that_go_by_place_are_not_given_to_columns_in_another_order(german):
    """The file's own names, of which one was blank, were replaced by place."""
    names = [*row_of()]
    signature = german.signature | {"format": {"encoding": "utf-8", "separator": ";", "header": True, "names": names}}

    def read(header, row):
        file = io.BufferedReader(io.BytesIO(written([header, row], "utf-8", ";")))
        return [row if isinstance(row, Exception) else row.name for row in rows.Reader(signature).file(file, "a.csv", lambda _: None)]

    values = [*row_of().values()]
    assert read(["", *names[1:]], values) == ["a.csv line 2"]
    for header, row in (([names[1], "", *names[2:]], [values[1], values[0], *values[2:]]), (["", *names[2:]], [values[0], *values[2:]])):
        with pytest.raises(rows.BadTable, match="has its columns in another order than the model's own table, where names go by place"):
            read(header, row)


# Rows by name


def test_a_row_is_written_by_names_or_as_json(said):
    pairs = ",".join(f"{name}={value}" for name, value in row_of().items())
    spaced = " heat, °C = 190,7 , " + pairs.partition("190,7,")[2]
    values = {**row_of(), "2011": 1, "2010": 7.0, "heat, °C": 190.7, "extra": [1]}
    heard = said(pairs, spaced, json.dumps(row_of()), json.dumps(values))
    assert heard.refused == [] and len(heard.answers) == 4 and heard.answers[0]["input"] == pairs
    assert heard.notes == [f"note: {json.dumps(values)}: not taken by the model and ignored: extra."]
    for answer in heard.answers[1:]:
        assert answer["probabilities"] == pytest.approx(heard.answers[0]["probabilities"], abs=1e-6)


def test_values_of_json_mean_what_cells_do(model):
    def numbers(**changes):
        taken = rows.Reader(model.signature).values("row", row_of(**changes), lambda _: None)
        return str(taken) if isinstance(taken, Exception) else [*taken.numbers, *taken.words]

    expected = numbers(n2010="", heat="", code="TRUE", seen="", note="")
    assert math.isnan(expected[0]) and expected[-1] == "TRUE"
    assert list(map(str, numbers(n2010=0, heat=-999.0, code=True, seen=None, note=None))) == list(map(str, expected)), (
        "0 and -999 are missing"
    )
    assert numbers(code=False)[-1] == "false" and numbers(code=1067)[-1] == "1067" and numbers(heat=-1234.5)[0] == -1234.5
    for changes, named in (
        ({"note": True}, "row: note is True: expected a text: no level is spelled so, or null where it is missing"),
        ({"n2011": True}, "row: 2011 is True: expected a number, or null"),
        ({"n2011": [1]}, "row: 2011 is [1]: expected a number"),
        ({"n2011": 1e39}, "row: 2011 is 1e+39: expected a number that float32 can hold"),
        ({"n2011": math.nan}, "row: 2011 is nan: expected a number that float32 can hold"),
        ({"seen": 5}, "row: seen is 5: expected a date as a text"),
        ({"code": 1e16}, "row: 007 is 1e+16: expected a text: a number so large or so small can be spelled in several ways, or null"),
        ({"note": "a" * 1001}, f"row: note is '{'a' * 99}…: expected a text of at most 1000 characters"),
        ({"note": {}}, "row: note is {}: expected a text"),
        ({"note": "a\ud800"}, "row: note is 'a\\ud800': expected a text that UTF-8 can hold"),
        ({"note": "fine\0"}, "row: note is 'fine\\x00': expected a text that UTF-8 can hold, without zero bytes"),
    ):
        assert numbers(**changes).startswith(named)


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("x", "error: x is neither a file that is here nor a row: heat, °C=...,2011=...,2010=...,...."),
        (
            "note=fine",
            "error: note=fine has no heat, °C, 2011, 2010, made on, seen, 007: leave it empty (null in JSON) where it is missing.",
        ),
        ("{", "error: { is no row in JSON ("),
        ('{"a":' * 100_000, 'error: {"a":'),
    ],
)
def test_what_is_no_row_is_refused_in_a_sentence(said, text, named):
    heard = said(text)
    assert heard.answers == [] and len(heard.refused) == 1 and heard.refused[0].startswith(named)


# Models of strangers


UNSOUND = [
    lambda own: own.pop("format"),
    lambda own: own["format"].update(encoding="punycode"),
    *(lambda own, sign=sign: own["format"].update(separator=sign) for sign in ['"', ";;", "\r", "x", "7", "\0", "\U0001f600", 3]),
    lambda own: own["format"].update(header="yes"),
    lambda own: own["format"].update(names=[1]),
    lambda own: own["columns"].pop("2011"),
    lambda own: own["columns"].update(more={"type": "number"}),
    *(
        lambda own, keys=keys: own["columns"]["2011"].update(keys)
        for keys in (
            {"type": "category"}, {"type": "text"}, {"locale": "de"}, {"missing": "0"}, {"decimal": ",", "thousands": ","},
            {"decimal": [","]}, {"brackets": "yes"}, *({"units": [unit]} for unit in (" ", " kg", "-", ".", "(", "m2", 5, "\0")),
        )
    ),
    *(lambda own, formats=formats: own["columns"]["seen"].update(formats=formats) for formats in (["%d%d"], [])),
    *(lambda own, levels=levels: own["columns"]["note"].update(levels=levels)
      for levels in ([], [""], ["a "], ["e\u0301"], ["a", "a"], ["a" * 1001], ["a\ud800"])),
    lambda own: own["columns"].update({"seen (second of the day)": {"type": "category", "levels": ["a"]}})
    or own["categories"].append("seen (second of the day)"),
    lambda own: own["categories"].reverse() or own["categories"].append("note"),
    lambda own: own["categories"].append(3),
    lambda own: own["features"].reverse(),
    lambda own: own["features"].pop(),
]  # fmt: skip


def test_a_signature_that_does_not_fit_itself_is_not_sound(german):
    assert rows.is_sound(german.signature)
    for place, change in enumerate(UNSOUND):
        signature = json.loads(json.dumps(german.signature))
        change(signature)
        with pytest.raises((ValueError, KeyError, TypeError)):
            if not rows.is_sound(signature):
                raise ValueError
            pytest.fail(f"change {place} is taken")


@pytest.mark.parametrize(
    "change",
    [
        UNSOUND[1],
        lambda own: own["inputs"].reverse(),
        lambda own: own["inputs"].pop(),
        lambda own: own["inputs"][1].update(dtype="float32"),
        lambda own: own["inputs"][1]["shape"].append(1),
    ],
)
def test_a_signature_that_does_not_fit_is_refused_in_a_sentence(german, said, change):
    proto = onnx.load_model_from_string(german.own.onnx)
    (entry,) = [entry for entry in proto.metadata_props if entry.key == "signature"]
    signature = json.loads(entry.value)
    change(signature)
    entry.value = json.dumps(signature)
    Path("model.onnx").write_bytes(proto.SerializeToString())
    heard = said("x", model=Path("model.onnx"))
    assert heard.refused == ["error: model.onnx has a signature that is damaged, or of a later version than this script."]


# Servers


@pytest.fixture(scope="module")
def address(german):
    with serving(serve.load([german.path], threads=1)) as address:
        yield address


def test_the_server_takes_the_owner_s_file_and_rows_by_name(german, address, said):
    table = [[*row_of(), "colour"], [*row_of().values(), "blue"], [*row_of(note="x").values(), "blue"]]
    values = [{**row_of(), "2011": 1, "heat, °C": 190.7, "colour": "blue"}, {**row_of(note="x"), "2010": 7}]
    bodies = [(written(table, "cp1252", ";"), "text/csv"), (written(table, "utf-16", ";"), None), (json.dumps(values), "application/json")]
    for body, content_type in bodies:
        answers = ask(address, "tiles", body, content_type).json()["answers"]
        assert [answer["label"] for answer in answers] and [answer["note"] for answer in answers] == [
            f"{'row 1' if content_type == 'application/json' else 'the body'}: not taken by the model and ignored: colour",
            "note 'x' is not known and counts as other",
        ]
        expected = said(json.dumps(row_of()), json.dumps(row_of(note="x"))).answers
        for answer, wanted in zip(answers, expected, strict=True):
            assert answer["probabilities"] == pytest.approx(wanted["probabilities"], abs=1e-6)


@pytest.mark.parametrize(
    ("body", "content_type", "named"),
    [
        ("[[1, 2]]", "application/json", "the body is not a list of rows by name: "),
        (json.dumps([row_of(), row_of(n2011="x")]), "application/json", "row 2: 2011 is 'x': expected a number"),
        ("[", "application/json", "the body is no JSON in UTF-8 ("),
        (written([[*row_of()], *[[*row_of().values()]] * 257], "cp1252", ";"), None, "the body has too many inputs; 1 to 256 "),
        (written([[*row_of()], [*row_of(seen="x").values()]], "cp1252", ";"), None, "the body line 2: seen is 'x': expected a date like "),
        (b"\x81\n", None, "the body is not text in cp1252 ("),
    ],
)  # fmt: skip
def test_the_server_refuses_in_a_sentence(address, body, content_type, named):
    assert refusal(ask(address, "tiles", body, content_type)).startswith(named)


def test_triton_is_told_of_both_inputs(german):
    config = triton.config("tiles", german.signature)
    assert '    name: "features"\n    data_type: TYPE_FP32\n    dims: [6]\n' in config
    assert '    name: "categories"\n    data_type: TYPE_STRING\n    dims: [2]\n' in config
