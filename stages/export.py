"""Exports one model to ONNX, TorchScript and torch.export, and proves each equal to PyTorch.

Command: python -m stages.export MODEL
Reads:   models/<MODEL>/{checkpoint.safetensors,metrics.json} and plots/{learning_curve.csv,predictions.png}; data/<dataset>/processed;
         params.yaml: runtime, export, datasets.<dataset>.about, models.<MODEL>.int8
Writes:  models/<MODEL>/exported/: model.onnx, model.torchscript.pt, model.pt2, signature.json, README.md (the model card) and its pictures;
         model.int8.onnx where it pays
"""

from pathlib import Path

import torch

from stages.common.files import as_json, replacing_folder
from stages.common.params import Runtime, check_section, look_up, read_params, read_section
from stages.common.signature import LENGTH
from stages.common.splits import SplitFile
from stages.exporting.facts import gather
from stages.exporting.model_card import model_card
from stages.exporting.onnx_file import to_onnx, with_metadata
from stages.exporting.parity import BATCH_SIZES, check_parity, check_split, pieces_of, spread
from stages.exporting.pictures import learning_curve, read_plot, read_rows
from stages.exporting.runners import onnx_runner, padded, torch_export_runner, torchscript_runner
from stages.exporting.section import About, Export, WantedInt8
from stages.exporting.signature import describe
from stages.exporting.torch_export import to_pt2
from stages.exporting.torchscript import to_torchscript
from stages.exporting.variants import INT8, as_file, make_int8
from stages.modelling.devices import prepare_torch
from stages.modelling.model import Model, load_checkpoint
from stages.shell.errors import run_stage

ONNX, TORCHSCRIPT, TORCH_EXPORT = "ONNX", "TorchScript", "torch.export"


def export(name: str) -> None:
    runtime, section = read_section(Runtime, "runtime"), read_section(Export, "export")
    prepare_torch(runtime.model_copy(update={"device": "cpu"}))
    dataset, folder = look_up(read_params(), "models", name, "dataset"), Path("models") / name
    processed, about = Path("data") / dataset / "processed", read_section(About, "datasets", dataset, "about")
    model, description = load_checkpoint(folder / "checkpoint.safetensors")
    test = SplitFile(processed, "test")
    inputs = test.take("inputs", spread(test.count, max(BATCH_SIZES)))
    signature = describe(name, model.meta, section.names, section.opset, gather(model, description, section, about, folder, processed))

    length = inputs.shape[1] if LENGTH in signature.input.shape else None
    example = example_batch(model, length)
    onnx_bytes, script_bytes = to_onnx(model, example, signature, section.opset), to_torchscript(model, example)
    pt2_bytes = to_pt2(name, model, example)
    exported = {
        ONNX: onnx_runner(onnx_bytes, signature, runtime.threads),
        TORCHSCRIPT: torchscript_runner(script_bytes),
        TORCH_EXPORT: torch_export_runner(pt2_bytes, length),
    }
    strange = check_parity(model, exported, inputs, section.tolerance, {TORCH_EXPORT: length})
    parity = check_split(model, exported, pieces_of(test), section.tolerance)
    signature = signature.model_copy(update={"parity": parity, "torch_export_length": length})
    layers = check_section(WantedInt8, {INT8: look_up(read_params(), "models", name, INT8)}, f"models.{name}").int8
    variant, int8_bytes = make_int8(model, onnx_bytes, signature, layers, section.int8, SplitFile(processed, "train"), test)
    signature = signature.model_copy(update={"variants": {INT8: variant}})
    card = model_card(signature, model.meta, description["training"], description["architecture"], strange)

    with replacing_folder(folder / "exported") as fresh:
        (fresh / "model.onnx").write_bytes(with_metadata(onnx_bytes, signature))
        (fresh / "model.torchscript.pt").write_bytes(script_bytes)
        (fresh / "model.pt2").write_bytes(pt2_bytes)
        if variant.file:
            (fresh / variant.file).write_bytes(as_file(int8_bytes, signature, INT8))
        (fresh / "signature.json").write_bytes(as_json(signature.model_dump()))
        (fresh / "README.md").write_text(card, encoding="utf-8")
        (fresh / "learning_curve.png").write_bytes(learning_curve(read_rows(folder / "plots" / "learning_curve.csv")))
        (fresh / "predictions.png").write_bytes(read_plot(folder / "plots" / "predictions.png"))
    differences = ", ".join(f"{form} {own.max_difference:.1e}" for form, own in parity.items())
    print(f"{name}: exported, largest difference from PyTorch on {test.count} test items {differences}")


def example_batch(model: Model, length: int | None) -> torch.Tensor:
    """Three rows to trace with, for an axis of one would be taken for a constant; nobody's data, and texts of one length."""
    part = model.input.part
    rows = part.as_batch(part.golden(model.meta.input)).repeat(3, axis=0)
    return torch.from_numpy(rows if length is None else padded(rows[:, :length], length))


if __name__ == "__main__":
    run_stage(export, usage="python -m stages.export MODEL")
