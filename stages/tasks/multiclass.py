"""One of several classes for an item: targets int64 [batch], logits [batch, num_classes]."""

from typing import TYPE_CHECKING

from stages.common.classes import *  # noqa: F403  # all that a task has and that is not said below

if TYPE_CHECKING:
    from torch import Tensor

LOSSES = ("CrossEntropy", "NLL", "Focal", "MultiLabelSoftMargin")
POOLED = 1e-30  # probabilities are kept so far from 0 while they are logits again
METRICS = {
    "accuracy": "higher",
    "macro_f1": "higher",
    "balanced_accuracy": "higher",
    "log_loss": "lower",
    "average_precision": "higher",
}


def score_per_item(logits: "Tensor", targets: "Tensor") -> tuple["Tensor", "Tensor | int"]:
    """1.0 where the class is right, and how many count."""
    return (logits.argmax(-1) == targets).float(), len(targets)


def pool(logits: "Tensor") -> "Tensor":
    """Of several answers an item, [batch, members, num_classes], the logarithms of their mean probabilities."""
    return logits.softmax(dim=-1).mean(dim=1).clamp(min=POOLED).log()


def outputs(logits: "Tensor", inputs: "Tensor") -> tuple["Tensor", ...]:
    probabilities = logits.softmax(dim=-1)
    return probabilities, probabilities.argmax(dim=-1)
