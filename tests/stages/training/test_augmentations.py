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
    "RandomRotation": {"degrees": 30},
    "RandomHorizontalFlip": {"p": 0.5},
    "RandomCrop": {"size": 16, "padding": 4, "padding_mode": "reflect"},
    "RandomResizedCrop": {"size": 16, "scale": [0.4, 1.0]},
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


def assert_same_inside(ours, theirs, border=0):
    inside = slice(border, ours.shape[-1] - border)
    torch.testing.assert_close(ours[..., inside, inside], theirs[..., inside, inside], atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("share", [0.0, 1.0])
@pytest.mark.parametrize("degrees", [0, 7, 45, 90])
def test_a_rotation_equals_torchvision_s(degrees, share, pinned):
    pinned(share)
    angle = degrees * (2 * share - 1)
    # torchvision's rotate turns counter-clockwise, its affine and ours clockwise: a range of both signs shows no difference.
    assert_same_inside(made("RandomRotation", degrees=degrees)(pictures()), reference.rotate(pictures(), -angle, BILINEAR))


@pytest.mark.parametrize("scale", [0.5, 0.85, 1.0, 1.3])
def test_a_scale_equals_torchvision_s(scale, pinned):
    pinned(1.0)
    ours = made("RandomAffine", degrees=0, scale=[scale, scale])(pictures())
    assert_same_inside(ours, reference.affine(pictures(), 0.0, [0, 0], scale, [0.0, 0.0], BILINEAR))


@pytest.mark.parametrize("shear", [5, 20])
def test_a_shear_equals_torchvision_s(shear, pinned):
    pinned(1.0)
    ours = made("RandomAffine", degrees=0, shear=shear)(pictures())
    assert_same_inside(ours, reference.affine(pictures(), 0.0, [0, 0], 1.0, [float(shear), 0.0], BILINEAR))


@pytest.mark.parametrize("share", [0.0, 1.0])
def test_a_translation_equals_torchvision_s(share, pinned):
    pinned(share)
    ours = made("RandomAffine", degrees=0, translate=[0.25, 0.125])(pictures())
    sign = int(1 - 2 * share)
    assert_same_inside(ours, reference.affine(pictures(), 0.0, [sign * 4, sign * 2], 1.0, [0.0, 0.0], BILINEAR))


def test_rotation_and_scale_together_equal_torchvision_s(pinned):
    pinned(1.0)
    ours = made("RandomAffine", degrees=30, scale=[0.9, 0.9])(pictures())
    assert_same_inside(ours, reference.affine(pictures(), 30.0, [0, 0], 0.9, [0.0, 0.0], BILINEAR))


def test_an_affine_map_that_does_nothing_changes_nothing(pinned):
    pinned(0.5)
    images = pictures()
    torch.testing.assert_close(made("RandomAffine", **MANY["RandomAffine"] | {"scale": [1.0, 1.0]})(images), images, atol=1e-5, rtol=1e-5)


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


def test_a_crop_of_the_whole_picture_is_the_picture():
    assert torch.equal(made("RandomCrop", size=16)(pictures()), pictures())


def test_a_resized_crop_equals_torchvision_s_but_for_its_border(pinned):
    pinned(1.0, 0.5, 0.75, 0.25)  # the largest area, square; three quarters of the way right, one quarter down
    ours = made("RandomResizedCrop", size=20, scale=[0.25, 0.25])(pictures(side=32))
    # 16 of 32 pixels wide; the centre moves through the 16 that are left over.
    assert_same_inside(ours, reference.resized_crop(pictures(side=32), 4, 12, 16, 16, [20, 20], BILINEAR, antialias=False), border=1)


def test_a_resized_crop_of_everything_is_the_picture(pinned):
    pinned(0.5)
    torch.testing.assert_close(made("RandomResizedCrop", size=16, scale=[1.0, 1.0])(pictures()), pictures(), atol=1e-5, rtol=1e-5)


def test_a_resized_crop_takes_the_area_and_the_aspect_that_it_draws(pinned):
    """A picture whose pixels hold their own column and row shows which part was taken."""
    side = 64
    ramp = torch.arange(side) / side
    images = torch.stack([ramp.expand(side, side), ramp.unsqueeze(1).expand(side, side)]).unsqueeze(0)
    pinned(0.0, 1.0, 0.5, 0.5)
    columns, rows = made("RandomResizedCrop", size=64, scale=[0.3, 1.0], ratio=[3 / 4, 4 / 3])(images)[0]
    width, height = float(columns[32, 63] - columns[32, 0]) * 64 / 63, float(rows[63, 32] - rows[0, 32]) * 64 / 63
    assert width == pytest.approx(math.sqrt(0.3 * 4 / 3), abs=0.01) and height == pytest.approx(math.sqrt(0.3 * 3 / 4), abs=0.01)


@pytest.mark.parametrize("name", BATCHED)
def test_every_picture_has_a_draw_of_its_own(name):
    print("seed", SEED)
    torch.manual_seed(SEED)
    same = pictures(count=1).expand(32, -1, -1, -1)
    augmented = made(name, **MANY[name])(same)
    different = {tuple(picture.flatten().tolist()) for picture in augmented}
    assert len(different) == 2 if name == "RandomHorizontalFlip" else len(different) > 25


@pytest.mark.parametrize("name", BATCHED)
def test_the_seed_fixes_every_draw(name):
    def drawn(seed):
        torch.manual_seed(seed)
        return made(name, **MANY[name])(pictures(count=16))

    assert torch.equal(drawn(SEED), drawn(SEED)) and not torch.equal(drawn(SEED), drawn(SEED + 1))


OTHERS = {"ColorJitter": {"brightness": 0.8, "hue": 0.3}, "GaussianBlur": {"kernel_size": 3}, "RandomErasing": {"p": 1.0}}


@pytest.mark.parametrize("name", [*BATCHED, *OTHERS])
def test_values_stay_between_0_and_1(name):
    print("seed", SEED)
    torch.manual_seed(SEED)
    augmented = made(name, **(MANY | OTHERS)[name])(pictures(count=32))
    assert augmented.shape == (32, 3, 16, 16) and augmented.dtype == torch.float32
    assert augmented.min() >= -1e-6 and augmented.max() <= 1 + 1e-6


def test_a_transform_of_torchvision_draws_anew_for_each_picture():
    torch.manual_seed(SEED)
    same = pictures(count=1).expand(8, -1, -1, -1)
    assert len({tuple(picture.flatten().tolist()) for picture in made("ColorJitter", brightness=0.8)(same)}) == 8


def test_augmentations_keep_their_order():
    crop, flip = build_augmentations([{"name": "RandomCrop", "size": 8}, {"name": "RandomHorizontalFlip", "p": 1.0}], "augment")
    assert crop(pictures()).shape == (4, 3, 8, 8) and torch.equal(flip(pictures()), pictures().flip(-1))


@pytest.mark.parametrize("name", ["RandomAffin", "functional", "Transform.forward", None, 3, "InterpolationMode"])
def test_what_is_no_transform_is_refused(name):
    with pytest.raises(UserError, match=r"models\.own\.train\.augment\[0\]\.name is .*expected a transform of torchvision\.transforms\.v2"):
        made(name)


WRONG = [
    ("RandomAffine", {"degrees": 5, "shears": 1}),
    ("RandomAffine", {}),
    ("RandomAffine", {"degrees": 5, "scale": [1.2, 0.8]}),
    ("RandomAffine", {"degrees": 5, "translate": [0.1]}),
    ("RandomHorizontalFlip", {"p": 1.5}),
    ("RandomCrop", {"size": 8, "padding_mode": "mirror"}),
    ("RandomResizedCrop", {"size": 8, "scale": [0.5]}),
    ("ColorJitter", {"brightness": -1.0}),
    ("GaussianBlur", {"kernel_size": 4}),
]


@pytest.mark.parametrize(("name", "arguments"), WRONG)
def test_wrong_arguments_are_refused(name, arguments):
    with pytest.raises(UserError, match=rf"the arguments of models\.own\.train\.augment\[0\] \({name}\) do not fit"):
        made(name, **arguments)


def test_the_second_of_two_is_named_as_the_second():
    with pytest.raises(UserError, match=r"augment\[1\]"):
        build_augmentations([{"name": "RandomHorizontalFlip"}, {"name": "RandomFlop"}], "augment")


def test_the_sections_of_params_are_left_as_they_are():
    section = [{"name": "RandomHorizontalFlip", "p": 0.5}]
    build_augmentations(section, "augment")
    assert section == [{"name": "RandomHorizontalFlip", "p": 0.5}]
