"""Classifiers of texts by what they are spelt of: character n-grams, hashed and counted in the graph, and one linear layer.

- The n-grams of each text, of 1 to `longest` characters, get numbers by a rolling hash in whole numbers, h = (h * 1000003 + c + 1) mod
  (2^31 - 1) over their characters c, and from these buckets, (31 h + 7919 (n - 1)) mod `buckets`. N-grams that reach into the padding do
  not count.
- Of the buckets those stay that at least two texts of train have, at most `kept`, the most frequent first: measure() finds them.
- Each text is as TF-IDF has it: 1 + log(count), times log((1 + texts) / (1 + texts that have it)) + 1, divided by the norm of all of them
  (scikit-learn's TfidfVectorizer with sublinear_tf; Weinberger et al., Feature Hashing, 2009, https://arxiv.org/abs/0902.2206).

The counts of a batch are one array [batch, kept], filled by ScatterElements: memory does not grow with the texts but by their own length.
"""

from collections.abc import Iterable
from typing import Any, Literal

import numpy as np
import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn.functional import pad

from stages.common.meta import Meta
from stages.common.params import Section, Size

INPUTS = ("text",)
PER = "item"
SPARSE = True  # nearly all features of a text are 0
FACTOR, MODULUS = 1_000_003, 2**31 - 1
SPREAD, APART = 31, 7919  # of a hash over the buckets, and n-grams of one length from those of another
MIN_TEXTS = 2  # of train that have a bucket
DROPPED = -1


class Params(Section):
    """`longest` are the characters of an n-gram at most. Each of `kept` costs 4 bytes of the exported file and as many for each class, each
    of `buckets` 4.
    """

    name: Literal["ngrams"]
    longest: int = Field(ge=1, le=8)
    buckets: int = Field(ge=2, le=1 << 24)
    kept: Size


class Ngrams(nn.Module):
    """int64 code points [batch, length], 0 where a text is over, to logits [batch, num_outputs].

    `kept` are the buckets of the features, in their order, and `idf` is theirs. Before measure() there is one feature, which says nothing.
    """

    kept: Tensor
    idf: Tensor
    lookup: Tensor

    def __init__(self, params: Params, num_outputs: int):
        super().__init__()
        self.longest, self.buckets, self.most, self.num_outputs = params.longest, params.buckets, params.kept, num_outputs
        self.use(np.zeros(1, dtype=np.int32), np.zeros(1, dtype=np.float32))

    def use(self, kept: np.ndarray, idf: np.ndarray) -> None:
        """Takes these features, with a fresh linear layer."""
        self.register_buffer("kept", torch.from_numpy(kept.astype(np.int32)))
        self.register_buffer("idf", torch.from_numpy(idf.astype(np.float32)))
        self.register_buffer("lookup", self.lookup_of(self.kept), persistent=False)
        self.head = nn.Linear(len(kept), self.num_outputs)

    def lookup_of(self, kept: Tensor) -> Tensor:
        """int32 [buckets]: which feature each bucket is, or DROPPED."""
        lookup = torch.full((self.buckets,), DROPPED, dtype=torch.int32, device=kept.device)
        lookup[kept.long()] = torch.arange(len(kept), dtype=torch.int32, device=kept.device)
        return lookup

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *arguments: Any) -> None:
        """How many features there are is only known from what is loaded; where it is as many as before, weights stay the same tensors,
        which an optimizer knows.
        """
        kept = state_dict.get(f"{prefix}kept")
        if kept is not None and kept.ndim == 1 and kept.numel():
            if not 0 <= int(kept.min()) <= int(kept.max()) < self.buckets:
                raise ValueError(f"expected buckets from 0 to {self.buckets - 1}")
            if len(kept) != len(self.kept):
                device = self.kept.device
                self.use(kept.cpu().numpy(), np.zeros(len(kept), dtype=np.float32))
                self.to(device)
            self.lookup.copy_(self.lookup_of(kept))
        super()._load_from_state_dict(state_dict, prefix, *arguments)

    def grams(self, characters: Tensor) -> tuple[Tensor, Tensor]:
        """The bucket of the n-gram that begins at each character, and whether it counts: int64 and bool [batch, longest * length]."""
        ahead = pad(characters, (0, self.longest - 1))
        buckets, counts, hashed = list[Tensor](), list[Tensor](), torch.zeros_like(characters)
        for place in range(self.longest):
            character = ahead[:, place : place + 1 - self.longest or None]
            hashed = (hashed * FACTOR + character + 1).remainder(MODULUS)
            buckets.append((hashed * SPREAD + APART * place).remainder(self.buckets))
            counts.append(character != 0)
        return torch.cat(buckets, dim=1), torch.cat(counts, dim=1)

    @torch.no_grad()
    def measure(self, batches: Iterable[Tensor]) -> None:
        """Takes the features that train's texts have, which come in batches, and their idf."""
        texts, num_texts = np.zeros(self.buckets, dtype=np.int64), 0
        for characters in batches:
            buckets, counts = (part.cpu().numpy() for part in self.grams(characters))
            rows = np.broadcast_to(np.arange(len(buckets))[:, None], buckets.shape)
            once = np.unique(rows[counts] * self.buckets + buckets[counts])
            texts += np.bincount(once % self.buckets, minlength=self.buckets)
            num_texts += len(buckets)
        at_least = MIN_TEXTS if (texts >= MIN_TEXTS).any() else 1
        frequent = np.flatnonzero(texts >= at_least)
        kept = np.sort(frequent[np.argsort(-texts[frequent], kind="stable")[: self.most]])
        device = self.kept.device
        self.use(kept, np.log((1 + num_texts) / (1 + texts[kept])) + 1)
        self.to(device)

    def features(self, characters: Tensor) -> Tensor:
        """float32 [batch, number of features], of norm 1 (0 where a text has none of them)."""
        buckets, counts = self.grams(characters)
        places = self.lookup[buckets].long()
        is_kept = (counts & (places != DROPPED)).float()
        places = places.clamp(min=0)
        empty = is_kept.new_zeros(characters.shape[0], self.idf.shape[0])
        # Of each n-gram of a text how often the text has it; the feature is in shares, one at each of these places.
        times = empty.scatter_add(1, places, is_kept).gather(1, places).clamp(min=1)
        shares = (times.log() + 1) * self.idf[places] * is_kept / times
        norm = (shares * shares * times).sum(dim=1, keepdim=True).sqrt()
        return empty.scatter_add(1, places, shares / norm.clamp(min=1e-12))

    def forward(self, characters: Tensor) -> Tensor:
        logits: Tensor = self.head(self.features(characters))
        return logits


def build(params: Params, meta: Meta) -> nn.Module:
    return Ngrams(params, meta.num_outputs)
