"""What a signature says that meta.json does not: metrics, hashes, what train has of each feature, and a golden input with its outputs."""

import base64
import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np

from stages.common.params import Section
from stages.common.signature import Feature
from stages.common.splits import SPLITS, SplitFile
from stages.exporting.parity import run_torch
from stages.exporting.section import About, Export, Ink, Names
from stages.modelling.model import Model
from stages.shell.errors import UserError

PIECE = 4096  # rows of train at once
CHUNK = 1 << 20


class Hashes(Section):
    """SHA-256: of the weights (the checkpoint's bytes), of the params that they were trained by, and of the data (all three splits)."""

    weights: str
    params: str
    data: str


class Array(Section):
    """Numbers in C order, little-endian, as base64 of their bytes."""

    dtype: str
    shape: list[int]
    base64: str


class Golden(Section):
    """A batch of one input that is nobody's data, and what PyTorch makes of it, by the outputs' names."""

    input: Array
    outputs: dict[str, Array]


class Facts(Section):
    """All of them; names of metrics as in metrics.json."""

    use: str
    limits: str
    licence: str
    data_licence: str
    ink: Ink | None
    features: list[Feature] | None
    metrics: dict[str, float]
    hashes: Hashes
    golden: Golden


def gather(model: Model, trained: dict[str, Any], section: Export, about: About, folder: Path, processed: Path) -> Facts:
    """The facts of a model in `folder`, whose checkpoint says `trained` of itself. Raises UserError where a part is missing."""
    meta, train = model.meta, SplitFile(processed, "train")
    data_licence = about.licence if isinstance(about.licence, str) else about.licence.get(meta.source)
    if data_licence is None:
        raise UserError(f"params.yaml: datasets.{meta.dataset}.about.licence has no entry for the data's source, {meta.source}: add one.")
    return Facts(
        use=about.use,
        limits=about.limits,
        licence=section.licence,
        data_licence=data_licence,
        ink=about.ink,
        features=model.input.part.facts(meta, train.pieces("inputs", PIECE), about.units),
        metrics=read_metrics(folder),
        hashes=Hashes(
            weights=hash_of(folder / "checkpoint.safetensors"),
            params=hashlib.sha256(json.dumps(params_of(trained), sort_keys=True).encode()).hexdigest(),
            data=hash_of(*(processed / f"{split}.safetensors" for split in SPLITS)),
        ),
        golden=golden(model, section),
    )


def params_of(trained: dict[str, Any]) -> dict[str, Any]:
    return {"architecture": trained["architecture"], "recipe": trained["training"]["recipe"], "seed": trained["training"]["seed"]}


def read_metrics(folder: Path) -> dict[str, float]:
    try:
        content: dict[str, float] = json.loads((folder / "metrics.json").read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise UserError(f"{folder}/metrics.json is missing: run python -m stages.evaluate {folder.name} (or dvc repro) first.") from error
    except ValueError as error:
        raise UserError(f"{folder}/metrics.json is damaged: run python -m stages.evaluate {folder.name} again.") from error
    return content


def hash_of(*paths: Path) -> str:
    """Of the files' bytes, one after another."""
    digest = hashlib.sha256()
    for path in paths:
        with path.open("rb") as file:
            while chunk := file.read(CHUNK):
                digest.update(chunk)
    return digest.hexdigest()


def golden(model: Model, section: Export) -> Golden:
    part, named = model.input.part, Names(section.names)
    batch = part.as_batch(part.golden(model.meta.input))
    outputs = {named[name]: as_array(output) for name, output in zip(model.output_names, run_torch(model, batch), strict=True)}
    return Golden(input=as_array(batch), outputs=outputs)


def as_array(values: np.ndarray) -> Array:
    content = np.ascontiguousarray(values, dtype=values.dtype.newbyteorder("<")).tobytes()
    return Array(dtype=values.dtype.name, shape=list(values.shape), base64=base64.b64encode(content).decode())
