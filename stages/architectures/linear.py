"""Linear models: y = w x + b, the first lessons' regression and, with one logit, logistic regression."""

from typing import Literal

from torch import nn

from stages.common.meta import Meta
from stages.common.params import Section

INPUTS = ("features",)
PER = "item"


class Params(Section):
    name: Literal["linear"]
    bias: bool


def build(params: Params, meta: Meta) -> nn.Module:
    """float32 [batch, num_features] to [batch, num_outputs]."""
    (num_features,) = meta.input.shape
    assert num_features is not None
    return nn.Linear(num_features, meta.num_outputs, bias=params.bias)
