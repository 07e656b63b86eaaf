"""Augmentations by name, on batches of pictures on their device: float32 [batch, channels, height, width] in 0..1.

Any transform of torchvision.transforms.v2 works by its name and its own arguments, drawn anew for each picture. The four here are
computed for the whole batch at once, with a draw of its own for each picture; they take the subset of v2's arguments that their
signatures show. All randomness is torch's own, so the seed fixes it.
"""

import inspect
import math
from collections.abc import Callable
from typing import Any, cast

import torch
from torch import Tensor
from torch.nn import functional

from stages.shell.arguments import fitting, refuse_types
from stages.shell.errors import UserError

Augmentation = Callable[[Tensor], Tensor]


class RandomAffine:
    """Rotation (degrees), translation (fractions of width and height), scale (range) and shear (degrees along x) about the centre.

    Bilinear; what comes from outside the picture is 0.
    """

    def __init__(self, degrees: float, translate: list[float] | None = None, scale: list[float] | None = None, shear: float = 0.0):
        self.degrees, self.shear = float(degrees), float(shear)
        self.translate, self.scale = translate or [0.0, 0.0], scale or [1.0, 1.0]
        if len(self.translate) != 2 or len(self.scale) != 2 or not 0 < self.scale[0] <= self.scale[1]:
            raise ValueError("translate and scale take two numbers each, scale two above 0 in order")

    def __call__(self, images: Tensor) -> Tensor:
        count, device = len(images), images.device
        angle = torch.deg2rad(uniform(count, -self.degrees, self.degrees, device))
        shear = torch.tan(torch.deg2rad(uniform(count, -self.shear, self.shear, device)))
        scale = uniform(count, self.scale[0], self.scale[1], device)
        # affine_grid's coordinates run from -1 to 1, so a shift by a whole width is 2.
        x, y = (2 * uniform(count, -most, most, device) for most in self.translate)
        cos, sin = torch.cos(angle) / scale, torch.sin(angle) / scale
        theta = torch.stack([torch.stack([cos, sin + shear * cos, x], 1), torch.stack([-sin, cos - shear * sin, y], 1)], 1)
        return sample_affine(images, theta, images.shape[2], images.shape[3])


class RandomHorizontalFlip:
    def __init__(self, p: float = 0.5):
        if not 0 <= p <= 1:
            raise ValueError("p must be between 0 and 1")
        self.p = p

    def __call__(self, images: Tensor) -> Tensor:
        flipped = uniform(len(images), 0, 1, images.device) < self.p
        return torch.where(flipped.view(-1, 1, 1, 1), images.flip(-1), images)


class RandomCrop:
    """A square of `size` pixels from the picture, padded by `padding` pixels first (padding_mode as torch's: constant or reflect)."""

    def __init__(self, size: int, padding: int = 0, padding_mode: str = "constant"):
        if size < 1 or padding < 0 or padding_mode not in ("constant", "reflect"):
            raise ValueError("size must be 1 or more, padding 0 or more, and padding_mode constant or reflect")
        self.size, self.padding, self.padding_mode = size, padding, padding_mode

    def __call__(self, images: Tensor) -> Tensor:
        padded = functional.pad(images, (self.padding,) * 4, mode=self.padding_mode)
        windows = padded.unfold(2, self.size, 1).unfold(3, self.size, 1)
        rows = torch.randint(windows.shape[2], (len(images),), device=images.device)
        columns = torch.randint(windows.shape[3], (len(images),), device=images.device)
        return windows[torch.arange(len(images), device=images.device), :, rows, columns]


class RandomResizedCrop:
    """A crop of a random share of the area (`scale`) and aspect (`ratio`), resized to `size` pixels square, bilinear.

    The recipe is that of Szegedy et al., 2015, https://arxiv.org/abs/1409.4842, as torchvision describes it; a crop that
    would be larger than the picture is cut to it.
    """

    def __init__(self, size: int, scale: list[float] | None = None, ratio: list[float] | None = None):
        self.size, self.scale, self.ratio = size, scale or [0.08, 1.0], ratio or [3 / 4, 4 / 3]
        if size < 1 or any(len(pair) != 2 or not 0 < pair[0] <= pair[1] for pair in (self.scale, self.ratio)):
            raise ValueError("size must be 1 or more; scale and ratio take two numbers above 0 each, in order")

    def __call__(self, images: Tensor) -> Tensor:
        count, device = len(images), images.device
        area = uniform(count, self.scale[0], self.scale[1], device)
        aspect = torch.exp(uniform(count, math.log(self.ratio[0]), math.log(self.ratio[1]), device))
        width, height = ((area * a).sqrt().clamp(max=1) for a in (aspect, 1 / aspect))
        x, y = ((1 - side) * uniform(count, -1, 1, device) for side in (width, height))
        zero = torch.zeros_like(x)
        theta = torch.stack([torch.stack([width, zero, x], 1), torch.stack([zero, height, y], 1)], 1)
        return sample_affine(images, theta, self.size, self.size, padding_mode="border")


def uniform(count: int, low: float, high: float, device: torch.device) -> Tensor:
    return torch.rand(count, device=device) * (high - low) + low


def sample_affine(images: Tensor, theta: Tensor, height: int, width: int, padding_mode: str = "zeros") -> Tensor:
    """Each picture through its own affine map theta [batch, 2, 3] (output to input, in -1..1): [batch, channels, height, width]."""
    # Where the centres of so many pixels side by side lie between -1 and 1.
    x, y = ((2 * torch.arange(count, device=images.device) + 1) / count - 1 for count in (width, height))
    maps = theta.view(-1, 2, 3, 1, 1)
    # functional.affine_grid gives the same by a product of small matrices for each picture, in three times the time.
    grid = (maps[:, :, 0] * x + (maps[:, :, 1] * y.unsqueeze(1) + maps[:, :, 2])).permute(0, 2, 3, 1)
    return functional.grid_sample(images, grid, mode="bilinear", padding_mode=padding_mode, align_corners=False)


BATCHED: dict[str, Callable[..., Augmentation]] = {
    kind.__name__: kind for kind in (RandomAffine, RandomHorizontalFlip, RandomCrop, RandomResizedCrop)
}


def build_augmentations(sections: list[dict[str, Any]], key: str) -> list[Augmentation]:
    """The augmentations of params.yaml (at `key`), in order."""
    return [build_augmentation(section["name"], section, f"{key}[{place}]") for place, section in enumerate(sections)]


def build_augmentation(name: str, section: dict[str, Any], key: str) -> Augmentation:
    arguments = {argument: value for argument, value in section.items() if argument != "name"}
    kind = BATCHED.get(name) or torchvision_transform(name, key)
    refuse_types(kind, arguments, key)
    with fitting(key, name):
        augment = kind(**arguments)
    return augment if is_batched(augment) else lambda images: torch.stack([augment(image) for image in images])


def is_batched(augment: Augmentation) -> bool:
    """Whether it is computed for the whole batch at once, on the device alone."""
    return type(augment) in BATCHED.values()


def torchvision_transform(name: str, key: str) -> Callable[..., Augmentation]:
    from torchvision.transforms import v2

    kind = getattr(v2, name, None)
    if not (inspect.isclass(kind) and issubclass(kind, v2.Transform)):
        raise UserError(
            f"params.yaml: {key}.name is {name!r}; expected a transform of torchvision.transforms.v2, such as {', '.join(BATCHED)}."
        )
    return cast("Callable[..., Augmentation]", kind)
