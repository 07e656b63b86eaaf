"""Exports one model to ONNX, TorchScript and torch.export, and proves each equal to PyTorch.

Command: python -m stages.export MODEL
Reads:   models/<MODEL>/{checkpoint.safetensors,metrics.json} and plots/{learning_curve.csv,predictions.png}; data/<dataset>/processed;
         params.yaml: runtime, export, datasets.<dataset>.about, models.<MODEL>.int8
Writes:  models/<MODEL>/exported/: model.onnx, model.torchscript.pt, model.pt2, signature.json, README.md (the model card) and its pictures;
         model.int8.onnx where it pays
"""

import json
from pathlib import Path

import torch

from stages.common.files import as_json, replacing_folder
from stages.common.params import Runtime, look_up, read_params, read_section
from stages.common.signature import LENGTH
from stages.common.splits import SplitFile
from stages.exporting import forms
from stages.exporting.model_card import learning_curve, model_card
from stages.exporting.parity import BATCH_SIZES, check_parity, check_split, pieces_of, spread
from stages.exporting.section import About, Export
from stages.exporting.signature import describe, feeder, hashes_of
from stages.modelling.devices import prepare_torch
from stages.modelling.model import Model, load_checkpoint
from stages.shell.errors import UserError, run_stage

PIECE = 4096  # rows of train at once


def export(name: str) -> None:
    runtime, section, params = read_section(Runtime, "runtime"), read_section(Export, "export"), read_params()
    prepare_torch(runtime.model_copy(update={"device": "cpu"}))
    dataset, int8_layers = (look_up(params, "models", name, key) for key in ("dataset", "int8"))
    folder, processed, about = (
        Path("models") / name,
        Path("data") / dataset / "processed",
        read_section(About, "datasets", dataset, "about"),
    )
    model, description = load_checkpoint(folder / "checkpoint.safetensors")
    train, test, part = SplitFile(processed, "train"), SplitFile(processed, "test"), model.input.part
    features = part.facts(model.meta, train.pieces("inputs", PIECE), about.units) if hasattr(part, "facts") else None
    signature = describe(name, model, section, about, features, read_metrics(folder), hashes_of(folder, processed, description))

    inputs = test.take("inputs", spread(test.count, max(BATCH_SIZES)))
    length = inputs.shape[1] if LENGTH in signature.input.shape else None
    example = example_batch(model, length)
    onnx_bytes, script_bytes = forms.to_onnx(model, example, signature), forms.to_torchscript(model, example)
    pt2_bytes = forms.to_pt2(name, model, example)
    exported = {
        "ONNX": forms.onnx_runner(onnx_bytes, signature, runtime.threads, feeder(model, signature.entries)),
        "TorchScript": forms.torchscript_runner(script_bytes),
        "torch.export": forms.torch_export_runner(pt2_bytes, length),
    }
    strange = check_parity(model, exported, inputs, section.tolerance, {"torch.export": length})
    parity = check_split(model, exported, pieces_of(test), section.tolerance)
    signature = signature.model_copy(update={"parity": parity, "torch_export_length": length})
    variant, int8_bytes = forms.make_int8(model, onnx_bytes, signature, int8_layers, section.int8, train, test)
    signature = signature.model_copy(update={"variants": {"int8": variant}})
    card = model_card(signature, model.meta, description["training"], description["architecture"], strange)

    with replacing_folder(folder / "exported") as fresh:
        (fresh / "model.onnx").write_bytes(forms.with_metadata(onnx_bytes, signature))
        (fresh / "model.torchscript.pt").write_bytes(script_bytes)
        (fresh / "model.pt2").write_bytes(pt2_bytes)
        if variant.file:
            (fresh / variant.file).write_bytes(forms.with_metadata(int8_bytes, signature, {"variant": "int8"}))
        (fresh / "signature.json").write_bytes(as_json(signature.model_dump()))
        (fresh / "README.md").write_text(card, encoding="utf-8")
        (fresh / "learning_curve.png").write_bytes(learning_curve((folder / "plots" / "learning_curve.csv").read_bytes()))
        (fresh / "predictions.png").write_bytes((folder / "plots" / "predictions.png").read_bytes())
    differences = ", ".join(f"{form} {own.max_difference:.1e}" for form, own in parity.items())
    print(f"{name}: exported, largest difference from PyTorch on {test.count} test items {differences}")


def read_metrics(folder: Path) -> dict[str, float]:
    try:
        metrics: dict[str, float] = json.loads((folder / "metrics.json").read_bytes())
    except ValueError as error:
        raise UserError(f"{folder}/metrics.json is damaged: run python -m stages.evaluate {folder.name} again.") from error
    return metrics


def example_batch(model: Model, length: int | None) -> torch.Tensor:
    """Three rows to trace with, for an axis of one would be taken for a constant; nobody's data, and texts of one length."""
    part = model.input.part
    rows = part.as_batch(part.golden(model.meta.input)).repeat(3, axis=0)
    return torch.from_numpy(rows if length is None else forms.padded(rows[:, :length], length))


if __name__ == "__main__":
    run_stage(export, usage="python -m stages.export MODEL")
