"""The training loop, on toys: what it keeps, when it stops, what it refuses, and that the seed alone decides its bytes."""

import copy
import math

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from torch import nn

from stages.common.shelves import take_task
from stages.shell.errors import UserError
from stages.training import loop
from stages.training.loop import fit
from stages.training.recipe import Recipe, read_recipe
from stages.training.run import DROPOUTS, Average, LateDropout, Run
from tests.toy import CPU, TOYS, Batches, Data, NoKeeper, build, needs_cuda, recipe, toy, toy_model

KEY = "models.own.train"


def trained(name, seed=0, val=True, model=None, watch=lambda *_: None, data=None, **changes):
    """The run that has trained a toy's network."""
    data = data or toy(name)
    section = Recipe.model_validate(recipe(data, **changes))
    batches = data.batches("train", section.batch_size)
    run = Run(model or toy_model(name), section, batches, data.batches("val") if val else None, seed, KEY)
    return fit(run, NoKeeper(), watch)


def as_bytes(run):
    return {name: tensor.numpy().tobytes() for name, tensor in run.best.weights.items()}


def measured(model, batches, task, num_outputs, loss):
    loss_function = loop.build_loss(loss, {}, task, num_outputs, "loss")
    return loop.measure(model, model.network, loss_function, batches, lambda: None)


# The seed decides

FLIPPED = {"augment": [{"name": "RandomHorizontalFlip", "p": 0.5}, {"name": "RandomAffine", "degrees": 10}]}
RECIPES = {"shapes": FLIPPED | {"ema": 0.9, "clip_norm": 1.0}, "words": {"schedule": {"name": "OneCycleLR", "interval": "step"}}}


@pytest.mark.parametrize("name", TOYS)
def test_the_same_seed_gives_the_same_bytes_and_another_seed_gives_others(name):
    architecture, changes = TOYS[name] | ({"dropout": 0.5} if name == "words" else {}), RECIPES.get(name, {})
    first, second, other = (trained(name, seed, model=build(architecture, toy(name).meta), **changes) for seed in (1, 1, 2))
    assert as_bytes(first) == as_bytes(second) and first.rows == second.rows
    assert as_bytes(first) != as_bytes(other)


# What learning is

LEARNT = {  # epochs of Adam, and the metric that a trained network reaches on the split that is watched
    "numbers": (60, 0.05),
    "patients": (60, 0.8),
    "shapes": (60, 0.9),
    "spots": (60, 1.5),
    "tags": (60, 0.8),
    "words": (80, 0.9),
    "codes": (60, 0.99),
    "zines": (60, 0.85),
    "yachts": (60, 0.85),
    "yields": (60, 1e4),
}


@pytest.mark.parametrize("name", TOYS)
def test_every_kind_of_task_is_learnt(name):
    epochs, aim = LEARNT[name]
    run = trained(name, epochs=epochs, lr=0.05, best_by="metric")
    task = take_task(toy(name).meta.task)
    reached = run.rows[run.best.epoch - 1][f"val_{task.SCORE}"]
    assert reached >= aim if task.METRICS[task.SCORE] == "higher" else reached <= aim


def test_one_step_of_sgd_is_what_it_is_by_hand():
    data = Data(toy("numbers").meta, {"train": (np.array([[1.0], [3.0]], dtype=np.float32), np.array([[2.0], [6.0]], dtype=np.float32))})
    model = build({"name": "linear", "bias": False}, data.meta)
    w = model.network.weight.item()
    run = trained("numbers", data=data, val=False, model=model, optimizer={"name": "SGD"}, lr=0.01, epochs=1, batch_size=2)
    # Mean over the two rows of d/dw (w x - 2 x)^2 = 2 x^2 (w - 2).
    assert run.best.weights["weight"].item() == pytest.approx(w - 0.01 * (2 * (1 + 9) / 2) * (w - 2), rel=1e-5)


def test_the_score_of_val_is_that_of_the_whole_split_whatever_the_batches():
    data, model = toy("codes"), toy_model("codes")
    inputs, targets = (torch.from_numpy(values) for values in data.splits["val"])
    with torch.no_grad():
        logits = model.logits(inputs.long())
    right = (logits.argmax(-1) == targets)[targets >= 0].float().mean()
    loss = loop.build_loss("CrossEntropy", {}, "sequence", 3, "loss")(logits, targets)
    for batch_size in (1, 3, 8):
        both = measured(model, data.batches("val", batch_size), "sequence", 3, "CrossEntropy")
        assert both == (pytest.approx(loss.item(), rel=1e-5), pytest.approx(right.item()))


@pytest.mark.parametrize(
    ("task", "logits", "targets", "expected"),
    [
        ("regression", [[1.0, 2.0]], [[1.5, 0.0]], [0.5, 2.0]),
        ("binary", [[0.3], [-0.1], [0.0]], [1, 1, 0], [1.0, 0.0, 1.0]),
        ("multiclass", [[0.1, 0.9], [0.8, 0.2]], [1, 1], [1.0, 0.0]),
        ("multilabel", [[0.3, -0.2], [-0.1, 0.4]], [[1, 1], [0, 1]], [[1.0, 0.0], [1.0, 1.0]]),
        ("sequence", [[[0.1, 0.9], [0.8, 0.2], [0.5, 0.4]]], [[1, 1, -1]], [[1.0, 0.0, 0.0]]),
    ],
)
def test_the_metric_of_each_item(task, logits, targets, expected):
    per_item, count = take_task(task).score_per_item(torch.tensor(logits), torch.tensor(targets))
    torch.testing.assert_close(per_item, torch.tensor(expected))
    assert count == (2 if task == "sequence" else len(per_item.flatten()))


# Which epoch is kept


class Scripted:
    """Stands in for the scores of the epochs."""

    def __init__(self, monkeypatch, **columns):
        self.columns, self.epoch = columns, 0
        monkeypatch.setattr(loop, "epoch_scores", self)

    def __call__(self, *_):
        self.epoch += 1
        plain = {"train_loss": 1.0, "val_loss": 1.0, "train_accuracy": 0.5, "val_accuracy": 0.5}
        return plain | {name: values[self.epoch - 1] for name, values in self.columns.items()}


LOSSES = [0.9, 0.5, 0.5, 0.7]
WATCHED = [
    ("shapes", "loss", {"val_loss": LOSSES, "val_accuracy": [0.1, 0.2, 0.3, 0.9], "train_loss": [1.0, 0.5, 0.2, 0.1]}, 2),
    ("shapes", "metric", {"val_loss": LOSSES, "val_accuracy": [0.1, 0.2, 0.3, 0.9]}, 4),
    ("spots", "metric", {"train_mae": [1.0] * 4, "val_mae": [3.0, 1.0, 2.0, 2.0]}, 2),  # better where it is smaller
    ("shapes", "loss", {"val_loss": [None] * 4, "val_accuracy": [None] * 4, "train_loss": [0.5, 0.3, 0.1, 0.3]}, 3),
]


@pytest.mark.parametrize(("name", "best_by", "columns", "epoch"), WATCHED)
def test_the_first_of_the_best_epochs_by_the_figure_of_val_is_kept(name, best_by, columns, epoch, monkeypatch):
    states, model = [], toy_model(name)
    Scripted(monkeypatch, **columns)
    run = trained(name, model=model, epochs=4, best_by=best_by, watch=lambda *_: states.append(copy.deepcopy(model.network.state_dict())))
    assert run.best.epoch == epoch
    assert all(torch.equal(run.best.weights[name], states[epoch - 1][name]) for name in run.best.weights)


def test_without_val_train_is_measured_with_the_weights_that_are_kept():
    run, kept = trained("numbers", val=False, epochs=5, lr=0.1), toy_model("numbers")
    kept.network.load_state_dict(run.best.weights)
    best = run.rows[run.best.epoch - 1]
    again, _ = measured(kept, toy("numbers").batches("train"), "regression", 1, "MSE")
    assert again == pytest.approx(best["train_loss"], rel=1e-6) and best["val_loss"] is None and best["val_mae"] is None


def test_patience_stops_a_run_that_gets_no_better(monkeypatch):
    Scripted(monkeypatch, val_loss=[0.9, 1.0, 0.8, 0.9, 0.7, 0.8, 0.9, 0.6])
    run = trained("shapes", epochs=8, patience=2)
    assert len(run.rows) == 7 and run.best.epoch == 5


# Averages, clipping, schedules, dropout


def test_the_average_of_the_weights_is_what_is_kept():
    run = trained("numbers", ema=0.6, epochs=1)
    weight = run.best.weights["weight"]
    assert torch.equal(weight, run.average.network.weight) and not torch.equal(weight, run.network.weight)


def test_the_average_s_decay_grows_to_its_full_value_and_counts_are_copied():
    network = nn.BatchNorm1d(1)
    average = Average(network, 0.5)
    for weight, count in ((1.0, 7), (0.0, 9), (0.0, 9)):
        network.weight.data.fill_(weight)
        network.num_batches_tracked.fill_(count)
        average.update()
        if count == 7:
            assert average.network.weight.item() == 1.0  # the first is taken as it is
    assert average.network.weight.item() == pytest.approx(2 / 11 * 3 / 12) and average.network.num_batches_tracked == 9
    average.num_updates, network.weight.data[:] = 1000, 1.0
    average.update()
    assert average.network.weight.item() == pytest.approx((2 / 11 * 3 / 12 + 1) / 2)


def test_a_gradient_is_cut_to_its_largest_norm():
    for clip_norm, expected in ((None, None), (0.001, pytest.approx(0.001, rel=1e-3))):
        model = toy_model("numbers")
        before = copy.deepcopy(model.network.state_dict())
        trained("numbers", model=model, optimizer={"name": "SGD"}, lr=1.0, epochs=1, batch_size=24, clip_norm=clip_norm)
        moved = torch.cat([(model.network.state_dict()[name] - before[name]).flatten() for name in before]).norm().item()
        assert moved > 0.1 if expected is None else moved == expected


def test_a_plateau_of_the_loss_lowers_the_rate(monkeypatch):
    Scripted(monkeypatch, val_loss=[0.5, 0.6, 0.6, 0.6, 0.6])
    schedule = {"name": "ReduceLROnPlateau", "interval": "epoch", "patience": 1, "factor": 0.1}
    run = trained("shapes", schedule=schedule, epochs=5, lr=0.1)
    assert [row["lr"] for row in run.rows] == pytest.approx([0.1, 0.1, 0.1, 0.01, 0.01])


@pytest.mark.parametrize(
    ("late", "epochs", "without"),
    [(None, 4, 0), (0.5, 4, 2), (0.1, 90, 9), (0.25, 10, 2), (0.01, 4, 0), (0.99, 4, 4)],  # to the nearest epoch
)
def test_dropout_begins_after_its_share_of_the_epochs(late, epochs, without):
    network = nn.Sequential(*(nn.Sequential(kind(0.3)) for kind in DROPOUTS), nn.Dropout(0.2))
    dropout = LateDropout(network, late, epochs, KEY)
    for epoch in range(1, epochs + 1):
        dropout.start_epoch(epoch)
        assert dropout.is_on == (epoch > without)
        rates = [layer.p for layer in network.modules() if isinstance(layer, DROPOUTS)]
        assert rates == ([0.3] * len(DROPOUTS) + [0.2] if dropout.is_on else [0.0] * (len(DROPOUTS) + 1))


def test_late_dropout_of_a_network_without_dropout_is_refused():
    with pytest.raises(UserError, match=r"params.yaml: models.own.train.late_dropout needs a network with dropout"):
        trained("words", late_dropout=0.5)


def test_a_training_is_without_dropout_until_it_begins():
    def weights(dropout, late):
        """After each of four epochs."""
        model, seen = build(TOYS["words"] | {"dropout": dropout, "character_dropout": dropout}, toy("words").meta), []
        flat = lambda *_: seen.append(nn.utils.parameters_to_vector(model.network.parameters()).detach().clone())  # noqa: E731
        trained("words", model=model, watch=flat, epochs=4, late_dropout=late)
        return seen

    late, never, always = weights(0.5, 0.5), weights(0.0, None), weights(0.5, None)
    assert [torch.equal(*pair) for pair in zip(late, never, strict=True)] == [True, True, False, False]
    assert not any(torch.equal(*pair) for pair in zip(late, always, strict=True))


# What the network sees


def test_augmented_pictures_are_scaled_first_and_normalised_last_and_measuring_never_augments(monkeypatch):
    seen, given, model = [], [], toy_model("shapes")
    monkeypatch.setattr(loop, "build_augmentations", lambda *_: [lambda images: seen.append(images.clone()) or images * 0])
    zeros = model.input.part.normalize(torch.zeros(1, 1, 8, 8), model.input.constants)
    model.network.register_forward_pre_hook(lambda module, arguments: given.append((module.training, arguments[0])))
    trained("shapes", model=model, epochs=1, batch_size=24, augment=[{"name": "any"}])
    assert seen[0].shape == (24, 1, 8, 8) and seen[0].min() >= 0 and 0.9 < seen[0].max() <= 1
    (training, augmented), (measuring, plain) = given
    assert training and torch.equal(augmented, zeros.expand(24, -1, -1, -1))
    assert not measuring and torch.equal(plain, model.input(torch.from_numpy(toy("shapes").splits["val"][0])))


# What is refused


@pytest.mark.parametrize("loss", ["BCE", "Focal"])
def test_a_loss_that_is_no_number_ends_in_a_sentence_that_names_the_rate(loss):
    inputs, targets = toy("patients").splits["train"]
    data = Data(toy("patients").meta, {"train": (inputs * math.nan, targets), "val": toy("patients").splits["val"]})
    model = toy_model("patients")
    model.input.forward = lambda inputs: inputs  # which would impute what is missing
    with pytest.raises(UserError, match=r"The loss became NaN in epoch 1: lower models\.own\.train\.lr \(now 0\.01\)"):
        trained("patients", data=data, model=model, loss={"name": loss})


@pytest.mark.parametrize(
    ("name", "changes", "message"),
    [
        (
            "numbers",
            {"optimizer": {"name": "SGD"}, "lr": 50.0, "epochs": 20},
            r"has grown to .* lower .*\.lr \(now 50\) or set .*clip_norm",
        ),
        ("numbers", {"optimizer": {"name": "SGD"}, "lr": 1e6, "epochs": 1, "batch_size": 24}, r"lower models\.own\.train\.lr"),
        ("words", {"augment": [{"name": "RandomHorizontalFlip"}]}, r"augment works only on pictures, but the dataset has characters: set"),
        ("shapes", {"augment": [{"name": "RandomCrop", "size": 9}]}, r"the arguments of .*augment\[0\] \(RandomCrop\) do not fit"),
        ("shapes", {"augment": [{"name": "RandomCrop", "size": 5}]}, r"augment makes pictures of 5x5x1 .*; the network gets 8x8x1"),
    ],
)
def test_what_only_training_shows_is_refused_in_a_sentence(name, changes, message):
    with pytest.raises(UserError, match=message):
        trained(name, **changes)


def test_only_what_does_nothing_may_be_left_out_of_a_recipe():
    section = recipe(toy("numbers"))
    optional = {key for key, value in section.items() if value in (None, [])}
    assert Recipe.model_validate({key: value for key, value in section.items() if key not in optional}) == Recipe.model_validate(section)
    for key in section.keys() - optional:
        with pytest.raises(ValidationError, match=key):
            Recipe.model_validate({name: value for name, value in section.items() if name != key})


@pytest.mark.parametrize(("source", "expected"), [("sample", 3), ("official", 5), ("generated", 5), ("own", 5)])
def test_epochs_may_be_given_by_source(source, expected):
    recipes = {"toy": recipe(toy("numbers"))}
    assert read_recipe({"recipe": "toy", "epochs": {"sample": 3, "official": 5}}, recipes, source, KEY).epochs == expected
    recipes["toy"]["epochs"] = {"sample": 3, "official": 5}
    assert read_recipe({"recipe": "toy"}, recipes, source, KEY).epochs == expected
    assert read_recipe({"recipe": "toy", "epochs": 7}, recipes, source, KEY).epochs == 7


@needs_cuda
@pytest.mark.parametrize("name", TOYS)
def test_a_gpu_learns_as_the_cpu_does(name):
    data, section = toy(name), Recipe.model_validate(recipe(toy(name), optimizer={"name": "SGD"}))
    losses = []
    for device in (CPU, torch.device("cuda")):
        train, val = (Batches(*data.splits[split], 8, device) for split in ("train", "val"))
        losses.append(fit(Run(toy_model(name).to(device), section, train, val, 0, KEY), NoKeeper(), lambda *_: None).rows[-1]["val_loss"])
    assert losses[0] == pytest.approx(losses[1], rel=1e-3)
