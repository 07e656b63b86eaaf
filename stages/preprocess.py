"""Turns a dataset's raw files into what training reads: three files of tensors and a page that describes them.

Reads   the folder `datasets.NAME.raw` and, from params.yaml, `runtime.seed`, `datasets.NAME.kind` and `datasets.NAME.preprocess`.
Writes  data/NAME/processed/{train,val,test}.safetensors and meta.json, and of raw data of many files items.json, their names; all or
        nothing: a failure leaves the previous ones.

    python -m stages.preprocess NAME

The kind of data, stages/datasets/<kind>.py, knows how to read the raw files and hands over chunks of items. Everything
measured is measured here, and on the chunks of train alone, so no part can let a figure of test or val into training.
"""

import json
from contextlib import ExitStack
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from stages.common.files import as_json, replacing_folder
from stages.common.meta import Counts, Input, LeftOut, Meta, Scale
from stages.common.params import RawFolder, Runtime, Section, check_section, look_up, read_params
from stages.common.shelves import take_input, take_part, take_task
from stages.common.splits import ITEMS, SPLITS, SplitWriter
from stages.reading.contents import Contents, read_source
from stages.shell.errors import UserError, run_stage


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
    contents, task = part.read(raw, section, seed, *pinned(name, part)), take_task(section.task)
    with replacing_folder(Path("data") / name / "processed") as processed:
        counts, measured, scale = write_splits(contents, task, processed)
        meta = Meta(
            dataset=name,
            description=stand_in or contents.description,
            source=source,
            task=section.task,
            num_outputs=task.width(len(contents.classes or contents.outputs or [])),
            input=contents.input.model_copy(update=measured),
            classes=contents.classes,
            outputs=contents.outputs,
            counts=counts,
            left_out=LeftOut(count=contents.left_out.count, examples=contents.left_out.examples),
            target=scale,
            notes=contents.notes.noted(),
        )
        contents.notes.tell()
        (processed / "meta.json").write_bytes(as_json(meta.model_dump(mode="json")))
        if contents.items is not None:
            (processed / ITEMS).write_bytes(as_json(contents.items))


def pinned(name: str, part: ModuleType) -> list[Section]:
    """What check has read of the dataset besides params.yaml, where its kind of data has such a thing: a table's schema."""
    if not hasattr(part, "Schema"):
        return []
    path = Path("data") / "checked" / "datasets" / f"{name}.json"
    try:
        values = json.loads(path.read_bytes())["schema"]
    except (FileNotFoundError, ValueError, KeyError) as error:
        raise UserError(f"{path} is missing or damaged: run python -m stages.check params.yaml (or dvc repro) first.") from error
    return [check_section(part.Schema, values, "", str(path))]


def write_splits(contents: Contents, task: ModuleType, processed: Path) -> tuple[dict[str, Counts], dict[str, Any], Scale | None]:
    """Stream every chunk to its split's file; returns the counts and what was measured on train, of inputs where `contents.measure`, and of
    targets.
    """
    measurement = take_input(contents.input.kind).Measurement(contents.input) if contents.measure else None
    classes, numbers = contents.classes or [], contents.outputs or []
    targets_are = Input(kind="features", shape=[len(numbers)], dtype="float32", names=numbers)
    of_targets = take_input("features").Measurement(targets_are) if contents.standardise_targets else None
    writers: dict[str, SplitWriter] = {}
    per_class: dict[str, Any] = {}
    with ExitStack() as stack:

        def add(split: str, inputs: np.ndarray, targets: np.ndarray, *lines: np.ndarray) -> None:
            if split not in writers:
                shapes = inputs.shape[1:], inputs.dtype.name, targets.shape[1:], targets.dtype.name
                writers[split] = stack.enter_context(SplitWriter(processed / f"{split}.safetensors", *shapes, bool(lines)))
            writers[split].add(inputs, targets, *lines)
            if (counted := task.per_class(targets, len(classes))) is not None:  # None: items of this task do not have classes
                per_class[split] = per_class.get(split, 0) + counted

        for split, inputs, targets, *lines in contents.chunks:
            add(split, inputs, targets, *lines)
            if measurement is not None and split == "train":
                measurement.add(inputs)
            if of_targets is not None and split == "train":
                of_targets.add(targets)
        for split in ("train", "test"):
            if split not in writers or writers[split].count == 0:
                raise UserError(f"No item is left for {split}: check the raw files and the fractions in params.yaml.")
        if "val" not in writers:
            add("val", inputs[:0], targets[:0], *(line[:0] for line in lines))
    by_name = {split: dict(zip(classes, numbers.tolist(), strict=True)) for split, numbers in per_class.items()}
    for name, number in by_name.get("train", {}).items():
        if number == 0:
            raise UserError(f"The class {name!r} has no item in train: add some, or remove it from the dataset's classes.")
    counts = {split: Counts(total=writers[split].count, per_class=by_name.get(split)) for split in SPLITS}
    scale = None if of_targets is None else Scale(**of_targets.measured())
    return counts, measurement.measured() if measurement is not None else {}, scale


if __name__ == "__main__":
    run_stage(preprocess, usage="python -m stages.preprocess NAME")
