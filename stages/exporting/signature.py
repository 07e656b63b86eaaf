"""signature.json: what a consumer sends to an exported model and what it gets back, and what there is to know of the model.

The same text stands in the ONNX file's metadata under the key `signature`, so that the file alone is enough.
"""

import base64
import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from stages.common.meta import Column, Format, Resize
from stages.common.params import Newer, Section
from stages.common.signature import BATCH, Entry, Feature
from stages.common.splits import SPLITS
from stages.exporting.parity import Equality, run_torch
from stages.exporting.section import About, Export, Ink
from stages.modelling.model import Model
from stages.shell.errors import UserError

ONNXRUNTIME = ">=1.15"  # of the opsets that params.yaml may ask for; tests/examples/test_onnxruntimes.py loads every model with both ends


Features = list[Feature] | None


class Variant(Section):
    """A smaller form: its file beside model.onnx, if it is offered; why, or why not; how it compares with PyTorch, where it was made."""

    file: str | None = None
    reason: str
    equality: Equality | None = None


class Signature(Newer):
    """What signature.json holds.

    task and kind (of input) are names of files in stages/tasks and stages/inputs. classes are in label order; numbers are those of a
    prediction. source: sample (a stand-in), official, generated or own. metrics are of the test split, as evaluate wrote them; parity is
    how far each exported form equals PyTorch on it; variants are smaller forms; torch_export_length is the one length of texts that
    model.pt2 takes; hashes are SHA-256; golden has an `input`, a batch of one that is nobody's data, and `outputs`, what PyTorch makes of
    it, by their names: each with its dtype, shape and base64.

    Of a table `inputs` are all that a consumer sends, the first of which is `input`; `format` is how a file's rows are read
    (examples/rows.py), and `columns` how its cells become inputs (examples/cells.py): numbers in the order of `features`, words in that of
    `categories`; golden has `inputs` by their names then, texts as `values`, and `input` is what TorchScript and torch.export take:
    numbers, then a code for each category, 0 unknown, 1 missing, from 2 on its place in `levels`.

    Of a text of any script `max_length` is how many characters count.
    """

    newer = ("class_name", "inputs", "format", "columns", "categories", "max_length")

    @property
    def entries(self) -> list[Entry]:
        """All that a consumer sends."""
        return self.inputs or [self.input]

    model: str
    description: str
    use: str
    limits: str
    licence: str
    task: str
    kind: str
    input: Entry
    inputs: list[Entry] | None = None
    format: Format | None = None
    columns: dict[str, Column] | None = None
    categories: list[str] | None = None
    max_length: int | None = None
    outputs: list[Entry]
    class_name: Entry | None = None
    classes: list[str] | None
    numbers: list[str] | None
    features: Features
    alphabet: str | None
    resize: Resize | None
    ink: Ink | None
    dataset: str
    source: str
    data_licence: str
    metrics: dict[str, float]
    parity: dict[str, Equality]
    variants: dict[str, Variant]
    torch_export_length: int | None
    hashes: dict[str, str]
    opset: int
    onnxruntime: str
    golden: dict[str, Any]


def describe(
    name: str, model: Model, section: Export, about: About, features: Features, metrics: dict[str, float], hashes: dict[str, str]
) -> Signature:
    """All but what is known only when the files are made: parity, variants, and the length of texts in model.pt2."""
    meta, part = model.meta, model.input.part
    data_licence = about.licence if isinstance(about.licence, str) else about.licence.get(meta.source)
    if data_licence is None:
        raise UserError(f"params.yaml: datasets.{meta.dataset}.about.licence has no entry for the data's source, {meta.source}: add one.")
    names = {own: section.names.get(own, own) for own in (*part.NAMES, *model.output_names)}
    entries, table = part.describe(meta.input, names), meta.input.table
    batch = part.as_batch(part.golden(meta.input))
    answers = zip(model.output_names, run_torch(model, batch), strict=True)
    return Signature(
        model=name,
        description=meta.description,
        use=about.use,
        limits=about.limits,
        licence=section.licence,
        task=meta.task,
        kind=meta.input.kind,
        input=entries[0],
        inputs=entries if hasattr(part, "feed") else None,
        format=table.format if table else None,
        columns=table.columns if table else None,
        categories=[one.name for one in table.categories] if table else None,
        max_length=meta.input.text.max_length if meta.input.text else None,
        outputs=model.task.describe(names, meta.names),
        class_name=class_name(model.task, section, meta.names),
        classes=meta.classes,
        numbers=meta.outputs,
        features=features,
        alphabet=meta.input.alphabet,
        resize=meta.input.resize,
        ink=about.ink,
        dataset=meta.dataset,
        source=meta.source,
        data_licence=data_licence,
        metrics=metrics,
        parity={},
        variants={},
        torch_export_length=None,
        hashes=hashes,
        opset=section.opset,
        onnxruntime=ONNXRUNTIME,
        golden={
            "input": as_array(batch),
            **(
                {"inputs": {name: as_array(array) for name, array in feeder(model, entries)(batch).items()}}
                if hasattr(part, "feed")
                else {}
            ),
            "outputs": {names[own]: as_array(answer) for own, answer in answers},
        },
    )


def class_name(task: ModuleType, section: Export, class_names: list[str]) -> Entry | None:
    """The output that says the most probable class in words, where `export.names` asks for it and an item has one class."""
    if "class" not in section.names or not task.NAMES_ONE_CLASS:
        return None
    return Entry(name=section.names["class"], dtype="string", shape=[BATCH], meaning=f"The most probable class: {', '.join(class_names)}.")


Feed = Callable[[np.ndarray], dict[str, np.ndarray]]


def feeder(model: Model, entries: list[Entry]) -> Feed:
    """From a batch to what a consumer sends for it, by the names of the inputs."""

    def feed(batch: np.ndarray) -> dict[str, np.ndarray]:
        part = model.input.part
        arrays = part.feed(batch, model.meta.input) if hasattr(part, "feed") else [batch]
        return {entry.name: array for entry, array in zip(entries, arrays, strict=True)}

    return feed


def as_array(values: np.ndarray) -> dict[str, Any]:
    """Numbers in C order, little-endian, as base64 of their bytes; texts as they are."""
    if values.dtype == object:
        return {"dtype": "string", "shape": list(values.shape), "values": values.ravel().tolist()}
    content = np.ascontiguousarray(values, dtype=values.dtype.newbyteorder("<")).tobytes()
    return {"dtype": values.dtype.name, "shape": list(values.shape), "base64": base64.b64encode(content).decode()}


def hashes_of(folder: Path, processed: Path, trained: dict[str, Any]) -> dict[str, str]:
    """Of the weights (the checkpoint's bytes), the params that they were trained by, as the checkpoint says, and the data (all splits)."""
    params = {"architecture": trained["architecture"], "recipe": trained["training"]["recipe"], "seed": trained["training"]["seed"]}
    return {
        "weights": hash_of(folder / "checkpoint.safetensors"),
        "params": hashlib.sha256(json.dumps(params, sort_keys=True).encode()).hexdigest(),
        "data": hash_of(*(processed / f"{split}.safetensors" for split in SPLITS)),
    }


def hash_of(*paths: Path) -> str:
    """Of the files' bytes, one after another."""
    digest = hashlib.sha256()
    for path in paths:
        with path.open("rb") as file:
            hashlib.file_digest(file, lambda: digest)
    return digest.hexdigest()
