"""What a model answers to many rows."""

from collections.abc import Iterable

import numpy as np
import torch

from stages.modelling.model import Model


@torch.no_grad()
def predict(model: Model, pieces: Iterable[np.ndarray], device: torch.device) -> list[np.ndarray]:
    """The model's outputs for every row of a split's inputs, which come piece by piece; in the order of model.output_names."""
    model.to(device)
    batches = []
    for rows in pieces:
        inputs = torch.from_numpy(model.input.part.as_batch(rows))
        batches.append([output.cpu().numpy() for output in model(inputs.to(device))])
    return [np.concatenate(parts) for parts in zip(*batches, strict=True)]
