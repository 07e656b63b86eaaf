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
from stages.training.steps import Training
from tests.toy import CPU, Data, NoKeeper, describe, recipe
from tests.toy import PICTURE as GREY

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


def params(model="resnet18", weights="IMAGENET1K_V1", frozen=True):
    return Params.model_validate(
        {"name": "torchvision_classifier", "model": model, "weights": {"sample": "none", "official": weights}, "frozen": frozen}
    )


def build(section, meta=None):
    torch.manual_seed(SEED)
    return torchvision_classifier.build(section, meta or photographs().meta)


@functools.cache
def state_dict(model):
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

    def name(self, model, content, digest=None):
        """The file's name, with the true hash of its bytes unless another is given; torchvision's address leads to it from now on."""
        file_name = f"{model}-{(digest or hashlib.sha256(content).hexdigest())[:8]}.pth"
        self.point_to(model, f"{CLOSED}/{file_name}")
        return file_name

    def point_to(self, model, url):
        weights = torchvision.models.get_model_weights(model)["IMAGENET1K_V1"]
        self.monkeypatch.setattr(weights.value, "url", url)

    def in_folder(self, model, content, digest=None):
        folder = self.root / "mirror" / "torchvision"
        folder.mkdir(parents=True)
        (folder / self.name(model, content, digest)).write_bytes(content)
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
    folder.mkdir()

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


def assert_pretrained(network, model):
    kept = {name: tensor for name, tensor in state_dict(model).items() if not name.startswith(CUT_OFF[model])}
    own = network.backbone.state_dict()
    assert own.keys() == kept.keys()
    assert all(torch.equal(own[name], tensor) for name, tensor in kept.items())


@pytest.mark.parametrize("model", CUT_OFF)
def test_weights_come_from_a_mirror_s_folder(model, published):
    published.in_folder(model, saved(state_dict(model)))
    network = build(params(model))
    load_pretrained(network, params(model), photographs().meta)
    assert_pretrained(network, model)


def test_weights_come_from_a_mirror_s_address(published, served):
    folder, address, asked = served
    content = saved(state_dict("squeezenet1_1"))
    (folder / "torchvision").mkdir()
    file_name = published.name("squeezenet1_1", content)
    (folder / "torchvision" / file_name).write_bytes(content)
    published.monkeypatch.setenv("DATASETS_MIRROR", address + "/")
    network = build(params("squeezenet1_1"))
    load_pretrained(network, params("squeezenet1_1"), photographs().meta)
    assert_pretrained(network, "squeezenet1_1")
    assert asked == [f"/torchvision/{file_name}"]


def test_weights_come_from_torchvision_s_address_and_are_fetched_once(published, served):
    folder, address, asked = served
    content = saved(state_dict("squeezenet1_1"))
    file_name = published.name("squeezenet1_1", content)
    (folder / file_name).write_bytes(content)
    published.point_to("squeezenet1_1", f"{address}/{file_name}")
    for _ in range(2):
        network = build(params("squeezenet1_1"))
        load_pretrained(network, params("squeezenet1_1"), photographs().meta)
        assert_pretrained(network, "squeezenet1_1")
    assert asked == [f"/{file_name}"]


def test_a_mirror_with_other_bytes_is_passed_over(published, served):
    folder, address, _ = served
    content = saved(state_dict("squeezenet1_1"))
    published.in_folder("squeezenet1_1", b"not these", hashlib.sha256(content).hexdigest())
    file_name = published.name("squeezenet1_1", content)
    (folder / file_name).write_bytes(content)
    published.point_to("squeezenet1_1", f"{address}/{file_name}")
    network = build(params("squeezenet1_1"))
    load_pretrained(network, params("squeezenet1_1"), photographs().meta)
    assert_pretrained(network, "squeezenet1_1")


def refusal(section):
    with pytest.raises(UserError) as refused:
        load_pretrained(build(section), section, photographs().meta)
    assert "\n" not in str(refused.value)
    return str(refused.value)


def test_a_wrong_hash_is_refused(published):
    published.in_folder("squeezenet1_1", saved(state_dict("squeezenet1_1")), digest="0" * 64)
    message = refusal(params("squeezenet1_1"))
    assert message.startswith("The weights squeezenet1_1-00000000.pth could not be fetched") and "invalid hash value" in message


class Touch:
    """Creates a file when it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return open, (str(self.path), "w")


def test_a_pickle_with_code_in_it_is_refused_in_a_sentence(published):
    published.in_folder("squeezenet1_1", saved({"features.0.weight": Touch(published.root / "touched")}))
    assert "squeezenet1_1" in refusal(params("squeezenet1_1"))


def test_code_in_a_pickle_is_never_run(published):
    published.in_folder("squeezenet1_1", saved({"features.0.weight": Touch(published.root / "touched")}))
    with pytest.raises(Exception, match=r"(?i)weights"):
        load_pretrained(build(params("squeezenet1_1")), params("squeezenet1_1"), photographs().meta)
    assert not (published.root / "touched").exists()


def test_without_a_network_one_sentence_says_what_to_do(published):
    published.name("squeezenet1_1", b"")
    message = refusal(params("squeezenet1_1"))
    assert "could not be fetched (http://127.0.0.1:9/" in message
    assert message.endswith("connect to the network, put the file into DATASETS_MIRROR/torchvision/, or set architecture.weights to none.")


def test_weights_that_lack_a_layer_are_refused(published):
    weights = state_dict("squeezenet1_1").items()
    published.in_folder("squeezenet1_1", saved({name: tensor for name, tensor in weights if "features.3" not in name}))
    assert "do not fit squeezenet1_1: features.3.squeeze.weight" in refusal(params("squeezenet1_1"))


def test_an_unknown_name_of_weights_is_refused_with_those_that_there_are():
    with pytest.raises(ValidationError, match=r"expected weights to be one of none, IMAGENET1K_V1, .*; got 'IMAGENET'"):
        params(weights="IMAGENET")


@pytest.mark.parametrize("model", ["resnet_18", "fcn_resnet50", "", "../resnet18"])
def test_what_is_no_classifier_of_torchvision_is_refused(model):
    with pytest.raises(ValidationError, match=r"expected a classifier of torchvision"):
        params(model)


def test_none_asks_nobody_and_leaves_everything_to_learn(monkeypatch):
    monkeypatch.setattr(torchvision_classifier, "fetch_weights", None)
    network = build(params(weights="none"))
    load_pretrained(network, params(weights="none"), photographs().meta)
    assert all(weight.requires_grad for weight in network.parameters()) and not network.frozen


def test_which_weights_depends_on_where_the_data_is_from(monkeypatch):
    monkeypatch.setattr(torchvision_classifier, "fetch_weights", None)
    meta = photographs().meta.model_copy(update={"source": "sample"})
    load_pretrained(build(params(), meta), params(), meta)


@pytest.fixture
def pretrained(published):
    def make(frozen):
        published.in_folder("resnet18", saved(state_dict("resnet18")))
        network = build(params(frozen=frozen))
        load_pretrained(network, params(frozen=frozen), photographs().meta)
        data = photographs()
        section = Recipe.model_validate(recipe(data, epochs=1, batch_size=3, ema=0.5, optimizer={"name": "SGD", "momentum": 0.9}))
        train, val = data.batches("train", 3), data.batches("val")
        return network, fit(Training(Model(network, data.meta), section, train, val, SEED, "train"), NoKeeper(), lambda *_: None)

    return make


def test_a_frozen_backbone_keeps_its_weights_and_its_statistics_in_training(pretrained):
    network, fitted = pretrained(frozen=True)
    assert_pretrained(network, "resnet18")
    backbone = {name.removeprefix("backbone."): tensor for name, tensor in fitted.weights.items() if name.startswith("backbone.")}
    assert all(torch.equal(tensor, state_dict("resnet18")[name]) for name, tensor in backbone.items())
    assert not torch.equal(network.head.weight, build(params()).head.weight)


def test_a_backbone_that_is_not_frozen_learns(pretrained):
    network, _ = pretrained(frozen=False)
    own, before = network.backbone.state_dict(), state_dict("resnet18")
    learning = ("conv1.weight", "bn1.weight", "bn1.running_mean", "layer4.1.conv2.weight")
    assert not any(torch.equal(own[name], before[name]) for name in learning)


FAMILIES = ["resnet18", "vgg16", "vgg19", "squeezenet1_1", "alexnet", "densenet121", "googlenet", "inception_v3", "mobilenet_v3_small"]
ALL = torchvision.models.list_models(module=torchvision.models)
# The constructors of RegNets look at the weights' values, which the meta device has not.
OTHERS = [name for name in ALL if name not in FAMILIES and not name.startswith("regnet")]


@pytest.mark.parametrize("model", [*FAMILIES, *(pytest.param(name, marks=pytest.mark.slow) for name in OTHERS)])
def test_the_last_layer_is_replaced(model):
    """On the meta device, which knows shapes and holds no numbers: vgg16 alone would take half a gigabyte."""
    side = 299 if model == "inception_v3" else 224
    with torch.device("meta"):
        network = build(params(model, weights="none", frozen=False)).eval()
        network.freeze()
        logits = network(torch.zeros(2, 3, side, side))
    assert logits.shape == (2, 2)
    assert {name.split(".")[0] for name, weight in network.named_parameters() if weight.requires_grad} == {"head"}
    assert not any(getattr(layer, "out_features", getattr(layer, "out_channels", 0)) == 1000 for layer in network.modules())


def test_squeezenet_s_head_pools_as_torchvision_s_does():
    print("seed", SEED)
    network = build(params("squeezenet1_1"), photographs().meta).eval()
    reference = torchvision.models.squeezenet1_1(num_classes=2).eval()
    reference.features.load_state_dict(network.backbone.features.state_dict())
    reference.classifier[1].load_state_dict(next(layer for layer in network.head if isinstance(layer, nn.Conv2d)).state_dict())
    pictures = torch.rand(2, 3, 64, 64, device=CPU)
    torch.testing.assert_close(network(pictures), reference(pictures))


@pytest.mark.parametrize("model", ["googlenet", "inception_v3"])
@pytest.mark.parametrize("weights", ["none", "IMAGENET1K_V1"])
def test_networks_that_normalise_themselves_do_so_with_pretrained_weights_alone(model, weights):
    assert build(params(model, weights)).backbone.transform_input is (weights != "none")


def test_a_mirror_s_address_with_a_name_in_it_is_refused_unshown(monkeypatch):
    monkeypatch.setenv("DATASETS_MIRROR", "http://user:secret@127.0.0.1:9")
    with pytest.raises(UserError, match="DATASETS_MIRROR has a user name") as refused:
        torchvision_classifier.fetch_weights(f"{CLOSED}/resnet18-00000000.pth")
    assert "secret" not in str(refused.value)
