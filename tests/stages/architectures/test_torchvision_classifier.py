"""Pretrained classifiers: their weights through torch.hub from a mirror or an address, and a frozen backbone that stays as it is.

The state dicts are made here, under file names with their true hash; torchvision's own addresses are never asked.
"""

import functools
import hashlib
import http.server
import io
import threading

import numpy as np
import pytest
import torch
import torchvision
from pydantic import ValidationError
from torch import nn

from stages.architectures import torchvision_classifier
from stages.architectures.torchvision_classifier import Params, load_pretrained
from stages.modelling.model import Model
from stages.shell.errors import UserError
from stages.training.loop import fit
from stages.training.recipe import Recipe
from stages.training.run import Run
from tests.toy import PICTURE as GREY
from tests.toy import Data, NoKeeper, describe, recipe

SEED = 20261120
PICTURE = GREY.model_copy(update={"shape": [64, 64, 3], "mean": [0.5] * 3, "std": [0.25] * 3})
CUT_OFF = {"resnet18": ("fc.",), "squeezenet1_1": ("classifier.",)}
CLOSED = "http://127.0.0.1:9/models"  # the discard port: nothing listens


@functools.cache
def photographs():
    rng = np.random.default_rng(SEED)
    splits = {name: (rng.integers(0, 256, (6, 64, 64, 3), dtype=np.uint8), np.arange(6) % 2) for name in ("train", "val", "test")}
    meta = describe("photographs", PICTURE, "multiclass", ["ants", "bees"], None, splits)
    return Data(meta.model_copy(update={"source": "official"}), splits)


def params(model="squeezenet1_1", weights="IMAGENET1K_V1", frozen=True):
    return Params.model_validate(
        {"name": "torchvision_classifier", "model": model, "weights": {"sample": "none", "official": weights}, "frozen": frozen}
    )


def build(section, meta=None):
    torch.manual_seed(SEED)
    return torchvision_classifier.build(section, meta or photographs().meta)


def loaded(model="squeezenet1_1", frozen=True):
    network = build(params(model, frozen=frozen))
    load_pretrained(network, params(model, frozen=frozen), photographs().meta)
    return network


@functools.cache
def state_dict(model="squeezenet1_1"):
    """What the authors of `model` might have trained: a thousand classes, and batch normalisation that has seen data."""
    torch.manual_seed(SEED + 1)
    weights = torchvision.models.get_model(model, weights=None).state_dict()
    return {name: tensor + 0.1 * torch.rand_like(tensor) if "running" in name else tensor for name, tensor in weights.items()}


def saved(content):
    file = io.BytesIO()
    torch.save(content, file)
    return file.getvalue()


class Published:
    """Sets where torchvision says that the weights of a model are, and puts a file there or into a mirror."""

    def __init__(self, root, monkeypatch):
        self.root, self.monkeypatch = root, monkeypatch

    def name(self, content, model="squeezenet1_1", address=CLOSED, digest=None):
        """The file's name, with the true hash of its bytes unless another is given; torchvision's address leads to it from now on."""
        file_name = f"{model}-{(digest or hashlib.sha256(content).hexdigest())[:8]}.pth"
        weights = torchvision.models.get_model_weights(model)["IMAGENET1K_V1"]
        self.monkeypatch.setattr(weights.value, "url", f"{address}/{file_name}")
        return file_name

    def in_folder(self, content, model="squeezenet1_1", digest=None):
        folder = self.root / "mirror" / "torchvision"
        folder.mkdir(parents=True)
        (folder / self.name(content, model, digest=digest)).write_bytes(content)
        self.monkeypatch.setenv("DATASETS_MIRROR", str(self.root / "mirror"))


@pytest.fixture
def published(tmp_path, monkeypatch):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.delenv("DATASETS_MIRROR", raising=False)
    return Published(tmp_path, monkeypatch)


@pytest.fixture
def served(tmp_path):
    """A folder and the address at which it is served; `asked` collects the paths that were asked for."""
    folder, asked = tmp_path / "served", []
    (folder / "torchvision").mkdir(parents=True)

    class Handler(http.server.SimpleHTTPRequestHandler):
        def __init__(self, *arguments):
            super().__init__(*arguments, directory=str(folder))

        def log_message(self, text, *arguments):
            asked.append(self.path)

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield folder, f"http://127.0.0.1:{server.server_address[1]}", asked
        server.shutdown()
        thread.join()


def assert_pretrained(network, model="squeezenet1_1"):
    kept = {name: tensor for name, tensor in state_dict(model).items() if not name.startswith(CUT_OFF[model])}
    own = network.backbone.state_dict()
    assert own.keys() == kept.keys()
    assert all(torch.equal(own[name], tensor) for name, tensor in kept.items())


def test_weights_come_from_a_mirror_s_folder(published):
    published.in_folder(saved(state_dict()))
    assert_pretrained(loaded())


def test_weights_come_from_a_mirror_s_address(published, served):
    folder, address, asked = served
    content = saved(state_dict())
    file_name = published.name(content)
    (folder / "torchvision" / file_name).write_bytes(content)
    published.monkeypatch.setenv("DATASETS_MIRROR", address + "/")
    assert_pretrained(loaded())
    assert asked == [f"/torchvision/{file_name}"]


def test_a_mirror_with_other_bytes_is_passed_over_and_torchvision_s_address_asked_once(published, served):
    folder, address, asked = served
    content = saved(state_dict())
    published.in_folder(b"not these", digest=hashlib.sha256(content).hexdigest())
    file_name = published.name(content, address=address)
    (folder / file_name).write_bytes(content)
    for _ in range(2):
        assert_pretrained(loaded())
    assert asked == [f"/{file_name}"]


def refusal():
    with pytest.raises(UserError) as refused:
        loaded()
    assert "\n" not in str(refused.value)
    return str(refused.value)


def test_a_wrong_hash_is_refused(published):
    published.in_folder(saved(state_dict()), digest="0" * 64)
    message = refusal()
    assert message.startswith("The weights squeezenet1_1-00000000.pth could not be fetched") and "invalid hash value" in message


class Touch:
    """Creates a file when it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return open, (str(self.path), "w")


def test_code_in_a_pickle_is_refused_in_a_sentence_and_never_run(published):
    published.in_folder(saved({"features.0.weight": Touch(published.root / "touched")}))
    assert "it holds more than tensors, so nothing of it was loaded" in refusal()
    assert not (published.root / "touched").exists()


def test_without_a_network_one_sentence_says_what_to_do(published):
    published.name(b"")
    message = refusal()
    assert "could not be fetched (http://127.0.0.1:9/" in message
    assert message.endswith("connect to the network, put the file into DATASETS_MIRROR/torchvision/, or set architecture.weights to none.")


def test_weights_that_lack_a_layer_are_refused(published):
    published.in_folder(saved({name: tensor for name, tensor in state_dict().items() if "features.3" not in name}))
    assert "do not fit squeezenet1_1: features.3.squeeze.weight" in refusal()


def test_a_mirror_s_address_with_a_name_in_it_is_refused_unshown(published):
    published.name(b"")
    published.monkeypatch.setenv("DATASETS_MIRROR", "http://user:secret@127.0.0.1:9")
    message = refusal()
    assert "DATASETS_MIRROR has a user name" in message and "secret" not in message


def test_unknown_names_are_refused():
    with pytest.raises(ValidationError, match=r"expected weights to be one of none, IMAGENET1K_V1, .*; got 'IMAGENET'"):
        params(weights="IMAGENET")
    with pytest.raises(ValidationError, match=r"expected a classifier of torchvision"):
        params("fcn_resnet50")


@pytest.mark.parametrize(("weights", "source"), [("none", "official"), ("IMAGENET1K_V1", "sample")])
def test_none_asks_nobody_and_leaves_everything_to_learn(weights, source, monkeypatch):
    monkeypatch.setattr(torchvision_classifier, "fetch_weights", None)
    meta = photographs().meta.model_copy(update={"source": source})
    network = build(params(weights=weights), meta)
    load_pretrained(network, params(weights=weights), meta)
    assert all(weight.requires_grad for weight in network.parameters()) and not network.frozen


@pytest.mark.parametrize("frozen", [True, False])
def test_a_frozen_backbone_alone_keeps_its_weights_and_its_statistics_in_training(frozen, published):
    published.in_folder(saved(state_dict("resnet18")), "resnet18")
    network, data, before = loaded("resnet18", frozen), photographs(), state_dict("resnet18")
    section = Recipe.model_validate(recipe(data, epochs=1, batch_size=3, ema=0.5, optimizer={"name": "SGD", "momentum": 0.9}))
    run = Run(Model(network, data.meta), section, data.batches("train", 3), data.batches("val"), SEED, "train")
    fit(run, NoKeeper(), lambda *_: None)
    assert not torch.equal(network.head.weight, build(params("resnet18")).head.weight)
    for name in ("conv1.weight", "bn1.weight", "bn1.running_mean", "layer4.1.conv2.weight"):
        assert torch.equal(network.backbone.state_dict()[name], before[name]) == frozen
        assert torch.equal(run.best.weights[f"backbone.{name}"], before[name]) == frozen


FAMILIES = ["resnet18", "vgg16", "squeezenet1_1", "alexnet", "densenet121", "googlenet", "inception_v3", "mobilenet_v3_small"]
ALL = torchvision.models.list_models(module=torchvision.models)
# The constructors of RegNets look at the weights' values, which the meta device has not.
OTHERS = [name for name in ALL if name not in FAMILIES and not name.startswith("regnet")]


@pytest.mark.parametrize("models", [FAMILIES, pytest.param(OTHERS, marks=pytest.mark.slow)])
def test_the_last_layer_is_replaced(models):
    """On the meta device, which knows shapes and holds no numbers: vgg16 alone would take half a gigabyte."""
    for model in models:
        side = 299 if model == "inception_v3" else 224
        with torch.device("meta"):
            network = build(params(model, weights="none", frozen=False)).eval()
            network.freeze()
            logits = network(torch.zeros(2, 3, side, side))
        assert logits.shape == (2, 2), model
        assert getattr(network.backbone, "transform_input", False) is False, "it normalises pictures itself with pretrained weights alone"
        assert {name.split(".")[0] for name, weight in network.named_parameters() if weight.requires_grad} == {"head"}, model


def test_squeezenet_s_head_pools_as_torchvision_s_does():
    network = build(params()).eval()
    reference = torchvision.models.squeezenet1_1(num_classes=2).eval()
    reference.features.load_state_dict(network.backbone.features.state_dict())
    reference.classifier[1].load_state_dict(next(layer for layer in network.head if isinstance(layer, nn.Conv2d)).state_dict())
    pictures = torch.rand(2, 3, 64, 64)
    torch.testing.assert_close(network(pictures), reference(pictures))
