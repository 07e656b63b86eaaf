"""Recurrent classifiers of texts: embedding, bidirectional RNN, LSTM or GRU layers, a linear layer on both final states."""

from typing import Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from stages.common.meta import Meta
from stages.common.params import Section, Size

INPUTS = ("characters",)
PER = "item"


class Params(Section):
    """`dropout` is of the layers' inputs; `character_dropout` hides whole characters from training, as a typing error might.

    The second is Gal and Ghahramani's dropout of words, 2016, https://arxiv.org/abs/1512.05287, with a mask for each place.
    """

    name: Literal["rnn_classifier"]
    cell: Literal["rnn", "lstm", "gru"]
    embedding: Size
    hidden: Size
    num_layers: Size
    dropout: float = Field(ge=0, lt=1)
    character_dropout: float = Field(ge=0, lt=1)


class BidirectionalLayer(nn.Module):
    """float32 [length, batch, width] to [length, batch, 2 * hidden]; what stands in the padding never reaches what does not.

    Two one-way layers: the backward one reads each row reversed up to its own length, so the padding stays behind the characters in
    both. That equals a packed sequence, and exports to ONNX with both axes dynamic.
    """

    def __init__(self, cell: str, width: int, hidden: int):
        super().__init__()
        layer = {"rnn": nn.RNN, "lstm": nn.LSTM, "gru": nn.GRU}[cell]
        self.forward_layer = layer(width, hidden)
        self.backward_layer = layer(width, hidden)

    def forward(self, x: Tensor, reversal: Tensor) -> Tensor:
        ahead, _ = self.forward_layer(x)
        back, _ = self.backward_layer(pick(x, reversal))
        return torch.cat([ahead, pick(back, reversal)], dim=2)


def pick(x: Tensor, rows: Tensor) -> Tensor:
    """x [length, batch, width] at `rows` [k, batch] of its first two axes taken as one: [k, batch, width]."""
    return x.flatten(0, 1).index_select(0, rows.flatten()).view(rows.shape[0], rows.shape[1], -1)


class RNNClassifier(nn.Module):
    """int64 characters [batch, length], 0 = padding at the end, to logits [batch, num_outputs]."""

    def __init__(self, params: Params, num_outputs: int):
        super().__init__()
        self.hidden = params.hidden
        self.embedding = nn.Embedding(128, params.embedding)
        self.character_dropout = nn.Dropout1d(params.character_dropout)
        widths = [params.embedding] + [2 * params.hidden] * (params.num_layers - 1)
        self.layers = nn.ModuleList(BidirectionalLayer(params.cell, width, params.hidden) for width in widths)
        self.dropout = nn.Dropout(params.dropout)
        self.classifier = nn.Linear(2 * params.hidden, num_outputs)

    def forward(self, characters: Tensor) -> Tensor:
        characters = characters.t()  # a place of all texts after another: what the layers read in each step lies together
        length, batch = characters.shape
        texts = torch.arange(batch, device=characters.device)
        places = torch.arange(length, device=characters.device).unsqueeze(1)
        last = (characters != 0).sum(dim=0, keepdim=True) - 1
        # Place t of a text of n characters goes to n - 1 - t; the padding behind it is reversed within itself.
        reversal = (last - places).remainder(length) * batch + texts
        x = self.character_dropout(self.embedding(characters))
        for layer in self.layers:
            x = layer(self.dropout(x), reversal)
        ahead = pick(x, last.clamp(min=0) * batch + texts)[0, :, : self.hidden]
        return self.classifier(self.dropout(torch.cat([ahead, x[0, :, self.hidden :]], dim=1)))


def build(params: Params, meta: Meta) -> nn.Module:
    return RNNClassifier(params, meta.num_outputs)
