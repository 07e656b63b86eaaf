"""Exports one model to ONNX and TorchScript, and proves both equal to PyTorch.

Command: python -m stages.export MODEL
Reads:   models/<MODEL>/{checkpoint.safetensors,metrics.json} and plots/{learning_curve,predictions}.csv; data/<dataset>/processed;
         params.yaml: runtime, export, datasets.<dataset>.about
Writes:  models/<MODEL>/exported/: model.onnx, model.torchscript.pt, signature.json, README.md (the model card) and its pictures
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
from stages.exporting.facts import gather
from stages.exporting.model_card import model_card
from stages.exporting.onnx_file import to_onnx, with_metadata
from stages.exporting.parity import BATCH_SIZES, Run, as_batch, check_parity, check_split, spread
from stages.exporting.pictures import learning_curve, predictions, read_rows
from stages.exporting.section import About, Export
from stages.exporting.signature import Signature, describe
from stages.exporting.torchscript import to_torchscript
from stages.modelling.devices import prepare_torch
from stages.modelling.model import load_checkpoint

PIECE = 256  # rows of the test split at once


def export(name: str) -> None:
    runtime, section = read_section(Runtime, "runtime"), read_section(Export, "export")
    prepare_torch(runtime.model_copy(update={"device": "cpu"}))
    dataset, folder = look_up(read_params(), "models", name, "dataset"), Path("models") / name
    processed, about = Path("data") / dataset / "processed", read_section(About, "datasets", dataset, "about")
    model, description = load_checkpoint(folder / "checkpoint.safetensors")
    test = SplitFile(processed, "test")
    inputs = test.take("inputs", spread(test.count, max(BATCH_SIZES)))

    signature = describe(name, model.meta, section.names, section.opset, gather(model, description, section, about, folder, processed))
    example = example_batch(inputs)
    onnx_bytes, script_bytes = to_onnx(model, example, signature, section.opset), to_torchscript(model, example)
    exported = {"ONNX": onnx_runner(onnx_bytes, signature, runtime.threads), "TorchScript": torchscript_runner(script_bytes)}
    strange = check_parity(model, exported, inputs, section.tolerance)
    pieces = zip(test.pieces("inputs", PIECE), test.pieces("targets", PIECE), strict=True)
    signature = signature.model_copy(update={"parity": check_split(model, exported, pieces, section.tolerance)})
    card = model_card(signature, model.meta, description["training"], description["architecture"], strange)

    with replacing_folder(folder / "exported") as fresh:
        (fresh / "model.onnx").write_bytes(with_metadata(onnx_bytes, signature))
        (fresh / "model.torchscript.pt").write_bytes(script_bytes)
        (fresh / "signature.json").write_bytes(as_json(signature.model_dump()))
        (fresh / "README.md").write_text(card, encoding="utf-8")
        (fresh / "learning_curve.png").write_bytes(learning_curve(read_rows(folder / "plots" / "learning_curve.csv")))
        (fresh / "predictions.png").write_bytes(predictions(read_rows(folder / "plots" / "predictions.csv"), model.meta.classes))
    differences = ", ".join(f"{form} {own.max_difference:.1e}" for form, own in signature.parity.items())
    print(f"{name}: exported, largest difference from PyTorch on {test.count} test items {differences}")


def example_batch(inputs: np.ndarray) -> torch.Tensor:
    """Three rows to trace with: an axis of one would be taken for a constant."""
    return torch.from_numpy(as_batch(inputs[np.arange(3) % len(inputs)]))


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
