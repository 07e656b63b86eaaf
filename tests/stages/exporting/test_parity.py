"""The proof that an export equals PyTorch, and above all that it fails where one does not."""

import numpy as np
import onnx
import onnx.numpy_helper
import pytest

from stages.exporting.parity import BATCH_SIZES, cases, check_parity, check_split, run_torch
from stages.exporting.runners import onnx_runner
from stages.shell.errors import UserError
from tests.exported import exported_toy
from tests.toy import TOYS


def inputs_of(name):
    return exported_toy(name).data.splits["test"][0]


def check(name, run, tolerance=1e-4):
    return check_parity(exported_toy(name).model, {"ONNX": run}, inputs_of(name), tolerance)


def refusal(name, run, tolerance=1e-4):
    with pytest.raises(UserError) as refused:
        check(name, run, tolerance)
    return str(refused.value)


@pytest.mark.parametrize("name", TOYS)
def test_an_export_that_is_right_passes_with_its_largest_difference(name):
    own = exported_toy(name)
    parity = check_parity(own.model, own.runs, inputs_of(name), 1e-4)
    assert parity.keys() == {"ONNX", "TorchScript"} and all(0 <= value <= 1e-4 for value in parity.values())


def test_the_largest_difference_over_all_batches_is_what_is_returned():
    own = exported_toy("numbers")

    def run(batch):
        return [output + (3e-5 if len(batch) == 7 else 1e-5) for output in run_torch(own.model, batch)]

    assert check("numbers", run)["ONNX"] == pytest.approx(3e-5, rel=0.05)


# On the whole test split


def check_whole(name, run, tolerance=1e-4, size=3):
    own = exported_toy(name)
    inputs, targets = own.data.splits["test"]
    pieces = [(inputs[start : start + size], targets[start : start + size]) for start in range(0, len(inputs), size)]
    return check_split(own.model, {"ONNX": run}, pieces, tolerance)["ONNX"]


@pytest.mark.parametrize("size", [1, 3, 100])
@pytest.mark.parametrize("name", TOYS)
def test_every_test_item_is_compared_and_scored(name, size):
    own = exported_toy(name)
    result = check_whole(name, own.runs["ONNX"], size=size)
    inputs, targets = own.data.splits["test"]
    outputs = run_torch(own.model, own.data.part.as_batch(inputs))
    right = np.abs(outputs[0] - targets).mean() if len(outputs) == 1 else (outputs[1] == targets)[targets >= 0].mean()
    score = {own.model.task.SCORE: right}
    assert (result.items, result.labels_that_differ) == (8, 0) and result.max_difference <= 1e-4
    assert result.score == {metric: pytest.approx(value, abs=1e-6) for metric, value in score.items()}


def test_a_single_test_item_that_differs_is_refused():
    own = exported_toy("shapes")
    last = own.data.splits["test"][0][-1]

    def run(batch):
        probabilities, label = run_torch(own.model, batch)
        return [probabilities + np.all(batch == last, axis=(1, 2, 3))[:, None] * np.float32(0.01), label]

    with pytest.raises(UserError, match=r"^ONNX differs from PyTorch by 0\.01 on a batch of 2x8x8x1, more than export\.tolerance"):
        check_whole("shapes", run)


def test_a_single_other_label_is_refused():
    own = exported_toy("codes")
    last = own.data.splits["test"][0][-1]

    def run(batch):
        probabilities, label = run_torch(own.model, batch)
        return [probabilities, np.where(np.all(batch == last, axis=1)[:, None] & (label == label.max()), 0, label)]

    with pytest.raises(UserError, match="ONNX gives other labels than PyTorch on a batch of 2x6"):
        check_whole("codes", run)


def test_labels_that_differ_in_a_close_call_are_counted():
    own = exported_toy("shapes")

    class Tied:
        """Two classes are as good as equal."""

        task, input = own.model.task, own.model.input

        def __call__(self, batch):
            import torch

            return torch.tensor([[0.5, 0.5, 0.0]]).repeat(len(batch), 1), torch.zeros(len(batch), dtype=torch.int64)

    def run(batch):
        return [np.tile(np.float32([0.5, 0.5, 0]), (len(batch), 1)), np.ones(len(batch), dtype=np.int64)]

    assert check_split(Tied(), {"ONNX": run}, [own.data.splits["test"]], 1e-4)["ONNX"].labels_that_differ == 8


# What is compared


@pytest.mark.parametrize("name", TOYS)
def test_every_batch_size_is_tried_though_the_split_is_smaller(name):
    assert {len(batch) for batch in cases(exported_toy(name).model, inputs_of(name))} == {1, 2, 7, 64} == set(BATCH_SIZES)
    assert {len(batch) for batch in cases(exported_toy(name).model, inputs_of(name)[:1])} == {1, 2, 7, 64}


@pytest.mark.parametrize("name", ["words", "codes"])
def test_texts_are_tried_at_several_lengths_and_with_more_padding(name):
    inputs = inputs_of(name)
    batches = [batch for batch in cases(exported_toy(name).model, inputs) if len(batch) == 7]
    longest = (batches[-1] != 0).sum(axis=1).max()
    assert {batch.shape[1] for batch in batches} == {1, longest // 2, longest, inputs.shape[1], inputs.shape[1] + 5}
    assert all(batch.dtype == np.int64 for batch in batches)
    assert all((batch[:, inputs.shape[1] :] == 0).all() for batch in batches)


@pytest.mark.parametrize("name", ["numbers", "shapes"])
def test_other_inputs_keep_their_type(name):
    assert {batch.dtype for batch in cases(exported_toy(name).model, inputs_of(name))} == {inputs_of(name).dtype}


# What is refused


@pytest.mark.parametrize("name", TOYS)
def test_a_weight_that_is_off_is_refused_by_how_much(name):
    own = exported_toy(name)
    proto = onnx.load_model_from_string(own.onnx)
    weights = [tensor for tensor in proto.graph.initializer if tensor.data_type == onnx.TensorProto.FLOAT and "network" in tensor.name]
    assert weights
    for tensor in weights:
        tensor.CopyFrom(onnx.numpy_helper.from_array(onnx.numpy_helper.to_array(tensor) + np.float32(0.3), tensor.name))
    message = refusal(name, onnx_runner(proto.SerializeToString(), own.signature, 1))
    difference = float(message.split("differs from PyTorch by ")[1].split(" ")[0])
    assert difference > 1e-4 and message.startswith("ONNX differs") and "more than export.tolerance (0.0001) allows" in message


def test_the_sentence_has_the_difference_and_the_batch_s_shape():
    own = exported_toy("shapes")

    def run(batch):
        probabilities, label = run_torch(own.model, batch)
        return [probabilities + (0.125 if len(batch) == 7 else 0), label]

    start = "ONNX differs from PyTorch by 0.125 on a batch of 7x8x8x1, more than export.tolerance (0.0001) allows: raise the "
    assert refusal("shapes", run).startswith(start)


def test_an_output_that_is_no_number_is_refused():
    own = exported_toy("numbers")
    assert "ONNX differs from PyTorch by nan" in refusal("numbers", lambda batch: [run_torch(own.model, batch)[0] * np.nan])


@pytest.mark.parametrize("name", ["shapes", "codes"])
def test_other_labels_are_refused(name):
    own = exported_toy(name)

    def run(batch):
        probabilities, label = run_torch(own.model, batch)
        return [probabilities, (label + 1) % 3]

    assert "ONNX gives other labels than PyTorch on a batch of 1x" in refusal(name, run)


def test_labels_may_differ_where_two_classes_are_as_good_as_equal():
    own = exported_toy("patients")

    class Tied:
        """A model whose two classes are closer than the tolerance."""

        task, input = own.model.task, own.model.input

        def __call__(self, batch):
            import torch

            half = torch.full((len(batch), 2), 0.5)
            return half, torch.zeros(len(batch), dtype=torch.int64)

    def run(batch):
        return [np.full((len(batch), 2), 0.5, dtype=np.float32), np.ones(len(batch), dtype=np.int64)]

    assert check_parity(Tied(), {"ONNX": run}, inputs_of("patients"), 1e-4) == {"ONNX": 0.0}


def test_an_export_whose_rows_depend_on_their_batch_is_refused():
    own = exported_toy("numbers")

    class Mixing:
        """A model that adds something of the batch's size; a faithful export of it does so too."""

        task, input = own.model.task, own.model.input

        def __call__(self, batch):
            return tuple(output + 0.01 * len(batch) for output in own.model(batch))

    def run(batch):
        return run_torch(Mixing(), batch)

    with pytest.raises(UserError, match="The last row in ONNX differs from the same row alone by"):
        check_parity(Mixing(), {"ONNX": run}, inputs_of("numbers"), 1e-4)


def test_an_export_whose_texts_depend_on_their_padding_is_refused():
    own = exported_toy("words")

    class Counting:
        """A model that looks at the width of the batch."""

        task, input = own.model.task, own.model.input

        def __call__(self, batch):
            probabilities, label = own.model(batch)
            return probabilities + 0.001 * batch.shape[1], label

    def run(batch):
        return run_torch(Counting(), batch)

    with pytest.raises(UserError, match="The last row in ONNX differs from the same row alone by"):
        check_parity(Counting(), {"ONNX": run}, inputs_of("words"), 1e-4)


def test_each_form_is_named_in_its_own_refusal():
    own = exported_toy("numbers")
    runs = {"ONNX": own.runs["ONNX"], "TorchScript": lambda batch: [run_torch(own.model, batch)[0] + 1]}
    with pytest.raises(UserError, match=r"^TorchScript differs from PyTorch by 1 on a batch of 1x1"):
        check_parity(own.model, runs, inputs_of("numbers"), 1e-4)


@pytest.mark.parametrize("name", ["numbers", "words", "codes"])
def test_an_export_that_fails_on_what_no_test_split_has_is_refused(name):
    """Missing features and characters of no known code."""
    own = exported_toy(name)

    def run(batch):
        strange = np.isnan(batch).any() if batch.dtype == np.float32 else (batch > 127).any()
        first, *others = run_torch(own.model, batch)
        return [first + (0.5 if strange else 0), *others]

    assert "differs from PyTorch by 0.5" in refusal(name, run)


@pytest.mark.parametrize("wrong", [np.float64, np.float16])
def test_an_export_of_another_type_is_refused(wrong):
    own = exported_toy("shapes")
    message = refusal("shapes", lambda batch: [output.astype(wrong) for output in run_torch(own.model, batch)])
    assert message.startswith("ONNX gives [('float") and message.endswith("types or shapes differ.")


def test_rows_come_from_all_over_the_test_split():
    inputs = np.arange(1000, dtype=np.float32).reshape(500, 2)
    for batch in cases(exported_toy("numbers").model, inputs):
        assert batch[0, 1] == 1.0 and (len(batch) == 1 or batch[-1, 1] == 999.0 or np.isnan(batch[-1, 1]))
