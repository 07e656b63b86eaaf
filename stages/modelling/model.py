"""A trained model: preprocessing, network and outputs in one module, and the checkpoint it is kept in.

checkpoint.safetensors holds the network's weights; its metadata (one JSON text under the key `reprise`) holds the
architecture's section of params.yaml and the dataset's meta.json, which is all that is needed to build the network again.
"""

import json
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn

from stages.common.errors import UserError
from stages.common.meta import Input, Meta
from stages.common.params import check_section
from stages.common.shelves import take_part

# safetensors writes metadata in no fixed order: one key keeps the bytes of a checkpoint reproducible.
METADATA_KEY = "reprise"


class ImageInput(nn.Module):
    """uint8 [batch, height, width, channels] to normalised float32 [batch, channels, height, width]."""

    mean: Tensor
    std: Tensor

    def __init__(self, mean: list[float], std: list[float]):
        super().__init__()
        self.register_buffer("mean", torch.tensor(mean).view(1, -1, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(std).view(1, -1, 1, 1), persistent=False)

    def scale(self, image: Tensor) -> Tensor:
        """Channels first and 0..1, which is where augmentations work."""
        return image.permute(0, 3, 1, 2).to(torch.float32) / 255

    def normalize(self, image: Tensor) -> Tensor:
        return (image - self.mean) / self.std

    def forward(self, image: Tensor) -> Tensor:
        return self.normalize(self.scale(image))


class FeaturesInput(nn.Module):
    """Raw float32 [batch, num_features] to the same shape with missing values imputed, and standardised where meta.json says so."""

    mean: Tensor
    std: Tensor
    zero_is_missing: Tensor

    def __init__(self, mean: list[float] | None, std: list[float] | None, zero_is_missing: list[bool]):
        super().__init__()
        width = len(zero_is_missing)
        self.register_buffer("mean", torch.tensor(mean or [0.0] * width), persistent=False)
        self.register_buffer("std", torch.tensor(std or [1.0] * width), persistent=False)
        self.register_buffer("zero_is_missing", torch.tensor(zero_is_missing), persistent=False)

    def forward(self, features: Tensor) -> Tensor:
        missing = torch.isnan(features) | (self.zero_is_missing & (features == 0))
        return (torch.where(missing, self.mean, features) - self.mean) / self.std


class CharactersInput(nn.Module):
    """int64 code points [batch, length] to int64 indices of the same shape; 0 is padding, and what is outside 0..127 counts as '?'.

    With an alphabet the index is the character's place in it, from 1 (a character outside it: 0), else the code point.
    """

    index: Tensor

    def __init__(self, alphabet: str | None):
        super().__init__()
        index = torch.arange(128)
        if alphabet is not None:
            index = torch.zeros(128, dtype=torch.int64)
            index[[ord(character) for character in alphabet]] = torch.arange(1, len(alphabet) + 1)
        self.register_buffer("index", index, persistent=False)

    def forward(self, characters: Tensor) -> Tensor:
        known = (characters >= 0) & (characters < 128)
        return self.index[torch.where(known, characters, ord("?")).to(torch.int64)]


def build_input(description: Input) -> nn.Module:
    if description.kind == "image":
        assert description.mean is not None and description.std is not None
        return ImageInput(description.mean, description.std)
    if description.kind == "features":
        names, zeros = description.names or [], description.zero_is_missing or []
        return FeaturesInput(description.mean, description.std, [name in zeros for name in names])
    return CharactersInput(description.alphabet)


class Model(nn.Module):
    """Raw inputs to what a consumer gets: `prediction`, or `probabilities` and `label`, in the order of `output_names`."""

    def __init__(self, network: nn.Module, meta: Meta):
        super().__init__()
        self.input, self.network = build_input(meta.input), network
        self.meta, self.task = meta, meta.task

    @property
    def output_names(self) -> tuple[str, ...]:
        return ("prediction",) if self.task == "regression" else ("probabilities", "label")

    def logits(self, inputs: Tensor) -> Tensor:
        return self.network(self.input(inputs))

    def forward(self, inputs: Tensor) -> tuple[Tensor, ...]:
        logits = self.logits(inputs).float()
        if self.task == "regression":
            return (logits,)
        if self.task == "binary":
            positive = torch.sigmoid(logits)
            probabilities = torch.cat([1 - positive, positive], dim=1)
        else:
            probabilities = torch.softmax(logits, dim=-1)
        label = probabilities.argmax(dim=-1)
        if self.task == "sequence":
            label = torch.where(inputs == 0, -1, label)
        return probabilities, label


def build_network(architecture: dict[str, Any], meta: Meta, key: str) -> nn.Module:
    """The network that a section `architecture` of params.yaml (at `key`) describes, with fresh weights: inputs to logits."""
    part = take_part("architectures", architecture.get("name", ""), f"{key}.name")
    return part.build(check_section(part.Params, architecture, key), meta)


def as_checkpoint(network: nn.Module, architecture: dict[str, Any], meta: Meta, training: dict[str, Any]) -> bytes:
    """The content of a checkpoint.safetensors."""
    weights = {name: tensor.detach().cpu().contiguous() for name, tensor in network.state_dict().items()}
    description = {"architecture": architecture, "data": meta.model_dump(), "training": training}
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
