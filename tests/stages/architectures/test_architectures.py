"""Every architecture, through every model of params.yaml: a new entry there gets these tests free."""

import pytest
import torch

from stages.common.files import write_files
from stages.common.shelves import part_names
from stages.modelling.model import as_checkpoint, build_network, load_checkpoint
from stages.shell.errors import UserError
from stages.training.losses import build_loss
from tests.toy import MODELS, architecture_of, data_of, fresh_model, moved_model, recipe_of, toy

TRAINING = {"best_epoch": 1, "epochs": 1, "recipe": {}, "seed": 0}


def linear(width, outputs, bias=True):
    return width * outputs + outputs * bias


def convolution(channels, outputs, kernel):
    return channels * outputs * kernel**2 + outputs


def inception(channels):
    five = convolution(channels, 16, 1) + convolution(16, 24, 5)
    three = convolution(channels, 16, 1) + convolution(16, 24, 3) + convolution(24, 24, 3)
    return convolution(channels, 16, 1) + five + three + convolution(channels, 24, 1)


def residual(channels):
    return 2 * convolution(channels, channels, 3)


def recurrent(gates, width, hidden):
    """Weights of one direction: input and state to every gate, and torch's two biases."""
    return gates * (width * hidden + hidden * hidden + 2 * hidden)


def names_classifier(gates):
    return 128 * 100 + 2 * recurrent(gates, 100, 100) + 2 * recurrent(gates, 200, 100) + linear(200, 18)


# From the layer sizes that the lessons give; models that are free to choose their network are not here.
NUM_WEIGHTS = {
    "line_grid": 1,
    "line_gd": 2,
    "line_sgd": 2,
    "line_minibatch": 2,
    "hours_logistic": 2,
    "hello_rnn_cell": recurrent(1, 4, 4),
    "hello_rnn": recurrent(1, 4, 4),
    "hello_embedding": 5 * 10 + recurrent(1, 10, 8) + recurrent(1, 8, 8) + linear(8, 4),
    "diabetes_mlp": linear(8, 6) + linear(6, 4) + linear(4, 1),
    "mnist_mlp": linear(784, 512) + linear(512, 256) + linear(256, 128) + linear(128, 64) + linear(64, 10),
    "mnist_cnn": convolution(1, 10, 5) + convolution(10, 20, 5) + linear(320, 10),
    "mnist_cnn_wide": 28_938,
    "mnist_inception": convolution(1, 10, 5) + inception(10) + convolution(88, 20, 5) + inception(20) + linear(1408, 10),
    "mnist_resnet": convolution(1, 16, 5) + residual(16) + convolution(16, 32, 5) + residual(32) + linear(512, 10),
    "mnist_center_net": convolution(1, 6, 3) + convolution(6, 16, 3) + linear(12_544, 512) + linear(512, 64) + linear(64, 2),
    "cifar10_cnn": convolution(3, 32, 5) + convolution(32, 32, 5) + convolution(32, 64, 5) + linear(1024, 64) + linear(64, 10),
    "hymenoptera_transfer": 11_689_512 - linear(512, 1000) + linear(512, 2),  # torchvision's figure for resnet18
    "names_rnn": names_classifier(1),
    "names_lstm": names_classifier(4),
    "names_gru": names_classifier(3),
}


@pytest.mark.parametrize("name", [name for name in MODELS if name in NUM_WEIGHTS])
def test_it_has_as_many_weights_as_the_lesson_s(name):
    assert sum(weight.numel() for weight in moved_model(name).network.parameters()) == NUM_WEIGHTS[name]


def test_every_architecture_on_the_shelf_is_some_model_s():
    assert {architecture_of(name)["name"] for name in MODELS} == set(part_names("architectures"))


@pytest.mark.parametrize("name", MODELS)
def test_it_gives_one_row_of_logits_an_item(name):
    data, model = data_of(name), moved_model(name)
    inputs = data.raw_batch(3)
    with torch.no_grad():
        logits = model.logits(inputs)
    leading = inputs.shape if data.meta.task == "sequence" else inputs.shape[:1]
    assert logits.shape == (*leading, data.meta.num_outputs)
    assert logits.dtype == torch.float32 and logits.isfinite().all()


@pytest.mark.parametrize("name", MODELS)
def test_it_takes_training_batches_even_where_they_are_larger_pictures(name):
    data, model = data_of(name), fresh_model(name).train()
    inputs, targets = next(data.batches("train", 2).in_order())
    loss = build_loss(recipe_of(name).loss.name, {}, data.meta.task, data.meta.num_outputs, "loss")
    assert loss(model.logits(inputs), targets).isfinite()


@pytest.mark.parametrize("name", MODELS)
def test_the_gradient_reaches_every_weight(name):
    data, model = data_of(name), fresh_model(name)
    inputs, targets = next(data.batches("train", 8).in_order())
    if data.meta.input.kind == "image":
        inputs = data.raw_batch(8)
    loss = build_loss(recipe_of(name).loss.name, {}, data.meta.task, data.meta.num_outputs, "loss")
    loss(model.logits(inputs), targets[: len(inputs)]).backward()
    unreached = [weight for weight, tensor in model.network.named_parameters() if tensor.grad is None or not tensor.grad.any()]
    assert not unreached


@pytest.mark.parametrize("name", MODELS)
def test_a_checkpoint_gives_the_same_outputs_again(name, tmp_path):
    model, data = moved_model(name), data_of(name)
    write_files({tmp_path / "checkpoint.safetensors": as_checkpoint(model.network, architecture_of(name), data.meta, TRAINING)})
    loaded, description = load_checkpoint(tmp_path / "checkpoint.safetensors")
    inputs = data.raw_batch(3)
    with torch.no_grad():
        assert all(torch.equal(*pair) for pair in zip(model(inputs), loaded(inputs), strict=True))
    assert {key: value for key, value in description.items() if key != "versions"} == {
        "architecture": architecture_of(name),
        "data": data.meta.model_dump(),
        "training": TRAINING,
    }


@pytest.mark.parametrize("name", MODELS)
def test_a_row_s_outputs_depend_on_no_other_row(name):
    data, model = data_of(name), moved_model(name)
    inputs = data.raw_batch(4)
    with torch.no_grad():
        together, alone = model(inputs)[0], torch.cat([model(row.unsqueeze(0))[0] for row in inputs])
    torch.testing.assert_close(together, alone, atol=1e-5, rtol=1e-4)


def test_convolutions_that_leave_nothing_of_a_picture_are_refused():
    block = {"channels": 3, "kernel": 5, "padding": 0, "pool": 2}
    section = {"name": "cnn", "convolutions": [block, block], "hidden": [], "activation": "relu"}
    with pytest.raises(UserError, match=r"architecture\.convolutions leave nothing of a picture of 8x8 pixels"):
        build_network(section, toy("shapes").meta, "architecture")


@pytest.mark.parametrize("name", MODELS)
def test_a_misspelt_key_is_refused_by_name(name):
    with pytest.raises(UserError, match=rf"models\.{name}\.architecture\.hiden is not a known key"):
        build_network(architecture_of(name) | {"hiden": 3}, data_of(name).meta, f"models.{name}.architecture")


def test_an_unknown_architecture_is_refused_with_those_that_there_are():
    with pytest.raises(UserError, match=r"models\.own\.architecture\.name is 'transformer'; expected one of cnn, .*rnn_tagger"):
        build_network({"name": "transformer"}, toy("shapes").meta, "models.own.architecture")
