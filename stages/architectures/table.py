"""The network for tables: TabM-mini on numbers in a piecewise-linear encoding.

- Numbers: beside the number itself, how far it has come through each of the intervals between the quantiles of train, 0 to 1, then a linear
  map of its own to a few numbers, and ReLU (Gorishniy, Rubachev, Babenko: On Embeddings for Numerical Features, 2022,
  https://arxiv.org/abs/2203.05556, section 3.1).
- Categories: up to 9 levels one-hot (an unknown level is all zero), more as an embedding.
- TabM-mini (Gorishniy, Kotelnikov, Babenko: TabM, 2025, https://arxiv.org/abs/2410.24210, section 3): `members` networks that share their
  layers; each has a scale of its own for every input, at first random signs, and a last layer of its own. In training every member answers
  by itself, and has its own loss; otherwise the answer is the mean of what they answer.
"""

from itertools import pairwise
from typing import Annotated, Literal

import numpy as np
import torch
from pydantic import Field
from torch import Tensor, nn

from stages.common.meta import Meta
from stages.common.params import Section, Size
from stages.common.shelves import take_input, take_task

INPUTS = ("table",)
PER = "item"
MOST_ONE_HOT = 9  # levels
PER_NUMBER = 8  # of its encoding, and of an embedding


class Params(Section):
    """`dropout` follows every hidden layer."""

    name: Literal["table"]
    members: Size
    hidden: Annotated[list[Size], Field(min_length=1)]
    dropout: float = Field(ge=0, lt=1)


class PiecewiseLinear(nn.Module):
    """float32 [batch, n], scaled as `edges` [n, num_intervals + 1] are, to [batch, n * PER_NUMBER]."""

    low: Tensor
    slope: Tensor

    def __init__(self, edges: Tensor):
        super().__init__()
        low, width = edges[:, :-1].contiguous(), edges[:, 1:] - edges[:, :-1]
        self.register_buffer("low", low, persistent=False)
        # An interval of no width is left out: its share is 0.
        self.register_buffer("slope", torch.where(width > 0, 1 / width.clamp(min=1e-12), 0), persistent=False)
        count, intervals = low.shape
        self.weight = nn.Parameter(torch.empty(count, intervals, PER_NUMBER).uniform_(-1, 1) * intervals**-0.5)
        self.bias = nn.Parameter(torch.empty(count, 1, PER_NUMBER).uniform_(-1, 1) * intervals**-0.5)

    def forward(self, numbers: Tensor) -> Tensor:
        shares = ((numbers.unsqueeze(-1) - self.low) * self.slope).clamp(0, 1)
        encoded = torch.matmul(shares.transpose(0, 1), self.weight) + self.bias
        return encoded.relu().transpose(0, 1).flatten(1)


class TableNetwork(nn.Module):
    """float32 [batch, width], as stages/inputs/table.py lays it out, to logits [batch, num_outputs]; in training [batch * members,
    num_outputs], the members' answers to an item one after another.
    """

    columns: Tensor
    codes: Tensor

    def __init__(self, params: Params, meta: Meta):
        super().__init__()
        part, table = take_input(meta.input.kind), meta.input.table
        assert table is not None
        self.task, self.sizes = meta.task, list(part.layout(meta.input).values())
        edges = np.array(table.edges, dtype=np.float64).reshape(-1, part.NUM_EDGES)
        centre, spread = (values[:, None] for values in part.centre_and_spread(edges)) if len(edges) else (0, 1)
        self.encoding = PiecewiseLinear(torch.from_numpy(part.scaled(edges, centre, spread).astype(np.float32))) if len(edges) else None
        num_codes = [len(one.levels) + part.FIRST_LEVEL for one in table.categories]
        self.few = [place for place, number in enumerate(num_codes) if number - part.FIRST_LEVEL <= MOST_ONE_HOT]
        self.many = [place for place in range(len(num_codes)) if place not in self.few]
        self.embeddings = nn.ModuleList(nn.Embedding(num_codes[place], PER_NUMBER) for place in self.many)
        one_hots = [(place, code) for place in self.few for code in range(part.MISSING, num_codes[place])]
        if one_hots:
            self.register_buffer("columns", torch.tensor([place for place, _ in one_hots], dtype=torch.int64), persistent=False)
            self.register_buffer("codes", torch.tensor([code for _, code in one_hots], dtype=torch.float32), persistent=False)
        width = sum(self.sizes[:3]) + PER_NUMBER * (len(table.numbers) + len(self.many)) + len(one_hots)
        self.signs = nn.Parameter(torch.randint(0, 2, (params.members, width)).float() * 2 - 1)
        widths = [width, *params.hidden]
        self.layers = nn.ModuleList(nn.Linear(size, following) for size, following in pairwise(widths))
        self.dropout = nn.Dropout(params.dropout)
        self.last = nn.Parameter(torch.empty(params.members, widths[-1], meta.num_outputs).uniform_(-1, 1) * widths[-1] ** -0.5)
        self.bias = nn.Parameter(torch.empty(params.members, 1, meta.num_outputs).uniform_(-1, 1) * widths[-1] ** -0.5)

    def encode(self, x: Tensor) -> Tensor:
        numbers, cycles, gaps, codes = x.split(self.sizes, dim=1)
        parts = [numbers, cycles, gaps]
        if self.encoding is not None:
            parts.append(self.encoding(numbers))
        if self.few:
            parts.append((codes[:, self.columns] == self.codes).float())
        parts += [embedding(codes[:, place].long()) for place, embedding in zip(self.many, self.embeddings, strict=True)]
        return torch.cat([part for part in parts if part.shape[1]], dim=1)

    def forward(self, x: Tensor) -> Tensor:
        hidden = self.encode(x).unsqueeze(0) * self.signs.unsqueeze(1)  # [members, batch, width]
        for layer in self.layers:
            hidden = self.dropout(layer(hidden).relu())
        answers = (torch.matmul(hidden, self.last) + self.bias).transpose(0, 1)  # [batch, members, num_outputs]
        pooled: Tensor = answers.flatten(0, 1) if self.training else take_task(self.task).pool(answers)
        return pooled


def build(params: Params, meta: Meta) -> nn.Module:
    return TableNetwork(params, meta)
