"""The batched augmentations against torchvision's own, with their draws pinned; and any other transform by its name."""

import math

import pytest
import torch
from torchvision.transforms import v2
from torchvision.transforms.v2 import InterpolationMode
from torchvision.transforms.v2 import functional as reference

from stages.shell.errors import UserError
from stages.training import augmentations
from stages.training.augmentations import BATCHED, build_augmentations

SEED = 20261120
BILINEAR = InterpolationMode.BILINEAR
MANY = {
    "RandomAffine": {"degrees": 12, "translate": [0.1, 0.1], "scale": [0.85, 1.15], "shear": 10},
    "RandomHorizontalFlip": {"p": 0.5},
    "RandomCrop": {"size": 16, "padding": 4, "padding_mode": "reflect"},
    "RandomResizedCrop": {"size": 16, "scale": [0.4, 1.0]},
    "ColorJitter": {"brightness": 0.8, "hue": 0.3},
}


def pictures(count=4, side=16, channels=3):
    return torch.rand(count, channels, side, side, generator=torch.Generator().manual_seed(SEED))


def made(name, **arguments):
    return build_augmentations([{"name": name, **arguments}], "models.own.train.augment")[0]


@pytest.fixture
def pinned(monkeypatch):
    """Pins every uniform draw to a share of its range: 0 the low end, 1 the high end."""

    def pin(*shares):
        left = list(shares)

        def draw(count, low, high, device):
            share = left.pop(0) if len(left) > 1 else left[0]
            return torch.full((count,), low + share * (high - low))

        monkeypatch.setattr(augmentations, "uniform", draw)

    return pin


# Arguments of ours, where in their ranges each is drawn, and torchvision's angle, translation, scale and shear.
AFFINE = [
    ({"degrees": 7}, 0.0, (-7.0, [0, 0], 1.0, [0.0, 0.0])),
    ({"degrees": 90}, 1.0, (90.0, [0, 0], 1.0, [0.0, 0.0])),
    ({"degrees": 0, "scale": [0.5, 0.5]}, 1.0, (0.0, [0, 0], 0.5, [0.0, 0.0])),
    ({"degrees": 0, "scale": [1.0, 1.3]}, 1.0, (0.0, [0, 0], 1.3, [0.0, 0.0])),
    ({"degrees": 0, "shear": 20}, 1.0, (0.0, [0, 0], 1.0, [20.0, 0.0])),
    ({"degrees": 0, "translate": [0.25, 0.125]}, 0.0, (0.0, [4, 2], 1.0, [0.0, 0.0])),
    ({"degrees": 0, "translate": [0.25, 0.125]}, 1.0, (0.0, [-4, -2], 1.0, [0.0, 0.0])),
    ({"degrees": 30, "scale": [0.9, 0.9]}, 1.0, (30.0, [0, 0], 0.9, [0.0, 0.0])),
    ({"degrees": 12, "translate": [0.1, 0.1], "scale": [1.0, 1.0], "shear": 10}, 0.5, (0.0, [0, 0], 1.0, [0.0, 0.0])),
]


@pytest.mark.parametrize(("arguments", "share", "theirs"), AFFINE)
def test_an_affine_map_equals_torchvision_s(arguments, share, theirs, pinned):
    pinned(share)
    ours = made("RandomAffine", **arguments)(pictures())
    torch.testing.assert_close(ours, reference.affine(pictures(), *theirs, BILINEAR), atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("p", [0.0, 1.0])
def test_a_flip_equals_torchvision_s(p):
    assert torch.equal(made("RandomHorizontalFlip", p=p)(pictures()), v2.RandomHorizontalFlip(p)(pictures()))


@pytest.mark.parametrize("mode", ["constant", "reflect"])
def test_every_crop_is_a_window_of_torchvision_s_padding(mode):
    torch.manual_seed(SEED)
    images = pictures(count=64)
    padded = reference.pad(images, [3] * 4, padding_mode=mode)
    seen = set()
    for crop, whole in zip(made("RandomCrop", size=16, padding=3, padding_mode=mode)(images), padded, strict=True):
        places = [(y, x) for y in range(7) for x in range(7) if torch.equal(whole[:, y : y + 16, x : x + 16], crop)]
        assert len(places) == 1
        seen |= set(places)
    assert {y for y, _ in seen} == {x for _, x in seen} == set(range(7))


def test_a_resized_crop_equals_torchvision_s_but_for_its_border(pinned):
    pinned(1.0, 0.5, 0.75, 0.25)  # the largest area, square; three quarters of the way right, one quarter down
    ours = made("RandomResizedCrop", size=20, scale=[0.25, 0.25])(pictures(side=32))
    # 16 of 32 pixels wide; the centre moves through the 16 that are left over.
    theirs = reference.resized_crop(pictures(side=32), 4, 12, 16, 16, [20, 20], BILINEAR, antialias=False)
    torch.testing.assert_close(ours[..., 1:-1, 1:-1], theirs[..., 1:-1, 1:-1], atol=1e-4, rtol=1e-4)


def test_a_resized_crop_takes_the_area_and_the_aspect_that_it_draws(pinned):
    """A picture whose pixels hold their own column and row shows which part was taken."""
    side = 64
    ramp = torch.arange(side) / side
    images = torch.stack([ramp.expand(side, side), ramp.unsqueeze(1).expand(side, side)]).unsqueeze(0)
    pinned(0.0, 1.0, 0.5, 0.5)
    columns, rows = made("RandomResizedCrop", size=64, scale=[0.3, 1.0], ratio=[3 / 4, 4 / 3])(images)[0]
    width, height = float(columns[32, 63] - columns[32, 0]) * 64 / 63, float(rows[63, 32] - rows[0, 32]) * 64 / 63
    assert width == pytest.approx(math.sqrt(0.3 * 4 / 3), abs=0.01) and height == pytest.approx(math.sqrt(0.3 * 3 / 4), abs=0.01)


@pytest.mark.parametrize("name", MANY)
def test_every_picture_has_a_draw_of_its_own_which_the_seed_fixes(name):
    assert set(BATCHED) < set(MANY)

    def drawn(seed):
        torch.manual_seed(seed)
        return made(name, **MANY[name])(pictures(count=1).expand(32, -1, -1, -1))

    augmented = drawn(SEED)
    assert torch.equal(augmented, drawn(SEED)) and not torch.equal(augmented, drawn(SEED + 1))
    different = {tuple(picture.flatten().tolist()) for picture in augmented}
    assert len(different) == 2 if name == "RandomHorizontalFlip" else len(different) > 25
    assert augmented.shape == (32, 3, 16, 16) and augmented.dtype == torch.float32
    assert augmented.min() >= -1e-6 and augmented.max() <= 1 + 1e-6


def test_augmentations_keep_their_order_and_their_sections():
    sections = [{"name": "RandomCrop", "size": 8}, {"name": "RandomHorizontalFlip", "p": 1.0}]
    crop, flip = build_augmentations(sections, "augment")
    assert crop(pictures()).shape == (4, 3, 8, 8) and torch.equal(flip(pictures()), pictures().flip(-1))
    assert sections == [{"name": "RandomCrop", "size": 8}, {"name": "RandomHorizontalFlip", "p": 1.0}]


@pytest.mark.parametrize(
    ("name", "arguments", "message"),
    [
        ("RandomAffin", {}, r"augment\[0\]\.name is 'RandomAffin'; expected a transform of torchvision\.transforms\.v2"),
        ("functional", {}, r"augment\[0\]\.name is 'functional'; expected a transform of torchvision\.transforms\.v2"),
        ("RandomAffine", {"degrees": 5, "shears": 1}, r"augment\[0\] \(RandomAffine\) do not fit"),
        ("RandomAffine", {"degrees": 5, "scale": [1.2, 0.8]}, r"\(RandomAffine\) do not fit"),
        ("RandomHorizontalFlip", {"p": 1.5}, r"\(RandomHorizontalFlip\) do not fit"),
        ("RandomCrop", {"size": 8, "padding_mode": "mirror"}, r"\(RandomCrop\) do not fit"),
        ("RandomResizedCrop", {"size": 8, "scale": [0.5]}, r"\(RandomResizedCrop\) do not fit"),
        ("ColorJitter", {"brightness": -1.0}, r"\(ColorJitter\) do not fit"),
    ],
)
def test_a_mistake_is_refused(name, arguments, message):
    with pytest.raises(UserError, match=message):
        made(name, **arguments)
