"""Proof that an exported model computes what the PyTorch model computes, on real test items."""

from collections.abc import Callable, Iterator

import numpy as np
import torch

from stages.common.errors import UserError
from stages.modelling.model import Model

BATCH_SIZES = (1, 2, 7, 64)
MAX_PADDING = 5
UNKNOWN_CODE = 0x20AC  # the euro sign

Run = Callable[[np.ndarray], list[np.ndarray]]


def cases(inputs: np.ndarray) -> Iterator[np.ndarray]:
    """Batches of every size, of rows from all over the test split (some twice where it has fewer); texts at several lengths too.

    int16 inputs are characters: each batch comes as int64 at its full width, cut to its longest row, cut shorter still, and padded further.
    What a test split never has, and a consumer may well send, comes last: missing features, and characters of no known code.
    """
    for size in BATCH_SIZES:
        batch = inputs[np.linspace(0, len(inputs) - 1, size).astype(np.int64)]
        if batch.dtype != np.int16:
            yield batch
            continue
        longest = max(int((batch != 0).sum(axis=1).max()), 1)
        wide = np.pad(batch.astype(np.int64), ((0, 0), (0, MAX_PADDING)))
        for length in sorted({1, max(1, longest // 2), longest, batch.shape[1], wide.shape[1]}):
            yield wide[:, :length]
    if batch.dtype == np.float32:
        yield np.where(np.arange(batch.size).reshape(batch.shape) % 3 == 0, np.float32(np.nan), batch)
    if batch.dtype == np.int16:
        codes = np.where(np.arange(wide.size).reshape(wide.shape) % 3 == 0, UNKNOWN_CODE, wide)
        yield np.where(wide == 0, 0, codes)


def check_parity(model: Model, exported: dict[str, Run], inputs: np.ndarray, tolerance: float) -> dict[str, float]:
    """The largest difference from PyTorch of each exported form over all cases; beyond `tolerance` a UserError says where.

    Besides, a row's outputs must not depend on what shares its batch, or on padding: each row is compared with itself alone.
    """
    worst = dict.fromkeys(exported, 0.0)
    for batch in cases(inputs):
        expected = run_torch(model, batch)
        for form, run in exported.items():
            outputs = run(batch)
            worst[form] = max(worst[form], compare(form, "PyTorch", batch, expected, outputs, tolerance))
            alone = run(without_padding(batch[-1:]))
            last = [last_row(output, one) for output, one in zip(outputs, alone, strict=True)]
            compare(f"The last row in {form}", "the same row alone", batch, alone, last, tolerance)
    return worst


def run_torch(model: Model, batch: np.ndarray) -> list[np.ndarray]:
    with torch.no_grad():
        return [output.numpy() for output in model(torch.from_numpy(batch))]


def without_padding(row: np.ndarray) -> np.ndarray:
    """A batch of one text [1, length] without the padding behind it; anything else as it is."""
    return row[:, : max(int((row != 0).sum()), 1)] if row.dtype == np.int64 and row.ndim == 2 else row


def last_row(output: np.ndarray, alone: np.ndarray) -> np.ndarray:
    """The last row of a batch's output, cut to the length that it has alone."""
    return output[-1:, : alone.shape[1]] if alone.ndim > 1 else output[-1:]


def compare(form: str, other: str, batch: np.ndarray, expected: list[np.ndarray], outputs: list[np.ndarray], tolerance: float) -> float:
    """Largest difference of the first output (a label follows from it, and may differ only where two classes are that close)."""
    shape = "x".join(map(str, batch.shape))
    kinds, expected_kinds = ([(str(array.dtype), array.shape) for array in arrays] for arrays in (outputs, expected))
    if kinds != expected_kinds:
        raise UserError(f"{form} gives {kinds} on a batch of {shape}, and {other} {expected_kinds}: the types and shapes differ.")
    difference = float(np.max(np.abs(outputs[0] - expected[0]), initial=0.0))
    if not difference <= tolerance:
        raise UserError(
            f"{form} differs from {other} by {difference:.3g} on a batch of {shape}, more than export.tolerance ({tolerance:g}) allows."
        )
    if len(outputs) > 1 and np.any((outputs[1] != expected[1]) & ~is_close_call(expected[0], tolerance)):
        raise UserError(f"{form} gives other labels than {other} on a batch of {shape}.")
    return difference


def is_close_call(probabilities: np.ndarray, tolerance: float) -> np.ndarray:
    """Where the two most probable classes are closer than twice the tolerance."""
    best = np.sort(probabilities, axis=-1)[..., -2:]
    return best[..., 1] - best[..., 0] < 2 * tolerance
