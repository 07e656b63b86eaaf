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
from stages.training.schedules import NOT_BY_PARAMS, build_schedule, schedule_names
from stages.training.steps import Training
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


def train_numbers(**changes):
    """Three epochs of a line with one weight, which every optimizer takes (Muon wants matrices, GridSearch one weight)."""
    data = toy("numbers")
    model = build({"name": "linear", "bias": False}, data.meta)
    before = model.network.weight.clone()
    section = Recipe.model_validate(recipe(data, **changes))
    fitted = fit(Training(model, section, data.batches("train", 8), None, 0, "models.own.train"), NoKeeper(), lambda *_: None)
    assert fitted.weights["weight"].isfinite().all()
    return before, model.network.weight, fitted


def test_every_optimizer_of_torch_is_known_by_its_name():
    taught = "SGD Adam AdamW Adamax Adagrad Adadelta ASGD RMSprop Rprop NAdam RAdam LBFGS"
    assert set(optimizer_names()) >= set(taught.split())
    assert "Optimizer" not in optimizer_names() and "GridSearch" in optimizer_names()


@pytest.mark.parametrize("name", optimizer_names())
def test_every_optimizer_moves_the_weights(name):
    before, after, _ = train_numbers(optimizer={"name": name, **NEEDED.get(name, {})})
    assert not torch.equal(before, after)


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


@pytest.mark.parametrize(("name", "fused"), [*((name, None) for name in OF_TORCH), *((name, False) for name in FUSED)])
def test_every_optimizer_ends_with_torch_s_own_weights_and_state(name, fused):
    """Ours lacks what torch puts around its methods (`not_compiled`): it must compute the very same, and save and load the same."""
    kind, arguments = getattr(torch.optim, name), {} if fused is None else {"fused": fused}
    theirs = {"fused": True} if fused is None and name in FUSED else arguments
    ours = weights_and_state(lambda weights: build_optimizer(name, arguments, 0.01, weights, "optimizer"))
    assert_close(ours, weights_and_state(lambda weights: kind(weights, lr=0.01, **theirs)), rtol=0, atol=0)


def test_a_differentiable_optimizer_stays_as_torch_made_it():
    assert type(build_optimizer("SGD", {"differentiable": True}, 0.1, [nn.Parameter(torch.zeros(1))], "optimizer")) is torch.optim.SGD


@pytest.mark.parametrize("name", ["SGD", "Adam", "RMSprop", "Adagrad", "Rprop"])
def test_a_line_is_learnt(name):
    lr = 0.3 if name in ("Adam", "RMSprop", "Adagrad") else 0.1
    _, _, fitted = train_numbers(optimizer={"name": name}, lr=lr, epochs=40)
    assert fitted.rows[fitted.best_epoch - 1]["train_loss"] < 1.1  # y = 2 x + 1 without a bias leaves 1


@pytest.mark.parametrize("name", optimizer_names())
def test_an_unknown_argument_is_refused(name):
    weights = [nn.Parameter(torch.zeros(1, 1))]
    with pytest.raises(UserError, match=rf"the arguments of models\.own\.train\.optimizer \({name}\) do not fit: .*momentun"):
        build_optimizer(name, {**NEEDED.get(name, {}), "momentun": 0.9}, 0.1, weights, "models.own.train.optimizer")


@pytest.mark.parametrize(("name", "arguments"), [("SGD", {"momentum": -1}), ("SGD", {"nesterov": True}), ("Adam", {"betas": [0.9, 1.5]})])
def test_a_value_out_of_range_is_refused(name, arguments):
    with pytest.raises(UserError, match=r"the arguments of optimizer .* do not fit"):
        build_optimizer(name, arguments, 0.1, [nn.Parameter(torch.zeros(1, 1))], "optimizer")


def test_lists_stand_for_tuples():
    optimizer = build_optimizer("Adam", {"betas": [0.8, 0.9]}, 0.1, [nn.Parameter(torch.zeros(1))], "optimizer")
    assert optimizer.defaults["betas"] == (0.8, 0.9)


@pytest.mark.parametrize("name", ["Adm", "Optimizer", "lr_scheduler", "sgd"])
def test_an_unknown_optimizer_is_refused_with_those_that_there_are(name):
    with pytest.raises(UserError, match=rf"models\.own\.train\.optimizer\.name is '{name}'; expected one of ASGD, .*SGD"):
        build_optimizer(name, {}, 0.1, [nn.Parameter(torch.zeros(1))], "models.own.train.optimizer")


def test_muon_refuses_what_is_no_matrix():
    with pytest.raises(UserError, match=r"\(Muon\) do not fit: Muon only supports 2D parameters"):
        build_optimizer("Muon", {}, 0.1, nn.Linear(3, 2).parameters(), "optimizer")


# GridSearch: the first lesson's search


def test_grid_search_finds_the_weight_of_a_line():
    data = toy("numbers")
    inputs, targets = data.splits["train"]
    data = type(data)(data.meta, {"train": (inputs, targets - 1)})  # y = 2 x
    model = build({"name": "linear", "bias": False}, data.meta)
    section = recipe(data, optimizer={"name": "GridSearch", "start": 0.0}, lr=0.1, epochs=41, batch_size=24)
    fitted = fit(Training(model, Recipe.model_validate(section), data.batches("train", 24), None, 0, "train"), NoKeeper(), lambda *_: None)
    assert fitted.weights["weight"].item() == pytest.approx(2.0) and fitted.best_epoch == 21
    assert [row["weight"] for row in fitted.rows] == pytest.approx([0.1 * step for step in range(41)])
    losses = [row["train_loss"] for row in fitted.rows]
    assert losses[:21] == sorted(losses[:21], reverse=True) and losses[20:] == sorted(losses[20:])
    assert losses[20] == pytest.approx(0.0, abs=1e-9)


@pytest.mark.parametrize("network", [nn.Linear(1, 1), nn.Linear(2, 1, bias=False)])
def test_grid_search_over_more_than_one_weight_is_refused(network):
    with pytest.raises(UserError, match="GridSearch searches one weight"):
        build_optimizer("GridSearch", {"start": 0.0}, 0.1, network.parameters(), "optimizer")


# Schedules


def rates(name, arguments, num_intervals, lr=0.1):
    """The learning rate at every interval."""
    weight = nn.Parameter(torch.zeros(1))
    optimizer = torch.optim.SGD([weight], lr=lr, momentum=0.9)
    schedule = build_schedule(name, arguments, optimizer, lr, num_intervals, "schedule")
    seen = []
    for _ in range(num_intervals):
        seen.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        schedule.step(*([1.0] if name == "ReduceLROnPlateau" else []))
    return [*seen, optimizer.param_groups[0]["lr"]]


@pytest.mark.parametrize("name", schedule_names())
@pytest.mark.parametrize("interval", ["epoch", "step"])
def test_every_schedule_runs_through_a_whole_training(name, interval):
    if (name, interval) == ("ReduceLROnPlateau", "step"):
        with pytest.raises(UserError, match=r"schedule\.interval must be epoch"):
            train_numbers(optimizer={"name": "SGD"}, schedule={"name": name, "interval": interval})
        return
    schedule = {"name": name, "interval": interval, **SCHEDULE_NEEDS.get(name, {})}
    _, _, fitted = train_numbers(optimizer={"name": "SGD", "momentum": 0.5}, schedule=schedule, epochs=4)
    assert len({row["lr"] for row in fitted.rows}) > 1 or name in ("ConstantLR", "ReduceLROnPlateau")


def test_no_schedule_is_offered_that_params_cannot_describe():
    assert not NOT_BY_PARAMS & set(schedule_names())
    assert set(schedule_names()) >= {"StepLR", "MultiStepLR", "ExponentialLR", "CosineAnnealingLR", "OneCycleLR", "ReduceLROnPlateau"}


def test_one_cycle_rises_to_train_lr_and_ends_near_nothing():
    seen = rates("OneCycleLR", {"pct_start": 0.2}, 50)
    assert max(seen) == pytest.approx(0.1) and seen.index(max(seen)) == 9
    assert seen[0] == pytest.approx(0.1 / 25) and seen[49] == pytest.approx(0.1 / 25 / 1e4, rel=1e-3)


@pytest.mark.parametrize("name", ["CosineAnnealingLR", "PolynomialLR"])
def test_the_length_of_the_run_is_filled_in(name):
    seen = rates(name, {}, 20)
    assert seen == sorted(seen, reverse=True) and seen[0] == 0.1 and seen[20] == pytest.approx(0.0, abs=1e-9) and seen[19] > 1e-4


def test_what_params_say_is_not_filled_in():
    assert rates("CosineAnnealingLR", {"T_max": 10}, 10)[-1] == pytest.approx(0.0, abs=1e-9)
    assert rates("CosineAnnealingLR", {"T_max": 20}, 10)[-1] == pytest.approx(0.05)
    assert max(rates("OneCycleLR", {"max_lr": 0.7}, 20)) == pytest.approx(0.7)


@pytest.mark.parametrize("name", schedule_names())
def test_an_unknown_argument_of_a_schedule_is_refused(name):
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=0.1, momentum=0.9)
    with pytest.raises(UserError, match=rf"the arguments of models\.own\.train\.schedule \({name}\) do not fit: .*gama"):
        build_schedule(name, {**SCHEDULE_NEEDS.get(name, {}), "gama": 0.9}, optimizer, 0.1, 10, "models.own.train.schedule")


@pytest.mark.parametrize("name", SCHEDULE_NEEDS)
def test_a_missing_argument_of_a_schedule_is_refused(name):
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=0.1, momentum=0.9)
    with pytest.raises(UserError, match=rf"the arguments of schedule \({name}\) do not fit: .*{next(iter(SCHEDULE_NEEDS[name]))}"):
        build_schedule(name, {}, optimizer, 0.1, 10, "schedule")


@pytest.mark.parametrize("name", ["Cosine", *sorted(NOT_BY_PARAMS)])
def test_an_unknown_schedule_is_refused_with_those_that_there_are(name):
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=0.1)
    with pytest.raises(UserError, match=rf"models\.own\.train\.schedule\.name is '{name}'; expected one of ConstantLR, "):
        build_schedule(name, {}, optimizer, 0.1, 10, "models.own.train.schedule")


def test_a_schedule_that_moves_momentum_is_refused_where_the_optimizer_has_none():
    optimizer = torch.optim.Adagrad([nn.Parameter(torch.zeros(1))], lr=0.1)
    with pytest.raises(UserError, match=r"\(OneCycleLR\) do not fit: .*momentum"):
        build_schedule("OneCycleLR", {}, optimizer, 0.1, 10, "schedule")
