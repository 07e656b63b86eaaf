"""Makes a dataset and a model of a table of your own: looks at the file, says what it found, and writes the two entries.

Command: python -m entries.new DATA --target COLUMN [--name NAME] [--dry-run] ...      (make new DATA=~/orders.csv TARGET=price)
Reads:   DATA, a CSV or TSV file, plain or gzipped, or a Parquet file; a folder that holds such a file alone; or its address, from which
         DVC fetches it
Writes:  data/NAME/raw (a copy, which DVC tracks), data/schemas/NAME.yaml (how each column is read, and why), an entry under datasets and
         one under models in params.yaml, a line under artifacts in dvc.yaml; all other bytes of these files stay as they are

What is not told and cannot be found is asked for on a terminal, and refused elsewhere. A failure takes away again what was made; what a
kill leaves, the same command or `make remove` takes away, by the mark data/NAME/.new, which stands there until params.yaml is written.
"""

import argparse
import contextlib
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from ruamel.yaml import YAML

from entries.lines import added, without
from entries.project import GRAPH, NAME, PARAMS, Entry, Project, delete, run, unignore_raw
from entries.tables.columns import CELLS_LOOKED_AT, LOOKED_AT, Question, Seen, Told, describe, way_of_numbers
from entries.tables.formats import format_of
from examples.cells import pattern_of_dates
from pipelines.dvc.waiting import repository_lock
from pipelines.running.leftovers import UNFINISHED
from pipelines.running.locks import alone
from stages.common.files import naming
from stages.common.params import check_section
from stages.datasets.table import Preprocess
from stages.reading.contents import printable
from stages.reading.delimited import all_rows, names_of, refuse_workbook
from stages.reading.parquet import is_parquet, unreadable
from stages.reading.schema import ColumnSchema, Schema, path_of
from stages.shell.errors import UserError

VAL_FRACTION = 0.15  # of what is not test
BAD_ROWS = 0.1  # of a new delivery that may be left out
# How the network for tables is trained, chosen by val (benchmarks/README.md): numbers take more and larger steps than classes, of which it
# soon knows too much, and a batch of more than 256 rows is hardly faster on a CPU.
FIRST_BATCH, BATCH, LARGE_BATCH = 64, 256, 1024
STEPS = 200  # an epoch has about so many at least, before a batch of numbers grows
LARGE = 500_000  # rows
RATE_OF_NUMBERS = 0.004
EPOCHS = (5, 60)
BUDGET = 50_000_000  # rows * columns * epochs, COLUMNS added for what no column needs: about a minute of one core
COLUMNS = 40
CHUNK = 10_000  # rows
LOSSES = {"binary": "BCE", "multilabel": "BCE", "multiclass": "CrossEntropy", "regression": "MSE"}
SHOWN_LEVELS = 4
TOTALS = r"(grand )?total|totals|sum|sums|gesamt|insgesamt|summe|gesamtsumme|total g[eé]n[eé]ral|somme|totale|suma|total general"
MAX_KEY = 1000  # characters of a key of YAML that begins no line with a question mark


class Table:
    """A file that was looked at: its format, columns and targets. Raises UserError where something must be told."""

    def __init__(self, path: Path, targets: list[str], told: Told, form: argparse.Namespace):
        refuse_workbook(path)
        self.path, self.targets = path, targets
        self.unreadable = unreadable(path) if is_parquet(path) else {}
        self.format, self.why = format_of(path, form.encoding, form.separator, form.header, form.names)
        names, rows = names_of(path, self.format, all_rows(path, self.format))
        self.refuse_unknown(names, told)
        seen = [Seen(name, min(LOOKED_AT, CELLS_LOOKED_AT // len(names))) for name in names]
        self.num_rows, self.bad_lines, last = 0, list[int](), (0, list[str]())
        while chunk := list(islice(rows, CHUNK)):
            self.bad_lines += [line for line, found in chunk if len(found) != len(names)]
            good = [found for _, found in chunk if len(found) == len(names)]
            last = chunk[-1]
            self.num_rows += len(good)
            for column, cells in zip(seen, zip(*good, strict=True), strict=False):
                column.add(cells)
        if not self.num_rows:
            raise UserError(f"{path.name} has a header and no rows: there is nothing to learn from.")
        self.seen = {column.name: column for column in seen}
        self.total = last[0] if any(re.fullmatch(TOTALS, cell.strip(), re.IGNORECASE) for cell in last[1]) else 0
        try:
            said = told.way and (told.way, f"numbers with {told.way[0]!r} before the fraction, as told")
            way, self.why["numbers"] = said or way_of_numbers(seen, self.format.separator)
        except Question as question:
            raise UserError(f"{path.name}: {question}.") from question
        self.columns = self.describe(told, way)

    def refuse_unknown(self, names: list[str], told: Told) -> None:
        known = ", ".join(names)
        for name in self.targets + sorted(told.names()):
            if name not in names:
                raise UserError(f"{self.path.name} has no column {name!r}; it has {known}.")
        if len(names) <= len(self.targets):
            what = ", ".join(self.targets)
            raise UserError(f"{self.path.name} has no column besides the target: there is nothing to predict {what} from.")

    def describe(self, told: Told, way: tuple[str, str]) -> dict[str, ColumnSchema]:
        """All questions at once."""
        columns, questions = dict[str, ColumnSchema](), list[str]()
        for name, column in self.seen.items():
            try:
                columns[name] = describe(column, told, way, name in self.targets)
            except Question as question:
                questions.append(str(question))
        if self.format.header and not self.format.names:
            unnamed = [name for name, column in columns.items() if re.fullmatch("column [0-9]+", name) and column.type != "dropped"]
            for name in [name for name in unnamed if max(self.seen[name].counts.values()) == 1]:
                columns[name] = ColumnSchema(
                    type="dropped", why="without a name, and different in each row", example=self.seen[name].example
                )
                unnamed.remove(name)
            questions += [
                f"{name} has no name, and is not a row number: say --drop '{name}', or name all (--names a,b,c,...)" for name in unnamed
            ]
        for name in self.targets:
            if name in columns and columns[name].type not in ("number", "category"):
                questions.append(f"{name}, the target, cannot be predicted: {columns[name].why}")
            elif name in columns and columns[name].type == "category" and len(columns[name].levels or []) < 2:
                questions.append(f"{name}, the target, has one class alone, {', '.join(columns[name].levels or [])}")
        if questions:
            raise UserError(f"{self.path.name}: {'; '.join(questions)}.")
        if not [name for name, column in columns.items() if column.type != "dropped" and name not in self.targets]:
            why = "; ".join(f"{name}: {column.why}" for name, column in columns.items())
            raise UserError(f"{self.path.name}: no column is left to predict {', '.join(self.targets)} from: {why}.")
        return columns

    def task(self) -> str:
        kinds = [self.columns[name] for name in self.targets]
        if all(kind.type == "number" for kind in kinds):
            return "regression"
        if len(kinds) > 1:
            if all(len(kind.levels or []) == 2 for kind in kinds):
                return "multilabel"
            raise UserError("several targets must be numbers all, or have two classes each: make a model for each (TARGET=... NAME=...).")
        return "binary" if len(kinds[0].levels or []) == 2 else "multiclass"

    def schema(self) -> Schema:
        columns = {name: column.model_dump() for name, column in self.columns.items()}
        values = {"file": self.path.name, "format": self.format.model_dump(), "targets": self.targets, "columns": columns}
        return check_section(Schema, values, "", self.path.name)

    def print(self) -> None:
        """What was found, a line a column."""
        form, sign = self.format, {"\t": "tab"}.get(self.format.separator, self.format.separator)
        size = f"{self.num_rows:,} rows, {len(self.columns)} columns"
        how = "Parquet" if is_parquet(self.path) else f"{form.encoding} ({self.why['encoding']}), cells set apart by {sign}"
        print(f"{self.path.name}: {size}; {how}")
        for name, why in self.unreadable.items():
            print(f"  {printable(name)} is left out: {why}")
        if self.why["numbers"]:
            print(f"  {self.why['numbers']}")
        rows = [("column", "is", "has", "missing", "example", "why")]
        for name, column in self.columns.items():
            seen = self.seen[name]
            levels = column.levels or []
            has = f"{len(levels)}: {', '.join(levels[:SHOWN_LEVELS])}{', ...' if len(levels) > SHOWN_LEVELS else ''}" if levels else ""
            missing = seen.counts[""] + sum(seen.counts[word] for word in column.missing or [])
            what = f"{column.type} (target)" if name in self.targets else column.type
            rows.append((name, what, has, f"{missing:,}" if missing else "", seen.example, column.why or ""))
        limits = (28, 17, 32, 8, 20, 1000)
        widths = [min(max(len(printable(row[place])) for row in rows), limit) for place, limit in enumerate(limits)]
        for row in rows:
            cells = [cut(printable(cell), width) for cell, width in zip(row, widths, strict=True)]
            print(f"  {'  '.join(cell.ljust(width) for cell, width in zip(cells, widths, strict=True)).rstrip()}")
        if self.total:
            print(f"  The last row, line {self.total}, looks like a total: take it out of the file, or the model learns from it")
        if self.bad_lines:
            some = ", ".join(map(str, self.bad_lines[:5]))
            print(f"  {len(self.bad_lines)} rows have another number of cells, and are left out: lines {some}")


def cut(text: str, width: int) -> str:
    return text if len(text) <= width else f"{text[: width - 1]}…"


def new(data: str, options: argparse.Namespace, told: Told) -> None:
    with fetched(data or asked_for_data()) as (path, address):
        name = options.name or as_name(path)
        if not NAME.fullmatch(name) or name in ("checked", "schemas"):
            raise UserError(f"{name!r} cannot be a name: use letters, digits, _ and -, a letter or digit first (NAME=...).")
        refuse_taken(Project(), name)
        table = Table(path, targets_of(path, options), told, options)
        table.print()
        schema, entries = as_yaml(table, address), {"datasets": dataset_entry(table, name, options), "models": model_entry(table, name)}
        if not is_unfinished(name):
            with_entries(Project(), name, entries)  # refuses a layout that cannot be edited before anything is written
        if options.dry_run:
            for section, entry in entries.items():
                print(f"\nunder {section} in {PARAMS}:\n{indented(entry)}")
            print(f"\nunder artifacts in {GRAPH}:\n{indented(artifact(name))}\n\n{path_of(name)}:\n{schema}")
            return
        sys.stdout.flush()  # where nobody reads it any more, nothing is written
        write(path, name, schema, entries)
    print(f"\nWritten: {PARAMS} (datasets.{name}, models.{name}), {GRAPH} (artifacts), {path_of(name)}, data/{name}/raw.dvc")
    print(f"Next: dvc repro export@{name} report@{name}   (or make repro); make remove NAME={name} takes it away again")


@contextlib.contextmanager
def fetched(data: str) -> Iterator[tuple[Path, str]]:
    """The file, and its address if it was fetched, without what may be secret (a password, a query)."""
    if not re.match("[a-z][a-z0-9+]+://", data, re.IGNORECASE):
        yield file_of(Path(data).expanduser()), ""
        return
    parts = urlsplit(data)
    address = parts._replace(netloc=parts.netloc.rpartition("@")[2], query="", fragment="").geturl()
    name = unquote(parts.path.rpartition("/")[2])
    if not is_usable(name):
        raise UserError(f"{address} does not end in the name of a file: give the address of one file, such as https://host/orders.csv.")
    with tempfile.TemporaryDirectory() as folder:
        print(f"Fetching {address}")
        dvc("get-url", data, str(Path(folder) / name), failed=f"{address} cannot be fetched")
        yield file_of(Path(folder) / name), address


def file_of(path: Path) -> Path:
    """`path`, or the one file in it."""
    if path.is_dir():
        files = sorted(file for file in path.iterdir() if not file.name.startswith("."))
        if len(files) != 1 or not files[0].is_file():
            raise UserError(
                f"{path} is a folder of {len(files)} things: give one file. For a file each for train and test, make one file of them with "
                "a column that says train, val or test, and name that column (--split); pictures are not read by this command."
            )
        path = files[0]
    if not path.is_file():
        raise UserError(f"{path} is not a file: give a CSV, TSV or Parquet file, its folder, or its address.")
    if not is_usable(path.name):
        raise UserError(f"{path.name!r} cannot be the name of raw data: give the file another name, without signs that are not seen.")
    return path


def is_usable(name: str) -> bool:
    """Whether it is written in one way everywhere; names with a dot first are the project's own."""
    return bool(name) and name.isprintable() and not name.startswith(".")


def ask(question: str, option: str) -> str:
    """On a terminal; elsewhere, and where no answer comes, a UserError names the option."""
    if sys.stdin.isatty():
        with contextlib.suppress(EOFError):
            return input(f"{question} ").strip()
        print()
    raise UserError(f"{question} Say it with {option}.")


def asked_for_data() -> str:
    return ask("Which table?", "DATA=..., and what is to be predicted with TARGET=... (make new DATA=~/orders.csv TARGET=price)")


def targets_of(path: Path, options: argparse.Namespace) -> list[str]:
    """As told, or asked for on a terminal, until it is one of the columns."""
    if options.target:
        return list(options.target)
    form, _ = format_of(path, options.encoding, options.separator, options.header, options.names)
    names, _ = names_of(path, form, all_rows(path, form))
    print(f"{path.name} has {', '.join(map(printable, names))}.")
    question = f"Which column of {path.name} is to be predicted?"
    while (answer := ask(question, "TARGET=... (--target)")) not in names:
        print(f"There is no column {answer!r}.")
    return [answer]


def as_name(path: Path) -> str:
    """From a file's name."""
    stem = path.name.split(".")[0]
    return re.sub(r"[^A-Za-z0-9_]+", "_", stem).strip("_").lower() or "table"


def refuse_taken(project: Project, name: str, just_made: bool = False) -> None:
    remedy = f"choose another name (NAME=...), or remove it first (make remove NAME={name})"
    for entry in (Entry(section, name) for section in ("datasets", "models", "sources")):
        if project.has(entry):
            raise UserError(f"params.yaml has a {entry} already: {remedy}.")
        if not just_made and project.is_left(entry) and not is_unfinished(name):
            raise UserError(f"{entry.folder} or dvc.lock holds what is left of a {entry}: {remedy}.")


def is_unfinished(name: str) -> bool:
    return Path("data", name, UNFINISHED).exists()


def write(path: Path, name: str, schema: str, entries: dict[str, str]) -> None:
    """All of it, params.yaml last; or nothing."""
    root, folder = Path.cwd(), Path("data", name)
    with alone("make new"):
        with repository_lock(root, print):
            refuse_taken(Project(), name)
            if is_unfinished(name):
                clear(name)
        try:
            folder.mkdir(parents=True, exist_ok=True)
            with naming(folder):
                (folder / UNFINISHED).touch()
            write_schema(name, schema)
            place(path, folder / "raw")
            dvc("add", str(folder / "raw"), failed=f"dvc add {folder}/raw failed")
            with repository_lock(root, print):
                refuse_taken(project := Project(), name, just_made=True)
                project.write(with_entries(project, name, entries), GRAPH, PARAMS)
                (folder / UNFINISHED).unlink()
        except BaseException:
            with repository_lock(root, print):
                if not Project().has(Entry("models", name)):
                    clear(name)
            raise


def write_schema(name: str, schema: str) -> None:
    path_of(name).parent.mkdir(parents=True, exist_ok=True)
    with naming(path_of(name)):
        path_of(name).write_text(schema, encoding="utf-8")


def place(path: Path, raw: Path) -> None:
    """A copy of the file in the folder."""
    raw.mkdir()
    with naming(raw / path.name):
        shutil.copyfile(path, raw / path.name)


def dvc(*arguments: str, failed: str) -> None:
    done = subprocess.run([sys.executable, "-m", "dvc", *arguments], capture_output=True, text=True, check=False)
    if done.returncode:
        said = [line.removeprefix("ERROR: ") for line in done.stderr.splitlines() if line.startswith("ERROR: ")]
        raise UserError(f"{failed}: {printable('; '.join(said)).rstrip('.') or f'DVC ended with {done.returncode}'}.")


def clear(name: str) -> None:
    """Takes away what was made for entries that params.yaml does not have; the mark last."""
    project, folder = Project(), Path("data", name)
    if project.is_artifact(Entry("models", name)):
        project.write({GRAPH: without(project.texts[GRAPH], ("artifacts", name))}, GRAPH)
    for path in (folder / "raw", folder / ".raw.removed", folder / "raw.dvc", path_of(name)):
        if path.exists():
            delete(path)
    unignore_raw(folder)
    (folder / UNFINISHED).unlink(missing_ok=True)
    if folder.is_dir() and not any(folder.iterdir()):
        folder.rmdir()


def with_entries(project: Project, name: str, entries: dict[str, str]) -> dict[Path, str]:
    texts = dict(project.texts)
    for section, entry in entries.items():
        texts[PARAMS] = added(texts[PARAMS], section, name, entry)
    texts[GRAPH] = added(texts[GRAPH], "artifacts", name, artifact(name))
    return texts


def artifact(name: str) -> str:
    return f"{name}: {{path: models/{name}/exported/model.onnx, type: model}}"


def dataset_entry(table: Table, name: str, options: argparse.Namespace) -> str:
    ways = {way: value for way in ("group", "time", "split") if (value := getattr(options, way))}
    if len(ways) > 1:
        raise UserError(f"{' and '.join(f'--{way}' for way in ways)} split the rows in different ways: say one of them.")
    for way, column in ways.items():
        if column not in table.columns or column in table.targets:
            raise UserError(f"--{way} is {column!r}, which is not a column of {table.path.name} besides the target.")
        if way == "time" and table.columns[column].type not in ("date", "number"):
            why = table.columns[column].why
            raise UserError(f"--time is {column!r}, which is neither a date nor a number ({why}): say --date or --number.")
    test, val = (0.0, 0.0) if "split" in ways else (options.test_fraction, VAL_FRACTION)
    preprocess = {"task": table.task(), "test_fraction": test, "val_fraction": val, **ways, "max_bad_fraction": BAD_ROWS}
    check_section(Preprocess, preprocess, "preprocess", "The new entry")
    use = f"To predict {', '.join(table.targets)} from the other columns of {table.path.name}."
    about = {"use": use, "limits": "Nobody has written down yet what it is not for.", "licence": "not stated"}
    return flow(name, {"kind": "table", "raw": f"data/{name}/raw", "preprocess": preprocess, "about": about})


def model_entry(table: Table, name: str) -> str:
    architecture = {"name": "table", "members": 8, "hidden": [128, 128, 128], "dropout": 0.1}
    train = {"recipe": "tabm", **training(table.task(), table.num_rows, len(table.columns))}
    return flow(name, {"dataset": name, "architecture": architecture, "train": train, "int8": []})


def training(task: str, rows: int, columns: int) -> dict[str, Any]:
    """What a model of so large a table has otherwise than the recipe `tabm` says."""
    is_number, batch, most = task == "regression", BATCH, EPOCHS[1]
    if is_number:
        batch = FIRST_BATCH
        while batch < BATCH and rows > batch * STEPS:
            batch *= 2
    if rows > LARGE:
        batch = LARGE_BATCH
    epochs = min(max(BUDGET // (rows * (columns + COLUMNS)), EPOCHS[0]), most)
    return {
        **({"loss": {"name": LOSSES[task]}} if task != "binary" else {}),
        **({"lr": RATE_OF_NUMBERS} if is_number else {}),
        **({"epochs": epochs} if epochs < most else {}),
        **({"batch_size": batch} if batch != BATCH else {}),
    }


def flow(name: str, values: dict[str, Any]) -> str:
    """Lines of YAML, a key a line, with what a key holds on its line."""
    return "\n".join([f"{name}:", *(f"  {key}: {in_line(value)}" for key, value in values.items())])


def in_line(value: Any) -> str:
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key}: {in_line(one)}" for key, one in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(in_line, value)) + "]"
    if isinstance(value, str):
        plain = re.fullmatch(r"[A-Za-z_][A-Za-z0-9_ ./-]*", value) and YAML(typ="safe").load(value) == value
        return value if plain else '"' + "".join(escape(one) for one in value) + '"'
    return str(value).lower() if isinstance(value, bool) else str(value)


def escape(character: str) -> str:
    if character in '"\\':
        return f"\\{character}"
    return character if character.isprintable() else f"\\U{ord(character):08x}"


def indented(entry: str) -> str:
    return "\n".join(f"  {line}" for line in entry.splitlines())


def as_yaml(table: Table, address: str) -> str:
    """The schema file: a line a column."""
    schema = table.schema()
    where = f"# It was fetched from {printable(address)}\n" if address else ""
    lines = [
        f"# How {table.path.name} is read: written by `make new`, and yours to change (docs/tables.md). A new delivery of the file",
        "# is read in the same way, or refused by column. Levels of the target are the classes, in this order.",
        f"{where}file: {in_line(schema.file)}",
        f"format: {in_line(schema.format.model_dump(exclude_none=True))}",
        f"targets: {in_line(schema.targets)}",
        "columns:",
    ]
    for column, found in schema.columns.items():
        values = {key: value for key, value in found.model_dump().items() if value is not None}
        last = {key: values.pop(key) for key in ("why", "example") if key in values}
        key, value = in_line(column), in_line({"type": values.pop("type"), **values, **last})
        lines.append(f"  {key}: {value}" if len(key) < MAX_KEY else f"  ? {key}\n  : {value}")
    return "\n".join(lines) + "\n"


def pairs(values: Iterable[str], what: str) -> dict[str, list[str]]:
    """From COLUMN=ONE|OTHER."""
    found: dict[str, list[str]] = {}
    for value in values:
        column, sign, words = value.partition("=")
        if not sign or not words:
            raise UserError(f"{what} {value!r}: expected COLUMN=..., several with | between them.")
        found[column] = words.split("|")
    return found


def patterns(values: Iterable[str]) -> dict[str, list[str]]:
    """From COLUMN=%d.%m.%Y|..."""
    found = pairs(values, "--date")
    for column, texts in found.items():
        for text in texts:
            try:
                pattern_of_dates(text)
            except ValueError as error:
                raise UserError(f"--date: {text!r} of {column} is no pattern of dates: {error}.") from error
    return found


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m entries.new", description="Make a dataset and a model of a table of your own.")
    add = parser.add_argument
    add("data", nargs="?", default="", metavar="DATA", help="a CSV or TSV file, plain or .gz, or a Parquet file; its folder; its address")
    add("--target", action="append", metavar="COLUMN", help="what is to be predicted; more than once for several")
    add("--name", help="of the dataset and the model; default: from the file's name")
    add("--dry-run", action="store_true", help="say what would be written, and change nothing")
    add("--drop", action="append", default=[], metavar="COLUMN", help="leave it out")
    add("--number", action="append", default=[], metavar="COLUMN", help="its cells are numbers; others count as missing")
    add("--category", action="append", default=[], metavar="COLUMN", help="its cells are words or codes")
    add("--date", action="append", default=[], metavar="COLUMN=PATTERN|...", help="such as made_on=%%d.%%m.%%Y")
    add("--missing", action="append", default=[], metavar="COLUMN=WORD|...", help="words that mean missing, such as heat=NA|-999")
    add("--ignore-case", action="append", default=[], metavar="COLUMN", help="words that differ by case alone are the same")
    add("--encoding", help="of the file, such as cp1252 or utf-16")
    add("--separator", help="the sign between cells")
    add("--decimal", choices=[".", ","], help="the sign before a number's fraction")
    add("--header", action=argparse.BooleanOptionalAction, default=None, help="whether the first line has the columns' names")
    add("--names", type=lambda text: text.split(","), help="of all columns, in their order, with commas between")
    add("--group", metavar="COLUMN", help="rows with the same cell stay in one split")
    add("--time", metavar="COLUMN", help="the last rows by this column are the test split")
    add("--split", metavar="COLUMN", help="its cells say train, val or test")
    add("--test-fraction", type=float, default=0.2, help="of all rows; default: 0.2")
    options = parser.parse_args(arguments)

    def work() -> None:
        way = {".": (".", ""), ",": (",", "."), None: None}[options.decimal]
        told = Told(
            drop=frozenset(options.drop),
            number=frozenset(options.number),
            category=frozenset(options.category),
            dates=patterns(options.date),
            missing=pairs(options.missing, "--missing"),
            ignore_case=frozenset(options.ignore_case),
            way=way,
        )
        new(options.data, options, told)

    run(work)


if __name__ == "__main__":
    main()
