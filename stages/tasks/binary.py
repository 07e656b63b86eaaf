"""One of two classes for an item: targets int64 [batch], one logit [batch, 1], which is of the second class."""

from typing import TYPE_CHECKING

import numpy as np

from stages.common.classes import *  # noqa: F403  # all that a task has and that is not said below
from stages.common.classes import RELIABILITY_EDGES

if TYPE_CHECKING:
    from torch import Tensor

LOSSES = ("BCE", "BCEWithLogits", "Focal", "MultiLabelSoftMargin")
POOLED = 1e-7  # probabilities are kept so far from 0 and 1 while they are logits again
CLAIM = "predicted probability of {}", "share of {}"
METRICS = {
    "accuracy": "higher",
    "macro_f1": "higher",
    "balanced_accuracy": "higher",
    "log_loss": "lower",
    "auc": "higher",
    "average_precision": "higher",
}


def width(num_names: int) -> int:  # type: ignore[no-redef]  # of one logit
    return 1


def score_per_item(logits: "Tensor", targets: "Tensor") -> tuple["Tensor", "Tensor | int"]:
    """1.0 where the class is right, and how many count."""
    return ((logits[:, 0] > 0) == (targets == 1)).float(), len(targets)


def pool(logits: "Tensor") -> "Tensor":
    """Of several answers an item, [batch, members, 1], the logit of their mean probability."""
    import torch

    return torch.logit(logits.sigmoid().mean(dim=1), eps=POOLED)


def outputs(logits: "Tensor", inputs: "Tensor") -> tuple["Tensor", ...]:
    import torch  # here, for not every stage that reads tasks needs it

    positive = logits.sigmoid()
    probabilities = torch.cat([1 - positive, positive], dim=1)
    return probabilities, probabilities.argmax(dim=-1)


def reliability(targets: np.ndarray, outputs: list[np.ndarray]) -> tuple[np.ndarray, np.ndarray, np.ndarray] | None:  # type: ignore[no-redef]
    """Of the second class: what was claimed [n], what was so [n], and the edges of the bins in which their means are compared."""
    return outputs[0][:, 1], targets.astype(np.float64), RELIABILITY_EDGES
