"""The smaller form of an ONNX file: INT8, quantised by static calibration. Whether it is faster is not known from the file.

It is offered where the model's `int8` in params.yaml names the layers with which it was measured to be faster, and it costs few enough
points of the model's score on the whole test split. Otherwise the signature says why not. Speed is measured by benchmarks/inference.py and
never here: the same inputs must give the same bytes.
"""

import math
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnx

from stages.common.splits import SplitFile
from stages.exporting.onnx_file import with_metadata
from stages.exporting.onnx_runtime import quantization
from stages.exporting.parity import Equality, check_split, pieces_of, spread
from stages.exporting.runners import onnx_runner
from stages.exporting.section import MIN_CALIBRATION_ROWS, Int8
from stages.exporting.signature import Signature, Variant
from stages.modelling.model import Model
from stages.shell.errors import UserError
from stages.shell.messages import errors_only, first_line

INT8 = "int8"
CALIBRATION_BATCH = 32
NODES = {"convolution": ["Conv"], "linear": ["Gemm", "MatMul"]}  # by kind of layer


def to_int8(content: bytes, input_name: str, rows: np.ndarray, kinds: Sequence[str] = tuple(NODES)) -> bytes:
    """Layers of these kinds on 8-bit numbers, all but the last linear one, whose rounding no later layer would even out: activations by the
    smallest and largest value that `rows` of train give, weights by output channel.

    In QuantizeLinear and DequantizeLinear nodes, which every ONNX runtime knows. Weights have 7 bits, so that processors without 8-bit dot
    products, whose 16-bit sums would overflow, give the same answers.

    Raises ValueError where the model has no other layer of these kinds.
    """
    proto, wanted = onnx.load_model_from_string(content), [node for kind in kinds for node in NODES[kind]]
    last = [node.name for node in proto.graph.node if node.op_type in NODES["linear"]][-1:]
    if not any(node.op_type in wanted and node.name not in last for node in proto.graph.node):
        raise ValueError(f"it has no {' or '.join(kinds)} layer but its last")

    class Rows(quantization.CalibrationDataReader):
        def __init__(self) -> None:
            self.batches = (rows[start : start + CALIBRATION_BATCH] for start in range(0, len(rows), CALIBRATION_BATCH))

        def get_next(self) -> dict[str, np.ndarray] | None:
            return next(({input_name: batch} for batch in self.batches), None)

    with tempfile.TemporaryDirectory() as folder, errors_only(None):
        # On the root logger it advises that the model be optimised first, by a version of ONNX Runtime on which the bytes would depend.
        path = Path(folder) / "int8.onnx"
        quantization.quantize_static(
            onnx.shape_inference.infer_shapes(proto),
            path,
            Rows(),
            quant_format=quantization.QuantFormat.QDQ,
            op_types_to_quantize=wanted,
            nodes_to_exclude=last,
            per_channel=True,
            reduce_range=True,
            activation_type=quantization.QuantType.QUInt8,
            weight_type=quantization.QuantType.QInt8,
        )
        return path.read_bytes()


def make_int8(
    model: Model, content: bytes, signature: Signature, kinds: Sequence[str], section: Int8, train: SplitFile, test: SplitFile
) -> tuple[Variant, bytes]:
    """What the signature says of the INT8 form, and its file's content, empty where it is not offered.

    `content` is the ONNX file without metadata; `signature` has its parity.

    Raises UserError where it is wanted and cannot be made.
    """
    if not kinds:
        return Variant(reason="Not offered: params.yaml names no layers for which it was measured to be faster."), b""
    if train.count < MIN_CALIBRATION_ROWS:
        return Variant(reason=f"Not offered: train has {train.count} rows for the calibration, but {MIN_CALIBRATION_ROWS} are needed."), b""
    try:
        made = to_int8(content, signature.input.name, calibration_rows(model, train, signature, section.calibration_rows), kinds)
    except Exception as error:  # whatever the converter raises on a graph that it does not know
        key = f"models.{signature.model}.int8"
        what = f"params.yaml: {key} asks for a form that cannot be made ({first_line(error)})"
        raise UserError(f"{what}: name other layers, or [].") from error
    variant = judge(INT8, made, model, signature, section.max_points_lost, test)
    return variant, made if variant.file else b""


def judge(form: str, made: bytes, model: Model, signature: Signature, most: float, test: SplitFile) -> Variant:
    """Whether a variant is offered: by what it loses on the whole test split, in points."""
    try:
        own = check_split(model, {form: onnx_runner(made, signature, 1)}, pieces_of(test), math.inf)[form]
    except UserError as error:  # other shapes, or what is no number
        return Variant(reason=f"Not offered: {error}")
    lost = points_lost(model, signature, own, test)
    if lost > most:
        return Variant(reason=f"Not offered: it loses {lost:.2f} points on {own.items} test items, more than {most:g}.", equality=own)
    reason = f"Offered: it was measured to be faster (params.yaml), and it loses {max(lost, 0):.2f} points on {own.items} test items."
    return Variant(file=f"model.{form}.onnx", reason=reason, equality=own)


def points_lost(model: Model, signature: Signature, own: Equality, test: SplitFile) -> float:
    """Of the score of model.onnx, as the task counts points; negative where the variant is better."""
    ((_, value),), ((_, whole),) = own.score.items(), signature.parity["ONNX"].score.items()
    lost: float = model.task.points(whole, value, test.read("targets", 0, test.count))
    return lost


def calibration_rows(model: Model, train: SplitFile, signature: Signature, count: int) -> np.ndarray:
    """Rows from all over train, as consumers send them."""
    rows: np.ndarray = model.input.part.as_batch(train.take("inputs", spread(train.count, min(count, train.count))))
    return model.input.part.cut(rows, signature.input.shape)


def as_file(content: bytes, signature: Signature, form: str) -> bytes:
    """A variant with the signature of its model inside, and its own name under the key `variant`."""
    return with_metadata(content, signature, {"variant": form})
