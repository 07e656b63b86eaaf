"""A trained model: preprocessing, network and outputs in one module, and the checkpoint it is kept in.

checkpoint.safetensors holds the network's weights; its metadata (one JSON text under the key `reprise`) holds the
architecture's section of params.yaml and the dataset's meta.json, which is all that is needed to build the network again, and the versions
of the libraries that made it.
"""

import json
from importlib.metadata import version
from pathlib import Path
from types import ModuleType
from typing import Any, TypeVar

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn

from stages.common.meta import Input, Meta
from stages.common.params import check_section
from stages.common.shelves import take_input, take_part, take_task
from stages.shell.errors import UserError

AnyRows = TypeVar("AnyRows", np.ndarray, Tensor)

# safetensors writes metadata in no fixed order: one key keeps the bytes of a checkpoint reproducible.
METADATA_KEY = "reprise"


class Preparation(nn.Module):
    """Raw inputs to what the network takes: the functions of the input's part, with its constants as buffers that no checkpoint holds."""

    def __init__(self, description: Input):
        super().__init__()
        self.kind, self.names = description.kind, list[str]()
        for name, values in self.part.constants(description).items():
            self.register_buffer(name, torch.from_numpy(values), persistent=False)
            self.names.append(name)

    @property
    def part(self) -> ModuleType:
        """Not an attribute, which a copy of the model could not copy."""
        return take_input(self.kind)

    @property
    def constants(self) -> dict[str, Tensor]:
        return {name: self.get_buffer(name) for name in self.names}

    def forward(self, inputs: Tensor) -> Tensor:
        return self.part.prepare(inputs, self.constants)


class Model(nn.Module):
    """Raw inputs to what a consumer gets, in the order of `output_names`."""

    target_mean: Tensor
    target_std: Tensor

    def __init__(self, network: nn.Module, meta: Meta):
        super().__init__()
        self.input, self.network = Preparation(meta.input), network
        self.meta = meta
        for name in ("mean", "std") if meta.target else ():
            self.register_buffer(f"target_{name}", torch.tensor(getattr(meta.target, name), dtype=torch.float32), persistent=False)

    @property
    def task(self) -> ModuleType:
        return take_task(self.meta.task)

    @property
    def output_names(self) -> tuple[str, ...]:
        names: tuple[str, ...] = self.task.OUTPUTS
        return names

    def middle(self, inputs: AnyRows) -> AnyRows:
        """Inputs [n, ...] of train as large as the network takes them: pictures may be larger there, for training to crop."""
        for axis, size in enumerate(self.meta.input.shape, start=1):
            if size is not None and inputs.shape[axis] > size:
                start = (inputs.shape[axis] - size) // 2
                inputs = inputs[(slice(None),) * axis + (slice(start, start + size),)]
        return inputs

    def logits(self, inputs: Tensor) -> Tensor:
        return self.network(self.input(inputs))

    def in_units(self, logits: Tensor) -> Tensor:
        """What the network gives as what is asked for: numbers that it has learned standardised in their own units."""
        return logits if self.meta.target is None else logits * self.target_std + self.target_mean

    def standardised(self, targets: Tensor) -> Tensor:
        """Targets as the network learns them."""
        return targets if self.meta.target is None else (targets - self.target_mean) / self.target_std

    def forward(self, inputs: Tensor) -> tuple[Tensor, ...]:
        outputs: tuple[Tensor, ...] = self.task.outputs(self.in_units(self.logits(inputs).float()), inputs)
        return outputs


def build_network(architecture: dict[str, Any], meta: Meta, key: str) -> nn.Module:
    """The network that a section `architecture` of params.yaml (at `key`) describes, with fresh weights: inputs to logits."""
    part = take_part("architectures", architecture.get("name", ""), f"{key}.name")
    return part.build(check_section(part.Params, architecture, key), meta)


def installed_versions() -> dict[str, str]:
    """Of the libraries on which the weights and what is exported of them depend."""
    return {library: version(library) for library in ("torch", "torchvision", "onnx")}


def as_checkpoint(network: nn.Module, architecture: dict[str, Any], meta: Meta, training: dict[str, Any]) -> bytes:
    """The content of a checkpoint.safetensors."""
    weights = {name: tensor.detach().cpu().contiguous() for name, tensor in network.state_dict().items()}
    description = {"architecture": architecture, "data": meta.model_dump(), "training": training, "versions": installed_versions()}
    return save(weights, metadata={METADATA_KEY: json.dumps(description, sort_keys=True)})


def load_checkpoint(path: Path) -> tuple[Model, dict[str, Any]]:
    """The model, on the CPU and in evaluation mode, and the checkpoint's description (architecture, data, training)."""
    advice = f"run python -m stages.train {path.parent.name} (or dvc repro)"
    try:
        with safe_open(path, framework="pt", device="cpu") as file:
            description = json.loads(file.metadata()[METADATA_KEY])
            weights = {name: file.get_tensor(name) for name in file.keys()}
        meta = Meta.model_validate(description["data"])
        network = build_network(description["architecture"], meta, f"{path}: architecture")
        network.load_state_dict(weights)
    except FileNotFoundError as error:
        raise UserError(f"{path} is missing: {advice} first.") from error
    except (SafetensorError, KeyError, TypeError, ValueError, RuntimeError) as error:
        raise UserError(f"{path} is damaged or of another version ({type(error).__name__}): {advice} again.") from error
    return Model(network, meta).eval(), description
