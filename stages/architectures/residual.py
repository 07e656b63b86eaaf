"""The lesson's small residual network for MNIST: two convolutions, a residual block behind each.

The block is that of He et al., 2016, https://arxiv.org/abs/1512.03385, figure 2, without batch normalisation.
"""

from typing import Literal

from pydantic import Field
from torch import Tensor, nn

from stages.common.meta import Meta
from stages.common.params import Section, Size

INPUTS = ("image",)
PER = "item"


class Params(Section):
    name: Literal["residual"]
    channels: list[Size] = Field(min_length=1)


class Residual(nn.Module):
    """[batch, channels, height, width] to the same shape: ReLU(x + conv3(ReLU(conv3(x))))."""

    def __init__(self, channels: int):
        super().__init__()
        self.first = nn.Conv2d(channels, channels, 3, padding=1)
        self.second = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return (x + self.second(self.first(x).relu())).relu()


def build(params: Params, meta: Meta) -> nn.Module:
    """float32 [batch, channels, height, width] to [batch, num_classes]; each stage is convolution k5, pooling 2, ReLU, residual."""
    height, width, in_channels = (size or 0 for size in meta.input.shape)
    layers: list[nn.Module] = []
    for channels in params.channels:
        layers += [nn.Conv2d(in_channels, channels, 5), nn.MaxPool2d(2), nn.ReLU(), Residual(channels)]
        height, width, in_channels = (height - 4) // 2, (width - 4) // 2, channels
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(in_channels * height * width, meta.num_outputs))
