"""Proof that an exported model computes what the PyTorch model computes: on the whole test split, and on what consumers may send."""

from collections.abc import Callable, Iterable, Iterator
from types import ModuleType

import numpy as np
import torch

from stages.common.params import Section
from stages.common.splits import SplitFile
from stages.modelling.model import Model
from stages.shell.errors import UserError

BATCH_SIZES = (1, 2, 7, 64)

Run = Callable[[np.ndarray], list[np.ndarray]]


class Equality(Section):
    """How an exported form compares with PyTorch on the whole test split of `items`: the largest difference of a probability or a number,
    how many labels differ, and the form's own score against the truth, under the name that it has in metrics.json.
    """

    items: int
    max_difference: float
    labels_that_differ: int
    score: dict[str, float]


def spread(count: int, size: int) -> np.ndarray:
    """`size` places from all over `count` rows."""
    return np.linspace(0, count - 1, size).astype(np.int64)


def pieces_of(test: SplitFile) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Inputs and targets of the whole split, some rows at a time."""
    return zip(test.pieces("inputs", test.at_once), test.pieces("targets", test.at_once), strict=True)


def unit_of(model: Model) -> np.ndarray | float:
    """What the tolerance is relative to: the deviation of numbers that the network has learned standardised, else 1."""
    return 1.0 if model.meta.target is None else np.array(model.meta.target.std, dtype=np.float32)


def run_torch(model: Model, batch: np.ndarray) -> list[np.ndarray]:
    with torch.no_grad():
        return [output.numpy() for output in model(torch.from_numpy(batch))]


def check_split(
    model: Model, exported: dict[str, Run], test: Iterable[tuple[np.ndarray, np.ndarray]], tolerance: float
) -> dict[str, Equality]:
    """Each exported form on every row of the test split, whose inputs and targets come piece by piece; a UserError where one differs.

    The score is the one by which the task is trained.
    """
    worst, different, scores = dict.fromkeys(exported, 0.0), dict.fromkeys(exported, 0), dict.fromkeys(exported, 0.0)
    task, items, count, unit = model.task, 0, 0, unit_of(model)
    for inputs, targets in test:
        batch, items = model.input.part.as_batch(inputs), items + len(inputs)
        expected = run_torch(model, batch)
        count += task.score(targets, expected)[1]
        for form, run in exported.items():
            outputs = run(batch)
            worst[form] = max(worst[form], compare(task, form, "PyTorch", batch, expected, outputs, tolerance, unit))
            different[form] += sum(int((own != other).sum()) for own, other in zip(outputs[1:], expected[1:], strict=True))
            scores[form] += task.score(targets, outputs)[0]
    return {
        form: Equality(
            items=items,
            max_difference=float(f"{worst[form]:.1e}"),
            labels_that_differ=different[form],
            score={task.SCORE: round(scores[form] / count, 6)},
        )
        for form in exported
    }


def check_parity(
    model: Model, exported: dict[str, Run], inputs: np.ndarray, tolerance: float, longest: dict[str, int | None] | None = None
) -> dict[str, float]:
    """The largest difference from PyTorch of each exported form, beyond `tolerance` a UserError that says where: on batches of every size,
    of rows from all over `inputs` (some twice where there are fewer), and on the input's own hard cases.

    Besides, a row's outputs must not depend on what shares its batch, or on padding: each last row is compared with itself alone. `longest`
    are forms that take texts up to that length only, which are tried with no longer ones.
    """
    worst, part, unit = dict.fromkeys(exported, 0.0), model.input.part, unit_of(model)
    for batch in part.cases([part.as_batch(inputs[spread(len(inputs), size)]) for size in BATCH_SIZES], model.meta.input):
        expected = run_torch(model, batch)
        for form, run in exported.items():
            if batch.shape[1] > ((longest or {}).get(form) or batch.shape[1]):
                continue
            outputs = run(batch)
            worst[form] = max(worst[form], compare(model.task, form, "PyTorch", batch, expected, outputs, tolerance, unit))
            alone = run(alone_of(part, batch[-1:]))
            last = [output[-1:, : own.shape[1]] if own.ndim > 1 else output[-1:] for output, own in zip(outputs, alone, strict=True)]
            compare(model.task, f"The last row in {form}", "the same row alone", batch, alone, last, tolerance, unit)
    return worst


def alone_of(part: ModuleType, row: np.ndarray) -> np.ndarray:
    """A batch of one as it would come by itself: a text without padding."""
    lengths = part.lengths(row)
    return row if lengths is None else row[:, : max(int(lengths[0]), 1)]


def compare(
    task: ModuleType,
    form: str,
    other: str,
    batch: np.ndarray,
    expected: list[np.ndarray],
    outputs: list[np.ndarray],
    tolerance: float,
    unit: np.ndarray | float = 1.0,
) -> float:
    """Largest difference of the first output, in `unit` (a label follows from it, and may differ only in a close call)."""
    shape = "x".join(map(str, batch.shape))
    kinds, expected_kinds = ([(str(array.dtype), array.shape) for array in arrays] for arrays in (outputs, expected))
    if kinds != expected_kinds:
        raise UserError(f"{form} gives {kinds} on a batch of {shape}, but {other} gives {expected_kinds}: types or shapes differ.")
    difference = float(np.max(np.abs(outputs[0] - expected[0]) / unit, initial=0.0))
    if not difference <= tolerance:
        raise UserError(
            f"{form} differs from {other} by {difference:.3g} on a batch of {shape}, more than export.tolerance ({tolerance:g}) allows: "
            "raise the tolerance if that is acceptable, or change the architecture: not all of its parts export exactly."
        )
    if len(outputs) > 1 and np.any((outputs[1] != expected[1]) & ~task.is_close_call(expected[0], tolerance)):
        raise UserError(f"{form} gives other labels than {other} on a batch of {shape}.")
    return difference
