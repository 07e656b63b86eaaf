"""Every loss with every kind of task: it fits exactly where the task says, and then equals torch's own."""

import pytest
import torch
from torch import nn
from torch.testing import assert_close
from torchvision.ops import sigmoid_focal_loss

from stages.common.shelves import part_names, take_task
from stages.shell.errors import UserError
from stages.training.losses import LOSSES, PADDED, build_loss

TASKS = part_names("tasks")
NUM_OUTPUTS = {task: {"regression": 2, "binary": 1}.get(task, 3) for task in TASKS}
FITTING = [(name, task) for task in TASKS for name in take_task(task).LOSSES]


def built(name, task, **arguments):
    return build_loss(name, arguments, task, NUM_OUTPUTS[task], "models.own.train.loss")


def a_batch(task):
    """Logits and targets of five items, as the network and the split give them, and logits that are nearly right."""
    torch.manual_seed(20261120)
    if task == "sequence":
        targets = torch.randint(0, 3, (5, 4))
        targets[1, 2:], targets[4, 1:] = PADDED, PADDED
        return torch.randn(5, 4, 3), targets, 16.0 * nn.functional.one_hot(targets.clamp(min=0), 3) - 8.0
    logits = torch.randn(5, NUM_OUTPUTS[task])
    if task == "regression":
        return logits, (targets := torch.randn(5, 2)), targets
    if task == "multilabel":
        return logits, (targets := torch.randint(0, 2, (5, 3), dtype=torch.uint8)), 8.0 * (2 * targets.float() - 1)
    if task == "binary":
        return logits, (targets := torch.randint(0, 2, (5,))), 8.0 * (2 * targets.unsqueeze(1) - 1)
    return logits, (targets := torch.randint(0, 3, (5,))), 16.0 * nn.functional.one_hot(targets, 3) - 8.0


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
    logits, targets, better = a_batch(task)
    loss = built(name, task)
    assert_close(loss(logits, targets), torch_s_own(name, logits, targets))
    assert loss(better, targets) < 0.1 < loss(logits, targets)
    assert loss(logits.bfloat16(), targets).dtype == torch.float32
    if task != "regression":
        for weight in ([1.0] * (NUM_OUTPUTS[task] + 1), [0.0] * NUM_OUTPUTS[task], ["a"] * NUM_OUTPUTS[task]):
            with pytest.raises(UserError, match=r"loss\.weight is .*; expected \d numbers above 0, one for each output"):
                built(name, task, weight=weight)


def test_a_loss_that_does_not_fit_is_refused_with_those_that_do():
    refused = {(name, task) for name in LOSSES for task in TASKS if (name, task) not in FITTING} | {("Hinge", "binary")}
    for name, task in refused:
        with pytest.raises(UserError) as error:
            built(name, task)
        ones = ", ".join(take_task(task).LOSSES)
        other = f"'Hinge'; for a binary target expected one of {ones}."
        said = other if name == "Hinge" else f"{name}, which does not fit the dataset's {task} target; use one of {ones}."
        assert str(error.value) == f"params.yaml: models.own.train.loss.name is {said}"


def test_arguments_reach_the_loss():
    logits, targets, _ = a_batch("multiclass")
    smoothed = built("CrossEntropy", "multiclass", label_smoothing=0.2, weight=[1, 2, 3])
    assert_close(smoothed(logits, targets), nn.CrossEntropyLoss(torch.tensor([1.0, 2.0, 3.0]), label_smoothing=0.2)(logits, targets))
    focused = built("Focal", "multiclass", gamma=1.0)(logits, targets)
    assert_close(focused, sigmoid_focal_loss(logits, one_hot(logits, targets), gamma=1.0, reduction="mean"))


@pytest.mark.filterwarnings("ignore:.*deprecated")
@pytest.mark.parametrize(
    ("name", "arguments", "message"),
    [
        ("MSE", {"smoothing": 0.1}, r"the arguments of models\.own\.train\.loss \(MSE\) do not fit: .*smoothing"),
        ("MSE", {"reduce": False}, r"the arguments of models\.own\.train\.loss \(MSE\) do not fit: "),
        ("L1", {"reduction": "sum"}, r"models\.own\.train\.loss\.reduction is 'sum'; expected mean"),
        ("L1", {"anything": [float("inf")]}, r"loss\.anything\.0 is inf; expected a finite number"),
    ],
)
def test_wrong_arguments_are_refused_before_any_work(name, arguments, message):
    with pytest.raises(UserError, match=message):
        built(name, "regression", **arguments)
