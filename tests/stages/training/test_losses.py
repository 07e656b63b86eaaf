"""Every loss with every kind of task: it fits exactly where the task says, and then equals torch's own."""

import pytest
import torch
from torch import nn
from torchvision.ops import sigmoid_focal_loss

from stages.common.shelves import part_names, take_task
from stages.shell.errors import UserError
from stages.training.losses import LOSSES, PADDED, build_loss

SEED = 20261120
TASKS = part_names("tasks")
NUM_OUTPUTS = {task: {"regression": 2, "binary": 1}.get(task, 3) for task in TASKS}
FITTING = [(name, task) for task in TASKS for name in take_task(task).LOSSES]
NOT_FITTING = [(name, task) for name in LOSSES for task in TASKS if (name, task) not in FITTING]


def a_batch(task):
    """Logits and targets of five items, as the network and the split give them."""
    torch.manual_seed(SEED)
    if task == "sequence":
        targets = torch.randint(0, 3, (5, 4))
        targets[1, 2:], targets[4, 1:] = PADDED, PADDED
        return torch.randn(5, 4, 3), targets
    logits = torch.randn(5, NUM_OUTPUTS[task])
    if task == "regression":
        return logits, torch.randn(5, 2)
    if task == "multilabel":
        return logits, torch.randint(0, 2, (5, 3), dtype=torch.uint8)
    return logits, torch.randint(0, 2 if task == "binary" else 3, (5,))


def one_hot(logits, targets):
    if targets.shape == logits.shape:
        return targets.float()
    return torch.zeros_like(logits).scatter(1, targets.unsqueeze(1), 1.0) if logits.shape[1] > 1 else targets.unsqueeze(1).float()


def torch_s_own(name, logits, targets):
    """The value by torch's loss modules, padding left out by hand."""
    if targets.ndim == 2 and targets.dtype == torch.int64:
        real = targets >= 0
        logits, targets = logits[real], targets[real]
    if name == "NLL":
        return nn.NLLLoss()(nn.LogSoftmax(dim=1)(logits), targets)
    if name == "BCE":
        return nn.BCELoss()(nn.Sigmoid()(logits), one_hot(logits, targets))
    if name == "Focal":
        return sigmoid_focal_loss(logits, one_hot(logits, targets), reduction="mean")
    module = getattr(nn, f"{name}Loss")()
    return module(logits, one_hot(logits, targets) if name in ("BCEWithLogits", "MultiLabelSoftMargin") else targets)


@pytest.mark.parametrize(("name", "task"), FITTING)
def test_a_loss_equals_torch_s_own(name, task):
    print("seed", SEED)
    logits, targets = a_batch(task)
    torch.testing.assert_close(build_loss(name, {}, task, NUM_OUTPUTS[task], "loss")(logits, targets), torch_s_own(name, logits, targets))


@pytest.mark.parametrize(("name", "task"), FITTING)
def test_a_loss_of_bfloat16_logits_is_computed_in_float32(name, task):
    logits, targets = a_batch(task)
    assert build_loss(name, {}, task, NUM_OUTPUTS[task], "loss")(logits.bfloat16(), targets).dtype == torch.float32


@pytest.mark.parametrize(("name", "task"), FITTING)
def test_better_logits_make_a_smaller_loss(name, task):
    logits, targets = a_batch(task)
    if task == "regression":
        better = targets
    elif task == "multilabel":
        better = 8.0 * (2 * targets.float() - 1)
    elif task == "binary":
        better = 8.0 * (2 * targets.unsqueeze(1) - 1)
    else:
        better = 16.0 * nn.functional.one_hot(targets.clamp(min=0), 3) - 8.0
    loss = build_loss(name, {}, task, NUM_OUTPUTS[task], "loss")
    assert loss(better, targets) < 0.1 < loss(logits, targets)


@pytest.mark.parametrize(("name", "task"), NOT_FITTING)
def test_a_loss_that_does_not_fit_is_refused_with_those_that_do(name, task):
    with pytest.raises(UserError) as refused:
        build_loss(name, {}, task, NUM_OUTPUTS[task], "models.own.train.loss")
    message = str(refused.value)
    assert message.startswith(f"params.yaml: models.own.train.loss.name is {name}, which does not fit the dataset's {task} target")
    named = message.rstrip(".").split("use one of ")[1].split(", ")
    assert named == [other for other, fits in FITTING if fits == task]


def test_the_losses_that_the_lessons_use_are_there_and_fit():
    taught = "L1 MSE SmoothL1 CrossEntropy NLL BCE BCEWithLogits Focal MultiLabelSoftMargin"
    assert set(LOSSES) >= set(taught.split())
    assert all(any(task == fits for _, fits in FITTING) for task in TASKS)


def test_an_unknown_loss_is_refused_with_those_that_there_are():
    with pytest.raises(UserError) as refused:
        build_loss("Hinge", {}, "binary", 1, "models.own.train.loss")
    ones = "BCE, BCEWithLogits, Focal, MultiLabelSoftMargin"
    assert str(refused.value) == f"params.yaml: models.own.train.loss.name is 'Hinge'; for a binary target expected one of {ones}."


def test_arguments_reach_the_loss():
    logits, targets = a_batch("multiclass")
    smoothed = build_loss("CrossEntropy", {"label_smoothing": 0.2}, "multiclass", 3, "loss")(logits, targets)
    torch.testing.assert_close(smoothed, nn.CrossEntropyLoss(label_smoothing=0.2)(logits, targets))
    focused = build_loss("Focal", {"gamma": 1.0}, "multiclass", 3, "loss")(logits, targets)
    torch.testing.assert_close(focused, sigmoid_focal_loss(logits, one_hot(logits, targets), gamma=1.0, reduction="mean"))


@pytest.mark.parametrize(("name", "task"), FITTING)
def test_wrong_arguments_are_refused_before_any_work(name, task):
    with pytest.raises(UserError, match=r"^params\.yaml: (the arguments of )?models\.own\.train\.loss"):
        build_loss(name, {"smoothing": 0.1}, task, NUM_OUTPUTS[task], "models.own.train.loss")


@pytest.mark.parametrize("reduction", ["none", "sum", "median"])
@pytest.mark.parametrize(("name", "task"), FITTING)
def test_a_loss_that_is_no_mean_is_refused(name, task, reduction):
    with pytest.raises(UserError, match=rf"models\.own\.train\.loss\.reduction is '{reduction}'; expected mean"):
        build_loss(name, {"reduction": reduction}, task, NUM_OUTPUTS[task], "models.own.train.loss")


def test_a_loss_that_leaves_many_numbers_is_refused():
    refused = pytest.raises(UserError, match=r"loss gives more than one number: remove reduce")
    with refused, pytest.warns(UserWarning, match="deprecated"):
        build_loss("MSE", {"reduce": False}, "regression", 2, "loss")


@pytest.mark.parametrize(("name", "task"), FITTING)
@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_an_argument_that_is_not_finite_is_refused(name, task, value):
    with pytest.raises(UserError, match=r"loss\.anything\.0 is (nan|inf); expected a finite number"):
        build_loss(name, {"anything": [value]}, task, NUM_OUTPUTS[task], "loss")


@pytest.mark.parametrize(("name", "task"), [pair for pair in FITTING if pair[1] != "regression"])
def test_weights_of_another_number_than_the_outputs_are_refused(name, task):
    number = NUM_OUTPUTS[task] + 1
    with pytest.raises(UserError, match=rf"loss\.weight has {number} numbers, but the network has {number - 1} outputs: give one for each"):
        build_loss(name, {"weight": [1.0] * number}, task, NUM_OUTPUTS[task], "loss")


@pytest.mark.parametrize("weight", [[0, 1, 1], [1.0, -2.0, 1.0], [True, 1, 1], ["a", 1, 1]])
def test_weights_that_are_no_numbers_above_0_are_refused(weight):
    with pytest.raises(UserError, match=r"loss\.weight is .*; expected numbers above 0, one for each output"):
        build_loss("CrossEntropy", {"weight": weight}, "multiclass", 3, "loss")
