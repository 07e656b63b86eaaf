"""Tables that say what pictures show: finds those that have a column of pictures' names, and the column of what they show."""

import argparse
import re
from pathlib import PurePosixPath
from typing import Any, NamedTuple

from entries.project import ask
from entries.proposal import reads_like_splits, some_of
from entries.tables.formats import format_of
from stages.common.splits import SPLITS
from stages.reading.contents import printable
from stages.reading.delimited import all_rows, names_of
from stages.reading.group_splits import WORDS
from stages.reading.picture_labels import Finder
from stages.reading.raw_files import RawFiles
from stages.shell.errors import UserError

TABLES = (".csv", ".tsv")
ROWS = 1000  # that are looked at
NAMING = 0.5  # of the cells of a column, that name pictures
NUMBERS = 20  # different numbers in a column of labels are no classes
SHOWN = 8


class Table(NamedTuple):
    """A table that names pictures: its format, its cells by column, the column with the names, the split that its own name says."""

    name: str
    form: dict[str, Any]
    cells: dict[str, list[str]]
    file: str
    split: str | None


def labels_by_tables(files: RawFiles, tables: list[str], data: str, options: argparse.Namespace, said: list[str]) -> dict[str, Any]:
    """Keys of preprocess that name one of the tables, or one for each split; none where no table names pictures. `said` hears of it."""
    base, found = files.base([]), [one for table in tables if (one := table_of(files, table, options)) is not None]
    if not found:
        return {}
    main = next((one for one in found if one.split == "train"), found[0])
    target = target_in(main, options)
    usable = [one for one in found if {main.file, *target} <= one.cells.keys()]
    said += [f"{one.name} names pictures and has no column {target[0]}: passed over" for one in found if one not in usable]
    by_split = {one.split: one.name.removeprefix(base) for one in usable}
    if "test" not in by_split and {"train", "val"} <= by_split.keys():
        by_split["test"] = by_split.pop("val")
    if len(usable) > 1 and (len(by_split) < len(usable) or None in by_split or not {"train", "test"} <= by_split.keys()):
        raise UserError(
            f"{data} has several tables that name its pictures: {some_of([one.name for one in usable], SHOWN)}. Put their rows into one, "
            "with a column that says train or test (--split); or say which is read: --set table=FILE --set file=COLUMN "
            "--set 'label=[COLUMN]'."
        )
    task = "multilabel" if len(target) > 1 else "multiclass"
    if any(are_many_numbers(main.cells[name]) for name in target) and all(are_numbers(main.cells[name]) for name in target):
        task = "regression"
    columns = f"column{'s' * (len(target) > 1)} {', '.join(map(printable, target))}"
    said.append(f"what they show is in the {columns} of {' and '.join(one.name for one in usable)}")
    if len(usable) == 1 and not options.split:
        splits = [name for name, cells in main.cells.items() if name not in (main.file, *target) and reads_like_splits(cells)]
        said += [f"{name} reads like splits: --split '{name}' uses it" for name in splits]
    table = {split: by_split[split] for split in SPLITS if split in by_split} if len(usable) > 1 else main.name.removeprefix(base)
    form = {key: value for key, value in main.form.items() if value is not None}
    told = {"task": task, "table": table, "file": main.file, "label": target} | ({"format": form} if form else {})
    return told | ({"group": options.group} if options.group else {})


def table_of(files: RawFiles, table: str, options: argparse.Namespace) -> Table | None:
    """What is in it, if a column names pictures."""
    finder = Finder(files.pictures, str(PurePosixPath(table).parent))
    with files.as_file(table) as path:
        form, _ = format_of(path, options.encoding, options.separator, options.header, options.names)
        header, rows = names_of(path, form, all_rows(path, form))
        seen = [row for _, (_, row) in zip(range(ROWS), rows, strict=False) if len(row) == len(header)]
    cells = {name: [row[place] for row in seen] for place, name in enumerate(header)}
    naming = [name for name in header if sum(is_found(finder, cell) for cell in cells[name]) >= NAMING * max(1, len(seen))]
    if not naming:
        return None
    words = re.findall(r"[a-z]+", PurePosixPath(table).stem.lower())
    splits = {SPLITS[WORDS[word]] for word in words if word in WORDS}
    return Table(table, form.model_dump(exclude_defaults=True), cells, naming[0], splits.pop() if len(splits) == 1 else None)


def target_in(table: Table, options: argparse.Namespace) -> list[str]:
    """The columns that say what a picture shows: told, the only other one, or asked for."""
    others = [name for name in table.cells if name not in (table.file, options.split)]
    if unknown := [name for name in (*(options.target or []), options.group, options.split) if name and name not in table.cells]:
        raise UserError(f"{table.name} has no column {unknown[0]!r}; it has {', '.join(map(printable, table.cells))}.")
    shown = [name for name in others if not reads_like_splits(table.cells[name])]
    target = list(options.target or (shown if len(shown) == 1 else []))
    while not target:
        known = ", ".join(map(printable, others))
        answer = ask(f"Which column of {table.name} says what a picture shows ({known})?", "TARGET=... (--target)")
        target = [answer] if answer in others else []
    return target


def is_found(finder: Finder, cell: str) -> bool:
    try:
        finder.find(cell.strip())
    except ValueError:
        return False
    return True


def are_numbers(cells: list[str]) -> bool:
    return all(re.fullmatch(r"[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d{1,3})?", cell.strip(), re.ASCII) for cell in cells if cell.strip())


def are_many_numbers(cells: list[str]) -> bool:
    """So many different ones that they are no classes."""
    return len({cell.strip() for cell in cells} - {""}) > NUMBERS and are_numbers(cells)
