"""Asks an exported model, with numpy, onnxruntime and Pillow alone (requirements.txt).

    python predict.py model.onnx INPUT [INPUT ...] [--json]

An INPUT is what the model takes:

- a picture's path, or a folder of pictures (not of its subfolders), which needs pictures.py beside this file;
- a row of numbers separated by commas (an empty cell is missing), or the path of a CSV file;
- of a table with words, which needs rows.py and cells.py beside this file: the path of a file like the one that the model was made from
  (.gz too; its columns in any order, others are ignored) or of the same in Parquet (which needs parquet.py, and pyarrow), or a row as
  name=value,name2=value2 or as JSON;
- a text itself, or with @ before it the name of a .txt file, each line of which is a text (@mails.txt); models that take any script need
  texts.py beside this file.

What that is, and what the answers mean, is read from the ONNX file itself: its metadata has one JSON text under the key `signature`.
An input that does not fit ends in a sentence, the others are answered, and the exit code is 1. Inputs that begin with - come after --.
"""

import argparse
import base64
import csv
import gzip
import io
import json
import math
import os
import re
import sys
import unicodedata
import warnings
import zlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from itertools import chain, islice
from pathlib import Path
from typing import IO, Any, NamedTuple

import numpy as np

os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")  # before the import: since 1.29 ONNX Runtime reports its use to its makers
import onnxruntime
from PIL import Image, ImageFilter, ImageOps

MAX_SIDE = 4096  # of a model's own pictures
MAX_CLASSES = 10_000
TASKS = ("binary", "multiclass", "multilabel", "sequence", "regression")
MAX_LENGTH = 1000  # characters of a text: a recurrent network takes as long as its longest
MAX_RAW_LENGTH = 4 * MAX_LENGTH  # before accents are taken off
MAX_READ = 20_000  # characters that a model of texts of any script may ask for
MAX_LINE, MAX_SAID = 1 << 20, 1000  # characters of a line of a file, and of an input before its answer
MAX_OTHERS = 10_000  # columns of a table that are not the model's
MIN_CONTRAST = 16  # of a drawing's brightness, 0 to 255
LOOKED_AT = 400  # pixels a side in which is seen what a picture shows
SMALL, NEARBY = 80, 17  # of a page so many pixels high, the side of a square that no stroke fills
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")  # of a model
LARGEST = float(np.finfo(np.float32).max)
TOLERANCE = 1e-4  # of golden outputs
BATCH_SIZE = 64
SHOWN = 3  # classes in an answer, the most probable first


class Refused(Exception):
    """An input that cannot be answered. The message is one sentence."""


Values = np.ndarray | tuple[np.ndarray, ...]  # without the batch axis; several where the model has several inputs


class Item(NamedTuple):
    """One input: its name, the numbers for the model, and what was done to it, if anything."""

    name: str
    values: Values
    note: str = ""


class Model:
    """An exported model: an ONNX Runtime session, the signature that stands in the file, and a name, `mnist_mlp.int8` for a variant.

    Raises Refused where the file is none.
    """

    def __init__(self, path: str, threads: int = 0):
        if not Path(path).is_file():
            raise Refused(f"there is no file {path}")
        self.path, options = path, onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads  # 0: all cores
        try:
            self.session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        except Exception as error:  # onnxruntime's own errors share no base class
            raise Refused(f"{path} is damaged, cut short, or no ONNX model ({in_short(error)}): fetch it again") from error
        properties = self.session.get_modelmeta().custom_metadata_map
        if "signature" not in properties:
            raise Refused(f"{path} has no signature in its metadata: it was not exported by this project")
        try:
            self.signature: dict[str, Any] = json.loads(properties["signature"])
            self.name = ".".join(filter(None, [self.signature["model"], properties.get("variant")]))
            kinds = {"characters": find_text, "text": find_text, "features": find_rows, "image": find_pictures, "table": find_table}
            self.find = kinds[self.signature["kind"]]
            if not (NAME.fullmatch(self.name) and is_sound(self.signature, self.session)):
                raise ValueError
        except (ValueError, TypeError, KeyError, IndexError, AttributeError, RecursionError) as error:
            raise Refused(f"{path} has a signature that is damaged, or of a later version than this script") from error

    def check_golden(self) -> None:
        """Raises Refused where the golden input of the signature does not give its golden outputs. Those of variants are their model's."""
        try:
            golden = self.signature["golden"]
            inputs = golden.get("inputs") or {self.signature["input"]["name"]: golden["input"]}
            outputs = self.session.run([*golden["outputs"]], {name: as_numbers(array) for name, array in inputs.items()})
            pairs = zip(outputs, golden["outputs"].values(), strict=True)
            worst = np.max([difference(output, as_numbers(expected)) for output, expected in pairs])
        except Exception as error:  # a stranger's file may hold anything
            raise Refused(f"{self.path}: its golden input cannot be answered ({in_short(error)})") from error
        if not worst <= TOLERANCE:
            raise Refused(f"{self.path}: its golden outputs differ by {worst:g}: this onnxruntime computes something else")

    def read(self, text: str) -> Iterator[Item | Refused]:
        """The inputs that `text` stands for: one, or those of a folder or a file; or why one of them is none."""
        item = None
        try:
            for item in self.find(text, self.signature) if text.strip() else ():
                yield item
        except Refused as error:
            yield error
        except OSError as error:
            yield Refused(f"{text} cannot be read ({error.strerror})")
        else:
            if item is None:
                yield Refused(f"there is no input in {text!r}")

    def feed(self, batch: list[Values]) -> dict[str, np.ndarray]:
        """What the network takes, by name."""
        first = batch[0]
        if isinstance(first, tuple):
            inputs = [entry["name"] for entry in self.signature["inputs"]]
            return {name: np.stack([values[place] for values in batch]) for place, name in enumerate(inputs)}
        if first.dtype == np.int64:  # texts are padded with 0 at the end
            width = max(map(len, batch))
            batch = [np.pad(text, (0, width - len(text))) for text in batch]
        return {self.signature["input"]["name"]: np.stack(batch)}

    def answer(self, batch: list[Values]) -> list[dict[str, Any]]:
        """For each input of a batch: `label` (`labels` where there may be several) and `probabilities` by class, or `text` of a sequence,
        or `prediction` by name, null where a sum has overflown: JSON has no word for infinity.
        """
        names, task = [output["name"] for output in self.signature["outputs"]], self.signature["task"]
        first, *labels = self.session.run(names, self.feed(batch))
        if task == "regression":
            rows = [[float(value) if np.isfinite(value) else None for value in row] for row in first]
            return [{"prediction": dict(zip(self.signature["numbers"], row, strict=True))} for row in rows]
        answers: list[dict[str, Any]] = []
        classes = self.signature["classes"]
        for label, row in zip(labels[0], first, strict=True):
            if task == "sequence":
                known = [(classes[one], by_class(classes, shares)) for one, shares in zip(label, row, strict=True) if one >= 0]
                answers.append({"text": "".join(name for name, _ in known), "probabilities": [shares for _, shares in known]})
            elif task == "multilabel":
                labels_of_row = [name for name, is_there in zip(classes, label, strict=True) if is_there]
                answers.append({"labels": labels_of_row, "probabilities": by_class(classes, row)})
            else:
                answers.append({"label": classes[label], "probabilities": by_class(classes, row)})
        return answers


def difference(output: np.ndarray, expected: np.ndarray) -> float:
    """The largest, relative to numbers above 1: a price of 4,000 has fewer digits behind the point."""
    return float(np.max(np.abs(output - expected) / np.maximum(np.abs(expected), 1), initial=0.0))


def is_sound(signature: dict[str, Any], session: onnxruntime.InferenceSession) -> bool:
    """Whether a signature, which may be a stranger's, fits the network and itself as far as it is used. May raise KeyError and the like."""
    names = [output["name"] for output in signature["outputs"]]
    columns = {output.name: output.shape[-1] for output in session.get_outputs()}
    is_regression = signature["task"] == "regression"
    meanings = signature["numbers" if is_regression else "classes"]
    features = [feature["name"] for feature in signature["features"] or []]
    sizes, inputs = signature["input"]["shape"][1:], signature.get("inputs") or [signature["input"]]
    return (
        signature["task"] in TASKS
        and isinstance(meanings, list)
        and 1 <= len(meanings) <= MAX_CLASSES
        and [one.name for one in session.get_inputs()] == [entry["name"] for entry in inputs]
        and signature["input"] == inputs[0]
        and len(names) == (1 if is_regression else 2)
        and names[-1] in columns
        and columns[names[0]] == len(meanings)
        and all(isinstance(text, str) for text in (*meanings, *features, signature["alphabet"] or ""))
        and len(set(features)) == len(features)
        and {
            "image": lambda: is_picture(sizes, signature["resize"], signature["ink"]),
            "features": lambda: sizes == [len(features)],
            "characters": lambda: True,
            "text": lambda: type(signature["max_length"]) is int and 1 <= signature["max_length"] <= MAX_READ,
            "table": lambda: is_table(signature, session),
        }[signature["kind"]]()
    )


def is_picture(sizes: list[Any], resize: dict[str, Any] | None, ink: dict[str, Any] | None) -> bool:
    """Whether pictures of these sizes [height, width, channels] can be made as is said. May raise KeyError and the like."""
    sides = [*sizes, *([] if resize is None else [resize["shorter_side"]]), *([] if ink is None else [ink["longer_side"]])]
    return (
        len(sizes) == 3
        and sizes[2] in (1, 3)
        and all(type(side) is int and 1 <= side <= MAX_SIDE for side in sides)
        and (ink is None or ink["longer_side"] <= min(sizes[:2]))
    )


def as_numbers(array: dict[str, Any]) -> np.ndarray:
    """An array of a signature, which has it as base64 of its bytes; of texts as they are."""
    if "values" in array:
        return np.array(array["values"], dtype=object).reshape(array["shape"])
    return np.frombuffer(base64.b64decode(array["base64"]), dtype=array["dtype"]).reshape(array["shape"])


def by_class(classes: list[str], probabilities: np.ndarray) -> dict[str, float]:
    return dict(zip(classes, map(float, probabilities), strict=True))


def in_short(error: Exception) -> str:
    return f"{type(error).__name__}: {(str(error).strip().splitlines() or [''])[0]}"


def tried(read: Callable[..., Item], *arguments: Any) -> Item | Refused:
    """One input, or why it is none: the others are read all the same."""
    try:
        return read(*arguments)
    except Refused as error:
        return error


def search_here() -> None:
    """For the files beside this one, where Python is isolated (-I)."""
    here = str(Path(__file__).parent)
    if here not in sys.path:
        sys.path.append(here)


def refuse_special(text: str) -> None:
    """A pipe or a device, from which nothing may ever come."""
    path = Path(text)
    if os.path.lexists(text) and path.exists() and not (path.is_file() or path.is_dir()):
        raise Refused(f"{text} is not a plain file: save what it gives in one")


# Folders of models


def models_below(paths: Iterable[Path], threads: int = 0) -> dict[str, Model]:
    """By name; a folder stands for every *.onnx below it. Raises Refused where there is none, or two of a name."""
    models: dict[str, Model] = {}
    for file in chain.from_iterable(files_below(path) if path.is_dir() else [path] for path in paths):
        model = Model(str(file), threads)
        if model.name in models:
            raise Refused(f"{file} is a second {model.name}: name one of them")
        models[model.name] = model
    if not models:
        raise Refused(f"there is no *.onnx below {', '.join(map(str, paths))}")
    return models


def files_below(folder: Path) -> list[Path]:
    """Every *.onnx; of the folder models/ of this project's repository, those of models in its params.yaml, and the others are named."""
    entries = entries_beside(folder)
    left_out = {file: file.parts[-3] for file in folder.glob("*/exported/*.onnx") if entries and file.parts[-3] not in entries}
    if left_out:
        names = ", ".join(sorted(set(left_out.values())))
        print(clean(f"{folder}: left out, without an entry in the params.yaml beside it: {names}"), file=sys.stderr)
    return sorted(set(folder.rglob("*.onnx")) - set(left_out))


def entries_beside(folder: Path) -> list[str]:
    """The models in the params.yaml beside a folder; none where there is no such file, or it is not laid out as in the repository."""
    params = folder.resolve().parent / "params.yaml"
    text = params.read_text(encoding="utf-8", errors="replace") if params.is_file() else ""
    section = re.search(r"^models:.*\n((?:[ #].*\n|\n)*)", f"{text}\n", flags=re.MULTILINE)
    return re.findall(r"^  [\"']?([\w-]+)[\"']?:", section[1], flags=re.MULTILINE) if section else []


# Pictures


def picture_reader() -> Any:
    """pictures.py, for models of pictures alone."""
    if __package__:
        from examples import pictures
    else:
        search_here()
        import pictures  # type: ignore[no-redef]
    return pictures


def find_pictures(text: str, signature: dict[str, Any]) -> Iterator[Item | Refused]:
    """A picture, or every file of a folder but those that are, by their names, something else."""
    refuse_special(text)
    path, is_other = Path(text), picture_reader().is_other
    files = sorted(file for file in path.iterdir() if file.is_file() and not is_other(file.name)) if path.is_dir() else [path]
    for file in files:
        yield tried(as_picture, file, str(file), signature)


def as_picture(file: Path | IO[bytes], name: str, signature: dict[str, Any]) -> Item:
    """uint8 [height, width, channels]: cut to the model's proportions in the middle, and resized as its own pictures were."""
    height, width, channels = signature["input"]["shape"][1:]
    reader, ink = picture_reader(), signature["ink"]
    try:
        with warnings.catch_warnings(action="ignore"):
            picture, notes = reader.decode(reader.read_bytes(file), without_transparency if ink else reader.on_ground)
        if ink:
            grey = as_grey(picture, LOOKED_AT)
            is_inverted = is_dark_on_light(grey)
            drawing = cut_out_drawing(ImageOps.invert(grey) if is_inverted else grey, width, height, ink["longer_side"])
            if drawing is None:
                raise Refused(f"{name} shows no drawing: nothing stands out from the page")
            if is_inverted or picture.size != (width, height):
                return Item(name, drawing[..., None], f"{'dark on light: inverted, ' if is_inverted else ''}cut out and centred")
        picture = picture.convert("L" if channels == 1 else "RGB")
        if signature["resize"]:
            side = signature["resize"]["shorter_side"]
            notes = (*notes, *reader.cut_notes(picture.size, side, width, height))
            picture = reader.centre(reader.resized(picture, side), width, height)
        elif picture.size != (width, height):
            picture = ImageOps.fit(picture, (width, height), Image.Resampling.BILINEAR)
    except reader.BadPicture as error:
        raise Refused(f"{name} cannot be read as a picture: {error}") from error
    except (OSError, MemoryError) as error:
        raise Refused(f"{name} cannot be read ({getattr(error, 'strerror', None) or 'it takes more memory than there is'})") from error
    return Item(name, np.asarray(picture, dtype=np.uint8).reshape(height, width, channels), "; ".join(map(str, notes)))


def without_transparency(picture: Image.Image) -> Any:
    """Of a drawing: on white, or on black where what is to be seen is light, since a white drawing on nothing would be lost."""
    reader = picture_reader()
    if not reader.is_transparent(picture):
        return reader.on_ground(picture)
    small = picture.resize([min(side, LOOKED_AT) for side in picture.size], Image.Resampling.NEAREST).convert("RGBA")
    layers = np.asarray(small, dtype=np.float64)
    seen = layers[..., 3:] / 255
    is_light = (layers[..., :3] * seen).sum() > 127.5 * 3 * seen.sum()
    return reader.on_ground(picture, "black" if is_light else "white")


def as_grey(picture: Image.Image, side: int) -> Image.Image:
    """At most `side` pixels wide and high."""
    grey = picture.convert("L")
    grey.thumbnail((side, side), Image.Resampling.BOX)
    return grey


def is_dark_on_light(grey: Image.Image) -> bool:
    """Strokes are few beside what is around them: whether what differs from the page is dark, however the page is lit."""
    small = as_grey(grey, SMALL)
    page = small.filter(ImageFilter.MedianFilter(NEARBY))
    return float(((np.asarray(small, dtype=np.float64) - np.asarray(page)) ** 3).sum()) < 0


def cut_out_drawing(light_on_dark: Image.Image, width: int, height: int, longer_side: int) -> np.ndarray | None:
    """What is drawn on a page, light on dark, uint8 [height, width]: its longer side `longer_side`, its centre of mass in the middle, as
    the model's own pictures are; None where no drawing was found.
    """
    # The page may be lit unevenly: its brightness is a morphological opening, which leaves no stroke.
    page = as_grey(light_on_dark, SMALL).filter(ImageFilter.MinFilter(NEARBY)).filter(ImageFilter.MaxFilter(NEARBY))
    page = page.resize(light_on_dark.size, Image.Resampling.BILINEAR)
    ink = np.maximum(np.asarray(light_on_dark, dtype=np.float64) - np.asarray(page), 0)
    if ink.max() < MIN_CONTRAST:
        return None
    ink = np.clip(2 * ink / ink.max() - 0.5, 0, 1)  # what stands out by less than a quarter is noise or shadow, by three quarters ink
    rows, columns = (np.flatnonzero(ink.max(axis=axis) > 0.5) for axis in (1, 0))
    drawing = Image.fromarray(np.rint(255 * ink[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]).astype(np.uint8))
    scale = longer_side / max(drawing.size)
    new_width, new_height = (max(1, round(side * scale)) for side in drawing.size)
    small = drawing.resize((new_width, new_height), Image.Resampling.BOX if scale < 1 else Image.Resampling.BICUBIC)
    values, placed = np.asarray(small, dtype=np.float64), np.zeros((height, width), dtype=np.uint8)
    centres = [(values.sum(axis=1 - axis) @ np.arange(length)) / values.sum() for axis, length in enumerate(values.shape)]
    # The centre of mass comes into the middle as far as there is room.
    top, left = (
        int(np.clip(round((placed.shape[axis] - 1) / 2 - centres[axis]), 0, placed.shape[axis] - values.shape[axis])) for axis in (0, 1)
    )
    placed[top : top + len(values), left : left + values.shape[1]] = values
    return placed


# Rows of numbers


def find_rows(text: str, signature: dict[str, Any]) -> Iterator[Item | Refused]:
    """A row, or every row of a CSV file: with a header its columns may stand in any order, and there may be others."""
    names = [feature["name"] for feature in signature["features"]]
    refuse_special(text)
    try:
        with Path(text).open(encoding="utf-8-sig", newline="") as file:
            yield from rows_of(file, text, names)
    except UnicodeDecodeError as error:
        raise Refused(f"{text} is no CSV file in UTF-8 ({error})") from error
    except (OSError, ValueError) as error:  # it is no path
        if "," not in text and len(names) > 1:
            numbers = f"{len(names)} numbers with commas between them: {', '.join(names)}"
            raise Refused(f"{text} is neither a file that can be read ({error}) nor {numbers}") from error
        yield tried(as_row, text, text.split(","), names, names)


def rows_of(lines: Iterable[str], what: str, names: list[str]) -> Iterator[Item | Refused]:
    """The rows of a table's lines; the first may be a header."""
    reader, known = csv.reader(lines, strict=True), ", ".join(names)  # strict: a quote that is never closed would take what follows with it
    try:
        header = [cell.strip() for cell in next(filter(None, reader), [])]
        if len(header) > len(names) + MAX_OTHERS:
            raise Refused(
                f"{what} has {len(header):,} columns; the model takes {len(names)}, and at most {MAX_OTHERS:,} others are left out"
            )
        times = Counter(header)
        if not times.keys() & set(names):
            first = tried(as_row, f"{what} line {reader.line_num}", header, names, names)
            if isinstance(first, Refused):
                raise Refused(f"{what} begins with neither the names of columns ({known}) nor such a row with commas between: {first}")
            yield first
            header = names
        elif twice := [name for name in names if times[name] > 1]:
            raise Refused(f"{what} has two columns {twice[0]}: keep one")
        elif missing := [name for name in names if name not in times]:
            raise Refused(f"{what} has no column {', '.join(missing)}; the model takes {known}")
        for cells in filter(None, reader):
            yield tried(as_row, f"{what} line {reader.line_num}", cells, header, names)
    except csv.Error as error:
        place = f"{what} is no CSV from line {reader.line_num} on, or in a quoted cell that begins before"
        raise Refused(f"{place} ({error}); what follows is not read") from error


def as_row(what: str, cells: list[str], header: list[str], names: list[str]) -> Item:
    """float32 [num_features]; an empty cell is NaN, which is missing."""
    if len(cells) != len(header):
        raise Refused(f"{what} has {len(cells)} number{'s' if len(cells) != 1 else ''}, expected {len(header)}: {', '.join(header)}")
    row = dict(zip(header, cells, strict=True))
    return Item(what, np.array([as_number(row[name].strip(), name, what) for name in names], dtype=np.float32))


def as_number(cell: str, name: str, what: str) -> float:
    """As other programs write one: Python's own 1_000 and the digits of other scripts are none."""
    if not cell:
        return math.nan
    try:
        value = float(cell) if cell.isascii() and "_" not in cell else math.nan
    except ValueError:
        value = math.nan
    if not abs(value) <= LARGEST:
        raise Refused(f"{what}: {name} is {cell!r}, which is not a finite number: leave the cell empty (null in JSON) where it is missing")
    return value


# Rows of a table with words


def row_reader() -> Any:
    """rows.py, for models of tables alone."""
    if __package__:
        from examples import rows
    else:
        search_here()
        import rows  # type: ignore[no-redef]
    return rows


def is_table(signature: dict[str, Any], session: onnxruntime.InferenceSession) -> bool:
    """Whether what is read of a row is what the network takes. May raise KeyError and the like."""
    widths = {"float32": len(signature["features"]), "string": len(signature["categories"])}
    expected = [(dtype, width) for dtype, width in widths.items() if width]
    types = {"float32": "tensor(float)", "string": "tensor(string)"}
    return (
        [(entry["dtype"], *entry["shape"][1:]) for entry in signature["inputs"]] == expected
        and [(one.type, *one.shape[1:]) for one in session.get_inputs()] == [(types[dtype], width) for dtype, width in expected]
        and row_reader().is_sound(signature)
    )


def find_table(text: str, signature: dict[str, Any]) -> Iterator[Item | Refused]:
    """A row, or every row of a file that is like the model's own table."""
    reader = row_reader().Reader(signature)
    refuse_special(text)
    if os.path.lexists(text):
        yield from rows_in((gzip.open if text.lower().endswith(".gz") else open)(text, "rb"), text, reader, tell)
    else:
        yield as_item(reader.text(text, tell))


def rows_in(file: Any, what: str, reader: Any, hear: Callable[[str], None]) -> Iterator[Item | Refused]:
    """Of an open binary file; `hear` is told once which columns are ignored."""
    try:
        with file:
            yield from map(as_item, reader.file(file, what, hear))
    except row_reader().BadTable as error:
        raise Refused(str(error)) from error
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise Refused(f"{what} is damaged or cut short ({in_short(error)}): fetch it again") from error


def as_item(taken: Any) -> Item | Refused:
    """float32 [num_features] and texts [num_categories], of which there is what the model takes."""
    if isinstance(taken, Exception):
        return Refused(str(taken))
    numbers, words = np.array(taken.numbers, dtype=np.float32), np.array(taken.words, dtype=object)
    return Item(taken.name, tuple(values for values in (numbers, words) if len(values)), taken.note)


def tell(line: str) -> None:
    print(clean(f"note: {line}."), file=sys.stderr)


# Texts


def find_text(text: str, signature: dict[str, Any]) -> Iterator[Item | Refused]:
    """A text, or each line of the file that @NAME.txt names. The name of another file is not meant as a text."""
    is_lines = text.startswith("@") and text.lower().endswith(".txt")
    if not is_lines and text.startswith("@") and is_file(text[1:]):
        raise Refused(f"only @….txt is read, as a text a line: put the texts of {text[1:]} into a .txt file")
    if ("." in text or os.sep in text) and is_file(text):
        fix = f"put @ before it to read its lines (@{text})" if text.lower().endswith(".txt") else "put @ before a .txt to read it"
        raise Refused(f"{text} is a file, and no text: {fix}")
    for one in lines_of(text[1:]) if is_lines else [text]:
        yield tried(as_codes, one, signature)


def is_file(text: str) -> bool:
    """A text may be longer than any path."""
    try:
        return Path(text).is_file()
    except (OSError, ValueError):
        return False


def lines_of(path: str) -> Iterator[str]:
    """Those of a file that are not blank."""
    refuse_special(path)
    if not Path(path).is_file():
        raise Refused(f"there is no file {path}, whose lines @{path} stands for")
    try:
        with Path(path).open(encoding="utf-8-sig") as file:
            for number, line in enumerate(iter(lambda: file.readline(MAX_LINE), ""), start=1):
                if len(line) == MAX_LINE:
                    raise Refused(f"{path} line {number} has more than {MAX_LINE:,} characters: this is not a file of inputs")
                if line.strip():
                    yield line.removesuffix("\n")
    except UnicodeDecodeError as error:
        raise Refused(f"{path} is not text in UTF-8 ({error.reason}): save it so") from error


def as_codes(text: str, signature: dict[str, Any]) -> Item:
    """int64 [length]: code points, as the model takes them."""
    return (as_characters if signature["kind"] == "characters" else as_text)(text, signature)


def as_text(text: str, signature: dict[str, Any]) -> Item:
    """Of any script."""
    most, reader = signature["max_length"], text_reader()
    kept = reader.normalised(text, most)
    if reader.is_blank(kept):
        raise Refused(f"there is nothing to be read in {text[:20]!r}")
    note = f"cut to its first {most:,} characters" if len(text) > len(kept) == most else ""
    return Item(text, np.array([ord(character) for character in kept], dtype=np.int64), note)


def text_reader() -> Any:
    """texts.py, for models of texts of any script alone."""
    if __package__:
        from examples import texts
    else:
        search_here()
        import texts  # type: ignore[no-redef]
    return texts


def as_characters(text: str, signature: dict[str, Any]) -> Item:
    """Other alphabets' letters are folded to ASCII where they can be."""
    # A character at a time: of a whole text NFKD also sorts its accents, which takes time squared and changes nothing in ASCII.
    forms = [unicodedata.normalize("NFKD", one).encode("ascii", "ignore").decode() for one in text[:MAX_RAW_LENGTH]]
    folded = "".join(forms).strip()
    if len(text) > MAX_RAW_LENGTH or len(folded) > MAX_LENGTH:
        raise Refused(f"the text {text[:20]!r}… has {len(text):,} characters; {MAX_LENGTH:,} are read at most")
    if not folded:
        raise Refused(f"{text!r} is unknown to the model: no character of it can be written in ASCII, and the model knows no other")
    if not folded.isprintable():
        raise Refused(f"{text!r} has a control character")
    if strange := sorted(set(folded) - set(signature["alphabet"] or folded)):
        raise Refused(f"{text!r} has {''.join(strange)}; the model knows only {signature['alphabet']}")
    lost = "".join(dict.fromkeys(one for one, form in zip(text, forms, strict=True) if not form and not unicodedata.combining(one)))
    note = f"read as {folded}{f', without {lost}' if lost else ''}" if folded != text else ""
    return Item(text, np.array([ord(character) for character in folded], dtype=np.int64), note)


# The command line


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", metavar="model.onnx")
    parser.add_argument("inputs", nargs="+", metavar="INPUT")
    parser.add_argument("--json", action="store_true", help="a line of JSON for each answer, for programs")
    arguments = parser.parse_args()
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # what a terminal cannot write is escaped
            stream.reconfigure(errors="backslashreplace")
    try:
        model = Model(arguments.model)
        sys.exit(0 if answer_all(model, arguments.inputs, arguments.json) else 1)
    except Refused as error:
        sys.exit(clean(f"error: {error}."))
    except Exception as error:  # noqa: BLE001  # a stranger's network may fail, or compute what its signature does not say
        sys.exit(clean(f"error: {arguments.model} cannot answer ({in_short(error)})."))


def answer_all(model: Model, texts: list[str], as_json: bool) -> bool:
    """Answers what the texts stand for, a batch at a time; whether all of it could be."""
    is_well, found = True, chain.from_iterable(map(model.read, texts))
    while batch := list(islice(found, BATCH_SIZE)):
        items = [item for item in batch if isinstance(item, Item)]
        for refused in (item for item in batch if isinstance(item, Refused)):
            print(clean(f"error: {refused}."), file=sys.stderr)
            is_well = False
        for item, answer in zip(items, model.answer([item.values for item in items]) if items else [], strict=True):
            if as_json:
                say(json.dumps({"input": item.name, **answer, **({"note": item.note} if item.note else {})}))
            else:
                name = item.name if len(item.name) <= MAX_SAID else f"{item.name[:MAX_SAID]}…"
                say(f"{name}: {in_words(answer)}{f' [{item.note}]' if item.note else ''}")
    return is_well


def clean(line: str) -> str:
    """What is not printable as its code: names of classes and cells of files could otherwise clear a terminal, or pass for an answer."""
    return "".join(sign if sign.isprintable() else ascii(sign)[1:-1] for sign in line)


def say(line: str) -> None:
    """At once; where whoever reads has gone, or the disk is full, that is the end."""
    if sys.stdout is None:
        sys.exit("error: the answers cannot be written (standard output is closed).")
    try:
        print(clean(line), flush=True)
    except OSError as error:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # Python itself writes once more at the end
        sys.exit(f"error: the answers cannot be written ({error.strerror}).")


def in_words(answer: dict[str, Any]) -> str:
    if "prediction" in answer:
        return ", ".join(
            f"{name} {'no finite number' if value is None else f'{value:.4g}'}" for name, value in answer["prediction"].items()
        )
    if "text" in answer:
        return str(answer["text"])
    if "labels" in answer:
        return ", ".join(answer["labels"]) or "none"
    first = sorted(answer["probabilities"].items(), key=lambda pair: -pair[1])[:SHOWN]
    return ", ".join(f"{name} {probability:.1%}" for name, probability in first)


if __name__ == "__main__":
    main()
