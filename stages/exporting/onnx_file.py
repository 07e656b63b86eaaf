"""The ONNX form of a model: one file with every weight inside, dynamic batch (and length) axes, and metadata of its own.

It is made by tracing (torch.onnx.export with dynamo=False). The newer exporter was tried with torch 2.14: it unrolls
recurrent layers to the example's length, or refuses them, and takes seventy times as long on a small network.
"""

import io
import warnings

import onnx
import torch
from torch import Tensor

from stages.exporting.signature import Signature
from stages.modelling.model import Model
from stages.shell.errors import UserError
from stages.shell.messages import errors_only, first_line


def to_onnx(model: Model, example: Tensor, signature: Signature, opset: int) -> bytes:
    """The checked ONNX file, without metadata; `example` is a batch of raw inputs."""
    file = io.BytesIO()
    names = [signature.input.name, *(output.name for output in signature.outputs)]
    with warnings.catch_warnings(), errors_only("torch.onnx"):
        # The tracer warns that it is deprecated, and of every shape that it reads; parity is what decides.
        warnings.simplefilter("ignore")
        try:
            torch.onnx.export(
                model,
                (example,),
                file,  # type: ignore[arg-type]  # takes a file object too where dynamo is False
                dynamo=False,
                opset_version=opset,
                input_names=names[:1],
                output_names=names[1:],
                dynamic_axes={entry.name: entry.dynamic_axes() for entry in (signature.input, *signature.outputs)},
            )
        except (RuntimeError, ValueError) as error:
            raise UserError(f"{signature.model} cannot be written as ONNX with opset {opset}: {first_line(error)}.") from error
    proto = onnx.load_model_from_string(file.getvalue())
    strip_origins(proto)
    fix_output_axes(proto, signature)
    onnx.checker.check_model(proto, full_check=True)
    return proto.SerializeToString(deterministic=True)


def with_metadata(content: bytes, signature: Signature, more: dict[str, str] | None = None) -> bytes:
    """The ONNX file with all that there is to know of it inside, and `more`. No time and no version: the same model is the same bytes."""
    proto = onnx.load_model_from_string(content)
    proto.producer_name, proto.producer_version = "reprise", ""
    proto.doc_string = f"{signature.description} {signature.use}"
    onnx.helper.set_model_props(proto, signature.as_properties() | (more or {}))
    onnx.checker.check_model(proto, full_check=True)
    return proto.SerializeToString(deterministic=True)


def fix_output_axes(proto: onnx.ModelProto, signature: Signature) -> None:
    """Writes the sizes that the tracer lost, behind a loop for example: consumers read the outputs' shapes from the file."""
    for value, entry in zip(proto.graph.output, signature.outputs, strict=True):
        for axis, size in zip(value.type.tensor_type.shape.dim, entry.shape, strict=True):
            if isinstance(size, int):
                axis.dim_value = size


def strip_origins(proto: onnx.ModelProto) -> None:
    """Drop what names the exporting machine's source files: bytes must not depend on where the repository lies."""
    proto.doc_string = ""
    strip_graph(proto.graph)


def strip_graph(graph: onnx.GraphProto) -> None:
    graph.doc_string = ""
    for node in graph.node:
        node.doc_string = ""
        del node.metadata_props[:]
        for attribute in node.attribute:
            if attribute.type == onnx.AttributeProto.GRAPH:
                strip_graph(attribute.g)
