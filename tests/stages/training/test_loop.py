"""The training loop, on toys: what it keeps, when it stops, what it refuses, and that the seed alone decides its bytes."""

import copy
import math

import numpy as np
import pytest
import torch
from pydantic import ValidationError

from stages.common.shelves import take_task
from stages.shell.errors import UserError
from stages.training import loop
from stages.training.average import Average
from stages.training.loop import fit
from stages.training.processes import alone
from stages.training.recipe import Recipe, read_recipe
from stages.training.steps import Training
from tests.toy import CPU, TOYS, Batches, Data, NoKeeper, build, needs_cuda, recipe, toy, toy_model

SEED = 20261120
KEY = "models.own.train"


def run(name, seed=0, val=True, model=None, watch=lambda *_: None, data=None, **changes):
    """Trains a toy's network; returns the model and what fit returned."""
    data = data or toy(name)
    model = model or toy_model(name)
    section = Recipe.model_validate(recipe(data, **changes))
    batches = data.batches("train", section.batch_size)
    return model, fit(Training(model, section, batches, data.batches("val") if val else None, seed, KEY), NoKeeper(), watch)


def no_pause():
    """What measuring calls between batches."""


def as_bytes(fitted):
    return {name: tensor.numpy().tobytes() for name, tensor in fitted.weights.items()}


# The seed decides

FLIPPED = {"augment": [{"name": "RandomHorizontalFlip", "p": 0.5}, {"name": "RandomAffine", "degrees": 10}]}
RECIPES = {"shapes": FLIPPED | {"ema": 0.9, "clip_norm": 1.0}, "words": {"schedule": {"name": "OneCycleLR", "interval": "step"}}}


@pytest.mark.parametrize("name", TOYS)
def test_the_same_seed_gives_the_same_bytes_and_another_seed_gives_others(name):
    changes = RECIPES.get(name, {})
    (_, first), (_, second), (_, other) = (run(name, seed, **changes) for seed in (1, 1, 2))
    assert as_bytes(first) == as_bytes(second) and first.rows == second.rows
    assert as_bytes(first) != as_bytes(other)


def test_randomness_drawn_before_does_not_matter():
    _, first = run("shapes", **FLIPPED)
    model = toy_model("shapes")
    torch.manual_seed(77)
    torch.rand(5)
    np.random.default_rng().random()
    _, second = run("shapes", model=model, **FLIPPED)
    assert as_bytes(first) == as_bytes(second)


def test_dropout_follows_the_seed():
    architecture = TOYS["words"] | {"dropout": 0.5}
    runs = [run("words", seed, model=build(architecture, toy("words").meta))[1] for seed in (1, 1, 2)]
    assert as_bytes(runs[0]) == as_bytes(runs[1]) != as_bytes(runs[2])


# What learning is


LEARNT = {  # epochs of Adam, and the metric that a trained network reaches on the split that is watched
    "numbers": (60, 0.05),
    "patients": (60, 0.8),
    "shapes": (60, 0.9),
    "spots": (60, 1.5),
    "tags": (60, 0.8),
    "words": (80, 0.9),
    "codes": (60, 0.99),
}


@pytest.mark.parametrize("name", TOYS)
def test_every_kind_of_task_is_learnt(name):
    epochs, aim = LEARNT[name]
    _, fitted = run(name, epochs=epochs, lr=0.05, best_by="metric")
    best = fitted.rows[fitted.best_epoch - 1]
    task = take_task(toy(name).meta.task)
    reached = best[f"val_{task.SCORE}"]
    assert reached >= aim if task.METRICS[task.SCORE] == "higher" else reached <= aim


def test_one_step_of_sgd_is_what_it_is_by_hand():
    data = Data(toy("numbers").meta, {"train": (np.array([[1.0], [3.0]], dtype=np.float32), np.array([[2.0], [6.0]], dtype=np.float32))})
    model = build({"name": "linear", "bias": False}, data.meta)
    w = model.network.weight.item()
    _, fitted = run("numbers", data=data, val=False, model=model, optimizer={"name": "SGD"}, lr=0.01, epochs=1, batch_size=2)
    # Mean over the two rows of d/dw (w x - 2 x)^2 = 2 x^2 (w - 2).
    assert fitted.weights["weight"].item() == pytest.approx(w - 0.01 * (2 * (1 + 9) / 2) * (w - 2), rel=1e-5)


def test_a_learning_curve_has_its_row_for_every_epoch():
    watched = []
    _, fitted = run("shapes", epochs=4, watch=lambda epoch, row: watched.append((epoch, row)))
    assert [epoch for epoch, _ in watched] == [1, 2, 3, 4] and [row for _, row in watched] == fitted.rows
    assert set(fitted.rows[0]) == {"epoch", "lr", "train_loss", "val_loss", "train_accuracy", "val_accuracy"}
    assert all(math.isfinite(value) for row in fitted.rows for value in row.values())


def test_the_score_of_val_is_that_of_the_whole_split_whatever_the_batches():
    data, model = toy("codes"), toy_model("codes")
    loss = loop.build_loss("CrossEntropy", {}, "sequence", 3, "loss")
    inputs, targets = (torch.from_numpy(values) for values in data.splits["val"])
    with torch.no_grad():
        logits = model.logits(inputs.long())
    right = (logits.argmax(-1) == targets)[targets >= 0].float().mean()
    for batch_size in (1, 3, 8):
        measured, metric = loop.measure(model, model.network, loss, data.batches("val", batch_size), no_pause, alone())
        assert measured == pytest.approx(loss(logits, targets).item(), rel=1e-5) and metric == pytest.approx(right.item())


CASES = [
    ("regression", [[1.0, 2.0]], [[1.5, 0.0]], [0.5, 2.0]),
    ("binary", [[0.3], [-0.1], [0.0]], [1, 1, 0], [1.0, 0.0, 1.0]),
    ("multiclass", [[0.1, 0.9], [0.8, 0.2]], [1, 1], [1.0, 0.0]),
    ("multilabel", [[0.3, -0.2], [-0.1, 0.4]], [[1, 1], [0, 1]], [[1.0, 0.0], [1.0, 1.0]]),
    ("sequence", [[[0.1, 0.9], [0.8, 0.2], [0.5, 0.4]]], [[1, 1, -1]], [[1.0, 0.0, 0.0]]),
]


@pytest.mark.parametrize(("task", "logits", "targets", "expected"), CASES)
def test_the_metric_of_each_item(task, logits, targets, expected):
    per_item, count = take_task(task).score_per_item(torch.tensor(logits), torch.tensor(targets))
    torch.testing.assert_close(per_item, torch.tensor(expected))
    assert count == (2 if task == "sequence" else len(per_item.flatten()))


# Which epoch is kept


def test_the_best_epoch_is_kept_and_not_the_last():
    states = []
    model = toy_model("numbers")
    _, fitted = run(
        "numbers",
        model=model,
        optimizer={"name": "SGD"},
        lr=0.9,
        batch_size=24,
        epochs=4,
        schedule={"name": "ExponentialLR", "gamma": 1.6, "interval": "epoch"},
        watch=lambda *_: states.append(copy.deepcopy(model.network.state_dict())),
    )
    losses = [row["val_loss"] for row in fitted.rows]
    assert losses.index(min(losses)) + 1 == fitted.best_epoch < 4
    assert all(torch.equal(fitted.weights[name], states[fitted.best_epoch - 1][name]) for name in fitted.weights)
    assert not torch.equal(fitted.weights["weight"], states[-1]["weight"])


class Scripted:
    """Stands in for the scores of the epochs; counts how many were asked for."""

    def __init__(self, monkeypatch, **columns):
        self.columns, self.epoch = columns, 0
        monkeypatch.setattr(loop, "epoch_scores", self)

    def __call__(self, *_):
        self.epoch += 1
        plain = {"train_loss": 1.0, "val_loss": 1.0, "train_accuracy": 0.5, "val_accuracy": 0.5}
        return plain | {name: values[self.epoch - 1] for name, values in self.columns.items()}


@pytest.mark.parametrize(("best_by", "epoch"), [("loss", 3), ("metric", 2)])
def test_best_by_says_which_figure_of_val_decides(best_by, epoch, monkeypatch):
    Scripted(monkeypatch, val_loss=[0.9, 0.8, 0.5, 0.7], val_accuracy=[0.1, 0.9, 0.2, 0.3], train_loss=[1.0, 0.5, 0.2, 0.1])
    assert run("shapes", epochs=4, best_by=best_by)[1].best_epoch == epoch


def test_the_mean_absolute_error_is_better_where_it_is_smaller(monkeypatch):
    Scripted(monkeypatch, train_mae=[1.0] * 3, val_mae=[3.0, 1.0, 2.0])
    assert run("spots", epochs=3, best_by="metric")[1].best_epoch == 2


def test_of_two_equal_epochs_the_earlier_is_kept(monkeypatch):
    Scripted(monkeypatch, val_loss=[0.9, 0.5, 0.5])
    assert run("shapes", epochs=3)[1].best_epoch == 2


def test_without_val_train_decides(monkeypatch):
    Scripted(monkeypatch, val_loss=[None] * 3, val_accuracy=[None] * 3, train_loss=[0.5, 0.1, 0.3])
    assert run("shapes", epochs=3, val=False)[1].best_epoch == 2


def test_without_val_train_is_measured_with_the_weights_that_are_kept():
    _, fitted = run("numbers", val=False, epochs=5, lr=0.1)
    kept = toy_model("numbers")
    kept.network.load_state_dict(fitted.weights)
    loss = loop.build_loss("MSE", {}, "regression", 1, "loss")
    best = fitted.rows[fitted.best_epoch - 1]
    assert loop.measure(kept, kept.network, loss, toy("numbers").batches("train"), no_pause, alone())[0] == pytest.approx(
        best["train_loss"], rel=1e-6
    )
    assert best["val_loss"] is None and best["val_mae"] is None


def test_patience_stops_a_run_that_gets_no_better(monkeypatch):
    Scripted(monkeypatch, val_loss=[0.9, 0.5, 0.6, 0.7, 0.1, 0.1])
    _, fitted = run("shapes", epochs=6, patience=2)
    assert len(fitted.rows) == 4 and fitted.best_epoch == 2


def test_a_better_epoch_renews_the_patience(monkeypatch):
    Scripted(monkeypatch, val_loss=[0.9, 1.0, 0.8, 0.9, 0.7, 0.8, 0.9, 0.6])
    assert len(run("shapes", epochs=8, patience=2)[1].rows) == 7


# Averages, clipping, schedules


def test_the_average_of_the_weights_is_what_is_kept(monkeypatch):
    after_steps = []
    model = toy_model("numbers")

    class Recording(torch.optim.SGD):
        def step(self, closure=None):
            super().step(closure)
            after_steps.append(model.network.weight.item())

    monkeypatch.setattr(torch.optim, "SGD", Recording)
    _, fitted = run("numbers", model=model, optimizer={"name": "SGD"}, ema=0.6, epochs=1, lr=0.05, batch_size=8)
    average = after_steps[0]
    for number, weight in enumerate(after_steps[1:], start=1):
        decay = min(0.6, (1 + number) / (10 + number))
        average = decay * average + (1 - decay) * weight
    assert len(after_steps) == 3 and fitted.weights["weight"].item() == pytest.approx(average, rel=1e-5)


def test_the_average_s_decay_grows_to_its_full_value():
    network = torch.nn.BatchNorm1d(1)
    average, own = Average(network, 0.5), lambda: (average.network.weight.item(), average.network.num_batches_tracked.item())
    for weight, count in ((1.0, 7), (0.0, 9), (0.0, 9)):
        network.weight.data.fill_(weight)
        network.num_batches_tracked.fill_(count)
        average.update()
        if count == 7:
            assert own() == (1.0, 7)  # the first is taken as it is
    assert own() == (pytest.approx(2 / 11 * 3 / 12), 9)
    average.num_updates, network.weight.data[:] = 1000, 1.0
    average.update()
    assert own()[0] == pytest.approx((2 / 11 * 3 / 12 + 1) / 2)


def test_batch_normalisation_s_statistics_are_averaged_with_the_weights():
    architecture = {"name": "fast_resnet", "first": {"channels": 4, "kernel": 3, "stride": 1}, "channels": [4], "logit_scale": 1.0}
    model = build(architecture, toy("shapes").meta)
    _, fitted = run("shapes", model=model, ema=0.9, epochs=1)
    assert not torch.equal(fitted.weights["features.2.enter.2.running_mean"], model.network.state_dict()["features.2.enter.2.running_mean"])
    assert fitted.weights["features.2.enter.2.num_batches_tracked"] == 3


@pytest.mark.parametrize("clip_norm", [None, 0.001])
def test_a_gradient_is_cut_to_its_largest_norm(clip_norm):
    model = toy_model("numbers")
    before = copy.deepcopy(model.network.state_dict())
    run("numbers", model=model, optimizer={"name": "SGD"}, lr=1.0, epochs=1, batch_size=24, clip_norm=clip_norm)
    moved = torch.cat([(model.network.state_dict()[name] - before[name]).flatten() for name in before]).norm().item()
    assert moved > 0.1 if clip_norm is None else moved == pytest.approx(0.001, rel=1e-3)


def test_one_cycle_by_step_is_spread_over_the_whole_run():
    schedule = {"name": "OneCycleLR", "interval": "step", "pct_start": 0.25}
    _, fitted = run("shapes", schedule=schedule, epochs=4, lr=0.1)  # 3 steps an epoch, 12 in all
    rates = [row["lr"] for row in fitted.rows]
    assert rates[0] == pytest.approx(0.1 / 25) and rates[1] > rates[2] > rates[3] > 0 and max(rates) == rates[1]


def test_a_plateau_of_the_loss_lowers_the_rate(monkeypatch):
    Scripted(monkeypatch, val_loss=[0.5, 0.6, 0.6, 0.6, 0.6])
    schedule = {"name": "ReduceLROnPlateau", "interval": "epoch", "patience": 1, "factor": 0.1}
    _, fitted = run("shapes", schedule=schedule, epochs=5, lr=0.1)
    assert [row["lr"] for row in fitted.rows] == pytest.approx([0.1, 0.1, 0.1, 0.01, 0.01])


def test_a_frozen_weight_is_left_alone():
    model = toy_model("patients")
    model.network[1].requires_grad_(False)
    before = model.network[1].weight.clone()
    run("patients", model=model, ema=0.9)
    assert torch.equal(model.network[1].weight, before)


# What the network sees


def test_augmented_pictures_are_scaled_first_and_normalised_last(monkeypatch):
    seen = []
    monkeypatch.setattr(loop, "build_augmentations", lambda *_: [lambda images: seen.append(images.clone()) or images])
    model = toy_model("shapes")
    plain = model.input(torch.from_numpy(toy("shapes").splits["train"][0]))
    given = []
    model.network.register_forward_pre_hook(lambda module, arguments: given.append(arguments[0]) if module.training else None)
    run("shapes", model=model, epochs=1, batch_size=24, augment=[{"name": "any"}])
    assert seen[0].shape == (24, 1, 8, 8) and seen[0].min() >= 0 and 0.9 < seen[0].max() <= 1
    torch.testing.assert_close(given[0].sort(dim=0)[0], plain.sort(dim=0)[0])


def test_measuring_never_augments(monkeypatch):
    monkeypatch.setattr(loop, "build_augmentations", lambda *_: [lambda images: images * 0])
    _, fitted = run("shapes", epochs=1, augment=[{"name": "any"}])
    kept = toy_model("shapes")
    kept.network.load_state_dict(fitted.weights)
    loss = loop.build_loss("CrossEntropy", {}, "multiclass", 3, "loss")
    assert loop.measure(kept, kept.network, loss, toy("shapes").batches("val"), no_pause, alone())[0] == pytest.approx(
        fitted.rows[0]["val_loss"], rel=1e-6
    )


@pytest.mark.parametrize("name", ["numbers", "patients", "words", "codes"])
def test_augmentations_of_what_is_no_picture_are_refused(name):
    with pytest.raises(UserError, match=r"train\.augment works only on pictures, but the dataset has (features|characters): set it"):
        run(name, augment=[{"name": "RandomHorizontalFlip"}])


# What is refused


def test_a_loss_that_is_no_number_ends_in_a_sentence_that_names_the_rate():
    inputs, targets = toy("numbers").splits["train"]
    data = Data(toy("numbers").meta, {"train": (inputs * math.nan, targets), "val": toy("numbers").splits["val"]})
    model = toy_model("numbers")
    model.input.forward = lambda inputs: inputs  # which would impute what is missing
    with pytest.raises(UserError, match=r"The loss became NaN in epoch 1: lower models\.own\.train\.lr \(now 0\.01\)"):
        run("numbers", data=data, model=model)


def test_a_loss_that_explodes_ends_in_a_sentence_that_names_the_rate():
    with pytest.raises(
        UserError, match=r"The loss has grown to .* in epoch \d+: lower models\.own\.train\.lr \(now 50\) or set .*\.clip_norm"
    ):
        run("numbers", optimizer={"name": "SGD"}, lr=50.0, epochs=20)


def test_weights_that_are_lost_at_the_only_step_are_refused_too():
    with pytest.raises(UserError, match=r"lower models\.own\.train\.lr"):
        run("numbers", optimizer={"name": "SGD"}, lr=1e6, epochs=1, batch_size=24)


@pytest.mark.parametrize("loss", ["BCE", "BCEWithLogits", "Focal"])
def test_a_binary_loss_that_is_lost_ends_in_the_same_sentence(loss):
    inputs, targets = toy("patients").splits["train"]
    data = Data(toy("patients").meta, {"train": (inputs * math.nan, targets), "val": toy("patients").splits["val"]})
    model = toy_model("patients")
    model.input.forward = lambda inputs: inputs  # which would impute what is missing
    with pytest.raises(UserError, match=r"The loss became NaN in epoch 1: lower models\.own\.train\.lr"):
        run("patients", data=data, model=model, loss={"name": loss})


def test_pictures_that_augmentation_makes_of_another_size_are_refused():
    with pytest.raises(UserError, match=r"train\.augment makes pictures of 5x5x1 \(height, width, channels\); the network gets 8x8x1"):
        run("shapes", augment=[{"name": "RandomCrop", "size": 5}])


OUT_OF_RANGE = {"lr": 0, "epochs": 0, "batch_size": 0, "ema": 1.0, "clip_norm": 0, "patience": 0, "best_by": "f1", "augment": [3]}
OUT_OF_RANGE |= {"late_dropout": 1.0}


@pytest.mark.parametrize("change", [{key: value} for key, value in OUT_OF_RANGE.items()])
def test_a_recipe_s_values_are_checked(change):
    with pytest.raises(ValidationError, match=next(iter(change))):
        Recipe.model_validate(recipe(toy("numbers")) | change)


@pytest.mark.parametrize(("source", "expected"), [("sample", 3), ("official", 5), ("generated", 5), ("own", 5)])
def test_epochs_may_be_given_by_source(source, expected):
    recipes = {"toy": recipe(toy("numbers"))}
    assert read_recipe({"recipe": "toy"}, recipes, source, KEY).epochs == 3
    assert read_recipe({"recipe": "toy", "epochs": {"sample": 3, "official": 5}}, recipes, source, KEY).epochs == expected
    recipes["toy"]["epochs"] = {"sample": 3, "official": 5}
    assert read_recipe({"recipe": "toy"}, recipes, source, KEY).epochs == expected
    assert read_recipe({"recipe": "toy", "epochs": 7}, recipes, source, KEY).epochs == 7


def test_a_recipe_leaves_out_only_what_does_nothing():
    section = recipe(toy("numbers"))
    optional = {key for key, value in section.items() if value in (None, [])}
    assert Recipe.model_validate({key: value for key, value in section.items() if key not in optional}) == Recipe.model_validate(section)
    for key in section.keys() - optional:
        with pytest.raises(ValidationError, match=key):
            Recipe.model_validate({name: value for name, value in section.items() if name != key})


# On a GPU


@needs_cuda
@pytest.mark.parametrize("name", TOYS)
def test_a_gpu_learns_as_the_cpu_does(name):
    data, section = toy(name), Recipe.model_validate(recipe(toy(name), optimizer={"name": "SGD"}))
    losses = []
    for device in (CPU, torch.device("cuda")):
        model = toy_model(name).to(device)
        train, val = (Batches(*data.splits[split], 8, device) for split in ("train", "val"))
        losses.append(fit(Training(model, section, train, val, 0, KEY), NoKeeper(), lambda *_: None).rows[-1]["val_loss"])
    assert losses[0] == pytest.approx(losses[1], rel=1e-3)
