"""Data and models for tests, made in seconds and without a network.

Two sorts: the committed sample of every dataset of params.yaml, generated and preprocessed in memory, so that every model
of params.yaml can be built with its true shapes; and toy datasets, one for each kind of input and task, small enough to
train on in a blink.
"""

import contextlib
import functools
import json
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from ruamel.yaml import YAML

from stages.check import check_dataset, check_download, facts_of
from stages.common.files import as_json
from stages.common.meta import Category, Column, Counts, Format, Input, LeftOut, Meta, Scale, Table, Text, read_meta
from stages.common.shelves import part_names, take_input, take_task
from stages.common.splits import SPLITS, SplitWriter, read_split
from stages.download import download
from stages.modelling.model import Model, build_network
from stages.preprocess import preprocess
from stages.training.batches import Batches

ROOT = Path(__file__).parents[1]
PARAMS: dict[str, Any] = YAML(typ="safe", pure=True).load(ROOT / "params.yaml")
MODELS: list[str] = list(PARAMS["models"])
ORIGINS = {f"data/{name}/raw": check_download(name, entry) for name, entry in PARAMS["sources"].items()}
RUNTIME = {
    "seed": 0,
    "threads": 1,
    "device": "cpu",
    "mixed_precision": False,
    "num_processes": 1,
    "stream_above_mb": 1000,
    "save_minutes": 5.0,
}
CPU = torch.device("cpu")
needs_cuda = pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device here")

torch.set_num_threads(1)

Split = tuple[np.ndarray, np.ndarray]


@dataclass(frozen=True)  # all tests have the same
class Data:
    meta: Meta
    splits: dict[str, Split]

    def batches(self, split: str, batch_size: int = 64, count: int | None = None, device: torch.device | None = None) -> Batches:
        inputs, targets = (values[:count] for values in self.splits[split])
        return Batches(inputs, targets, batch_size, device or CPU, lengths=self.part.lengths)

    def raw_batch(self, count: int, split: str = "test") -> torch.Tensor:
        """`count` raw inputs as a consumer sends them, from the first row again where the split has fewer."""
        inputs = self.splits[split][0]
        rows = inputs[np.arange(count) % len(inputs)]
        return torch.from_numpy(self.part.as_batch(rows))

    @property
    def part(self) -> ModuleType:
        """Of the kind of input."""
        return take_input(self.meta.input.kind)

    @property
    def length(self) -> int | None:
        """Of texts, with their padding."""
        lengths = self.part.lengths(inputs := self.splits["test"][0])
        return None if lengths is None else inputs.shape[1]

    def write(self, processed: Path) -> None:
        processed.mkdir(parents=True)
        (processed / "meta.json").write_bytes(as_json(self.meta.model_dump(mode="json")))
        processed.with_name("audit").mkdir(exist_ok=True)
        (processed.with_name("audit") / "verdict.json").write_bytes(as_json({"stopped_by": []}))
        (processed.with_name("audit") / "findings.json").write_bytes(as_json({"findings": []}))
        for name, (inputs, targets) in self.splits.items():
            shapes = inputs.shape[1:], inputs.dtype.name, targets.shape[1:], targets.dtype.name
            with SplitWriter(processed / f"{name}.safetensors", *shapes) as writer:
                writer.add(inputs, targets)


# Every dataset of params.yaml


@functools.cache
def sample(dataset: str) -> Data:
    """The sample of a dataset of params.yaml, through the stages download and preprocess."""
    root = Path(tempfile.mkdtemp())
    try:
        params = {key: PARAMS[key] for key in ("sources", "datasets")} | {"source": "sample", "runtime": RUNTIME}
        (root / "params.yaml").write_text(json.dumps(params))
        with contextlib.chdir(root):
            download(source_of(dataset))
            write_checked(dataset)
            preprocess(dataset)
        processed = root / "data" / dataset / "processed"
        return Data(read_meta(processed), {split: read_split(processed, split) for split in SPLITS})
    finally:
        shutil.rmtree(root)


def write_checked(dataset: str) -> None:
    """What the stage check would say of a dataset of params.yaml, in the current folder; its schema (if any) is copied there."""
    schemas, checked, entry = Path("data/schemas"), Path("data/checked/datasets"), PARAMS["datasets"][dataset]
    shutil.copytree(ROOT / schemas, schemas, dirs_exist_ok=True)
    checked.mkdir(parents=True, exist_ok=True)
    facts = facts_of(dataset, entry["kind"], check_dataset(dataset, entry, ORIGINS))
    (checked / f"{dataset}.json").write_bytes(as_json(facts))


def source_of(dataset: str) -> str:
    """The source whose raw files a dataset of params.yaml is made from."""
    return Path(PARAMS["datasets"][dataset]["raw"]).parent.name


def data_of(model: str) -> Data:
    return sample(PARAMS["models"][model]["dataset"])


def architecture_of(model: str) -> dict[str, Any]:
    return PARAMS["models"][model]["architecture"]


def fresh_model(name: str, seed: int = 0) -> Model:
    """A model of params.yaml with fresh weights, in evaluation mode."""
    return measured_on(data_of(name), build(architecture_of(name), data_of(name).meta, seed))


def measured_on(data: Data, model: Model) -> Model:
    """With what its network needs to know of train, if anything."""
    network: Any = model.network
    if hasattr(network, "measure"):
        network.measure([model.input(torch.from_numpy(data.part.as_batch(data.splits["train"][0])))])
    return model


def build(architecture: dict[str, Any], meta: Meta, seed: int = 0) -> Model:
    torch.manual_seed(seed)
    return Model(build_network(architecture, meta, "architecture"), meta).eval()


@functools.cache
def moved_model(name: str) -> Model:
    """A model of params.yaml, shared between tests that only read it, whose batch normalisation (if any) has seen a batch."""
    model = fresh_model(name)
    model.train()
    with torch.no_grad():
        model(data_of(name).raw_batch(4))
    return model.eval()


# Toy datasets, one for each kind of input and task

TINY_CNN = {"name": "cnn", "convolutions": [{"channels": 3, "kernel": 3, "padding": 1, "pool": 2}], "hidden": [], "activation": "relu"}
MLP = {"name": "mlp", "hidden": [5], "activation": "relu"}
TINY_RNN = {"name": "rnn_classifier", "cell": "gru", "embedding": 4, "hidden": 3, "num_layers": 1, "dropout": 0.0, "character_dropout": 0.0}
TINY_NGRAMS = {"name": "ngrams", "longest": 2, "buckets": 4096, "kept": 20}
TINY_TABLE = {"name": "table", "members": 3, "hidden": [6, 5], "dropout": 0.1}
TINY_TAGGER = {"name": "rnn_tagger", "cell": "rnn", "embedding": 4, "hidden": 6, "num_layers": 1, "linear": True}

TOYS: dict[str, dict[str, Any]] = {
    "numbers": {"name": "linear", "bias": True},  # features to a number
    "patients": MLP,  # features with missing values to one of two classes
    "shapes": TINY_CNN,  # pictures to one of three classes
    "spots": TINY_CNN,  # pictures to the row and column of the bright spot
    "tags": TINY_CNN,  # pictures to any number of three classes
    "words": TINY_RNN,  # characters to one of three classes
    "codes": TINY_TAGGER,  # characters to a class each
    "zines": TINY_NGRAMS,  # texts of several scripts to one of two classes
    "yachts": TINY_TABLE,  # rows of a table to one of two classes
    "yields": TINY_TABLE,  # rows of a table to two numbers, which are learned standardised
}

LOSS_OF = {task: take_task(task).LOSSES[0] for task in part_names("tasks")}


@functools.cache
def toy(name: str) -> Data:
    rng = np.random.default_rng(sorted(TOYS).index(name))
    makers = (numbers, patients, shapes, spots, tags, words, codes, yachts, yields, zines)
    description, task, classes, outputs, (inputs, targets) = {make.__name__: make for make in makers}[name](rng, 40)
    splits = {"train": (inputs[:24], targets[:24]), "val": (inputs[24:32], targets[24:32]), "test": (inputs[32:], targets[32:])}
    if description.table is None:
        return Data(describe(name, description, task, classes, outputs, splits), splits)
    return Data(describe(name, measured(description, inputs[:24]), task, classes, outputs, splits, scale_of(targets[:24], outputs)), splits)


def describe(
    name: str, description: Input, task: Any, classes: Any, outputs: Any, splits: dict[str, Split], target: Scale | None = None
) -> Meta:
    return Meta.model_validate(
        {
            "dataset": name,
            "description": "A toy.",
            "source": "generated",
            "task": task,
            "num_outputs": take_task(task).width(len(classes or outputs)),
            "input": description,
            "classes": classes,
            "outputs": outputs,
            "counts": {split: Counts(total=len(inputs)) for split, (inputs, _) in splits.items()},
            "left_out": LeftOut(count=0, examples=[]),
            "target": target,
        }
    )


def measured(description: Input, train: np.ndarray) -> Input:
    """With what the stage preprocess measures of a table."""
    measurement = take_input("table").Measurement(description)
    measurement.add(train)
    return description.model_copy(update=measurement.measured())


def scale_of(targets: np.ndarray, outputs: list[str] | None) -> Scale | None:
    return Scale(mean=targets.mean(axis=0).tolist(), std=targets.std(axis=0).tolist()) if outputs else None


Made = tuple[Input, str, list[str] | None, list[str] | None, Split]


def numbers(rng: np.random.Generator, count: int) -> Made:
    x = rng.uniform(-1, 1, (count, 1)).astype(np.float32)
    return Input(kind="features", shape=[1], dtype="float32", names=["x"]), "regression", None, ["y"], (x, 2 * x + 1)


def patients(rng: np.random.Generator, count: int) -> Made:
    x = rng.normal(3, 2, (count, 3)).astype(np.float32)
    targets = (x[:, 0] > 3).astype(np.int64)
    x[::5, 1], x[1::7, 2] = 0, np.nan
    description = Input(
        kind="features", shape=[3], dtype="float32", names=["a", "b", "c"], mean=[3.0, 3.5, 2.5], std=[2.0, 1.5, 2.5], zero_is_missing=["b"]
    )
    return description, "binary", ["ill", "well"], None, (x, targets)


def bright_spots(rng: np.random.Generator, count: int) -> tuple[np.ndarray, np.ndarray]:
    places = rng.integers(1, 7, (count, 2))
    pictures = rng.integers(0, 60, (count, 8, 8, 1), dtype=np.uint8)
    for picture, (row, column) in zip(pictures, places, strict=True):
        picture[row - 1 : row + 2, column - 1 : column + 2] = 250
    return pictures, places


PICTURE = Input(kind="image", shape=[8, 8, 1], dtype="uint8", mean=[0.3], std=[0.25])


def shapes(rng: np.random.Generator, count: int) -> Made:
    pictures, places = bright_spots(rng, count)
    return PICTURE, "multiclass", ["left", "middle", "right"], None, (pictures, (places[:, 1] - 1) // 2)


def spots(rng: np.random.Generator, count: int) -> Made:
    pictures, places = bright_spots(rng, count)
    return PICTURE, "regression", None, ["row (pixels)", "column (pixels)"], (pictures, places.astype(np.float32))


def tags(rng: np.random.Generator, count: int) -> Made:
    """What the bright spot touches: the upper half, the left half, the middle."""
    pictures, places = bright_spots(rng, count)
    touched = np.stack([places[:, 0] <= 4, places[:, 1] <= 4, (abs(places - 3.5) < 2).all(axis=1)], axis=1)
    return PICTURE, "multilabel", ["upper", "left", "middle"], None, (pictures, touched.astype(np.uint8))


def words(rng: np.random.Generator, count: int) -> Made:
    rows, targets = np.zeros((count, 9), dtype=np.int16), np.arange(count) % 3
    for row, target in zip(rows, targets, strict=True):
        length = rng.integers(1, 8)
        row[:length] = rng.integers(ord("a"), ord("z"), length)
        row[0] = ord("xyz"[target])
    return Input(kind="characters", shape=[None], dtype="int16"), "multiclass", ["X", "Y", "Z"], None, (rows, targets)


def codes(rng: np.random.Generator, count: int) -> Made:
    """Texts over a, b, c; the target of a character is the one after it in the alphabet."""
    rows, targets = np.zeros((count, 6), dtype=np.int16), np.full((count, 6), -1)
    for row, target in zip(rows, targets, strict=True):
        length = rng.integers(1, 7)
        labels = rng.integers(0, 3, length)
        row[:length], target[:length] = labels + ord("a"), (labels + 1) % 3
    description = Input(kind="characters", shape=[None], dtype="int16", alphabet="abc")
    return description, "sequence", ["a", "b", "c"], None, (rows, targets)


LETTERS = "abcdefg", "бвгджз", "अआइईउ", "中文字符", "\U0001f98a\U0001f680"


def zines(rng: np.random.Generator, count: int) -> Made:
    """Words of one script each; in texts of the second class all begin with a letter that no other has."""
    texts, targets = list[str](), np.arange(count) % 2
    for target in targets:
        words = ["".join(rng.choice(list(LETTERS[rng.integers(5)]), rng.integers(1, 5))) for _ in range(rng.integers(1, 4))]
        texts.append(" ".join(f"\u00dc{word}" if target else word for word in words))
    described = Input(kind="text", shape=[None], dtype="int32", text=Text(max_length=20, case="fold"))
    return described, "binary", ["plain", "marked"], None, (take_input("text").as_rows(texts), targets)


NUMBER, DATE = Column(type="number"), Column(type="date", formats=["%Y-%m-%d %H:%M"])


def table_of(columns: dict[str, Column], times: list[str] | None = None) -> Input:
    """Of rows of numbers, dates and then categories, before anything is measured."""
    numbers = [name for name, column in columns.items() if column.type != "category"]
    table = Table(
        numbers=numbers + (times or []),
        dates=[name for name, column in columns.items() if column.type == "date"],
        times=times or [],
        categories=[
            Category(name=name, levels=column.levels or [], rare=[]) for name, column in columns.items() if column.type == "category"
        ],
        format=Format(),
        columns=columns,
        edges=[],
        gaps=[],
    )
    return Input(kind="table", shape=[len(table.numbers) + len(table.categories)], dtype="float32", table=table)


def codes_of(rng: np.random.Generator, count: int, num_levels: int) -> np.ndarray:
    """Of a category, among them unknown and missing ones."""
    return rng.integers(0, num_levels + 2, count)


def yachts(rng: np.random.Generator, count: int) -> Made:
    """Numbers with gaps, a date with its time, a category with few levels and one with many."""
    harbours = Column(type="category", levels=[f"harbour {number}" for number in range(10)])
    columns = {"length": NUMBER, "built": DATE, "flag": Column(type="category", levels=["NA", "dé", "white, red"]), "harbour": harbours}
    length, days, seconds = rng.uniform(5, 30, count), rng.integers(-3000, 20000, count), rng.integers(0, 86400, count)
    codes = [codes_of(rng, count, 3), codes_of(rng, count, 10)]
    rows = np.stack([length, days, seconds, *codes], axis=1).astype(np.float32)
    rows[::4, 0], rows[1::9, 1:3] = np.nan, np.nan
    description = table_of(columns, ["built (second of the day)"])
    return description, "binary", ["slow", "fast"], None, (rows, (codes[0] > 2).astype(np.int64))


def yields(rng: np.random.Generator, count: int) -> Made:
    columns = {"rain": NUMBER, "always 3": NUMBER, "crop": Column(type="category", levels=["oats", "rye"])}
    rain, crop = rng.gamma(2, 300, count), codes_of(rng, count, 2)
    rows = np.stack([rain, np.full(count, 3), crop], axis=1).astype(np.float32)
    targets = np.stack([4e5 + 100 * rain + 1e4 * crop, 0.02 + 1e-5 * rain], axis=1).astype(np.float32)
    return table_of(columns), "regression", None, ["kg", "share"], (rows, targets)


def recipe(data: Data, **changes: Any) -> dict[str, Any]:
    """A recipe of params.yaml that fits the data: three epochs of Adam."""
    plain = {
        "loss": {"name": LOSS_OF[data.meta.task]},
        "optimizer": {"name": "Adam"},
        "lr": 0.01,
        "schedule": None,
        "epochs": 3,
        "batch_size": 8,
        "augment": [],
        "clip_norm": None,
        "ema": None,
        "best_by": "loss",
        "patience": None,
        "late_dropout": None,
    }
    assert changes.keys() <= plain.keys()
    return plain | changes


def toy_model(name: str, seed: int = 0) -> Model:
    return measured_on(toy(name), build(TOYS[name], toy(name).meta, seed))


class NoKeeper:
    """For a run that is neither saved nor taken up."""

    def take_up(self, run: Any) -> None: ...

    def pause(self, run: Any) -> None: ...

    def end_epoch(self, run: Any) -> None: ...


# A place to run the stages in


ABOUT = {"use": "To try the stages.", "limits": "Made up.", "licence": {"generated": "CC0-1.0"}}


class Project:
    """An empty repository with one toy dataset and one model of it, `own`, to run stages in."""

    def __init__(self, root: Path, name: str, architecture: dict[str, Any] | None = None, data: Data | None = None, **changes: Any):
        self.root, self.data = root, data or toy(name)
        assert changes.keys() <= recipe(self.data).keys()
        self.folder, self.processed = root / "models" / "own", root / "data" / name / "processed"
        self.data.write(self.processed)
        self.params: dict[str, Any] = {
            "source": "sample",
            "runtime": dict(RUNTIME),
            "evaluate": {"num_resamples": 100},
            "report": {"num_mistakes": 4},
            "export": PARAMS["export"],
            "datasets": {name: {"about": dict(ABOUT)}},
            "recipes": {"toy": recipe(self.data)},
            "models": {
                "own": {
                    "dataset": name,
                    "architecture": architecture or TOYS[name],
                    "train": {"recipe": "toy", **changes},
                    "int8": [],
                }
            },
        }
        self.write()

    def write(self) -> None:
        (self.root / "params.yaml").write_text(json.dumps(self.params))

    def forget(self) -> None:
        """Removes the states that runs left, so that the next one trains from its start."""
        shutil.rmtree(self.root / "logs" / "resume")

    def contents(self, *suffixes: str) -> dict[str, bytes]:
        """What lies under models/own, by path."""
        paths = (path for path in sorted(self.folder.rglob("*")) if path.is_file() and path.name.endswith(suffixes or ("",)))
        return {path.relative_to(self.folder).as_posix(): path.read_bytes() for path in paths}
