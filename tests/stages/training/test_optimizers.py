"""Every optimizer of torch.optim and every schedule of its lr_scheduler, by name and with arguments as params.yaml holds them."""

import inspect

import pytest
import torch
from torch import nn
from torch.testing import assert_close

from stages.shell.errors import UserError
from stages.training.loop import fit
from stages.training.optimizers import build_optimizer, optimizer_names
from stages.training.recipe import Recipe
from stages.training.run import Run
from stages.training.schedules import NOT_BY_PARAMS, MovingRate, schedule_names
from tests.toy import NoKeeper, build, recipe, toy

NEEDED = {"GridSearch": {"start": 0.0}}
SCHEDULE_NEEDS = {
    "CosineAnnealingWarmRestarts": {"T_0": 2},
    "CyclicLR": {"base_lr": 0.001},
    "ExponentialLR": {"gamma": 0.9},
    "MultiStepLR": {"milestones": [1, 2]},
    "StepLR": {"step_size": 1},
}
OF_TORCH = [name for name in optimizer_names() if name != "GridSearch"]
FUSED = [name for name in OF_TORCH if "fused" in inspect.signature(getattr(torch.optim, name)).parameters]


def test_every_optimizer_and_schedule_of_torch_is_known_by_its_name():
    taught = "SGD Adam AdamW Adamax Adagrad Adadelta ASGD RMSprop Rprop NAdam RAdam LBFGS GridSearch"
    assert set(optimizer_names()) >= set(taught.split()) and "Optimizer" not in optimizer_names()
    assert set(schedule_names()) >= {"StepLR", "MultiStepLR", "ExponentialLR", "CosineAnnealingLR", "OneCycleLR", "ReduceLROnPlateau"}
    assert not NOT_BY_PARAMS & set(schedule_names())


def weights_and_state(make):
    """Of a small network after steps under a schedule, a saved state loaded into a second optimizer, and one step more."""
    torch.manual_seed(0)
    network, batch = nn.Sequential(nn.Linear(3, 4, bias=False), nn.Linear(4, 2, bias=False)), torch.rand(5, 3)
    first, second = make(network.parameters()), make(network.parameters())

    def loss():
        network.zero_grad()
        loss = network(batch).square().sum()
        loss.backward()
        return loss

    schedule = torch.optim.lr_scheduler.StepLR(first, 2, 0.5)
    for _ in range(3):
        first.step(loss)
        schedule.step()
    second.load_state_dict(first.state_dict())
    second.step(loss)
    second.zero_grad()
    assert all(weight.grad is None for weight in network.parameters())
    return network.state_dict(), second.state_dict()


@pytest.mark.parametrize("name", OF_TORCH)
def test_every_optimizer_ends_with_torch_s_own_weights_and_state(name):
    """Ours lacks what torch puts around its methods (`not_compiled`): it must compute the very same, and save and load the same."""
    kind = getattr(torch.optim, name)
    for fused in (None, False) if name in FUSED else (None,):
        arguments = {} if fused is None else {"fused": fused}
        theirs = {"fused": True} if fused is None and name in FUSED else arguments
        ours = weights_and_state(lambda weights, arguments=arguments: build_optimizer(name, arguments, 0.01, weights, "optimizer"))
        assert_close(ours, weights_and_state(lambda weights, theirs=theirs: kind(weights, lr=0.01, **theirs)), rtol=0, atol=0)


def test_lists_stand_for_tuples():
    optimizer = build_optimizer("Adam", {"betas": [0.8, 0.9]}, 0.1, [nn.Parameter(torch.zeros(1))], "optimizer")
    assert optimizer.defaults["betas"] == (0.8, 0.9)


@pytest.mark.parametrize(
    ("name", "arguments", "message"),
    [
        ("Adm", {}, r"models\.own\.train\.optimizer\.name is 'Adm'; expected one of ASGD, .*SGD"),
        ("SGD", {"momentun": 0.9}, r"the arguments of models\.own\.train\.optimizer \(SGD\) do not fit: .*momentun"),
        ("Adam", {"betas": [0.9, 1.5]}, r"\(Adam\) do not fit: Invalid beta parameter"),
        ("Muon", {}, r"\(Muon\) do not fit: Muon only supports 2D parameters"),
        ("GridSearch", {"start": 0.0}, "GridSearch searches one weight"),
    ],
)
def test_a_mistake_is_refused(name, arguments, message):
    with pytest.raises(UserError, match=message):
        build_optimizer(name, arguments, 0.1, nn.Linear(3, 2).parameters(), "models.own.train.optimizer")


def train_numbers(**changes):
    """A line with one weight, which every optimizer takes (Muon wants matrices, GridSearch one weight)."""
    data = toy("numbers")
    inputs, targets = data.splits["train"]
    data = type(data)(data.meta, {"train": (inputs, targets - 1)})  # y = 2 x
    model = build({"name": "linear", "bias": False}, data.meta)
    section = Recipe.model_validate(recipe(data, **changes))
    return fit(Run(model, section, data.batches("train", section.batch_size), None, 0, "models.own.train"), NoKeeper(), lambda *_: None)


def test_grid_search_finds_the_weight_of_a_line():
    run = train_numbers(optimizer={"name": "GridSearch", "start": 0.0}, lr=0.1, epochs=41, batch_size=24)
    assert run.best.weights["weight"].item() == pytest.approx(2.0) and run.best.epoch == 21
    assert [row["weight"] for row in run.rows] == pytest.approx([0.1 * step for step in range(41)])
    losses = [row["train_loss"] for row in run.rows]
    assert losses[:21] == sorted(losses[:21], reverse=True) and losses[20:] == sorted(losses[20:])
    assert losses[20] == pytest.approx(0.0, abs=1e-9)


# Schedules


def moving(schedule, optimizer=None, epochs=10, lr=0.1):
    section = Recipe.model_validate(recipe(toy("numbers"), lr=lr, epochs=epochs, schedule=schedule))
    optimizer = optimizer or torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=lr, momentum=0.9)
    return optimizer, MovingRate(section, optimizer, 3, "models.own.train.schedule")


def rates(name, num_epochs, **arguments):
    """The learning rate at every epoch, and after the last."""
    optimizer, rate = moving({"name": name, "interval": "epoch", **arguments}, epochs=num_epochs)
    seen = [optimizer.param_groups[0]["lr"]]
    for _ in range(num_epochs):
        optimizer.step()
        rate.move("epoch", 1.0)
        seen.append(optimizer.param_groups[0]["lr"])
    return seen


@pytest.mark.parametrize("name", schedule_names())
def test_every_schedule_runs_through_a_whole_training(name):
    schedule = {"name": name, "interval": "epoch", **SCHEDULE_NEEDS.get(name, {})}
    run = train_numbers(optimizer={"name": "SGD", "momentum": 0.5}, schedule=schedule, epochs=4)
    assert len({row["lr"] for row in run.rows}) > 1 or name in ("ConstantLR", "ReduceLROnPlateau")
    with pytest.raises(UserError, match=rf"the arguments of models\.own\.train\.schedule \({name}\) do not fit: .*gama"):
        moving({**schedule, "gama": 0.9})


def test_what_follows_from_the_run_is_filled_in_and_what_params_say_is_not():
    seen = rates("OneCycleLR", 50, pct_start=0.2)
    assert max(seen) == pytest.approx(0.1) and seen.index(max(seen)) == 9
    assert seen[0] == pytest.approx(0.1 / 25) and seen[49] == pytest.approx(0.1 / 25 / 1e4, rel=1e-3)
    assert max(rates("OneCycleLR", 20, max_lr=0.7)) == pytest.approx(0.7)
    for name in ("CosineAnnealingLR", "PolynomialLR"):
        seen = rates(name, 20)
        assert seen == sorted(seen, reverse=True) and seen[0] == 0.1 and seen[20] == pytest.approx(0.0, abs=1e-9) and seen[19] > 1e-4
    assert rates("CosineAnnealingLR", 10, T_max=20)[-1] == pytest.approx(0.05)


@pytest.mark.parametrize(
    ("schedule", "message"),
    [
        ({"name": "Cosine"}, r"models\.own\.train\.schedule\.name is 'Cosine'; expected one of ConstantLR, "),
        ({"name": "SequentialLR"}, r"models\.own\.train\.schedule\.name is 'SequentialLR'; expected one of ConstantLR, "),
        ({"name": "StepLR"}, r"the arguments of models\.own\.train\.schedule \(StepLR\) do not fit: .*step_size"),
        ({"name": "ReduceLROnPlateau"}, r"schedule\.interval must be epoch for ReduceLROnPlateau"),
        ({"name": "OneCycleLR", "total_steps": 4}, "schedule ends after 4 of 30 steps: remove total_steps"),
        ({"name": "OneCycleLR", "pct_start": 1.0}, r"schedule\.pct_start is 1; of 30 steps more than one must be left to rise"),
        ({"name": "OneCycleLR", "pct_start": 1 / 30}, r"schedule\.pct_start is 0\.0333333; of 30 steps more than one must be left to rise"),
    ],
)
def test_a_mistake_in_a_schedule_is_refused(schedule, message):
    with pytest.raises(UserError, match=message):
        moving({"interval": "step", **schedule})


def test_a_schedule_that_moves_momentum_is_refused_where_the_optimizer_has_none():
    with pytest.raises(UserError, match=r"\(OneCycleLR\) do not fit: .*momentum"):
        moving({"name": "OneCycleLR", "interval": "step"}, torch.optim.Adagrad([nn.Parameter(torch.zeros(1))], lr=0.1))
