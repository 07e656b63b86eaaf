"""Proof that an exported model computes what the PyTorch model computes: on the whole test split, and on what consumers may send."""

from collections.abc import Callable, Iterable, Iterator

import numpy as np
import torch

from stages.common.errors import UserError
from stages.common.params import Section
from stages.common.splits import SplitFile
from stages.modelling.model import Model

BATCH_SIZES = (1, 2, 7, 64)
MAX_PADDING = 5
PIECE = 256  # rows of a test split at once
UNKNOWN_CODE = 0x20AC  # the euro sign

Run = Callable[[np.ndarray], list[np.ndarray]]


class Equality(Section):
    """How an exported form compares with PyTorch on the whole test split of `items`: the largest difference of a probability or a number,
    how many labels differ, and the form's own score against the truth, under the name that it has in metrics.json.
    """

    items: int
    max_difference: float
    labels_that_differ: int
    score: dict[str, float]


def cases(inputs: np.ndarray) -> Iterator[np.ndarray]:
    """Batches of every size, of rows from all over `inputs` (some twice where there are fewer); texts at several lengths too.

    int16 inputs are characters: each batch comes as int64 at its full width, cut to its longest row, cut shorter still, and padded further.
    What a test split never has, and a consumer may well send, comes last: missing features, and characters of no known code.
    """
    batches = [inputs[spread(len(inputs), size)] for size in BATCH_SIZES]
    if inputs.dtype != np.int16:
        yield from batches
        if inputs.dtype == np.float32:
            yield every_third(batches[-1], np.float32(np.nan))
        return
    texts = [np.pad(as_batch(batch), ((0, 0), (0, MAX_PADDING))) for batch in batches]
    for text in texts:
        longest = max(int((text != 0).sum(axis=1).max()), 1)
        for length in sorted({1, max(1, longest // 2), longest, inputs.shape[1], text.shape[1]}):
            yield text[:, :length]
    yield np.where(texts[-1] == 0, 0, every_third(texts[-1], np.int64(UNKNOWN_CODE)))


def spread(count: int, size: int) -> np.ndarray:
    """`size` places from all over `count` rows."""
    return np.linspace(0, count - 1, size).astype(np.int64)


def every_third(batch: np.ndarray, value: np.generic) -> np.ndarray:
    """The batch with `value` in every third place."""
    return np.where(np.arange(batch.size).reshape(batch.shape) % 3 == 0, value, batch)


def pieces_of(test: SplitFile) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Inputs and targets of the whole split, some rows at a time."""
    return zip(test.pieces("inputs", PIECE), test.pieces("targets", PIECE), strict=True)


def check_split(
    model: Model, exported: dict[str, Run], test: Iterable[tuple[np.ndarray, np.ndarray]], tolerance: float
) -> dict[str, Equality]:
    """Each exported form on every row of the test split, whose inputs and targets come piece by piece.

    Raises UserError where one differs, as check_parity() does.

    The score is the accuracy (of sequences over characters), or the mean absolute error of a regression.
    """
    worst, different, right = dict.fromkeys(exported, 0.0), dict.fromkeys(exported, 0), dict.fromkeys(exported, 0.0)
    items = count = 0
    for inputs, targets in test:
        batch, items = as_batch(inputs), items + len(inputs)
        expected, real = run_torch(model, batch), targets >= 0
        count += targets.size if model.task == "regression" else int(real.sum())
        for form, run in exported.items():
            outputs = run(batch)
            worst[form] = max(worst[form], compare(form, "PyTorch", batch, expected, outputs, tolerance))
            if model.task == "regression":
                right[form] += float(np.abs(outputs[0] - targets, dtype=np.float64).sum())
            else:
                different[form] += int((outputs[1] != expected[1]).sum())
                right[form] += int((outputs[1] == targets)[real].sum())
    name = "mae" if model.task == "regression" else "accuracy"
    return {
        form: Equality(
            items=items,
            max_difference=float(f"{worst[form]:.1e}"),
            labels_that_differ=different[form],
            score={name: round(right[form] / count, 6)},
        )
        for form in exported
    }


def as_batch(rows: np.ndarray) -> np.ndarray:
    """Rows of a split as a consumer sends them: characters as int64."""
    return rows.astype(np.int64) if rows.dtype == np.int16 else rows


def check_parity(
    model: Model, exported: dict[str, Run], inputs: np.ndarray, tolerance: float, longest: dict[str, int | None] | None = None
) -> dict[str, float]:
    """The largest difference from PyTorch of each exported form over all cases; beyond `tolerance` a UserError says where.

    Besides, a row's outputs must not depend on what shares its batch, or on padding: each row is compared with itself alone. `longest` are
    forms that take texts up to that length only, which are tried with no longer ones.
    """
    worst = dict.fromkeys(exported, 0.0)
    for batch in cases(inputs):
        expected = run_torch(model, batch)
        for form, run in exported.items():
            if batch.shape[1] > ((longest or {}).get(form) or batch.shape[1]):
                continue
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
            f"{form} differs from {other} by {difference:.3g} on a batch of {shape}, more than export.tolerance ({tolerance:g}) allows: "
            "raise that if so much is good enough, else change the architecture, whose parts do not all export exactly."
        )
    if len(outputs) > 1 and np.any((outputs[1] != expected[1]) & ~is_close_call(expected[0], tolerance)):
        raise UserError(f"{form} gives other labels than {other} on a batch of {shape}.")
    return difference


def is_close_call(probabilities: np.ndarray, tolerance: float) -> np.ndarray:
    """Where the two most probable classes are closer than twice the tolerance."""
    best = np.sort(probabilities, axis=-1)[..., -2:]
    return best[..., 1] - best[..., 0] < 2 * tolerance
