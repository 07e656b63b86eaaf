"""A small residual network with batch normalisation for small pictures, made to learn much in few epochs.

Groups of two convolutions behind a small first one, each of which halves the picture before most of its work, because most
of the time goes where it is large, as in https://github.com/KellerJordan/cifar10-airbench (its description, April 2024).
Logits are scaled down as in https://myrtle.ai/learn/how-to-train-your-resnet-7-batch-norm/.
"""

from itertools import pairwise
from typing import Literal

from pydantic import Field
from torch import Tensor, nn

from stages.common.meta import Meta
from stages.common.params import Section, Size

INPUTS = ("image",)
PER = "item"


class First(Section):
    """The first convolution; `stride` 2 halves the picture."""

    channels: Size
    kernel: Size
    stride: Size


class Params(Section):
    """`channels`: of each group behind the first convolution; `logit_scale`: what logits are multiplied by."""

    name: Literal["fast_resnet"]
    first: First
    channels: list[Size] = Field(min_length=1)
    logit_scale: float = Field(gt=0)


class Group(nn.Module):
    """[batch, in_channels, height, width] to [batch, channels, height // 2, width // 2]: convolution and pooling, then a residual one."""

    def __init__(self, in_channels: int, channels: int):
        super().__init__()
        self.enter = nn.Sequential(
            nn.Conv2d(in_channels, channels, 3, padding=1, bias=False), nn.MaxPool2d(2), nn.BatchNorm2d(channels), nn.GELU()
        )
        self.residual = nn.Sequential(nn.Conv2d(channels, channels, 3, padding=1, bias=False), nn.BatchNorm2d(channels), nn.GELU())

    def forward(self, x: Tensor) -> Tensor:
        x = self.enter(x)
        return x + self.residual(x)


class FastResNet(nn.Module):
    """float32 [batch, channels, height, width] to [batch, num_outputs]; each group halves the picture."""

    def __init__(self, in_channels: int, params: Params, num_outputs: int):
        super().__init__()
        first, widths = params.first, [params.first.channels, *params.channels]
        self.features = nn.Sequential(
            nn.Conv2d(in_channels, first.channels, first.kernel, first.stride, padding=first.kernel // 2),
            nn.GELU(),
            *(Group(before, after) for before, after in pairwise(widths)),
            nn.AdaptiveMaxPool2d(1),
            nn.Flatten(),
        )
        self.classifier = nn.Linear(widths[-1], num_outputs, bias=False)
        self.logit_scale = params.logit_scale

    def forward(self, x: Tensor) -> Tensor:
        return self.classifier(self.features(x)) * self.logit_scale


def build(params: Params, meta: Meta) -> nn.Module:
    return FastResNet(meta.input.shape[2] or 0, params, meta.num_outputs)
