"""Whether the smaller form of an ONNX file, INT8, is offered. Whether it is faster is not known from the file.

It is offered where the model's `int8` in params.yaml names the layers with which it was measured to be faster, and it costs few enough
points of the model's score on the whole test split. Otherwise the signature says why not. Speed is measured by benchmarks/inference.py and
never here: the same inputs must give the same bytes.
"""

import math
from collections.abc import Sequence

import numpy as np

from stages.common.splits import SplitFile
from stages.exporting.forms import onnx_runner, to_int8
from stages.exporting.parity import check_split, pieces_of, spread
from stages.exporting.section import MIN_CALIBRATION_ROWS, Int8
from stages.exporting.signature import Signature, Variant
from stages.modelling.model import Model
from stages.shell.errors import UserError, first_line


def make_int8(
    model: Model, content: bytes, signature: Signature, kinds: Sequence[str], section: Int8, train: SplitFile, test: SplitFile
) -> tuple[Variant, bytes]:
    """What the signature says of the INT8 form, and its file's content, empty where it is not offered; a UserError where it is wanted and
    cannot be made. `content` is the ONNX file without metadata; `signature` has its parity.
    """
    if not kinds:
        return Variant(reason="Not offered: params.yaml names no layers for which it was measured to be faster."), b""
    if train.count < MIN_CALIBRATION_ROWS:
        return Variant(reason=f"Not offered: train has {train.count} rows for the calibration, but {MIN_CALIBRATION_ROWS} are needed."), b""
    try:
        made = to_int8(content, signature.input.name, calibration_rows(model, train, signature, section.calibration_rows), kinds)
    except Exception as error:  # whatever the converter raises on a graph that it does not know
        key = f"params.yaml: models.{signature.model}.int8"
        raise UserError(f"{key} asks for a form that cannot be made ({first_line(error)}): name other layers, or [].") from error
    try:
        own = check_split(model, {"int8": onnx_runner(made, signature, 1)}, pieces_of(test), math.inf)["int8"]
    except UserError as error:  # other shapes, or what is no number
        return Variant(reason=f"Not offered: {error}"), b""
    (score,), (whole,) = own.score.values(), signature.parity["ONNX"].score.values()
    lost = model.task.points(whole, score, test.read("targets", 0, test.count))
    if lost > section.max_points_lost:
        reason = f"Not offered: it loses {lost:.2f} points on {own.items} test items, more than {section.max_points_lost:g}."
        return Variant(reason=reason, equality=own), b""
    reason = f"Offered: it was measured to be faster (params.yaml), and it loses {max(lost, 0):.2f} points on {own.items} test items."
    return Variant(file="model.int8.onnx", reason=reason, equality=own), made


def calibration_rows(model: Model, train: SplitFile, signature: Signature, count: int) -> np.ndarray:
    """Rows from all over train, as consumers send them: pictures that are larger, for training to crop, are cut in the middle."""
    rows: np.ndarray = model.input.part.as_batch(train.take("inputs", spread(train.count, min(count, train.count))))
    for axis, size in enumerate(signature.input.shape):
        if isinstance(size, int):
            start = (rows.shape[axis] - size) // 2
            rows = rows.take(range(start, start + size), axis=axis)
    return rows
