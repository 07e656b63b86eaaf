"""The proof that an export equals PyTorch, and above all that it fails where one does not."""

import numpy as np
import pytest
import torch

from stages.exporting.parity import check_parity, check_split, run_torch
from stages.shell.errors import UserError
from tests.exported import exported_toy
from tests.toy import TOYS


class Fake:
    """A model of a toy's task that answers otherwise."""

    def __init__(self, name, answer):
        model = exported_toy(name).model
        self.task, self.input, self.meta = model.task, model.input, model.meta
        self.answer = lambda batch: answer(model, batch)

    def __call__(self, batch):
        return self.answer(batch)


def check(name, run, model=None):
    own = exported_toy(name)
    return check_parity(model or own.model, {"ONNX": run}, own.data.splits["test"][0], 1e-4)["ONNX"]


def altered(name, change):
    """An export that gives change(batch, first output, others...)."""
    return lambda batch: change(batch, *run_torch(exported_toy(name).model, batch))


def is_strange(batch):
    """Missing features, and characters of no known code: what no test split need have."""
    return np.isnan(batch).any() if batch.dtype == np.float32 else (batch > 127).any()


LABELS, OFF = "ONNX gives other labels than PyTorch on a batch of 1x", "ONNX differs from PyTorch by "
WRONG = {
    "one batch is off": (
        "shapes",
        lambda batch, first, label: [first + (0.125 if len(batch) == 7 else 0), label],
        f"{OFF}0.125 on a batch of 7x8x8x1, more than export.tolerance (0.0001) allows: raise the ",
    ),
    "no number": ("numbers", lambda batch, first: [first * np.nan], f"{OFF}nan"),
    "other labels": ("shapes", lambda batch, first, label: [first, (label + 1) % 3], LABELS),
    "missing features": ("numbers", lambda batch, first: [first + (0.5 if is_strange(batch) else 0)], f"{OFF}0.5"),
    "unknown characters": ("words", lambda batch, first, label: [first + (0.5 if is_strange(batch) else 0), label], f"{OFF}0.5"),
    "another type": ("numbers", lambda batch, first: [first.astype(np.float64)], "ONNX gives [('float64', (1, 1))] on a batch of 1x1"),
}


@pytest.mark.parametrize(("name", "change", "sentence"), WRONG.values(), ids=WRONG)
def test_an_export_that_differs_is_refused(name, change, sentence):
    with pytest.raises(UserError) as refused:
        check(name, altered(name, change))
    assert str(refused.value).startswith(sentence)


@pytest.mark.parametrize(
    ("name", "answer"),
    [
        ("numbers", lambda model, batch: tuple(output + 0.01 * len(batch) for output in model(batch))),
        ("words", lambda model, batch: (model(batch)[0] + 0.001 * batch.shape[1], model(batch)[1])),
    ],
)
def test_rows_that_depend_on_their_batch_or_their_padding_are_refused_though_pytorch_s_do_too(name, answer):
    model = Fake(name, answer)
    with pytest.raises(UserError, match="The last row in ONNX differs from the same row alone by"):
        check(name, lambda batch: run_torch(model, batch), model)


def test_the_largest_difference_over_all_batches_is_what_is_returned():
    run = altered("numbers", lambda batch, first: [first + (3e-5 if len(batch) == 7 else 1e-5)])
    assert check("numbers", run) == pytest.approx(3e-5, rel=0.05)


def test_labels_may_differ_where_two_classes_are_as_good_as_equal_and_are_counted():
    model = Fake(
        "shapes", lambda _, batch: (torch.tensor([[0.5, 0.5, 0.0]]).repeat(len(batch), 1), torch.zeros(len(batch), dtype=torch.int64))
    )

    def run(batch):
        return [np.tile(np.float32([0.5, 0.5, 0]), (len(batch), 1)), np.ones(len(batch), dtype=np.int64)]

    assert check("shapes", run, model) == 0.0
    assert check_split(model, {"ONNX": run}, [exported_toy("shapes").data.splits["test"]], 1e-4)["ONNX"].labels_that_differ == 8


# On the whole test split


def check_whole(name, run):
    own = exported_toy(name)
    inputs, targets = own.data.splits["test"]
    pieces = [(inputs[start : start + 3], targets[start : start + 3]) for start in range(0, len(inputs), 3)]
    return check_split(own.model, {"ONNX": run}, pieces, 1e-4)["ONNX"]


@pytest.mark.parametrize("name", TOYS)
def test_every_test_item_is_compared_and_scored(name):
    own = exported_toy(name)
    result = check_whole(name, own.runs["ONNX"])
    inputs, targets = own.data.splits["test"]
    outputs = run_torch(own.model, own.data.part.as_batch(inputs))
    right = np.abs(outputs[0] - targets).mean() if len(outputs) == 1 else (outputs[1] == targets)[targets >= 0].mean()
    assert (result.items, result.labels_that_differ) == (8, 0) and result.max_difference <= 1e-4
    assert result.score == {own.model.task.SCORE: pytest.approx(right, abs=1e-6, rel=1e-6)}


def test_a_single_test_item_that_differs_is_refused():
    last = exported_toy("shapes").data.splits["test"][0][-1]

    def off(batch, first, label):
        return [first + np.all(batch == last, axis=(1, 2, 3))[:, None] * np.float32(0.01), label]

    with pytest.raises(UserError, match=r"^ONNX differs from PyTorch by 0\.01 on a batch of 2x8x8x1, more than export\.tolerance"):
        check_whole("shapes", altered("shapes", off))

    def mislabelled(batch, first, label):
        return [first, np.where(np.all(batch == last, axis=(1, 2, 3)), (label + 1) % 3, label)]

    with pytest.raises(UserError, match=r"^ONNX gives other labels than PyTorch on a batch of 2x8x8x1"):
        check_whole("shapes", altered("shapes", mislabelled))


# What is compared


def batches_of(name, inputs):
    seen = []

    def run(batch):
        seen.append(batch)
        return run_torch(exported_toy(name).model, batch)

    check_parity(exported_toy(name).model, {"ONNX": run}, inputs, 1e-4)
    return seen


def test_every_batch_size_is_tried_with_rows_from_all_over_the_split():
    inputs = np.linspace(-1, 1, 500, dtype=np.float32)[:, None]
    for rows in (inputs, inputs[:1]):
        batches = batches_of("numbers", rows)
        assert {len(batch) for batch in batches} == {1, 2, 7, 64} and {batch.dtype for batch in batches} == {rows.dtype}
        assert all(batch[0, 0] == -1 and batch[-1, 0] == rows[-1, 0] for batch in batches if len(batch) > 1 and not np.isnan(batch).any())


@pytest.mark.parametrize("name", ["words", "codes"])
def test_texts_are_tried_at_several_lengths_and_with_more_padding(name):
    inputs = exported_toy(name).data.splits["test"][0]
    batches = [batch for batch in batches_of(name, inputs) if len(batch) == 7]
    longest = max((batch != 0).sum(axis=1).max() for batch in batches)
    assert {batch.shape[1] for batch in batches} == {1, longest // 2, longest, inputs.shape[1], inputs.shape[1] + 5}
    assert all(batch.dtype == np.int64 and (batch[:, inputs.shape[1] :] == 0).all() for batch in batches)
