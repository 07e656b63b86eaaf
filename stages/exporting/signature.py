"""signature.json: what a consumer sends to an exported model and what it gets back, and what there is to know of the model.

The same text stands in the ONNX file's metadata under the key `signature`, so that the file alone is enough.
"""

import json

from stages.common.meta import Meta, Resize, Task
from stages.common.params import Section
from stages.exporting.facts import Facts, Feature, Golden, Hashes
from stages.exporting.parity import Equality
from stages.exporting.section import Ink, Names

BATCH, LENGTH = "batch", "length"
ONNXRUNTIME = ">=1.15"  # of the opsets that params.yaml may ask for; tests/examples/test_onnxruntimes.py loads every model with both ends


class Entry(Section):
    """One input or output; a text in `shape` is an axis of any size. `range` is what its numbers may be, where that is known."""

    name: str
    dtype: str
    shape: list[int | str]
    meaning: str
    range: list[float] | None = None

    def dynamic_axes(self) -> dict[int, str]:
        return {axis: size for axis, size in enumerate(self.shape) if isinstance(size, str)}


class Variant(Section):
    """A smaller form: its file beside model.onnx, if it is offered; why, or why not; how it compares with PyTorch, where it was made."""

    file: str | None = None
    reason: str
    equality: Equality | None = None


class Signature(Section):
    """What signature.json holds.

    kind: image, features or characters. classes are in label order; numbers are those of a prediction. source: sample
    (a stand-in), official or generated. metrics are of the test split, as evaluate wrote them; parity is how far each exported form equals
    PyTorch on it; variants are smaller forms; torch_export_length is the one length of texts that model.pt2 takes; golden is an input with
    what comes out.
    """

    model: str
    description: str
    use: str
    limits: str
    licence: str
    task: Task
    kind: str
    input: Entry
    outputs: list[Entry]
    classes: list[str] | None
    numbers: list[str] | None
    features: list[Feature] | None
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
    hashes: Hashes
    opset: int
    onnxruntime: str
    golden: Golden

    def as_properties(self) -> dict[str, str]:
        return {"signature": json.dumps(self.model_dump(), ensure_ascii=False)}


def describe(name: str, meta: Meta, names: Names, opset: int, facts: Facts) -> Signature:
    """All but what is known only when the files are made: parity, variants, and the length of texts in model.pt2."""
    return Signature(
        model=name,
        description=meta.description,
        task=meta.task,
        kind=meta.input.kind,
        input=describe_input(meta, names),
        outputs=describe_outputs(meta, names),
        classes=meta.classes,
        numbers=meta.outputs,
        alphabet=meta.input.alphabet,
        resize=meta.input.resize,
        dataset=meta.dataset,
        source=meta.source,
        parity={},
        variants={},
        torch_export_length=None,
        opset=opset,
        onnxruntime=ONNXRUNTIME,
        **dict(facts),
    )


def describe_input(meta: Meta, names: Names) -> Entry:
    shape = meta.input.shape
    if meta.input.kind == "image":
        channels = {1: "grey", 3: "red, green, blue"}.get(shape[2] or 0, f"{shape[2]} channels")
        return Entry(
            name=names.image,
            dtype="uint8",
            shape=[BATCH, *fixed(shape)],
            meaning=f"Pictures, 0 to 255, {channels}, as read from a file: not scaled.",
            range=[0, 255],
        )
    if meta.input.kind == "features":
        missing = (
            f" NaN is missing; so is 0 in {', '.join(meta.input.zero_is_missing)}." if meta.input.zero_is_missing else " NaN is missing."
        )
        return Entry(
            name=names.features,
            dtype="float32",
            shape=[BATCH, *fixed(shape)],
            meaning=f"{', '.join(meta.input.names or [])}: raw, not scaled.{missing}",
        )
    known = f" Known characters: {meta.input.alphabet}." if meta.input.alphabet else " Fold other characters to ASCII first."
    return Entry(
        name=names.characters,
        dtype="int64",
        shape=[BATCH, LENGTH],
        meaning=f"Code points below 128, 0 = padding at the end, at least one a row.{known}",
        range=[0, 127],
    )


def fixed(shape: list[int | None]) -> list[int | str]:
    return [size for size in shape if size is not None]


def describe_outputs(meta: Meta, names: Names) -> list[Entry]:
    if meta.task == "regression":
        meaning = ", ".join(meta.outputs or [])
        return [Entry(name=names.prediction, dtype="float32", shape=[BATCH, meta.num_outputs], meaning=meaning)]
    leading: list[int | str] = [BATCH, LENGTH] if meta.task == "sequence" else [BATCH]
    padded = " -1 where the input is padding." if meta.task == "sequence" else ""
    num_classes = len(meta.classes or [])
    return [
        Entry(
            name=names.probabilities,
            dtype="float32",
            shape=[*leading, num_classes],
            meaning="Of each class, in the order of `classes`; they sum to 1.",
            range=[0, 1],
        ),
        Entry(
            name=names.label,
            dtype="int64",
            shape=leading,
            meaning=f"Place of the most probable class in `classes`.{padded}",
            range=[-1 if padded else 0, num_classes - 1],
        ),
    ]
