"""Plain convolutional networks: blocks of convolution, activation and pooling, then linear layers."""

from typing import Literal

import torch
from pydantic import Field
from torch import nn

from stages.common.meta import Meta
from stages.common.params import Section, Size

INPUTS = ("image",)
PER = "item"


class Convolution(Section):
    """One block; `pool` is the size of the max pooling behind it (1: none)."""

    channels: Size
    kernel: Size
    padding: int = Field(ge=0)
    pool: Size


class Params(Section):
    name: Literal["cnn"]
    convolutions: list[Convolution]
    hidden: list[Size]
    activation: Literal["relu", "none"]


def build(params: Params, meta: Meta) -> nn.Module:
    """float32 [batch, channels, height, width] to [batch, num_outputs]."""
    height, width, channels = (size or 0 for size in meta.input.shape)
    activation = nn.ReLU if params.activation == "relu" else nn.Identity
    layers: list[nn.Module] = []
    in_channels = channels
    for block in params.convolutions:
        # Max pooling before a monotonic activation gives the same numbers as after it, for a quarter of the work.
        layers += [nn.Conv2d(in_channels, block.channels, block.kernel, padding=block.padding), nn.MaxPool2d(block.pool), activation()]
        in_channels = block.channels
    layers.append(nn.Flatten())
    with torch.no_grad():
        size = nn.Sequential(*layers)(torch.zeros(1, channels, height, width)).shape[1]
    for hidden in params.hidden:
        layers += [nn.Linear(size, hidden), activation()]
        size = hidden
    return nn.Sequential(*layers, nn.Linear(size, meta.num_outputs))
