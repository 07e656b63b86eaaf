"""Models of params.yaml in their exported forms, made once and shared by the tests that only read them."""

import functools
from dataclasses import dataclass

import numpy as np
import torch

from stages.export import example_batch
from stages.exporting.forms import onnx_runner, to_onnx, to_pt2, to_torchscript, torchscript_runner, with_metadata
from stages.exporting.parity import Run, run_torch
from stages.exporting.section import About, Export
from stages.exporting.signature import Feed, Signature, describe, feeder
from stages.modelling.model import Model
from tests.toy import MODELS, PARAMS, Data, architecture_of, data_of, moved_model, toy, toy_model

SECTION = Export.model_validate(PARAMS["export"])
TOLERANCE = 1e-4
# Thirteen megabytes, so that what is done with every model is done with these in small batches only.
LARGE = [name for name in MODELS if architecture_of(name)["name"] == "efficientnet_lite"]


@dataclass
class Exported:
    model: Model
    data: Data
    signature: Signature
    onnx: bytes
    script: bytes

    @property
    def feed(self) -> Feed:
        return feeder(self.model, self.signature.entries)

    @functools.cached_property
    def runs(self) -> dict[str, Run]:
        return {"ONNX": onnx_runner(self.onnx, self.signature, 1, self.feed), "TorchScript": torchscript_runner(self.script)}

    @functools.cached_property
    def pt2(self) -> bytes:
        """Made where it is asked for only: it takes seconds."""
        return to_pt2("own", self.model, example_batch(self.model, self.data.length))

    def batch(self, count: int) -> np.ndarray:
        return self.data.raw_batch(count).numpy()

    def largest_differences(self, batch: np.ndarray) -> dict[str, float]:
        """Of each form's first output from PyTorch's; shapes, dtypes and labels must be the same."""
        expected, result = run_torch(self.model, batch), {}
        for form, run in self.runs.items():
            outputs = run(batch)
            assert [(output.shape, output.dtype) for output in outputs] == [(output.shape, output.dtype) for output in expected]
            if len(outputs) > 1:
                np.testing.assert_array_equal(outputs[1], expected[1])
            result[form] = float(np.abs(outputs[0] - expected[0]).max())
        return result


def signature_of(name: str, model: Model, data: Data, section: Export = SECTION) -> Signature:
    """Of a model that nobody has trained."""
    features = data.part.facts(model.meta, [data.splits["train"][0]], {}) if hasattr(data.part, "facts") else None
    hashes = {"weights": "0" * 64, "params": "1" * 64, "data": "2" * 64}
    about = About(use="To try it.", limits="It knows nothing.", licence="none")
    return describe(name, model, section, about, features, {"accuracy": 0.5}, hashes)


def export(name: str, model: Model, data: Data, section: Export = SECTION) -> Exported:
    signature, example = signature_of(name, model, data, section), example_batch(model, data.length)
    content = with_metadata(to_onnx(model, example, signature), signature)
    return Exported(model, data, signature, content, to_torchscript(model, example))


@functools.cache
def exported(name: str) -> Exported:
    """A model of params.yaml."""
    return export(name, moved_model(name), data_of(name))


@functools.cache
def exported_toy(name: str) -> Exported:
    torch.manual_seed(0)
    return export(name, toy_model(name), toy(name))
