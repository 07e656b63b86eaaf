"""Fully connected networks on features or on flattened pictures."""

import math
from typing import Literal

from torch import nn

from stages.common.meta import Meta
from stages.common.params import Section, Size

INPUTS = ("features", "image")
PER = "item"


class Params(Section):
    name: Literal["mlp"]
    hidden: list[Size]
    activation: Literal["relu", "sigmoid"]


def build(params: Params, meta: Meta) -> nn.Module:
    """float32 [batch, ...] to [batch, num_outputs]; every hidden layer is followed by the activation."""
    activation = {"relu": nn.ReLU, "sigmoid": nn.Sigmoid}[params.activation]
    layers: list[nn.Module] = [nn.Flatten()]
    width = math.prod(size for size in meta.input.shape if size is not None)
    for size in params.hidden:
        layers += [nn.Linear(width, size), activation()]
        width = size
    return nn.Sequential(*layers, nn.Linear(width, meta.num_outputs))
