"""The torch.export form of a model, model.pt2, which takes TorchScript's place upstream: the same bytes wherever the repository lies.

Batches may have any size. Recurrent layers are unrolled by torch.export, so texts have one length: shorter ones are padded with 0, which
changes no answer.
"""

import io
import warnings

import torch
from torch import Tensor, fx

from stages.modelling.model import Model
from stages.shell.errors import UserError
from stages.shell.messages import first_line

ORIGINS = ("stack_trace", "nn_module_stack", "source_fn_stack")  # of a node: lines and paths of the Python that made it


def to_pt2(name: str, model: Model, example: Tensor) -> bytes:
    """The program and its weights. `example` is kept in the file: a batch of nobody's data, texts at the length that the program takes."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of recurrent layers, which arrange their weights anew; parity is what decides
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
