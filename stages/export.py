"""Exports one model to ONNX and TorchScript, and proves both equal to PyTorch.

Command: python -m stages.export MODEL
Reads:   models/<MODEL>/checkpoint.safetensors; data/<dataset>/processed/test.safetensors; params.yaml: runtime, export
Writes:  models/<MODEL>/exported/: model.onnx, model.torchscript.pt, signature.json, README.md (the model card)
"""

import io
import warnings
from pathlib import Path

import numpy as np
import torch

from stages.common.errors import run_stage
from stages.common.files import as_json, replacing_folder
from stages.common.params import Runtime, look_up, read_params, read_section
from stages.common.splits import SplitFile
from stages.exporting.model_card import model_card
from stages.exporting.onnx_file import to_onnx
from stages.exporting.parity import BATCH_SIZES, Run, check_parity, spread
from stages.exporting.section import Export
from stages.exporting.signature import Signature, describe
from stages.exporting.torchscript import to_torchscript
from stages.modelling.devices import prepare_torch
from stages.modelling.model import load_checkpoint


def export(name: str) -> None:
    runtime, section = read_section(Runtime, "runtime"), read_section(Export, "export")
    prepare_torch(runtime.model_copy(update={"device": "cpu"}))
    processed, folder = Path("data") / look_up(read_params(), "models", name, "dataset") / "processed", Path("models") / name
    model, description = load_checkpoint(folder / "checkpoint.safetensors")
    test = SplitFile(processed, "test")
    inputs = test.take("inputs", spread(test.count, max(BATCH_SIZES)))

    signature = describe(name, model.meta, section.names, section.opset)
    example = example_batch(inputs)
    onnx_bytes, script_bytes = to_onnx(model, example, signature, section.opset), to_torchscript(model, example)
    exported = {"ONNX": onnx_runner(onnx_bytes, signature, runtime.threads), "TorchScript": torchscript_runner(script_bytes)}
    parity = check_parity(model, exported, inputs, section.tolerance)

    with replacing_folder(folder / "exported") as fresh:
        (fresh / "model.onnx").write_bytes(onnx_bytes)
        (fresh / "model.torchscript.pt").write_bytes(script_bytes)
        (fresh / "signature.json").write_bytes(as_json(signature.model_dump()))
        card = model_card(signature, model.meta, description["training"], description["architecture"], parity)
        (fresh / "README.md").write_text(card, encoding="utf-8")
    print(f"{name}: exported, largest difference from PyTorch {', '.join(f'{form} {value:.1e}' for form, value in parity.items())}")


def example_batch(inputs: np.ndarray) -> torch.Tensor:
    """Three rows to trace with: an axis of one would be taken for a constant."""
    rows = inputs[np.arange(3) % len(inputs)]
    return torch.from_numpy(rows.astype(np.int64) if rows.dtype == np.int16 else rows)


def onnx_runner(content: bytes, signature: Signature, threads: int) -> Run:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    return lambda batch: session.run([output.name for output in signature.outputs], {signature.input.name: batch})


def torchscript_runner(content: bytes) -> Run:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # torch.jit is deprecated and says so at every call
        script = torch.jit.load(io.BytesIO(content), map_location="cpu")

    @torch.no_grad()
    def run(batch: np.ndarray) -> list[np.ndarray]:
        return [output.numpy() for output in script(torch.from_numpy(batch))]

    return run


if __name__ == "__main__":
    run_stage(export, usage="python -m stages.export MODEL")
