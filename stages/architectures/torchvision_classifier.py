"""Any of torchvision's picture classifiers by name, its last layer replaced: the transfer learning lesson.

`weights` is `none` or a name of torchvision's, such as IMAGENET1K_V1 or DEFAULT; {sample: ..., official: ...} where a stand-in needs
others. They are fetched once by torch.hub into its cache; a mirror (DATASETS_MIRROR) is asked first, for torchvision/<file name>.
torchvision puts a SHA-256 prefix into every file name, and it is checked.
"""

import os
from http.client import HTTPException
from pathlib import Path
from pickle import UnpicklingError
from typing import Annotated, Literal

import torch
from pydantic import field_validator, model_validator
from torch import Tensor, nn

from stages.common.meta import Meta
from stages.common.params import EACH, ONE, ONE_OR_EACH, Section, by_origin
from stages.shell.errors import UserError, reason

INPUTS = ("image",)
PER = "item"
SPARSE = False  # what the backbone gives is seldom 0


class WeightsBySource(Section):
    sample: str
    official: str


class Params(Section):
    """`frozen`: only the new last layer learns. It needs pretrained weights: with `none` the whole network learns all the same."""

    name: Literal["torchvision_classifier"]
    model: str
    weights: Annotated[Annotated[str, ONE] | Annotated[WeightsBySource, EACH], ONE_OR_EACH]
    frozen: bool

    @field_validator("model")
    @classmethod
    def _is_a_classifier(cls, model: str) -> str:
        from torchvision import models  # here, since importing it takes a second

        if model not in models.list_models(module=models):
            raise ValueError("expected a classifier of torchvision, such as resnet18, vgg16 or squeezenet1_1")
        return model

    @model_validator(mode="after")
    def _weights_are_of_the_model(self) -> "Params":
        from torchvision.models import get_model_weights

        known = ["none", *get_model_weights(self.model).__members__]
        for weights in [self.weights] if isinstance(self.weights, str) else self.weights.model_dump().values():
            if weights not in known:
                raise ValueError(f"expected weights to be one of {', '.join(known)}; got {weights!r}")
        return self

    def weights_for(self, meta: Meta) -> str:
        return self.weights if isinstance(self.weights, str) else by_origin(self.weights.model_dump(), meta.source)


class Classifier(nn.Module):
    """float32 [batch, 3, height, width] to [batch, num_classes]; a frozen backbone keeps its weights and its statistics."""

    def __init__(self, backbone: nn.Module, head: nn.Module):
        super().__init__()
        self.backbone, self.head, self.frozen = backbone, head, False

    def freeze(self) -> None:
        self.frozen = True
        self.backbone.requires_grad_(False)

    def train(self, mode: bool = True) -> "Classifier":
        super().train(mode)
        self.backbone.train(mode and not self.frozen)
        return self

    def features(self, image: Tensor) -> Tensor:
        features: Tensor = self.backbone(image)
        return features

    def forward(self, image: Tensor) -> Tensor:
        return self.head(self.features(image))


def build(params: Params, meta: Meta) -> nn.Module:
    """The network with fresh weights; the backbone's own last layer is cut off and `head` stands in its place."""
    import torchvision

    own = {}
    if params.model in ("googlenet", "inception_v3"):
        # These two would add a second classifier, half way up, to their output while training; and their pretrained weights
        # want pictures normalised in another way, which they do themselves from ImageNet's.
        own = {"aux_logits": False, "init_weights": True, "transform_input": params.weights_for(meta) != "none"}
    backbone = torchvision.models.get_model(params.model, weights=None, **own)
    return Classifier(backbone, replace_last_layer(backbone, meta.num_outputs))


def replace_last_layer(backbone: nn.Module, num_outputs: int) -> nn.Module:
    """Puts an identity where the backbone's last layer was; returns a new layer of that kind with `num_outputs` outputs."""
    name, last = [(name, layer) for name, layer in backbone.named_modules() if isinstance(layer, nn.Linear | nn.Conv2d)][-1]
    parent, _, child = name.rpartition(".")
    if isinstance(last, nn.Linear):
        setattr(backbone.get_submodule(parent), child, nn.Identity())
        return nn.Linear(last.in_features, num_outputs)
    # SqueezeNet ends in a 1x1 convolution, ReLU and global pooling: all of that becomes the head.
    setattr(backbone, parent, nn.Identity())
    side = nn.Unflatten(1, (last.in_channels, -1, 1))
    return nn.Sequential(side, nn.Conv2d(last.in_channels, num_outputs, 1), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten())


def load_pretrained(network: Classifier, params: Params, meta: Meta) -> None:
    """Give the backbone the weights that params name for this source; called by train only, never on reading a checkpoint."""
    from torchvision.models import get_model_weights

    name = params.weights_for(meta)
    if name == "none":
        return
    weights = get_model_weights(params.model)[name]
    missing, _ = network.backbone.load_state_dict(fetch_weights(weights.url), strict=False)
    if lost := [key for key in missing if not key.endswith("num_batches_tracked")]:
        raise UserError(f"The weights {weights} do not fit {params.model}: {lost[0]} and {len(lost) - 1} more are not in them.")
    if params.frozen:
        network.freeze()


def fetch_weights(url: str) -> dict[str, Tensor]:
    """The state dict at `url`, from the mirror where it has one. The hash in the file's name is checked; only tensors are unpickled."""
    mirror, file = os.environ.get("DATASETS_MIRROR", ""), f"torchvision/{Path(url).name}"
    addresses, problems = [url], []
    if mirror.startswith(("http://", "https://")):
        if "@" in mirror:  # torch.hub cannot use it, and would show it in its error
            raise UserError("DATASETS_MIRROR has a user name, which does not work for pretrained weights: set it to one without.")
        addresses.insert(0, f"{mirror.rstrip('/')}/{file}")
    elif mirror and Path(mirror, file).is_file():
        addresses.insert(0, Path(mirror, file).resolve().as_uri())
    for address in addresses:
        try:
            return torch.hub.load_state_dict_from_url(address, check_hash=True, weights_only=True, map_location="cpu")
        except UnpicklingError:  # its text advises to load it all the same
            problems.append(f"{address}: it holds more than tensors, so nothing of it was loaded")
        except (HTTPException, OSError, RuntimeError, EOFError) as error:  # EOFError: an empty file in torch.hub's cache
            problems.append(f"{address}: {reason(error)}")
    raise UserError(
        f"The weights {Path(url).name} could not be fetched ({'; '.join(problems)}): connect to the network, put the file into "
        "DATASETS_MIRROR/torchvision/, or set architecture.weights to none."
    )
