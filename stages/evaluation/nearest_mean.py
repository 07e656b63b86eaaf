"""The baseline `nearest_mean`: an item is of the class whose mean its features resemble most, by the features of the network itself.

Features are compared by their direction (cosine): on three sets of photographs that did as well as their distance, or better. Probabilities
are a softmax of the similarities times a factor, by which items of train have the lowest log-loss, each by means that do without it.
"""

import contextlib
import time
from collections.abc import Iterator
from types import ModuleType
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from stages.common.splits import SplitFile
from stages.modelling.model import Model

NAME = "nearest_mean"
MAX_ITEMS = 2000  # of train
FACTORS = [2.0**power for power in range(11)]
USUAL = 32.0  # where no class has two items to choose by


class NearestMean:
    """Of features [n, width] and classes int64 [n] of train."""

    def __init__(self, features: Tensor, targets: Tensor, num_classes: int):
        rows, every = functional.normalize(features.double()), torch.arange(len(targets), device=targets.device)
        sums = rows.new_zeros(num_classes, rows.shape[1]).index_add(0, targets, rows)
        counts = torch.bincount(targets, minlength=num_classes)
        self.means, self.has_items, self.seen = functional.normalize(sums).T, counts > 0, list[Tensor]()
        similar = rows @ self.means
        similar[every, targets] = functional.cosine_similarity(rows, sums[targets] - rows)  # with the mean of the others of its class
        known = counts[targets] > 1
        losses = [functional.nll_loss(self.log_shares(similar[known], factor), targets[known]).item() for factor in FACTORS]
        self.factor = FACTORS[int(np.argmin(losses))] if known.any() else USUAL

    def log_shares(self, similar: Tensor, factor: float) -> Tensor:
        """Of similarities [k, num_classes], the logarithms of the classes' probabilities: a class without an item has none."""
        return (similar * factor).masked_fill(~self.has_items, -torch.inf).log_softmax(dim=1)

    def compare(self, _: nn.Module, inputs: tuple[Any, ...]) -> None:
        """A hook for the head of the network."""
        self.seen.append(functional.normalize(inputs[0].double()) @ self.means)

    def answer(self) -> np.ndarray:
        """Probabilities float32 [m, num_classes] of all that went through the network."""
        return self.log_shares(torch.cat(self.seen), self.factor).exp().float().cpu().numpy()


@contextlib.contextmanager
def watching(model: Model, family: ModuleType, train: SplitFile, device: torch.device, seed: int) -> Iterator[list[tuple[str, float, Any]]]:
    """In it, what goes through the network is compared with the means on the way, so that nothing is computed twice; afterwards the list
    has the baseline's name, seconds and outputs. It stays empty where an item has no class of its own, or the network no features.
    """
    found, started = list[tuple[str, float, Any]](), time.perf_counter()
    if getattr(family, "SPARSE", True) or not model.task.NAMES_ONE_CLASS:
        yield found
        return
    network: Any = model.to(device).network
    means = learn(model, train, device, seed)
    seconds, hook = time.perf_counter() - started, network.head.register_forward_pre_hook(means.compare)
    try:
        yield found
    finally:
        hook.remove()
    found.append((NAME, seconds, model.task.answers(means.answer())))


@torch.no_grad()
def learn(model: Model, train: SplitFile, device: torch.device, seed: int) -> NearestMean:
    """From items of train, drawn by the seed where there are more than MAX_ITEMS."""
    places = np.sort(np.random.default_rng(seed).choice(train.count, min(train.count, MAX_ITEMS), replace=False))
    network: Any = model.network
    features = []
    for start in range(0, len(places), train.at_once):
        rows = model.input.part.as_batch(model.middle(train.take("inputs", places[start : start + train.at_once])))
        features.append(network.features(model.input(torch.from_numpy(rows).to(device))))
    return NearestMean(torch.cat(features), torch.from_numpy(train.take("targets", places)).to(device), len(model.meta.names))
