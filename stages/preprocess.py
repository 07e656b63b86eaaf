"""Turns a dataset's raw files into what training reads: three files of tensors and a page that describes them.

Reads   the folder `datasets.NAME.raw` and, from params.yaml, `runtime.seed`, `datasets.NAME.kind` and `datasets.NAME.preprocess`.
Writes  data/NAME/processed/{train,val,test}.safetensors and meta.json, all or nothing: a failure leaves the previous ones.

    python -m stages.preprocess NAME

The kind of data, stages/datasets/<kind>.py, knows how to read the raw files and hands over chunks of items. Everything
measured is measured here, and on the chunks of train alone, so no part can let a figure of test or val into training.
"""

from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np

from stages.common import files
from stages.common.meta import Counts, Meta, Origin
from stages.common.params import RawFolder, Runtime, check_section, look_up, read_params
from stages.common.shelves import take_input, take_part, take_task
from stages.common.splits import SPLITS, SplitWriter
from stages.reading.contents import Contents
from stages.reading.source import read_source
from stages.shell.errors import UserError, run_stage

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
        counts, measured = write_splits(contents, processed)
        meta = describe(name, contents, source, stand_in, counts, measured)
        (processed / "meta.json").write_bytes(files.as_json(meta.model_dump(mode="json")))


def write_splits(contents: Contents, processed: Path) -> tuple[dict[str, Counts], dict[str, Any]]:
    """Stream every chunk to its split's file; returns the counts and, where `contents.measure`, what was measured on train."""
    measurement = take_input(contents.input.kind).Measurement(contents.input) if contents.measure else None
    per_class: dict[str, np.ndarray | int] = dict.fromkeys(SPLITS, 0)
    with ExitStack() as stack:
        writers = {split: stack.enter_context(open_split(contents, processed, split)) for split in SPLITS}
        for split, inputs, targets in contents.chunks:
            writers[split].add(inputs, targets)
            if (counted := count_classes(contents, targets)) is not None:
                per_class[split] = per_class[split] + counted
            if measurement is not None and split == "train":
                measurement.add(inputs)
        counts = {split: count(contents, writers[split].count, per_class[split]) for split in SPLITS}
        refuse_empty(contents, counts)
    return counts, measurement.measured() if measurement is not None else {}


def count_classes(contents: Contents, targets: np.ndarray) -> np.ndarray | None:
    """How many of the items have each class; None for a task whose items do not have classes."""
    counted: np.ndarray | None = take_task(contents.task).per_class(targets, len(contents.classes or []))
    return counted


def open_split(contents: Contents, processed: Path, split: str) -> SplitWriter:
    shape = contents.train_shape if split == "train" and contents.train_shape else contents.item_shape
    return SplitWriter(processed / f"{split}.safetensors", shape, contents.input.dtype, contents.target_shape, contents.target_dtype)


def count(contents: Contents, total: int, per_class: np.ndarray | int) -> Counts:
    """`per_class` is 0 where no item was counted by its class."""
    if count_classes(contents, np.empty((0, *contents.target_shape), contents.target_dtype)) is None:
        return Counts(total=total)
    numbers = (np.zeros(len(contents.classes or []), dtype=np.int64) + per_class).tolist()
    return Counts(total=total, per_class=dict(zip(contents.classes or [], numbers, strict=True)))


def refuse_empty(contents: Contents, counts: dict[str, Counts]) -> None:
    for split in ("train", "test"):
        if counts[split].total == 0:
            raise UserError(f"No item is left for {split}: check the raw files and the fractions in params.yaml.")
    for name, number in (counts["train"].per_class or {}).items():
        if number == 0:
            raise UserError(f"The class {name!r} has no item in train: add some, or remove it from the dataset's classes.")


def describe(name: str, contents: Contents, source: Origin, stand_in: str, counts: dict[str, Counts], measured: dict[str, Any]) -> Meta:
    return Meta(
        dataset=name,
        description=stand_in or contents.description,
        source=source,
        task=contents.task,
        num_outputs=take_task(contents.task).width(len(contents.classes or contents.outputs or [])),
        input=contents.input.model_copy(update=measured),
        classes=contents.classes,
        outputs=contents.outputs,
        counts=counts,
        left_out=contents.left_out.summary(),
    )


if __name__ == "__main__":
    run_stage(preprocess, usage="python -m stages.preprocess NAME")
