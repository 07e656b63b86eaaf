"""signature.json: what a consumer sends to an exported model and what it gets back, and what there is to know of the model.

The same text stands in the ONNX file's metadata under the key `signature`, so that the file alone is enough.
"""

import json

from stages.common.meta import Meta, Resize
from stages.common.params import Section
from stages.common.shelves import take_input, take_task
from stages.common.signature import Entry
from stages.exporting.facts import Facts, Feature, Golden, Hashes
from stages.exporting.parity import Equality
from stages.exporting.section import Ink, Names

ONNXRUNTIME = ">=1.15"  # of the opsets that params.yaml may ask for; tests/examples/test_onnxruntimes.py loads every model with both ends


class Variant(Section):
    """A smaller form: its file beside model.onnx, if it is offered; why, or why not; how it compares with PyTorch, where it was made."""

    file: str | None = None
    reason: str
    equality: Equality | None = None


class Signature(Section):
    """What signature.json holds.

    task and kind (of input) are names of files in stages/tasks and stages/inputs. classes are in label order; numbers are those of a
    prediction. source: sample (a stand-in), official, generated or own. metrics are of the test split, as evaluate wrote them; parity is
    how far each exported form equals PyTorch on it; variants are smaller forms; torch_export_length is the one length of texts that
    model.pt2 takes; golden is an input with what comes out.
    """

    model: str
    description: str
    use: str
    limits: str
    licence: str
    task: str
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


def describe(name: str, meta: Meta, names: dict[str, str], opset: int, facts: Facts) -> Signature:
    """All but what is known only when the files are made: parity, variants, and the length of texts in model.pt2."""
    named = Names(names)
    return Signature(
        model=name,
        description=meta.description,
        task=meta.task,
        kind=meta.input.kind,
        input=take_input(meta.input.kind).describe(meta.input, named[meta.input.kind]),
        outputs=take_task(meta.task).describe(named, meta.names),
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
