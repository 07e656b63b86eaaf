"""A model's own preprocessing and outputs, and the checkpoint it is kept in."""

import json
import math

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import nn
from torch.testing import assert_close

from stages.common.files import write_files
from stages.common.meta import Input
from stages.modelling.model import METADATA_KEY, Model, Preparation, as_checkpoint, load_checkpoint
from stages.shell.errors import UserError
from tests.toy import TOYS, needs_cuda, toy, toy_model

TRAINING = {"best_epoch": 2, "epochs": 3, "recipe": {"lr": 0.1}, "seed": 0}


@pytest.fixture
def path(tmp_path):
    """Where a model called `own` keeps its checkpoint."""
    return tmp_path / "models" / "own" / "checkpoint.safetensors"


def save(path, name="shapes", network=None):
    write_files({path: as_checkpoint(network or toy_model(name).network, TOYS[name], toy(name).meta, TRAINING)})


# Preprocessing


def prepared(inputs, kind, **described):
    dtype = {"image": "uint8", "features": "float32", "characters": "int16"}[kind]
    return Preparation(Input(kind=kind, shape=list(inputs.shape[1:]), dtype=dtype, **described))(inputs)


def test_a_picture_is_scaled_put_channels_first_and_normalised():
    picture = torch.zeros(1, 2, 3, 3, dtype=torch.uint8)
    picture[0, 1, 2] = torch.tensor([255, 51, 0])
    output = prepared(picture, "image", mean=[0.5, 0.1, 0.0], std=[0.25, 0.1, 2.0])
    assert output.shape == (1, 3, 2, 3) and output.dtype == torch.float32
    assert_close(output[0, :, 1, 2], torch.tensor([2.0, 1.0, 0.0]))
    assert_close(output[0, :, 0, 0], torch.tensor([-2.0, -1.0, 0.0]))


def test_features_are_standardised_where_there_are_figures_and_what_is_missing_becomes_the_mean():
    features = torch.tensor([[12.0, 5.0], [0.0, 0.0], [math.nan, math.nan]])
    given = prepared(features, "features", names=["a", "b"], mean=[10.0, 4.0], std=[2.0, 0.5], zero_is_missing=["b"])
    assert_close(given, torch.tensor([[1.0, 2.0], [-5.0, 0.0], [0.0, 0.0]]))
    assert_close(prepared(features, "features", names=["a", "b"]), features.nan_to_num(0.0))


@pytest.mark.parametrize(
    ("alphabet", "codes", "expected"),
    [
        (None, [ord("a"), 0, 127, 128, -1, 10**12], [97, 0, 127, 63, 63, 63]),  # others are a question mark
        ("ehlo", [*map(ord, "hello?z"), 0, 20_013], [2, 1, 3, 3, 4, 0, 0, 0, 0]),
        ("a?", [97, 9999], [1, 2]),
    ],
)
def test_characters_are_code_points_or_places_in_an_alphabet(alphabet, codes, expected):
    assert prepared(torch.tensor([codes]), "characters", alphabet=alphabet).tolist() == [expected]


# Outputs


@pytest.mark.parametrize("name", TOYS)
def test_outputs_are_what_consumers_are_promised(name):
    data, model = toy(name), toy_model(name)
    with torch.no_grad():
        outputs = dict(zip(model.output_names, model(data.raw_batch(5)), strict=True))
    if data.meta.task == "regression":
        assert outputs.keys() == {"prediction"} and outputs["prediction"].shape == (5, len(data.meta.outputs))
        return
    probabilities, label = outputs["probabilities"], outputs["label"]
    per_class = () if data.meta.task == "multilabel" else (len(data.meta.classes),)
    assert probabilities.shape == (*label.shape, *per_class)
    assert (probabilities.dtype, label.dtype) == (torch.float32, torch.int64)
    if data.meta.task == "multilabel":
        assert torch.equal(label, (probabilities > 0.5).long())
        return
    assert_close(probabilities.sum(-1), torch.ones(label.shape))
    real = label >= 0
    assert torch.equal(label[real], probabilities.argmax(-1)[real])
    assert real.all() if data.meta.task != "sequence" else torch.equal(real, data.raw_batch(5) != 0)


class Fixed(nn.Module):
    def __init__(self, logits):
        super().__init__()
        self.values = torch.tensor(logits).bfloat16()

    def forward(self, _):
        return self.values


def test_a_binary_logit_becomes_both_probabilities_in_float32():
    probabilities, label = Model(Fixed([[0.0], [2.0], [-2.0]]), toy("patients").meta)(torch.zeros(3, 3))
    sigmoid = 1 / (1 + math.exp(-2))
    assert_close(probabilities, torch.tensor([[0.5, 0.5], [1 - sigmoid, sigmoid], [sigmoid, 1 - sigmoid]]))
    assert label.tolist() == [0, 1, 0]


# Checkpoints


@pytest.mark.parametrize("name", TOYS)
def test_a_checkpoint_gives_the_model_back_and_holds_nothing_of_the_preprocessing(name, path):
    model = toy_model(name, seed=3)
    save(path, name, model.network)
    loaded, description = load_checkpoint(path)
    inputs = toy(name).raw_batch(5)
    with torch.no_grad():
        assert all(torch.equal(*pair) for pair in zip(model(inputs), loaded(inputs), strict=True))
    assert description.pop("versions").keys() == {"torch", "torchvision", "onnx"}
    assert description == {"architecture": TOYS[name], "data": toy(name).meta.model_dump(), "training": TRAINING}
    assert loaded.meta == toy(name).meta and not loaded.training
    with safe_open(path, framework="np") as file:
        assert set(file.keys()) == set(model.network.state_dict())
        assert json.loads(file.metadata()[METADATA_KEY])["architecture"] == TOYS[name]


def test_the_same_bytes_come_whatever_order_the_keys_are_in(path):
    save(path)
    reordered = dict(reversed(TOYS["shapes"].items()))
    assert path.read_bytes() == as_checkpoint(toy_model("shapes").network, reordered, toy("shapes").meta, TRAINING)


@pytest.mark.parametrize("device", ["cpu", pytest.param("cuda", marks=needs_cuda)])
def test_weights_of_any_device_and_layout_load_on_the_cpu(device, path):
    network = toy_model("shapes").network.to(memory_format=torch.channels_last)
    expected = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    save(path, network=network.to(device))
    weights = load_checkpoint(path)[0].network.state_dict()
    assert {tensor.device.type for tensor in weights.values()} == {"cpu"}
    assert all(torch.equal(weights[name], tensor) for name, tensor in expected.items())


def truncated(path):
    save(path)
    path.write_bytes(path.read_bytes()[:-7])


def of_another_version(path):
    description = {"architecture": TOYS["shapes"], "data": {"dataset": "shapes"}, "training": {}}
    save_file({}, path, metadata={METADATA_KEY: json.dumps(description)})


BROKEN = {
    "empty": lambda path: path.write_bytes(b""),
    "noise": lambda path: path.write_bytes(np.random.default_rng(0).bytes(4096)),
    "truncated": truncated,
    "without description": lambda path: save_file({"0.weight": torch.zeros(1)}, path),
    "of another network": lambda path: save(path, "shapes", toy_model("words").network),
    "of another version": of_another_version,
}


@pytest.mark.parametrize("damage", BROKEN)
def test_a_damaged_checkpoint_is_named_with_the_command_that_makes_it_again(damage, path):
    with pytest.raises(UserError, match=r"own/checkpoint\.safetensors is missing: run python -m stages\.train own"):
        load_checkpoint(path)
    path.parent.mkdir(parents=True)
    BROKEN[damage](path)
    with pytest.raises(UserError, match=r"(?s)own/checkpoint\.safetensors is damaged or of another version .*stages\.train own .* again"):
        load_checkpoint(path)
