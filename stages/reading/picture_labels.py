"""What pictures show, as their folders, their names, a table or texts beside them say it.

Each way gives the labels by a picture's name: one for a class, several for multilabel, numbers as texts for a regression. What says
nothing, or two things, is left out and named.
"""

import re
import signal
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import PurePosixPath, PureWindowsPath
from typing import Literal, NamedTuple

from examples import cells
from examples.rows import listed
from stages.common.meta import Format
from stages.reading.contents import LeftOutItems, Notes, printable
from stages.reading.delimited import all_rows, named, names_of
from stages.reading.raw_files import RawFiles
from stages.shell.errors import UserError

MAX_LABEL, MAX_CLASSES = 200, 10_000  # characters; classes
MAX_TEXT = 64_000  # bytes of a text beside a picture
MAX_ALIKE = 100  # pictures of one name that are told apart by their folders
MAX_NAME = 255  # characters of a file's name, as file systems have it
PATTERN_SECONDS = 60  # of the processor, for all names together
FORMAT = "preprocess.format"
LETTERS = r"^([^\W\d_]+)"
YES_AND_NO = {"0": "", "1": "1", "0.0": "", "1.0": "1", "no": "", "yes": "1", "false": "", "true": "1"}

Labels = dict[str, tuple[str, ...]]  # by the picture's name


class Columns(NamedTuple):
    """Of a table: the picture's file, its labels, and what else is read."""

    file: str
    labels: list[str]
    group: str | None = None
    split: str | None = None

    def all(self) -> list[str]:
        return list(dict.fromkeys(filter(None, [self.file, *self.labels, self.group, self.split])))


class Told(NamedTuple):
    """What a table says besides labels, by the picture's name."""

    labels: Labels
    groups: dict[str, str]
    splits: dict[str, str]
    seen: set[str]  # pictures that have a row, be it a bad one


class Pattern:
    """A regular expression of params.yaml and the part of a name that it finds: its first group, or all of it where it has none.

    One with a / sees the path below raw/, another one the file's name alone.
    """

    def __init__(self, text: str):
        self.compiled, self.sees_path = re.compile(text), "/" in text

    def of(self, name: str) -> str | None:
        seen = unicodedata.normalize("NFC", name if self.sees_path else name.rpartition("/")[2])
        if len(seen) > (4 * MAX_NAME if self.sees_path else MAX_NAME):
            return None
        found = self.compiled.search(seen)
        return None if found is None else found[1 if self.compiled.groups else 0]


@contextmanager
def bounded(key: str) -> Iterator[None]:
    """Ends what patterns do where it takes too long: some take time to the power of a name's length, and names may be a stranger's.

    The processor's time is what counts, by a signal, at which `re` looks from time to time.
    """

    def refuse(*_: object) -> None:
        why = "a repeat within a repeat, such as (a+)+, can take for ever"
        raise UserError(f"{key} takes more than {PATTERN_SECONDS} s over the names of the pictures: simplify it ({why}).")

    before = signal.signal(signal.SIGVTALRM, refuse)
    signal.setitimer(signal.ITIMER_VIRTUAL, PATTERN_SECONDS)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        signal.signal(signal.SIGVTALRM, before)


def by_pattern(names: Iterable[str], pattern: str, key: str, left_out: LeftOutItems) -> Labels:
    found, compiled = Labels(), Pattern(pattern)
    with bounded(key):
        for name in names:
            if label := compiled.of(name):
                found[name] = (label,)
            else:
                left_out.add(name, f"{key} finds nothing in its name")
    return found


def by_folder(folders: dict[str, str], level: int | Literal["deepest", "whole"] | None, left_out: LeftOutItems, notes: Notes) -> Labels:
    """Of pictures and, for each, the path of its folder below the one of its split."""
    found, nested = Labels(), ""
    for name, folder in folders.items():
        parts = folder.split("/") if folder else []
        if len(parts) < (level if isinstance(level, int) else 1):
            left_out.add(name, "lies in no class folder" if not parts else f"lies in fewer folders than level, {level}")
            continue
        nested = nested or (folder if len(parts) > 1 else "")
        found[name] = (folder if level == "whole" else parts[level - 1] if isinstance(level, int) else parts[-1],)
    if folders and not found:
        first = next(iter(folders))
        if level is None:
            raise UserError(
                f"No picture lies in a class folder; the first is {printable(first)}. If the names say what is shown, give "
                f"preprocess.label_pattern (such as '{LETTERS}', the letters that they begin with); if a table does, "
                "preprocess.table; or make class folders."
            )
        raise UserError(f"No picture lies in so many folders as preprocess.level, {level}, says; the first is {printable(first)}.")
    if nested and level is None:
        top, deepest = nested.split("/")[0], nested.split("/")[-1]
        notes.say(
            f"folders lie in folders, such as {nested}: the deepest, {deepest}, is the class (preprocess.level: deepest says so; level: 1 "
            f"takes {top}, and level: whole takes {nested})"
        )
    return found


def by_text(names: Iterable[str], files: RawFiles, separator: str | None, several: bool) -> Labels:
    """Of the text of the same name beside each picture: a label a line, where there may be several also with a sign between."""
    found = Labels()
    for name in names:
        beside = f"{name.removesuffix(PurePosixPath(name).suffix)}.txt"
        if beside not in files.others:
            files.left_out.add(name, "has no text of its name (.txt) beside it")
            continue
        files.used.add(beside)
        content = files.read(beside, MAX_TEXT)
        try:
            lines = content[: MAX_TEXT + 1].decode("utf-8-sig").splitlines()
        except UnicodeDecodeError:
            files.left_out.add(name, "the text beside it is not UTF-8")
            continue
        labels = [label for line in lines for part in (line.split(separator) if separator else [line]) if (label := cells.stripped(part))]
        if len(content) > MAX_TEXT or (not several and len(labels) != 1):
            files.left_out.add(name, f"the text beside it has {len(labels)} lines, expected one label")
        else:
            found[name] = tuple(dict.fromkeys(labels))
    return found


def by_table(files: RawFiles, table: str, form: Format, columns: Columns, task: str, separator: str | None, names: list[str]) -> Told:
    """Of a table in raw/: a row a picture, or of multilabel several. Columns of 0 and 1 are classes where `columns` has several."""
    told, finder = Told({}, {}, {}, set()), Finder(names, PurePosixPath(table).parent.as_posix())
    lines, conflicts = dict[str, int](), set[str]()
    base = files.base([])
    path_in_raw = next((path for path in (table, f"{base}{table}") if path in files.others), None)
    if path_in_raw is None:
        known = listed(sorted(map(printable, files.others))) or "no file that could be one"
        raise UserError(f"preprocess.table is {table!r}, which is not in {files.raw}; there is {known}.")
    files.used.add(path_in_raw)
    with files.as_file(path_in_raw) as path:
        header, rows = names_of(path, form, all_rows(path, form, FORMAT), FORMAT)
        places = places_of(columns, header, table)
        for line, row in rows:
            where = f"{PurePosixPath(table).name} line {line}"
            if len(row) != len(header):
                files.left_out.add(where, f"has {len(row)} cells, not {len(header)}")
                continue
            of = {name: cells.stripped(row[place]) for name, place in places.items()}
            try:
                name = finder.find(of[columns.file])
                told.seen.add(name)
                labels = labels_in([of[label] for label in columns.labels], columns.labels, task, separator)
            except ValueError as error:
                files.left_out.add(where, str(error))
                continue
            before = told.labels.get(name)
            if name in conflicts:
                continue
            if before is not None and before != labels and (task != "multilabel" or len(columns.labels) > 1):
                both = f"{shown(before)} on line {lines[name]} and {shown(labels)} on line {line}"
                files.left_out.add(name, f"{PurePosixPath(table).name} has two labels for it: {both}")
                del told.labels[name]
                conflicts.add(name)
                continue
            lines.setdefault(name, line)
            told.labels[name] = tuple(dict.fromkeys([*(before or ()), *labels])) if task == "multilabel" else labels
            if columns.group and of[columns.group]:
                told.groups[name] = of[columns.group]
            if columns.split:
                told.splits[name] = of[columns.split].lower()
    return told


def shown(labels: tuple[str, ...]) -> str:
    return f"'{printable(', '.join(labels))}'"


def places_of(columns: Columns, header: list[str], table: str) -> dict[str, int]:
    if missing := [name for name in columns.all() if name not in header]:
        fix = "check the keys file, label, group and split"
        if len(header) == 1:
            fix = f"one column alone was found: check {FORMAT}.separator"
        raise UserError(f"{table} has no column {named(missing)}; it has {named(header)}: {fix}.")
    if twice := [name for name in columns.all() if header.count(name) > 1]:
        raise UserError(f"{table} has two columns {printable(twice[0])}: rename one.")
    return {name: header.index(name) for name in columns.all()}


def labels_in(values: list[str], names: list[str], task: str, separator: str | None) -> tuple[str, ...]:
    """Of one row's cells. Raises ValueError."""
    if task == "regression":
        for value, name in zip(values, names, strict=True):
            if not re.fullmatch(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d{1,3})?", value, re.ASCII) or len(value) > MAX_LABEL:
                raise ValueError(f"column {name} has '{printable(value)}', expected a number")
        return tuple(values)
    if len(names) == 1 and task == "multilabel":
        return tuple(dict.fromkeys(filter(None, map(cells.stripped, values[0].split(separator) if separator else values))))
    if len(names) == 1:
        if not values[0]:
            raise ValueError("has no label")
        return tuple(values)
    for value, name in zip(values, names, strict=True):
        if value.lower() not in YES_AND_NO:
            raise ValueError(f"column {name} has '{printable(value)}', expected 0 or 1")
    found = tuple(name for value, name in zip(values, names, strict=True) if YES_AND_NO[value.lower()])
    if task == "multiclass" and len(found) != 1:
        raise ValueError(f"has {len(found)} columns of 1, expected one")
    return found


class Finder:
    """Finds the picture that a cell means: with or without folders and suffix, in any case. `beside` is the table's own folder."""

    def __init__(self, names: list[str], beside: str):
        self.prefix = "" if beside == "." else f"{beside}/"
        self.exact = {unicodedata.normalize("NFC", name): name for name in names}
        self.paths, self.names = defaultdict[str, list[str]](list), defaultdict[str, list[str]](list)
        for name in names:
            path = alike(name)
            for one in {path, path.removesuffix(PurePosixPath(path).suffix)}:
                self.paths[one].append(name)
                self.names[one.rpartition("/")[2]].append(name)

    def find(self, cell: str) -> str:
        """Raises ValueError where there is none, or more than one."""
        path = unicodedata.normalize("NFC", cell).replace("\\", "/")
        if PureWindowsPath(path).anchor or ".." in path.split("/"):
            raise ValueError(f"'{printable(cell)}' leaves the folder")
        path = "/".join(part for part in path.split("/") if part not in ("", "."))
        if not path:
            raise ValueError("names no picture")
        for prefix in dict.fromkeys([self.prefix, ""]):
            if exact := self.exact.get(f"{prefix}{path}"):
                return exact
        found = next((found for prefix in dict.fromkeys([self.prefix, ""]) if (found := self.paths.get(alike(f"{prefix}{path}")))), None)
        if not found:
            found = self.names.get(alike(path).rpartition("/")[2], [])
            if len(found) <= MAX_ALIKE:
                found = [name for name in found if is_end(alike(path), alike(name))]
        if not found:
            raise ValueError(f"'{printable(cell)}' is not a picture of the raw folder")
        if len(found) > 1:
            raise ValueError(f"'{printable(cell)}' may be {printable(found[0])} or {printable(found[1])}: write the whole path")
        return found[0]


def alike(name: str) -> str:
    return unicodedata.normalize("NFC", name).casefold()


def is_end(one: str, other: str) -> bool:
    """Whether the folders of one path are the last of the other's."""
    first, second = one.split("/")[:-1], other.split("/")[:-1]
    number = min(len(first), len(second))
    return number == 0 or first[-number:] == second[-number:]


class Classes:
    """The classes of labels, in order: those that are `given`, else those that were found, sorted.

    Labels that differ by case or blanks alone are refused with a question, unless `ignore_case` makes them one, under the most frequent
    spelling, or `given` has each of them.
    """

    def __init__(self, labels: Labels, given: list[str] | None, ignore_case: bool):
        counts = Counter(unicodedata.normalize("NFC", label) for of_one in labels.values() for label in of_one)
        spellings, known, questions = defaultdict[str, list[str]](list), {alike(name): name for name in given or []}, list[str]()
        self.names = dict[str, str | None]()  # of labels as they are spelled
        for label in sorted(counts, key=lambda label: (-counts[label], label)):
            spellings[alike(joined(label))].append(label)
        for key, found in spellings.items():
            if len(found) > 1 and not ignore_case and not set(found) <= set(given or []):
                questions.append(" and ".join(f"'{printable(label)}' ({counts[label]:,})" for label in sorted(found)))
            for label in found:
                same = known.get(key) if ignore_case else joined(label) if joined(label) in known.values() else None
                self.names[label] = same if given else joined(found[0])
                if label in known.values():
                    self.names[label] = label
        if questions:
            raise UserError(
                f"The classes {'; '.join(questions[:5])} differ by case or blanks alone: are they one? If so, set preprocess.ignore_case: "
                "true; if not, list all classes in preprocess.classes, or rename one of them."
            )
        self.all = list(given or sorted({name for name in self.names.values() if name}))
        if len(self.all) > MAX_CLASSES:
            raise UserError(f"There are {len(self.all):,} classes, more than {MAX_CLASSES:,}: check where labels are read from.")
        for name in self.all:
            if printable(name) != name or len(name) > MAX_LABEL:
                raise UserError(f"The class '{printable(name)}' has a name that cannot be shown, or a long one: rename it.")
        self.places = {name: place for place, name in enumerate(self.all)}

    def of(self, labels: tuple[str, ...]) -> list[int]:
        """The places of their classes. Raises ValueError where one has none."""
        names = [self.names[unicodedata.normalize("NFC", label)] for label in labels]
        if None in names:
            raise ValueError(f"its label, '{printable(labels[names.index(None)])}', is not in preprocess.classes")
        return sorted({self.places[name] for name in names if name is not None})


def joined(label: str) -> str:
    return " ".join(label.split())
