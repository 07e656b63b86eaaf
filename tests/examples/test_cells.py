"""The two readers of tables, in Python (cells.py, rows.py) and in JavaScript (cells.mjs, rows.mjs), read the same cells in the same way.

What is compared is made at random, by a seed that a failure names: CELLS_SEED=... runs it again.
"""

import base64
import io
import json
import math
import os
import random
import shutil
import struct
import subprocess
import time
import unicodedata
from pathlib import Path

import pytest

from examples import cells, rows

ROOT = Path(__file__).parents[2]

SEED = int(os.environ.get("CELLS_SEED", random.SystemRandom().randrange(1 << 32)))
NODE = """
import { readFileSync } from "node:fs";
const [folder, work] = process.argv.slice(1);
const { readerOf, cellOf, BadCell } = await import(`${folder}/cells.mjs`);
const { Reader, rowsOf } = await import(`${folder}/rows.mjs`);
const given = JSON.parse(readFileSync(work));

function hex(value) {
  const view = new DataView(new ArrayBuffer(8));
  view.setFloat64(0, value);
  return Number.isNaN(value) ? "nan" : view.getBigUint64(0).toString(16).padStart(16, "0");
}

function tried(read) {
  try {
    const value = read();
    return { read: typeof value === "number" ? hex(value) : Array.isArray(value) ? value.map(hex) : value };
  } catch (error) {
    if (!(error instanceof BadCell)) throw error;
    return { bad: error.message };
  }
}

function csv(text) {
  try {
    return [...rowsOf(text, { separator: "," }, "a.csv")];
  } catch (error) {
    return error.message.split(" (")[0];
  }
}

function table({ signature, content }) {
  return Array.from(new Reader(signature).file(Buffer.from(content, "base64"), "a.csv", () => {}), (row) =>
    row instanceof Error ? row.message.split(":")[0] : [row.name, row.numbers.map(hex), row.words, row.note !== ""]);
}

function each({ column, values }, reader) {
  const read = reader(column);
  return values.map((value) => tried(() => read(value)));
}

console.log(JSON.stringify({
  cells: given.cells.map((one) => each(one, readerOf)),
  values: given.values.map((one) => each(one, (column) => (value) => cellOf(value, column))),
  texts: given.texts.map(csv),
  tables: given.tables.map(table),
  pairs: given.pairs.texts.map((text) => new Reader(given.pairs.signature).pairs(text)),
}));
"""


@pytest.fixture(scope="module")
def in_node(tmp_path_factory):
    """A function from work for the script above to what it printed."""
    if shutil.which("node") is None:
        pytest.skip("there is no node here")
    work = tmp_path_factory.mktemp("node") / "work.json"

    def run(**given):
        work.write_text(json.dumps({"cells": [], "values": [], "texts": [], "tables": [], "pairs": {"texts": []}} | given))
        command = ["node", "--input-type=module", "--eval", NODE, str(ROOT / "examples"), str(work)]
        ended = subprocess.run(command, capture_output=True, text=True, check=False)
        assert ended.returncode == 0, ended.stderr
        return json.loads(ended.stdout)

    return run


def told(value):
    if isinstance(value, float):
        return "nan" if math.isnan(value) else struct.pack(">d", value).hex()
    return [told(one) for one in value] if isinstance(value, tuple) else value


def tried(read, *arguments):
    try:
        return {"read": told(read(*arguments))}
    except cells.BadCell as error:
        return {"bad": str(error)}


BLANKS = [*cells.BLANKS, "\x1c", "\x1f", "\x85", "\u200b", "\u180e"]  # the last five are none to JavaScript, and some are to Python
# fmt: off
SIGNS = [
    "-", "+", "--", "(", ")", "e", "E5", "e-3", ".", ",", "'", "_", "0x", "²", "%", "$", "é", "İ", "ß", "Σ", "ς", "K", "\u2212", "\u2013",
    "\u0661", "\ud800", "\x00", "e\u0301", "\U0001f600",
]
WORDS = [
    "NA", "?", "-", "nan", "NaN", "NAN", "null", "inf", "-inf", "Infinity", "true", "TRUE", "False", "red", "Rot", "RED", "groß", "GROSS",
    "Größe", "ΟΔΟΣ", "οδος", "01067", "3", "3.0", "-999", "0", "may", "Gro\u0308\xdfe",
]
FORMATS = [
    "%Y-%m-%d", "%d.%m.%Y", "%m/%d/%y", "%Y-%m-%dT%H:%M:%S", "%Y%m%d", "%Y年%m月%d日", "%d %b %Y", "%d.%m.%y %H:%M",
    "(%b) [%d]*+?^$|{%Y}\\",
]
HOSTILE = [
    "1e400", "1e-400", "3.4028234663852886e38", "3.4028234663852889e38", "3.5e38", "1_000", "0x1A", "1e", "e5", ".", "-", "5.", ".5",
    "-.5", "+5", "(5", "5)", "(5)", "(-5)", "$-5", "-$5", "1,234", "1,23", "12,345,678", "1.234,5", "1'234.5", "0", "-0", "(0)",
    "16777217", "29.02.2000", "29.02.1900", "0000-00-00", "0001-01-01", "9999-12-31", "2024-02-30", "1/2/69", "1/2/68",
    "2024-01-01T24:00:00", "2024-01-01T23:59:59.999", "2024-1-1T3:05:07", "constructor", "__proto__", "\uff11\uff12", "- 5", "$ 5 %",
    "1 234", "1\xa0234", "12 Sept 2024", "3 Mayonnaise 2024", "31 dec 2024",
    "9" * 1000, "9" * 1001, "0." + "0" * 998 + "1", "\U0001f600" * 1000, "a" * 1001,
]
# fmt: on


class Maker:
    """Makes columns and cells for them, some of them right."""

    def __init__(self, seed: int):
        self.rng = random.Random(seed)

    def some(self, values, most=3):
        return self.rng.sample(values, self.rng.randint(0, min(most, len(values))))

    def column(self):
        rng, kind = self.rng, self.rng.choice(["number", "number", "date", "category"])
        column = {"type": kind}
        if rng.random() < 0.5:
            column["missing"] = self.some(WORDS)
        if kind == "number":
            decimal = rng.choice(".,")
            column |= {"decimal": decimal, "thousands": rng.choice([one for one in ("", ",", ".", "'", " ") if one != decimal])}
            column["units"] = self.some(["$", "%", "mm Hg", "€", "m", "mm", "a.b", "[x]", "e", "E.", "St."])
            column["brackets"] = rng.random() < 0.5
        if kind == "date":
            column["formats"] = self.some(FORMATS) or [FORMATS[0]]
        if kind == "category":
            column["levels"] = sorted({unicodedata.normalize("NFC", one) for one in self.some(WORDS, 8)} | {"red"})
            if rng.random() < 0.5:
                column["ignore_case"] = True
        return column

    def cell(self, column):
        rng = self.rng
        cell = self.right(column) if rng.random() < 0.7 else rng.choice([*HOSTILE, *WORDS, ""])
        for _ in range(rng.choice([0, 0, 1, 1, 2])):
            place = rng.randint(0, len(cell))
            cut = place + (rng.random() < 0.3)
            cell = cell[:place] + rng.choice([*BLANKS, *SIGNS, *"0123456789", *column.get("units", ["x"]), ""]) + cell[cut:]
        return cell

    def right(self, column):
        rng = self.rng
        if column["type"] == "category":
            return rng.choice([str.upper, str.lower, str])(rng.choice(column["levels"]))
        if column["type"] == "date":
            parts = {
                "%Y": f"{rng.randint(0, 2400):04}",
                "%y": f"{rng.randint(0, 99):02}",
                "%m": str(rng.randint(0, 13)),
                "%d": f"{rng.randint(1, 31):0{rng.randint(1, 2)}}",
            }
            parts |= {
                "%b": rng.choice(["Jan", "FEB", "march", "december", "Smarch"]),
                "%H": str(rng.randint(0, 24)),
                "%M": f"{rng.randint(0, 60):02}",
                "%S": f"{rng.randint(0, 60):02}",
            }
            text = rng.choice(column["formats"])
            for part, value in parts.items():
                text = text.replace(part, value)
            return text
        whole = str(rng.randint(0, 10 ** rng.randint(1, 12)))
        if column["thousands"] and rng.random() < 0.7:
            whole = f"{int(whole):,}".replace(",", rng.choice([" ", "\u00a0"]) if column["thousands"] == " " else column["thousands"])
        text = (
            whole
            + (column["decimal"] + str(rng.randint(0, 10**6)) if rng.random() < 0.5 else "")
            + rng.choice(["", "", "", "e3", "E-12", "e+40"])
        )
        text = rng.choice(["", "", "-", "\u2212", "+"]) + rng.choice(["", " "]) + text
        if column["units"] and rng.random() < 0.6:
            unit = rng.choice(column["units"])
            text = rng.choice([unit + text, text + unit, text + " " + unit, f"{unit} {text}"])
        if rng.random() < 0.1:
            text += rng.choice(["-", "\u2212"])
        return f"({text})" if rng.random() < 0.2 else text

    def value(self, column):
        rng = self.rng
        # fmt: off
        number = rng.choice(
            [0, -0.0, 1, 3, -999, 0.5, 1e-4, 9e-5, 1e-7, 4000123412341234, 2**53 - 1, 2**53, 1e16, 1e20, 1e21, 3.4e38, 3.5e38, -1e300,
             rng.uniform(-1000, 1000), rng.randint(-1000, 1000)]
        )
        # fmt: on
        return rng.choice([None, True, False, [], {}, [1], number, number, number, self.cell(column)])


def test_both_readers_read_every_cell_and_every_value_of_json_in_the_same_way(in_node):
    make = Maker(SEED)
    columns = [make.column() for _ in range(300)]
    given = [{"column": column, "values": [*HOSTILE, *WORDS, *(make.cell(column) for _ in range(60))]} for column in columns]
    values = [{"column": column, "values": [make.value(column) for _ in range(30)]} for column in columns]
    heard, counts = in_node(cells=given, values=values), {"read": 0, "bad": 0}
    for own, answers in zip(given, heard["cells"], strict=True):
        read = cells.reader_of(own["column"])
        for cell, answer in zip(own["values"], answers, strict=True):
            expected = tried(read, cell)
            assert answer == expected, f"CELLS_SEED={SEED}: {cell!r} of {own['column']}"
            counts[next(iter(expected))] += 1
    for own, answers in zip(values, heard["values"], strict=True):
        for value, answer in zip(own["values"], answers, strict=True):
            expected = tried(cells.cell_of, value, own["column"])
            is_same = answer == expected or (own["column"]["type"] == "number" and as_number(answer) == as_number(expected))
            assert is_same, f"CELLS_SEED={SEED}: {value!r} of {own['column']}"
    assert min(counts.values()) > 5000, "both are tried"


def test_whole_numbers_of_json_are_words_as_files_spell_them():
    column = {"type": "category", "levels": ["4000123412341234"]}
    assert cells.cell_of(4000123412341234.0, column) == "4000123412341234" and cells.cell_of(2.0, column) == "2"
    for value in (2**53, 1e20, 1e-5):
        with pytest.raises(cells.BadCell, match="expected a text: a number so large or so small"):
            cells.cell_of(value, column)


def as_number(answer):
    """Both languages spell a number so that it is read as the same, but not alike: 1e-07 and 1e-7."""
    try:
        return float(answer["read"].replace(",", "."))
    except (KeyError, ValueError):
        return answer


def test_both_readers_find_the_same_rows_on_the_same_lines(in_node):
    rng = random.Random(SEED)
    pieces = ['"', '""', ",", ",", "\n", "\r\n", "\r", "a", "b c", " ", "\ufeff", "é", "1", "\x1c", "\u2028"]
    texts = ["".join(rng.choices(pieces, k=rng.randint(0, 25))) for _ in range(3000)]
    texts += [
        'a,b\n"1\n\n2",3\n\n\n4,5',
        '"a""b",c\r\n"d"x,e\n',
        'a,b\n1,"2\n',
        "\n\n,\n",
        '"',
        '""',
        "a\rb\r\nc",
        'x,"y"\n,',
        "sep=;\na,b",
        '"SEP=,"\r\na',
        "sep=,",
        "sep=,x\na",
        "sep=;;\na,b",
        "sep=; \na,b",
        "a,b\nsep=,\n1,2",
        "sep=\U0001f600\nx,y",
    ]
    for text, answer in zip(texts, in_node(texts=texts)["texts"], strict=True):
        assert answer == rows_in_python(text), f"CELLS_SEED={SEED}: {text!r}"


def rows_in_python(text):
    form = {"encoding": "utf-8", "separator": ",", "header": True}
    try:  # TextDecoder has taken a byte order mark off before
        return [[line, row] for line, row in rows.rows_of(io.BufferedReader(io.BytesIO(b"\xef\xbb\xbf" + text.encode())), form, "a.csv")]
    except rows.BadTable as error:
        return str(error).split(" (")[0]


def a_table(make: Maker, encoding: str):
    """A signature and a file that it may be asked with, its columns in another order."""
    columns = {name: make.column() for name in ("größe, °C", "2011", "2010", "a=b", "__proto__", "when")}
    numbers = [name for name, column in columns.items() if column["type"] != "category"]
    signature = {
        "format": {"encoding": encoding, "separator": ";", "header": True},
        "columns": columns,
        "features": [{"name": one} for name in numbers for one in cells.feature_names(name, columns[name])],
        "categories": [name for name in columns if name not in numbers],
    }
    names = [*columns, "other"]
    make.rng.shuffle(names)

    def a_cell(column):
        return make.right(column) if make.rng.random() < 0.9 else make.cell(column)

    def quoted(cell):
        text = (
            cell.encode(encoding if encoding != "latin-1" else "cp1252", "ignore")
            .decode({"latin-1": "cp1252"}.get(encoding, encoding))
            .replace("\0", "")
        )
        return '"' + text.replace('"', '""') + '"'

    lines = [names, *([a_cell(columns.get(name, columns["when"])) for name in names] for _ in range(40)), ["1", "2"]]
    text = make.rng.choice(["\n", "\r\n"]).join(";".join(map(quoted, line)) for line in lines)
    return signature, text.encode({"latin-1": "cp1252"}.get(encoding, encoding))


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16", "cp1252", "latin-1"])
def test_both_readers_read_a_whole_file_in_the_same_way(in_node, encoding):
    make = Maker(SEED)
    made = [a_table(make, encoding) for _ in range(40)]
    heard = in_node(tables=[{"signature": signature, "content": base64.b64encode(content).decode()} for signature, content in made])[
        "tables"
    ]
    num_read = 0
    for (signature, content), answers in zip(made, heard, strict=True):
        assert rows.is_sound(signature)
        found = rows.Reader(signature).file(io.BufferedReader(io.BytesIO(content)), "a.csv", lambda _: None)
        expected = [
            str(row).split(":")[0] if isinstance(row, Exception) else [row.name, list(map(told, row.numbers)), row.words, row.note != ""]
            for row in found
        ]
        assert answers == expected, f"CELLS_SEED={SEED}"
        num_read += sum(isinstance(row, list) for row in expected)
    assert num_read > 50


@pytest.mark.parametrize(
    "column",
    [
        {"type": "number", "units": ["$", "mm Hg"], "brackets": True, "thousands": " ", "decimal": ","},
        {"type": "date", "formats": FORMATS},
        {"type": "category", "levels": ["red"]},
    ],
)
def test_no_cell_takes_long(column, in_node):
    """Patterns whose parts can share a run of signs take time squared, or worse, and so does putting accents in order."""
    hostile = [before + sign * 100_000 + "x" for before in ("", "$", "1", "(", "-", "1 111") for sign in " 1.,-($%ae"]
    hostile += [before + sign * 900 + "x" for before in ("", "$", "1", "(", "-") for sign in " 1.,-($%ae"] + [
        " 111" * 250 + "x",
        "1" + " 111" * 240 + "x",
    ]
    if column["type"] == "category":
        hostile = ["a" + "\u0301\u0323" * 40_000]
    read, start = cells.reader_of(column), time.process_time()
    assert all("bad" in tried(read, cell) for cell in hostile)
    assert time.process_time() - start < 2
    start = time.monotonic()
    in_node(cells=[{"column": column, "values": hostile}])
    assert time.monotonic() - start < 30


def test_a_row_of_names_and_values_is_taken_apart_alike_and_in_no_long_time(in_node):
    columns = {name: {"type": "category", "levels": ["x"]} for name in ("a=b", "größe, °C", "2011")}
    signature = {"columns": columns, "format": {}, "features": [], "categories": [*columns]}
    texts = [" größe, °C = 1, 2 , a=b=3,2011 =x, ,other = 5,6", "=", "a=", " =1,  =2", "a" + " " * 100_000, "a," + ", " * 50_000 + "b=1"]
    start = time.process_time()
    expected = [rows.Reader(signature).pairs(text) for text in texts]
    assert time.process_time() - start < 2
    assert expected[0] == {"größe, °C": " 1, 2 ", "a=b": "3", "2011": "x, ", "other": " 5,6"}
    start = time.monotonic()
    assert in_node(pairs={"signature": signature, "texts": texts})["pairs"] == expected
    assert time.monotonic() - start < 30


@pytest.mark.parametrize(
    "others", [[""] * 90_000, [f"{place:x}" for place in range(90_000)], ["a"] * 90_000], ids=["empty", "distinct", "one"]
)
def test_a_header_of_many_columns_takes_no_time_squared(in_node, others):
    """Forty thousand took 16 s, and a line may hold a million."""
    columns = {name: {"type": "category", "levels": ["x"]} for name in ("last one", "first one")}
    form = {"encoding": "utf-8", "separator": ",", "header": True}
    signature = {"columns": columns, "format": form, "features": [], "categories": [*columns]}
    content = "\n".join([",".join(["first one", *others, "last one"]), ",".join(["y", *([""] * len(others)), "x"])]).encode()
    start = time.process_time()
    (row,) = rows.Reader(signature).file(io.BufferedReader(io.BytesIO(content)), "a.csv", lambda _: None)
    assert (row.words, row.numbers) == (["x", "y"], []) and time.process_time() - start < 2
    start = time.monotonic()
    made = {"signature": signature, "content": base64.b64encode(content).decode()}
    assert in_node(tables=[made])["tables"] == [[["a.csv line 2", [], ["x", "y"], True]]]
    assert time.monotonic() - start < 30
