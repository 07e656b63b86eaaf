"""What a signature says that meta.json does not: metrics, hashes, what train has of each feature, and a golden input with its outputs."""

import base64
import hashlib
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from stages.common.errors import UserError
from stages.common.meta import Input, Meta
from stages.common.params import Section
from stages.common.splits import SPLITS, SplitFile
from stages.exporting.parity import as_batch, run_torch
from stages.exporting.section import About, Export, Ink
from stages.modelling.model import Model

PIECE = 4096  # rows of train at once
CHUNK = 1 << 20
DIGITS = 6  # of what is measured on train


class Feature(Section):
    """One number of a row: its unit (empty where none is known), and the smallest, largest and mean value that train has, if any."""

    name: str
    unit: str
    low: float | None
    high: float | None
    mean: float | None
    zero_is_missing: bool


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
        raise UserError(f"params.yaml: datasets.{meta.dataset}.about.licence has no entry for {meta.source} data, which this is: add one.")
    return Facts(
        use=about.use,
        limits=about.limits,
        licence=section.licence,
        data_licence=data_licence,
        ink=about.ink,
        features=describe_features(meta, train.pieces("inputs", PIECE), about.units) if meta.input.kind == "features" else None,
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


def describe_features(meta: Meta, train: Iterable[np.ndarray], units: dict[str, str]) -> list[Feature]:
    """By the inputs of train, piece by piece; missing values do not count."""
    names = meta.input.names or []
    if unknown := [name for name in units if name not in names]:
        key = f"datasets.{meta.dataset}.about.units"
        raise UserError(f"params.yaml: {key} has {unknown[0]}, which is no feature; expected some of {', '.join(names)}.")
    zero = np.array([name in (meta.input.zero_is_missing or []) for name in names])
    low, high = np.full(len(names), np.inf), np.full(len(names), -np.inf)
    total, count = np.zeros(len(names)), np.zeros(len(names), dtype=np.int64)
    for rows in train:
        values = np.where(zero & (rows == 0), np.nan, rows.astype(np.float64))
        low, high = np.fmin(low, np.fmin.reduce(values, axis=0)), np.fmax(high, np.fmax.reduce(values, axis=0))
        total, count = total + np.nansum(values, axis=0), count + (~np.isnan(values)).sum(axis=0)
    return [
        Feature(
            name=name,
            unit=units.get(name, ""),
            low=rounded(low[place]) if count[place] else None,
            high=rounded(high[place]) if count[place] else None,
            mean=rounded(total[place] / count[place]) if count[place] else None,
            zero_is_missing=bool(zero[place]),
        )
        for place, name in enumerate(names)
    ]


def rounded(value: float) -> float:
    return float(f"{value:.{DIGITS}g}")


def golden(model: Model, section: Export) -> Golden:
    inputs = golden_input(model.meta.input)
    named = section.names.model_dump()
    outputs = {named[name]: as_array(output) for name, output in zip(model.output_names, run_torch(model, as_batch(inputs)), strict=True)}
    return Golden(input=as_array(as_batch(inputs)), outputs=outputs)


def golden_input(described: Input) -> np.ndarray:
    """One row, made by rule and not taken from the data: that may be somebody's, and the model goes to others."""
    if described.kind == "features":
        return np.array([described.mean or np.arange(1, len(described.names or []) + 1)], dtype=np.float32)
    if described.kind == "characters":
        return np.array([[ord(character) for character in described.alphabet or "Reprise"]], dtype=np.int16)
    height, width, channels = (size or 1 for size in described.shape)
    rows, columns, layers = np.ogrid[:height, :width, :channels]
    return ((7 * rows + 5 * columns + 31 * layers) % 256).astype(np.uint8)[None]


def as_array(values: np.ndarray) -> Array:
    content = np.ascontiguousarray(values, dtype=values.dtype.newbyteorder("<")).tobytes()
    return Array(dtype=values.dtype.name, shape=list(values.shape), base64=base64.b64encode(content).decode())
