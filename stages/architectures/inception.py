"""The lesson's small inception network for MNIST: two convolutions, an inception module behind each.

The module (four parallel branches, concatenated) is that of Szegedy et al., 2015, https://arxiv.org/abs/1409.4842, section 4,
with the 3x3 branch doubled as in Szegedy et al., 2016, https://arxiv.org/abs/1512.00567, figure 5.
"""

from typing import Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from stages.common.meta import Meta
from stages.common.params import Section, Size

INPUTS = ("image",)
PER = "item"


class Params(Section):
    name: Literal["inception"]
    channels: list[Size] = Field(min_length=1)


class Inception(nn.Module):
    """[batch, channels, height, width] to [batch, 88, height, width]: 16 + 24 + 24 + 24 channels."""

    def __init__(self, channels: int):
        super().__init__()
        self.branch1x1 = nn.Conv2d(channels, 16, 1)
        self.branch5x5 = nn.Sequential(nn.Conv2d(channels, 16, 1), nn.Conv2d(16, 24, 5, padding=2))
        self.branch3x3 = nn.Sequential(nn.Conv2d(channels, 16, 1), nn.Conv2d(16, 24, 3, padding=1), nn.Conv2d(24, 24, 3, padding=1))
        self.branch_pool = nn.Sequential(nn.AvgPool2d(3, stride=1, padding=1), nn.Conv2d(channels, 24, 1))

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([self.branch1x1(x), self.branch5x5(x), self.branch3x3(x), self.branch_pool(x)], dim=1)


def build(params: Params, meta: Meta) -> nn.Module:
    """float32 [batch, channels, height, width] to [batch, num_classes]; each stage is convolution k5, pooling 2, ReLU, inception."""
    height, width, in_channels = (size or 0 for size in meta.input.shape)
    layers: list[nn.Module] = []
    for channels in params.channels:
        layers += [nn.Conv2d(in_channels, channels, 5), nn.MaxPool2d(2), nn.ReLU(), Inception(channels)]
        height, width, in_channels = (height - 4) // 2, (width - 4) // 2, 88
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(88 * height * width, meta.num_outputs))
