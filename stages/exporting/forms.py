"""The forms in which a model is exported, each as the bytes of its file, and as a function from a batch to its outputs.

ONNX is made by tracing (torch.onnx.export with dynamo=False). The newer exporter was tried with torch 2.14: it unrolls recurrent layers to
the example's length, or refuses them, and takes seventy times as long on a small network.
"""

import contextlib
import functools
import io
import json
import logging
import math
import os
import tempfile
import warnings
import zipfile
from collections.abc import Iterator, Sequence
from pathlib import Path

# Since 1.29 ONNX Runtime reports its use to its makers, with a queue of files below HOME, unless this is set when it is imported. Processes
# that are started from here inherit it.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

import numpy as np
import onnx
import torch
from onnxruntime import InferenceSession, SessionOptions, quantization
from torch import Tensor, fx

from stages.common.signature import BATCH
from stages.common.splits import SplitFile
from stages.exporting.parity import Run, check_split, pieces_of, spread
from stages.exporting.section import MIN_CALIBRATION_ROWS, Int8
from stages.exporting.signature import Feed, Signature, Variant, feeder
from stages.modelling.model import Model
from stages.shell.errors import UserError, first_line

TRACED = "rows"  # the one input of a traced graph before which the inputs of a table are put
EPOCH = (1980, 1, 1, 0, 0, 0)
CALIBRATION_BATCH = 32
NODES = {"convolution": ["Conv"], "linear": ["Gemm", "MatMul"]}  # by kind of layer
ORIGINS = ("stack_trace", "nn_module_stack", "source_fn_stack")  # of a node: lines and paths of the Python that made it


@contextlib.contextmanager
def without_advice() -> Iterator[None]:
    """Converters warn that they are deprecated, and of every shape that they read; parity is what decides."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        logging.disable(logging.WARNING)
        try:
            yield
        finally:
            logging.disable(logging.NOTSET)


def to_onnx(model: Model, example: Tensor, signature: Signature) -> bytes:
    """The checked ONNX file with every weight inside, without metadata; `example` is a batch of raw inputs."""
    file, part, traced = io.BytesIO(), model.input.part, TRACED if signature.inputs else signature.input.name
    axes = {traced: {0: BATCH} if signature.inputs else signature.input.dynamic_axes()}
    if signature.opset < (least := getattr(part, "OPSET", 0)):
        raise UserError(f"params.yaml: export.opset is {signature.opset}, but models of {signature.kind} need at least {least}: raise it.")
    try:
        with without_advice():
            torch.onnx.export(
                model,
                (example,),
                file,  # type: ignore[arg-type]  # takes a file object too where dynamo is False
                dynamo=False,
                opset_version=signature.opset,
                input_names=[traced],
                output_names=[output.name for output in signature.outputs],
                dynamic_axes=axes | {entry.name: entry.dynamic_axes() for entry in signature.outputs},
            )
    except (RuntimeError, ValueError) as error:
        raise UserError(f"{signature.model} cannot be written as ONNX with opset {signature.opset}: {first_line(error)}.") from error
    proto = onnx.load_model_from_string(file.getvalue())
    if signature.inputs:
        part.add_inputs(proto, model.meta.input, [entry.name for entry in signature.inputs], traced)
    if signature.class_name:
        add_class_name(proto, signature.outputs[1].name, signature.class_name.name, signature.classes or [])
    proto.doc_string = ""
    strip_origins(proto.graph)
    # The sizes that the tracer lost, behind a loop for example: consumers read the outputs' shapes from the file.
    for value, entry in zip(proto.graph.output, signature.outputs, strict=False):
        for axis, size in zip(value.type.tensor_type.shape.dim, entry.shape, strict=True):
            if isinstance(size, int):
                axis.dim_value = size
    return checked(proto)


def add_class_name(proto: onnx.ModelProto, label: str, name: str, classes: list[str]) -> None:
    """Adds an output, string [batch]: the class at the place that the output `label` says."""
    places = list(range(len(classes)))
    make = functools.partial(onnx.helper.make_node, "LabelEncoder", domain="ai.onnx.ml")
    proto.graph.node.append(make([label], [name], keys_int64s=places, values_strings=classes, default_string=""))
    proto.graph.output.append(onnx.helper.make_tensor_value_info(name, onnx.TensorProto.STRING, [BATCH]))
    if "ai.onnx.ml" not in [one.domain for one in proto.opset_import]:
        proto.opset_import.append(onnx.helper.make_opsetid("ai.onnx.ml", 2))


def strip_origins(graph: onnx.GraphProto) -> None:
    """Drop what names the exporting machine's source files: bytes must not depend on where the repository lies."""
    graph.doc_string = ""
    for node in graph.node:
        node.doc_string = ""
        del node.metadata_props[:]
        for attribute in node.attribute:
            if attribute.type == onnx.AttributeProto.GRAPH:
                strip_origins(attribute.g)


def with_metadata(content: bytes, signature: Signature, more: dict[str, str] | None = None) -> bytes:
    """The ONNX file with all that there is to know of it inside, and `more`. No time and no version: the same model is the same bytes."""
    proto = onnx.load_model_from_string(content)
    proto.producer_name, proto.producer_version = "reprise", ""
    proto.doc_string = f"{signature.description} {signature.use}"
    onnx.helper.set_model_props(proto, {"signature": json.dumps(signature.model_dump(), ensure_ascii=False)} | (more or {}))
    return checked(proto)


def checked(proto: onnx.ModelProto) -> bytes:
    onnx.checker.check_model(proto, full_check=True)
    return proto.SerializeToString(deterministic=True)


def to_int8(content: bytes, feed: Feed, rows: np.ndarray, kinds: Sequence[str] = tuple(NODES)) -> bytes:
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
            return next((feed(batch) for batch in self.batches), None)

    # Its advice is that the model be optimised first, by a version of ONNX Runtime on which the bytes would depend.
    with tempfile.TemporaryDirectory() as folder, without_advice():
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


def onnx_runner(content: bytes, signature: Signature, threads: int, feed: Feed) -> Run:
    """`feed` is what a consumer sends for a batch, by the names of the inputs (stages/exporting/signature.py)."""
    options = SessionOptions()
    options.intra_op_num_threads = threads
    session = InferenceSession(content, options, providers=["CPUExecutionProvider"])
    return lambda batch: session.run([output.name for output in signature.outputs], feed(batch))


def make_int8(
    model: Model, content: bytes, signature: Signature, kinds: Sequence[str], section: Int8, train: SplitFile, test: SplitFile
) -> tuple[Variant, bytes]:
    """What the signature says of the INT8 form, and its file's content, empty where it is not offered; a UserError where it is wanted and
    cannot be made. `content` is the ONNX file without metadata; `signature` has its parity.

    It is offered where the model's `int8` in params.yaml names the `kinds` of layers with which it was measured to be faster, and it costs
    few enough points of the model's score on the whole test split. Speed is measured by benchmarks/inference.py and never here: the same
    inputs must give the same bytes.
    """
    if not kinds:
        return Variant(reason="Not offered: params.yaml names no layers for which it was measured to be faster."), b""
    if train.count < MIN_CALIBRATION_ROWS:
        return Variant(reason=f"Not offered: train has {train.count} rows for the calibration, but {MIN_CALIBRATION_ROWS} are needed."), b""
    feed = feeder(model, signature.entries)
    try:
        made = to_int8(content, feed, calibration_rows(model, train, section.calibration_rows), kinds)
    except Exception as error:  # whatever the converter raises on a graph that it does not know
        key = f"params.yaml: models.{signature.model}.int8"
        raise UserError(f"{key} asks for a form that cannot be made ({first_line(error)}): name other layers, or [].") from error
    try:
        own = check_split(model, {"int8": onnx_runner(made, signature, 1, feed)}, pieces_of(test), math.inf)["int8"]
    except UserError as error:  # other shapes, or what is no number
        return Variant(reason=f"Not offered: {error}"), b""
    (score,), (whole,) = own.score.values(), signature.parity["ONNX"].score.values()
    lost = model.task.points(whole, score, test.read("targets", 0, test.count))
    if lost > section.max_points_lost:
        reason = f"Not offered: it loses {lost:.2f} points on {own.items} test items, more than {section.max_points_lost:g}."
        return Variant(reason=reason, equality=own), b""
    reason = f"Offered: it was measured to be faster (params.yaml), and it loses {max(lost, 0):.2f} points on {own.items} test items."
    return Variant(file="model.int8.onnx", reason=reason, equality=own), made


def calibration_rows(model: Model, train: SplitFile, count: int) -> np.ndarray:
    """Rows from all over train, as consumers send them: pictures that are larger, for training to crop, are cut in the middle."""
    rows: np.ndarray = model.input.part.as_batch(model.middle(train.take("inputs", spread(train.count, min(count, train.count)))))
    return rows


def to_torchscript(model: Model, example: Tensor) -> bytes:
    """The traced model, byte for byte the same wherever the repository lies; inputs and outputs are those of the ONNX file, by position.

    TorchScript numbers its classes through the life of a process, so the bytes are those of the first model that a process exports. The
    archive's debug records hold the absolute paths of the Python files that were traced, and its serialization id is a hash of all records,
    those too: readers do without either.
    """
    file, result = io.BytesIO(), io.BytesIO()
    with without_advice():
        torch.jit.save(torch.jit.trace(model, (example,), check_trace=False), file)
    with zipfile.ZipFile(file) as old, zipfile.ZipFile(result, "w", zipfile.ZIP_STORED) as new:
        for entry in old.infolist():
            if not entry.filename.endswith((".debug_pkl", "/.data/serialization_id")):
                new.writestr(zipfile.ZipInfo(entry.filename, EPOCH), old.read(entry))
    return result.getvalue()


def torchscript_runner(content: bytes) -> Run:
    with without_advice():
        script = torch.jit.load(io.BytesIO(content), map_location="cpu")

    @torch.no_grad()
    def run(batch: np.ndarray) -> list[np.ndarray]:
        return [output.numpy() for output in script(torch.from_numpy(batch))]

    return run


def to_pt2(name: str, model: Model, example: Tensor) -> bytes:
    """The torch.export form, model.pt2, which takes TorchScript's place upstream: the same bytes wherever the repository lies.

    Batches may have any size. Recurrent layers are unrolled by torch.export, so texts have one length, the example's: shorter ones are
    padded with 0, which changes no answer. `example` is kept in the file: a batch of nobody's data.
    """
    try:
        with without_advice():
            program = torch.export.export(model, (example,), dynamic_shapes=({0: torch.export.Dim.DYNAMIC},), strict=False)
    except Exception as error:  # torch.export's own errors share no base class
        raise UserError(f"{name} cannot be exported by torch.export: {first_line(error)}.") from error
    for module in program.graph_module.modules():
        for node in module.graph.nodes if isinstance(module, fx.GraphModule) else ():
            for origin in ORIGINS:
                node.meta.pop(origin, None)
    file = io.BytesIO()
    torch.export.save(program, file)
    return file.getvalue()


def torch_export_runner(content: bytes, length: int | None) -> Run:
    """A model.pt2. Texts are padded to the one `length` that it takes, and their outputs cut back to what they had.

    torch.export.load() unpickles what it does not know: give it files of your own alone.
    """
    program = torch.export.load(io.BytesIO(content)).module()

    @torch.no_grad()
    def run(batch: np.ndarray) -> list[np.ndarray]:
        if length is None:
            return [output.numpy() for output in program(torch.from_numpy(batch))]
        given = batch.shape[1]
        probabilities, label = (output.numpy() for output in program(torch.from_numpy(padded(batch, length))))
        is_of_characters = probabilities.ndim == 3
        return [probabilities[:, :given], label[:, :given]] if is_of_characters else [probabilities, label]

    return run


def padded(texts: np.ndarray, length: int) -> np.ndarray:
    """int64 [batch, length], padded with 0 at the end."""
    return np.pad(texts, ((0, 0), (0, length - texts.shape[1])))
