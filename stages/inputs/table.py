"""Rows of a table: float32 [num_numbers + num_categories] on disk and in training: numbers (NaN is missing; dates are days since 1970),
then a code for each category: 0 unknown, 1 missing, from 2 on its place in `levels`.

Consumers send two arrays, `features` float32 [batch, num_numbers] and `categories` string [batch, num_categories] ('' is missing), and a
LabelEncoder (ai.onnx.ml) before the traced network looks the words up; there is only what a model needs.

What the network gets (`layout` says where each part begins):

- every number, (x - median) / (q3 - q1) by the quantiles of train (half its range where these are equal, 0 where it is constant), smoothly
  clipped, z / sqrt(1 + (z / 3)^2); missing counts as the median;
- of each date sine and cosine of its place in the week and in the year, of each time of day in the day; a day before or after all of train
  is as the first or last of these, and where train has less than a year its place in the year is theirs too: of a trend or a season that
  train lacks nothing is known, and a network would make something up;
- 1 for each number of `gaps` that is missing;
- the codes, in which levels that train has once, or not at all, are 0.

Robust scaling and smooth clipping as in RealMLP (Holzmüller, Grinsztajn, Steinwart, 2024, https://arxiv.org/abs/2407.04491, section 3).
"""

import math
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from stages.common.meta import FIRST_LEVEL, MISSING_CODE, UNKNOWN_CODE, Input, Meta, Table
from stages.common.signature import BATCH, Entry, Feature

if TYPE_CHECKING:
    from torch import Tensor

IS_AUGMENTED = False
CHANNELS_LAST = False
NAMES = ("features", "categories")
NUM_EDGES = 25  # of the quantiles, with the smallest and the largest
MAX_SAMPLE = 1 << 18  # rows by which quantiles are measured, twice as many at most
MIN_SEEN = 2  # times that train has a level that counts
UNKNOWN, MISSING = UNKNOWN_CODE, MISSING_CODE
MAX_CLIP, FAR = 3.0, 1e9
LARGEST = float(np.finfo(np.float32).max)
WEEK, YEAR, DAY = 7.0, 365.2425, 86400.0  # days, days, seconds
MONDAY = 4.0  # day 4 of 1970, counted from 0, was one
DIGITS = 6
MAX_SHOWN = 120
STRANGE = "a word that no table has"


def table_of(described: Input) -> Table:
    assert described.table is not None
    return described.table


class Measurement:
    """Of train: quantiles of every number, which numbers have gaps, and how often each level is there.

    Quantiles are of all rows, or, of more than MAX_SAMPLE, of every second, fourth, ... one: evenly from the whole file.
    """

    def __init__(self, described: Input):
        self.table, self.stride, self.seen = table_of(described), 1, 0
        self.num = len(self.table.numbers)
        self.sample: list[np.ndarray] = []
        self.missing = np.zeros(self.num, dtype=np.int64)
        self.counts = [np.zeros(len(one.levels) + FIRST_LEVEL, dtype=np.int64) for one in self.table.categories]

    def add(self, rows: np.ndarray) -> None:
        numbers, codes = rows[:, : self.num], rows[:, self.num :].astype(np.int64)
        self.missing += np.isnan(numbers).sum(axis=0)
        for counts, column in zip(self.counts, codes.T, strict=True):
            counts += np.bincount(column, minlength=len(counts))
        self.sample.append(numbers[(-self.seen) % self.stride :: self.stride].copy())
        self.seen += len(rows)
        while sum(map(len, self.sample)) > 2 * MAX_SAMPLE:
            self.sample, self.stride = [np.concatenate(self.sample)[::2]], self.stride * 2

    def measured(self) -> dict[str, Any]:
        numbers = np.concatenate([np.empty((0, self.num), np.float32), *self.sample]).astype(np.float64)
        levels = np.linspace(0, 1, NUM_EDGES)
        columns = (column[~np.isnan(column)] for column in numbers.T)
        edges = [np.quantile(column, levels).tolist() if len(column) else [0.0] * NUM_EDGES for column in columns]
        gaps = [name for name, missing in zip(self.table.numbers, self.missing, strict=True) if missing]
        categories = [
            one.model_copy(
                update={"rare": [level for level, count in zip(one.levels, counts[FIRST_LEVEL:], strict=True) if count < MIN_SEEN]}
            )
            for one, counts in zip(self.table.categories, self.counts, strict=True)
        ]
        return {"table": self.table.model_copy(update={"edges": edges, "gaps": gaps, "categories": categories})}


def as_batch(rows: np.ndarray) -> np.ndarray:
    """Rows of a split, and what the traced network takes: consumers send feed() of them."""
    return rows


def lengths(rows: np.ndarray) -> np.ndarray | None:
    """All items are of one size."""
    return None


def centre_and_spread(edges: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Of quantiles float64 [num_numbers, NUM_EDGES]: the median and what a number is divided by, infinite where it is constant."""
    first, median, third = (edges[:, round(share * (NUM_EDGES - 1))] for share in (0.25, 0.5, 0.75))
    spread, span = third - first, (edges[:, -1] - edges[:, 0]) / 2
    spread = np.where(spread > 0, spread, span)
    return median, np.where(spread > 0, spread, np.inf)


def constants(described: Input) -> dict[str, np.ndarray]:
    table = table_of(described)
    edges = np.array(table.edges, dtype=np.float64).reshape(-1, NUM_EDGES)
    centre, spread = centre_and_spread(edges)
    place = {name: index for index, name in enumerate(table.numbers)}
    ends, is_date = edges[:, [0, -1]].T, np.isin(table.numbers, table.dates)
    is_held = is_date & (ends[1] - ends[0] < YEAR)
    unbounded = np.array([[-np.inf], [np.inf]])
    days, seasons = (np.where(kept, ends, unbounded).astype(np.float32) for kept in (is_date, is_held))
    lookup, starts = list[np.ndarray](), list[int]()
    for one in table.categories:
        codes = np.arange(len(one.levels) + FIRST_LEVEL, dtype=np.int64)
        codes[[FIRST_LEVEL + one.levels.index(level) for level in one.rare]] = UNKNOWN
        starts.append(sum(map(len, lookup)))
        lookup.append(codes)
    arrays: dict[str, np.ndarray] = {
        "centre": centre.astype(np.float32),
        "spread": spread.astype(np.float32),
        "dates": np.array([place[name] for name in table.dates], dtype=np.int64),
        "days": days if table.dates else days[:, :0],
        "seasons": seasons if table.dates else seasons[:, :0],
        "times": np.array([place[name] for name in table.times], dtype=np.int64),
        "gaps": np.array([place[name] for name in table.gaps], dtype=np.int64),
        "lookup": np.concatenate([np.zeros(0, np.int64), *lookup]),
        "starts": np.array(starts, dtype=np.int64),
    }
    return {name: array for name, array in arrays.items() if array.size}  # torch.export cannot save a tensor of nothing


def layout(described: Input) -> dict[str, int]:
    """How many columns each part of what prepare() gives has, in order."""
    table = table_of(described)
    return {
        "numbers": len(table.numbers),
        "cycles": 4 * len(table.dates) + 2 * len(table.times),
        "gaps": len(table.gaps),
        "categories": len(table.categories),
    }


def scaled(numbers: Any, centre: Any, spread: Any) -> Any:
    """(x - centre) / spread, smoothly clipped to -3..3: of arrays and of tensors."""
    z = ((numbers - centre) / spread).clip(-FAR, FAR)  # the square of what float32 holds need not be in float32
    return z / (1 + (z / MAX_CLIP) ** 2) ** 0.5


def prepare(rows: "Tensor", constants: dict[str, "Tensor"]) -> "Tensor":
    """Raw float32 [batch, num_numbers + num_categories] to float32 [batch, width], the parts of layout() one after another."""
    import torch

    num, parts = len(constants.get("centre", ())), list["Tensor"]()
    if num:
        numbers, centre = rows[:, :num], constants["centre"]
        missing = numbers.isnan()
        filled = centre.where(missing, numbers)
        held, seasons = (filled.clamp(*constants[name]) if name in constants else filled for name in ("days", "seasons"))
        parts.append(scaled(held, centre, constants["spread"]))
        for name, length in (("dates", WEEK), ("dates", YEAR), ("times", DAY)):
            if name in constants:
                turns = ((seasons if length == YEAR else filled)[:, constants[name]] - (MONDAY if length == WEEK else 0)) * (1 / length)
                angle = (turns - turns.floor()) * (2 * math.pi)  # of whole turns sine and cosine would know little in float32
                parts += [angle.sin(), angle.cos()]
        if "gaps" in constants:
            parts.append(missing[:, constants["gaps"]].float())
    if "starts" in constants:
        parts.append(constants["lookup"][rows[:, num:].long() + constants["starts"]].float())
    return torch.cat(parts, dim=1)


def as_matrix(rows: np.ndarray, described: Input) -> tuple[np.ndarray, np.ndarray]:
    """The rows as baselines take them: float64, NaN where missing, codes as the network gets them, and last the day of the week and of the
    year of each date, without which no baseline would know a season; and which columns are codes.
    """
    matrix, table = rows.astype(np.float64), table_of(described)
    found, num = constants(described), len(table.numbers)
    if table.categories:
        matrix[:, num:] = found["lookup"][rows[:, num:].astype(np.int64) + found["starts"]]
    days = matrix[:, [table.numbers.index(name) for name in table.dates]]
    is_code = np.arange(matrix.shape[1] + 2 * days.shape[1])
    return np.concatenate([matrix, (days - MONDAY) % WEEK, days % YEAR], axis=1), (is_code >= num) & (is_code < matrix.shape[1])


def describe(described: Input, names: dict[str, str]) -> list[Entry]:
    """The inputs in the signature."""
    table, entries = table_of(described), list[Entry]()
    if table.numbers:
        meaning = (
            f"{', '.join(table.numbers)}: raw, not scaled. NaN is missing.{' Dates are days since 1970-01-01.' if table.dates else ''}"
        )
        entries.append(Entry(name=names["features"], dtype="float32", shape=[BATCH, len(table.numbers)], meaning=meaning))
    if table.categories:
        meaning = f"{', '.join(one.name for one in table.categories)}: the words as they stand in the table. An empty text is missing."
        entries.append(Entry(name=names["categories"], dtype="string", shape=[BATCH, len(table.categories)], meaning=meaning))
    return entries


def feed(rows: np.ndarray, described: Input) -> list[np.ndarray]:
    """What a consumer sends for these rows, an array for each entry of describe(): where a code is 0, a word that no level is."""
    table = table_of(described)
    num = len(table.numbers)
    words = np.empty((len(rows), len(table.categories)), dtype=object)
    for place, one in enumerate(table.categories):
        known = np.array([STRANGE, "", *one.levels], dtype=object)
        words[:, place] = known[rows[:, num + place].astype(np.int64)]
    return [array for array in (rows[:, :num], words) if array.shape[1]]


def add_inputs(proto: Any, described: Input, names: list[str], inner: str) -> None:
    """Puts the inputs of describe(), called `names`, before a traced graph whose one input `inner` is rows of numbers and codes."""
    from onnx import TensorProto, helper

    table, graph, left = table_of(described), proto.graph, list(names)
    nodes, joined, initializers = [], [], []
    values = []
    if table.numbers:
        values.append(helper.make_tensor_value_info(left[0], TensorProto.FLOAT, [BATCH, len(table.numbers)]))
        joined.append(left.pop(0))
    if table.categories:
        values.append(helper.make_tensor_value_info(left[0], TensorProto.STRING, [BATCH, len(table.categories)]))
        for place, one in enumerate(table.categories):
            column, code, index = (f"{inner}_{word}_{place}" for word in ("column", "code", "place"))
            initializers.append(helper.make_tensor(index, TensorProto.INT64, [1], [place]))
            nodes.append(helper.make_node("Gather", [left[0], index], [column], axis=1))
            nodes.append(
                helper.make_node(
                    "LabelEncoder",
                    [column],
                    [code],
                    domain="ai.onnx.ml",
                    keys_strings=["", *one.levels],
                    values_floats=[float(number) for number in range(MISSING, FIRST_LEVEL + len(one.levels))],
                    default_float=float(UNKNOWN),
                )
            )
            joined.append(code)
    nodes.append(helper.make_node("Concat", joined, [inner], axis=1))
    traced = list(graph.node)
    del graph.node[:], graph.input[:]
    graph.node.extend([*nodes, *traced])
    graph.input.extend(values)
    graph.initializer.extend(initializers)
    if table.categories:
        proto.opset_import.append(helper.make_opsetid("ai.onnx.ml", 2))


def facts(meta: Meta, train: Iterable[np.ndarray], units: dict[str, str]) -> list[Feature]:
    """Of each number, by the inputs of train, piece by piece; missing values do not count."""
    names = table_of(meta.input).numbers
    low, high = np.full(len(names), np.inf), np.full(len(names), -np.inf)
    total, count = np.zeros(len(names)), np.zeros(len(names), dtype=np.int64)
    for rows in train:
        values = rows[:, : len(names)].astype(np.float64)
        low, high = np.fmin(low, np.fmin.reduce(values, axis=0)), np.fmax(high, np.fmax.reduce(values, axis=0))
        total, count = total + np.nansum(values, axis=0), count + (~np.isnan(values)).sum(axis=0)
    columns = ([float(f"{value:.{DIGITS}g}") for value in column] for column in (low, high, total / np.maximum(count, 1)))
    measured = [ends if number else (None, None, None) for *ends, number in zip(*columns, count, strict=True)]
    return [
        Feature(name=name, unit=units.get(name, ""), low=lowest, high=highest, mean=mean, zero_is_missing=False)
        for name, (lowest, highest, mean) in zip(names, measured, strict=True)
    ]


def golden(described: Input) -> np.ndarray:
    """One row, made by rule: the medians, and the first level of each category."""
    table = table_of(described)
    edges = np.array(table.edges, dtype=np.float64).reshape(-1, NUM_EDGES)
    return np.concatenate([edges[:, NUM_EDGES // 2], np.full(len(table.categories), FIRST_LEVEL)]).astype(np.float32)[None]


def cases(batches: list[np.ndarray], described: Input) -> Iterator[np.ndarray]:
    """Batches that exported forms are compared on, from batches of rows of a split; then, in every third cell and in all, missing values,
    unknown words, and numbers far from all that train has.
    """
    yield from batches
    last = batches[-1]
    is_number = np.arange(last.shape[1]) < len(table_of(described).numbers)
    third = np.arange(last.size).reshape(last.shape) % 3 == 0
    for number, code in ((np.nan, MISSING), (np.nan, UNKNOWN), (LARGEST, UNKNOWN), (-LARGEST, MISSING), (1e5, UNKNOWN)):
        instead = np.where(is_number, number, code).astype(np.float32)
        yield np.where(third, instead, last)
        yield np.broadcast_to(instead, last.shape).copy()


def shown(rows: np.ndarray, described: Input) -> np.ndarray | list[str]:
    """Pictures, or a line of text for each item."""
    table = table_of(described)
    num = len(table.numbers)
    texts = []
    for row in rows:
        numbers = [f"{name}={value:g}" for name, value in zip(table.numbers, row, strict=False) if not math.isnan(value)]
        words = [f"{one.name}={['?', '', *one.levels][int(code)]}" for one, code in zip(table.categories, row[num:], strict=True)]
        texts.append(", ".join([*words, *numbers][:MAX_SHOWN]))
    return texts


def columns(rows: np.ndarray, described: Input) -> dict[str, tuple[list[int], np.ndarray]]:
    """The raw columns by name: its places in a row, and of these rows the values [n]: float64 (NaN is missing), datetime64 (NaT is), or
    words ('' is missing, None is none of the levels).
    """
    table, found = table_of(described), dict[str, tuple[list[int], np.ndarray]]()
    place_of = {name: place for place, name in enumerate(table.numbers)}
    categories = {one.name: place for place, one in enumerate(table.categories)}
    for name in table.columns:
        if name in categories:
            place = len(table.numbers) + categories[name]
            known = np.array([None, "", *table.categories[categories[name]].levels], dtype=object)
            found[name] = [place], known[rows[:, place].astype(np.int64)]
            continue
        place = place_of[name]
        places = [place, place + 1] if table.numbers[place + 1 : place + 2] and table.numbers[place + 1] in table.times else [place]
        values = rows[:, places].astype(np.float64)
        if name in table.dates:
            missing = np.asarray(np.isnan(values).any(axis=1))
            seconds = np.where(missing[:, None], 0, values) @ np.array([DAY, 1.0])[: len(places)]
            dates = seconds.astype(np.int64).astype("datetime64[s]").astype("datetime64[m]" if len(places) > 1 else "datetime64[D]")
            found[name] = places, np.where(missing, np.datetime64("NaT"), dates)
        else:
            found[name] = places, values[:, 0]
    return found
