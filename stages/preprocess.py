"""Turns a dataset's raw files into what training reads: three files of tensors and a page that describes them.

Reads   the folder `datasets.NAME.raw` and, from params.yaml, `runtime.seed`, `datasets.NAME.kind` and `datasets.NAME.preprocess`.
Writes  data/NAME/processed/{train,val,test}.safetensors and meta.json, all or nothing: a failure leaves the previous ones.

    python -m stages.preprocess NAME

The kind of data, stages/datasets/<kind>.py, knows how to read the raw files and hands over chunks of items. Everything
measured is measured here, and on the chunks of train alone, so no part can let a figure of test or val into training.
"""

from contextlib import ExitStack
from pathlib import Path

import numpy as np

from stages.common import files
from stages.common.errors import UserError, run_stage
from stages.common.meta import Counts, Meta, Origin
from stages.common.params import RawFolder, Runtime, check_section, look_up, read_params
from stages.common.shelves import take_part
from stages.common.splits import SPLITS, SplitWriter
from stages.reading.contents import Contents
from stages.reading.source import read_source

DATA = Path("data")


def preprocess(name: str) -> None:
    """Write data/<name>/processed; raises UserError for a mistake in params.yaml or in the raw files."""
    params = read_params()
    seed = check_section(Runtime, look_up(params, "runtime"), "runtime").seed
    part = take_part("datasets", look_up(params, "datasets", name, "kind"), f"datasets.{name}.kind")
    section = check_section(part.Preprocess, look_up(params, "datasets", name, "preprocess"), f"datasets.{name}.preprocess")
    raw = Path(check_section(RawFolder, {"raw": look_up(params, "datasets", name, "raw")}, f"datasets.{name}").raw)
    if not raw.is_dir():
        made = f"run python -m stages.download {raw.parent.name} (or dvc repro) first, or put the dataset's files there"
        raise UserError(f"{raw} is missing: {made}.")
    source, stand_in = read_source(raw)
    contents = part.read(raw, section, seed)
    with files.replacing_folder(DATA / name / "processed") as processed:
        counts, mean_std = write_splits(contents, processed)
        meta = describe(name, contents, source, stand_in, counts, mean_std)
        (processed / "meta.json").write_bytes(files.as_json(meta.model_dump(mode="json")))


def write_splits(contents: Contents, processed: Path) -> tuple[dict[str, Counts], tuple[list[float], list[float]] | None]:
    """Stream every chunk to its split's file; returns the counts and, where `contents.measure`, train's mean and std."""
    measured = measurement(contents) if contents.measure else None
    per_class = {split: np.zeros(len(contents.classes or []), dtype=np.int64) for split in SPLITS}
    with ExitStack() as stack:
        writers = {split: stack.enter_context(open_split(contents, processed, split)) for split in SPLITS}
        for split, inputs, targets in contents.chunks:
            writers[split].add(inputs, targets)
            if has_class_counts(contents):
                per_class[split] += np.bincount(targets, minlength=len(per_class[split]))
            if measured is not None and split == "train":
                measured.add(inputs)
        counts = {split: count(contents, writers[split].count, per_class[split]) for split in SPLITS}
        refuse_empty(contents, counts)
    return counts, measured.mean_std() if measured is not None else None


def open_split(contents: Contents, processed: Path, split: str) -> SplitWriter:
    shape = contents.train_shape if split == "train" and contents.train_shape else contents.item_shape
    return SplitWriter(processed / f"{split}.safetensors", shape, contents.input.dtype, contents.target_shape, contents.target_dtype)


def has_class_counts(contents: Contents) -> bool:
    return contents.task in ("binary", "multiclass")


def count(contents: Contents, total: int, per_class: np.ndarray) -> Counts:
    if not has_class_counts(contents):
        return Counts(total=total)
    return Counts(total=total, per_class=dict(zip(contents.classes or [], per_class.tolist(), strict=True)))


def refuse_empty(contents: Contents, counts: dict[str, Counts]) -> None:
    for split in ("train", "test"):
        if counts[split].total == 0:
            raise UserError(f"No item is left for {split}: check the raw files and the fractions in params.yaml.")
    for name, number in (counts["train"].per_class or {}).items():
        if number == 0:
            raise UserError(f"The class {name!r} has no item in train: add some, or take it out of the dataset's classes.")


def describe(
    name: str,
    contents: Contents,
    source: Origin,
    stand_in: str,
    counts: dict[str, Counts],
    mean_std: tuple[list[float], list[float]] | None,
) -> Meta:
    described = contents.input
    if mean_std is not None:
        described = described.model_copy(update={"mean": mean_std[0], "std": mean_std[1]})
    return Meta.model_validate(
        {
            "dataset": name,
            "description": stand_in or contents.description,
            "source": source,
            "task": contents.task,
            "input": described,
            "classes": contents.classes,
            "outputs": contents.outputs,
            "counts": counts,
            "left_out": contents.left_out.summary(),
        }
    )


def measurement(contents: Contents) -> "PixelMeasurement | FeatureMeasurement":
    if contents.input.kind == "image":
        return PixelMeasurement(contents.item_shape[-1])
    names = contents.input.names or []
    return FeatureMeasurement(names, [name in (contents.input.zero_is_missing or []) for name in names])


class PixelMeasurement:
    """Mean and std per channel of uint8 pictures scaled to 0..1, from a histogram: whole numbers, so exact in any order."""

    def __init__(self, num_channels: int):
        self.histogram = np.zeros((num_channels, 256), dtype=np.int64)

    def add(self, pictures: np.ndarray) -> None:
        """Count the pixels of uint8 [k, height, width, channels]."""
        for channel, histogram in enumerate(self.histogram):
            histogram += np.bincount(pictures[..., channel].ravel(), minlength=256)

    def mean_std(self) -> tuple[list[float], list[float]]:
        means, stds = [], []
        for histogram in self.histogram.tolist():
            number = sum(histogram)
            total = sum(value * times for value, times in enumerate(histogram))
            squares = sum(value * value * times for value, times in enumerate(histogram))
            means.append(total / (255 * number))
            stds.append((number * squares - total * total) ** 0.5 / (255 * number))
        return means, [std or 1.0 for std in stds]


class FeatureMeasurement:
    """Mean and std per feature in float64, missing values ignored; std is the population's, and 1 for a constant feature.

    Chunks are joined by Chan, Golub and LeVeque's update ("Updating formulae and a pairwise algorithm for computing
    sample variances", 1979), which keeps its digits where a sum of squares would lose them.
    """

    def __init__(self, names: list[str], zero_is_missing: list[bool]):
        self.names, self.zero_is_missing = names, np.array(zero_is_missing)
        self.number = np.zeros(len(names), dtype=np.int64)
        self.mean, self.squares = np.zeros(len(names)), np.zeros(len(names))

    def add(self, features: np.ndarray) -> None:
        """Take in float32 [k, num_features]; NaN is missing, and 0 in the features of zero_is_missing."""
        values = features.astype(np.float64)
        present = ~np.isnan(values) & ~((values == 0) & self.zero_is_missing)
        added = present.sum(axis=0)
        number, divisor = self.number + added, np.maximum(self.number + added, 1)
        chunk_mean = np.where(present, values, 0).sum(axis=0) / np.maximum(added, 1)
        chunk_squares = (np.where(present, values - chunk_mean, 0) ** 2).sum(axis=0)
        step = chunk_mean - self.mean
        self.squares += chunk_squares + step**2 * self.number * added / divisor
        self.mean += step * added / divisor
        self.number = number

    def mean_std(self) -> tuple[list[float], list[float]]:
        for name, number in zip(self.names, self.number, strict=True):
            if number == 0:
                raise UserError(f"The feature {name!r} is missing in every row of train: leave its column out of the file.")
        stds = np.sqrt(self.squares / self.number)
        return self.mean.tolist(), [std or 1.0 for std in stds.tolist()]


if __name__ == "__main__":
    run_stage(preprocess, usage="python -m stages.preprocess NAME")
