"""Every family of networks, through a model of params.yaml: a new family gets this test free."""

import pytest
import torch

from stages.common.files import write_files
from stages.common.shelves import part_names, take_task
from stages.modelling.model import as_checkpoint, build_network, load_checkpoint
from stages.shell.errors import UserError
from stages.training.losses import build_loss
from tests.toy import MODELS, PARAMS, architecture_of, build, fresh_model, measured_on, sample, toy

TRAINING = {"best_epoch": 1, "epochs": 1, "recipe": {}, "seed": 0}
# Each through a model of params.yaml; one that no model there has is named here, with a dataset.
OF_FAMILY = {architecture_of(name)["name"]: (architecture_of(name), PARAMS["models"][name]["dataset"]) for name in reversed(MODELS)}
RESNET = {"name": "torchvision_classifier", "model": "resnet18", "weights": "none", "frozen": False}
OF_FAMILY.setdefault("torchvision_classifier", (RESNET, "hymenoptera"))


def inception(channels):
    five, three = (16 * 24 * 25 + 24), (16 * 24 * 9 + 24) + (24 * 24 * 9 + 24)
    return 3 * (channels * 16 + 16) + five + three + (channels * 24 + 24)


def names_classifier(gates):
    return 128 * 100 + 2 * gates * (100 * 100 + 100 * 100 + 200) + 2 * gates * (200 * 100 + 100 * 100 + 200) + (200 * 18 + 18)


# From the layer sizes that the lessons give; models that are free to choose their network are not here.
NUM_WEIGHTS = {
    "line_grid": 1,
    "line_gd": 2,
    "hello_rnn_cell": 4 * 4 + 4 * 4 + 2 * 4,
    "hello_rnn": 4 * 4 + 4 * 4 + 2 * 4,
    "hello_embedding": 5 * 10 + (8 * 10 + 8 * 8 + 2 * 8) + (8 * 8 + 8 * 8 + 2 * 8) + (8 * 4 + 4),
    "diabetes_mlp": (8 * 6 + 6) + (6 * 4 + 4) + (4 + 1),
    "mnist_mlp": (784 * 512 + 512) + (512 * 256 + 256) + (256 * 128 + 128) + (128 * 64 + 64) + (64 * 10 + 10),
    "mnist_cnn": (10 * 25 + 10) + (20 * 10 * 25 + 20) + (320 * 10 + 10),
    "mnist_inception": (10 * 25 + 10) + inception(10) + (88 * 20 * 25 + 20) + inception(20) + (1408 * 10 + 10),
    "mnist_resnet": (16 * 25 + 16) + 2 * (16 * 16 * 9 + 16) + (16 * 32 * 25 + 32) + 2 * (32 * 32 * 9 + 32) + (512 * 10 + 10),
    "cifar10_cnn": 145_578,
    "names_rnn": names_classifier(1),
    "names_lstm": names_classifier(4),
    "names_gru": names_classifier(3),
}


def test_they_have_as_many_weights_as_the_lessons():
    found = {name: sum(weight.numel() for weight in fresh_model(name).network.parameters()) for name in NUM_WEIGHTS}
    assert found == NUM_WEIGHTS


@pytest.mark.parametrize("family", part_names("architectures"))
def test_a_family_learns_and_is_kept(family, tmp_path):
    architecture, dataset = OF_FAMILY[family]
    data = sample(dataset)
    model, trained = (measured_on(data, build(architecture, data.meta)).train() for _ in range(2))
    inputs = data.raw_batch(2)
    with torch.no_grad():
        model(data.raw_batch(4))  # which batch normalisation sees
    model.eval()
    with torch.no_grad():
        logits, outputs = model.logits(inputs), model(inputs)
        alone = torch.cat([model(row.unsqueeze(0))[0] for row in inputs])
    leading = inputs.shape if data.meta.task == "sequence" else inputs.shape[:1]
    assert logits.shape == (*leading, data.meta.num_outputs)
    assert logits.dtype == torch.float32 and logits.isfinite().all()
    torch.testing.assert_close(outputs[0], alone, atol=1e-5, rtol=1e-4)  # a row's outputs depend on no other row

    rows, targets = next(data.batches("train", 4).in_order())  # larger pictures than the model's, perhaps
    loss = build_loss(take_task(data.meta.task).LOSSES[0], {}, data.meta.task, data.meta.num_outputs, "loss")
    answers = trained.logits(rows)  # several an item, of networks that are several in one
    loss(answers, targets.repeat_interleave(len(answers) // len(targets), dim=0)).backward()
    unreached = [weight for weight, tensor in trained.network.named_parameters() if tensor.grad is None or not tensor.grad.any()]
    assert not unreached

    write_files({tmp_path / "checkpoint.safetensors": as_checkpoint(model.network, architecture, data.meta, TRAINING)})
    loaded, description = load_checkpoint(tmp_path / "checkpoint.safetensors")
    with torch.no_grad():
        assert all(torch.equal(*pair) for pair in zip(outputs, loaded(inputs), strict=True))
    assert description["architecture"] == architecture and loaded.meta == data.meta

    with pytest.raises(UserError, match=r"architecture\.hiden is not a known key"):
        build_network(architecture | {"hiden": 3}, data.meta, "architecture")


def test_an_unknown_architecture_is_refused_with_those_that_there_are():
    with pytest.raises(UserError, match=r"models\.own\.architecture\.name is 'transformer'; expected one of cnn, .*rnn_tagger"):
        build_network({"name": "transformer"}, toy("shapes").meta, "models.own.architecture")
