"""Recurrent networks that give one class a character: the lessons' three ways to turn "hello" into "ohlol"."""

import warnings
from typing import Literal

import torch
from pydantic import model_validator
from torch import Tensor, nn
from torch.nn import functional

from stages.common.meta import Meta
from stages.common.params import Section, Size

INPUTS = ("characters",)
PER = "character"


class Params(Section):
    """`embedding: null` feeds one-hot characters; without `linear` the hidden state itself is the logits."""

    name: Literal["rnn_tagger"]
    cell: Literal["rnn_cell", "rnn"]
    embedding: Size | None
    hidden: Size
    num_layers: Size
    linear: bool

    @model_validator(mode="after")
    def cell_has_one_layer(self) -> "Params":
        if self.cell == "rnn_cell" and self.num_layers != 1:
            raise ValueError("cell rnn_cell has one layer: set num_layers to 1, or cell to rnn")
        return self


class RNNByCell(nn.Module):
    """One RNNCell stepped through time: float32 [batch, length, width] to ([batch, length, hidden], the last state)."""

    def __init__(self, width: int, hidden: int):
        super().__init__()
        self.cell = nn.RNNCell(width, hidden)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        cell = self.cell
        driven = functional.linear(x.transpose(0, 1), cell.weight_ih, cell.bias_ih + cell.bias_hh)  # independent of the steps, so at once
        states, last = step_through(driven, cell.weight_hh.t())
        return states.transpose(0, 1), last


def _step_through(driven: Tensor, weight_hh: Tensor) -> tuple[Tensor, Tensor]:
    """Of [length, batch, hidden]; `weight_hh` is transposed."""
    state = torch.zeros_like(driven[0])
    states: list[Tensor] = []
    for step in range(driven.shape[0]):
        state = torch.tanh(torch.addmm(driven[step], state, weight_hh))
        states.append(state)
    return torch.stack(states), state


with warnings.catch_warnings():
    # A scripted loop stays a loop when the network is traced, so that exports take any length. torch.jit is deprecated
    # and says so; it works, and parity is checked on every export.
    warnings.simplefilter("ignore", FutureWarning)
    step_through = torch.jit.script(_step_through)


class RNNTagger(nn.Module):
    """int64 indices [batch, length] (0 = padding, 1..num_classes = the alphabet) to logits [batch, length, num_classes]."""

    def __init__(self, params: Params, num_classes: int):
        super().__init__()
        self.num_classes = num_classes
        self.embedding = None if params.embedding is None else nn.Embedding(num_classes + 1, params.embedding)
        width = params.embedding or num_classes
        self.layers = (
            RNNByCell(width, params.hidden)
            if params.cell == "rnn_cell"
            else nn.RNN(width, params.hidden, num_layers=params.num_layers, batch_first=True)
        )
        self.linear = nn.Linear(params.hidden, num_classes) if params.linear else nn.Identity()

    def forward(self, indices: Tensor) -> Tensor:
        x = self.embedding(indices) if self.embedding is not None else functional.one_hot(indices, self.num_classes + 1)[..., 1:].float()
        states, _ = self.layers(x)
        return self.linear(states)


def build(params: Params, meta: Meta) -> nn.Module:
    return RNNTagger(params, meta.num_outputs)
