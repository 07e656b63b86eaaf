"""A model's own preprocessing and outputs, and the checkpoint it is kept in."""

import json
import math

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import nn

from stages.common.files import write_files
from stages.common.meta import Input
from stages.modelling.model import (
    METADATA_KEY,
    Model,
    Preparation,
    as_checkpoint,
    installed_versions,
    load_checkpoint,
)
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
    torch.testing.assert_close(output[0, :, 1, 2], torch.tensor([2.0, 1.0, 0.0]))
    torch.testing.assert_close(output[0, :, 0, 0], torch.tensor([-2.0, -1.0, 0.0]))


def test_features_are_standardised_and_what_is_missing_becomes_the_mean():
    features = torch.tensor([[12.0, 5.0], [0.0, 0.0], [math.nan, math.nan]])
    given = prepared(features, "features", names=["a", "b"], mean=[10.0, 4.0], std=[2.0, 0.5], zero_is_missing=["b"])
    torch.testing.assert_close(given, torch.tensor([[1.0, 2.0], [-5.0, 0.0], [0.0, 0.0]]))


def test_features_without_figures_are_used_as_they_are():
    features = torch.tensor([[3.0, -1.0], [math.nan, 0.0]])
    torch.testing.assert_close(prepared(features, "features", names=["a", "b"]), torch.tensor([[3.0, -1.0], [0.0, 0.0]]))


def test_characters_are_their_code_points_and_others_a_question_mark():
    codes = torch.tensor([[ord("a"), 0, 127, 128, -1, 10**12]])
    assert prepared(codes, "characters").tolist() == [[97, 0, 127, 63, 63, 63]]


def test_characters_of_an_alphabet_are_numbered_from_one():
    codes = torch.tensor([[ord(character) for character in "hello?z"] + [0, 20_013]])
    assert prepared(codes, "characters", alphabet="ehlo").tolist() == [[2, 1, 3, 3, 4, 0, 0, 0, 0]]


def test_a_question_mark_of_the_alphabet_stands_for_what_is_out_of_range():
    assert prepared(torch.tensor([[97, 9999]]), "characters", alphabet="a?").tolist() == [[1, 2]]


@pytest.mark.parametrize("name", TOYS)
def test_preprocessing_adds_nothing_to_a_checkpoint(name):
    assert not Preparation(toy(name).meta.input).state_dict()


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
    torch.testing.assert_close(probabilities.sum(-1), torch.ones(label.shape))
    real = label >= 0
    assert torch.equal(label[real], probabilities.argmax(-1)[real])
    assert real.all() if data.meta.task != "sequence" else torch.equal(real, data.raw_batch(5) != 0)


class Fixed(nn.Module):
    def __init__(self, logits):
        super().__init__()
        self.values = torch.tensor(logits)

    def forward(self, _):
        return self.values


def test_a_binary_logit_becomes_both_probabilities():
    probabilities, label = Model(Fixed([[0.0], [2.0], [-2.0]]), toy("patients").meta)(torch.zeros(3, 3))
    sigmoid = 1 / (1 + math.exp(-2))
    torch.testing.assert_close(probabilities, torch.tensor([[0.5, 0.5], [1 - sigmoid, sigmoid], [sigmoid, 1 - sigmoid]]))
    assert label.tolist() == [0, 1, 0]


def test_outputs_of_a_network_in_bfloat16_are_float32():
    network = Fixed([[0.5, 1.5, 0.0]])
    network.values = network.values.bfloat16()
    assert Model(network, toy("shapes").meta)(torch.zeros(1, 8, 8, 1, dtype=torch.uint8))[0].dtype == torch.float32


# Checkpoints


@pytest.mark.parametrize("name", TOYS)
def test_a_checkpoint_gives_the_model_back(name, path):
    model = toy_model(name, seed=3)
    save(path, name, model.network)
    loaded, description = load_checkpoint(path)
    inputs = toy(name).raw_batch(5)
    with torch.no_grad():
        assert all(torch.equal(*pair) for pair in zip(model(inputs), loaded(inputs), strict=True))
    expected = {"architecture": TOYS[name], "data": toy(name).meta.model_dump(), "training": TRAINING}
    assert description == expected | {"versions": installed_versions()}
    assert description["versions"]["torch"].split("+")[0] == torch.__version__.split("+")[0]
    assert loaded.meta == toy(name).meta and not loaded.training


def test_the_same_network_gives_the_same_bytes(path, tmp_path):
    save(path)
    save(tmp_path / "other.safetensors")
    assert path.read_bytes() == (tmp_path / "other.safetensors").read_bytes()


def test_the_same_bytes_come_whatever_order_the_keys_are_in(path, tmp_path):
    save(path)
    reordered = dict(reversed(TOYS["shapes"].items()))
    assert path.read_bytes() == as_checkpoint(toy_model("shapes").network, reordered, toy("shapes").meta, TRAINING)


def test_weights_that_lie_scattered_in_memory_are_kept(path):
    network = toy_model("shapes").network.to(memory_format=torch.channels_last)
    save(path, network=network)
    weights = load_checkpoint(path)[0].network.state_dict()
    assert all(torch.equal(weights[name], tensor) for name, tensor in network.state_dict().items())


@pytest.mark.parametrize("device", ["cpu", pytest.param("cuda", marks=needs_cuda)])
def test_a_checkpoint_written_on_any_device_loads_on_the_cpu(device, path):
    model = toy_model("shapes")
    expected = {name: tensor.clone() for name, tensor in model.network.state_dict().items()}
    save(path, network=model.to(device).network)
    weights = load_checkpoint(path)[0].network.state_dict()
    assert {tensor.device.type for tensor in weights.values()} == {"cpu"}
    assert all(torch.equal(weights[name], tensor) for name, tensor in expected.items())


def test_a_checkpoint_says_what_it_is_in_plain_json(path):
    save(path)
    with safe_open(path, framework="np") as file:
        description = json.loads(file.metadata()[METADATA_KEY])
    assert description["architecture"]["name"] == "cnn" and description["data"]["classes"] == ["left", "middle", "right"]


def test_a_missing_checkpoint_is_named_with_the_command_that_makes_it(path):
    with pytest.raises(UserError, match=r"own/checkpoint\.safetensors is missing: run python -m stages\.train own"):
        load_checkpoint(path)


def damaged(path, content):
    path.parent.mkdir(parents=True)
    path.write_bytes(content)


def truncated(path):
    save(path)
    path.write_bytes(path.read_bytes()[:-7])


def without_description(path):
    path.parent.mkdir(parents=True)
    save_file({"0.weight": torch.zeros(1)}, path)


def of_another_network(path):
    save(path, "shapes", toy_model("words").network)


def of_another_version(path):
    description = {"architecture": TOYS["shapes"], "data": {"dataset": "shapes"}, "training": {}}
    path.parent.mkdir(parents=True)
    save_file({}, path, metadata={METADATA_KEY: json.dumps(description)})


BROKEN = [
    lambda path: damaged(path, b""),
    lambda path: damaged(path, b"not safetensors at all"),
    lambda path: damaged(path, np.random.default_rng(0).bytes(4096)),
    truncated,
    without_description,
    of_another_network,
    of_another_version,
]


@pytest.mark.parametrize("damage", BROKEN)
def test_a_damaged_checkpoint_is_named_with_the_command_that_makes_it_again(damage, path):
    damage(path)
    with pytest.raises(UserError, match=r"(?s)own/checkpoint\.safetensors is damaged or of another version .*stages\.train own .* again"):
        load_checkpoint(path)
