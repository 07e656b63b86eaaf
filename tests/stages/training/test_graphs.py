"""Steps that are recorded as CUDA graphs: they need a GPU. What decides whether a step is recorded is tested everywhere."""

import types

import pytest
import torch
from torch import nn

from stages.modelling.model import Model
from stages.shell.errors import UserError
from stages.training.augmentations import build_augmentations
from stages.training.loop import fit, may_record
from stages.training.recipe import Recipe
from stages.training.run import Run
from tests.toy import TOYS, NoKeeper, needs_cuda, recipe, toy, toy_model

FLIP = {"name": "RandomHorizontalFlip", "p": 0.5}


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, True),
        ({"augment": [FLIP]}, True),
        ({"augment": [FLIP, {"name": "RandomVerticalFlip"}]}, False),  # torchvision's, which draws on the CPU
        ({"optimizer": {"name": "LBFGS"}}, False),
        ({"graphs": False}, False),
        ({"device": "cpu"}, False),
        ({"num_processes": 2}, False),
    ],
)
def test_steps_are_recorded_where_nothing_is_asked_of_the_cpu(changes, expected):
    values = {"graphs": True, "device": "cuda", "num_processes": 1} | changes
    section = recipe(toy("shapes"), **{key: value for key, value in changes.items() if key in ("augment", "optimizer")})
    run = types.SimpleNamespace(
        recipe=Recipe.model_validate(section),
        graphs=values["graphs"],
        device=torch.device(values["device"]),
        processes=types.SimpleNamespace(count=values["num_processes"]),
    )
    assert may_record(run, build_augmentations(section["augment"], "augment")) == expected


RICH = {
    "augment": [FLIP, {"name": "RandomAffine", "degrees": 10}],
    "ema": 0.9,
    "clip_norm": 1.0,
    "schedule": {"name": "OneCycleLR", "interval": "step"},
    "batch_size": 7,  # of 24: the last batch is a short one
    "late_dropout": 0.4,  # one epoch of three
}


def trained(name, device, model, graphs, bf16=False, **changes):
    data = toy(name)
    section = Recipe.model_validate(recipe(data, **changes))
    batches = [data.batches(split, section.batch_size, device=device) for split in ("train", "val")]
    run = Run(model.to(device), section, *batches, 0, "models.own.train", bf16=bf16, graphs=graphs)
    return fit(run, NoKeeper(), lambda *_: None)


@needs_cuda
@pytest.mark.parametrize("bf16", [False, True])
@pytest.mark.parametrize("name", TOYS)
def test_recorded_steps_train_as_others_do(name, bf16, gpu):
    changes = RICH | ({} if toy(name).meta.input.kind == "image" else {"augment": []})
    outcomes = []
    for graphs in (True, False):
        norm = [] if name == "codes" else [nn.BatchNorm1d(toy(name).meta.num_outputs)]
        network = nn.Sequential(toy_model(name).network, *norm, nn.Dropout(0.1))
        outcomes.append(trained(name, gpu, Model(network, toy(name).meta), graphs, bf16, **changes))
    recorded, plain = outcomes
    assert recorded.rows == plain.rows
    assert all(torch.equal(recorded.best.weights[name], weight) for name, weight in plain.best.weights.items())


class Undecided(nn.Module):
    """Asks the device for a number in the middle of its pass."""

    def __init__(self, network):
        super().__init__()
        self.network = network

    def forward(self, x):
        return self.network(x) if x.sum().item() < 1e9 else x


@needs_cuda
def test_a_step_that_cannot_be_recorded_is_refused_and_trains_where_it_says_so(gpu):
    assert trained("numbers", gpu, Model(Undecided(toy_model("numbers").network), toy("numbers").meta), False).rows
    with pytest.raises(UserError, match=r"cannot be captured as a CUDA graph \(.+\): write CUDA_GRAPHS = False into its file in"):
        trained("numbers", gpu, Model(Undecided(toy_model("numbers").network), toy("numbers").meta), True)
