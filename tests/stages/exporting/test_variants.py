"""The INT8 form of an ONNX file: what it is, and that it is offered only where params.yaml names layers and it loses little."""

import dataclasses
import json
import logging

import numpy as np
import onnx
import onnx.numpy_helper
import pytest

from stages.common.splits import SplitFile
from stages.exporting import variants
from stages.exporting.parity import Equality, check_split, run_torch
from stages.exporting.runners import onnx_runner
from stages.exporting.section import MIN_CALIBRATION_ROWS, Int8
from stages.exporting.variants import as_file, calibration_rows, make_int8, points_lost, to_int8
from stages.shell.errors import UserError
from tests.exported import exported, exported_toy

WITH_LAYERS = ["patients", "shapes", "spots"]  # before their last, which INT8 leaves as it is
BOTH = ["convolution", "linear"]
SECTION = Int8(max_points_lost=100, calibration_rows=300)


def smaller(name):
    own = exported_toy(name)
    return to_int8(own.onnx, own.signature.input.name, own.batch(40))


@pytest.mark.parametrize("name", WITH_LAYERS)
def test_the_smaller_form_is_a_whole_onnx_file_that_takes_and_gives_the_same(name):
    own, content = exported_toy(name), smaller(name)
    proto = onnx.load_model_from_string(content)
    onnx.checker.check_model(proto, full_check=True)
    assert {entry.domain for entry in proto.opset_import} <= {"", "ai.onnx.ml", "com.microsoft"}
    assert {node.domain for node in proto.graph.node} == {""}, "only what every ONNX runtime knows"
    for batch in (own.batch(1), own.batch(7)):
        expected, outputs = run_torch(own.model, batch), onnx_runner(content, own.signature, 1)(batch)
        assert [(output.dtype, output.shape) for output in outputs] == [(output.dtype, output.shape) for output in expected]
        assert np.abs(outputs[0] - expected[0]).max() <= 0.1 * max(1, np.abs(expected[0]).max())


@pytest.mark.parametrize("name", WITH_LAYERS)
def test_int8_weights_are_of_7_bits_with_a_scale_for_each_channel(name):
    proto = onnx.load_model_from_string(smaller(name))
    tensors = {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in proto.graph.initializer}
    weights = {tensor: values for tensor, values in tensors.items() if values.dtype == np.int8 and values.ndim >= 2}
    assert weights
    for tensor, values in weights.items():
        scale = tensors[tensor.replace("_quantized", "_scale")]
        assert scale.ndim == 1 and len(scale) in values.shape
        assert np.abs(values.astype(int)).max() <= 64


@pytest.mark.parametrize(
    ("kinds", "quantised"),
    [(["convolution"], {"Conv": 3, "Gemm": 0}), (["linear"], {"Conv": 0, "Gemm": 1}), (["linear", "convolution"], {"Conv": 3, "Gemm": 1})],
)
def test_layers_of_the_kinds_that_are_named_are_quantised_but_for_the_last(kinds, quantised):
    own = exported("cifar10_cnn")
    graph = onnx.load_model_from_string(to_int8(own.onnx, own.signature.input.name, own.batch(40), kinds)).graph
    made_by = {output: node.op_type for node in graph.node for output in node.output}
    layers = {kind: [node for node in graph.node if node.op_type == kind] for kind in quantised}
    on_8_bits = {kind: [made_by.get(node.input[1]) == "DequantizeLinear" for node in nodes] for kind, nodes in layers.items()}
    assert {kind: sum(flags) for kind, flags in on_8_bits.items()} == quantised
    assert len(on_8_bits["Conv"]) == 3 and len(on_8_bits["Gemm"]) == 2 and not on_8_bits["Gemm"][-1]


@pytest.mark.parametrize("name", WITH_LAYERS)
def test_making_it_twice_gives_the_same_bytes(name):
    assert smaller(name) == smaller(name)


def test_what_the_quantizer_advises_on_the_root_logger_is_not_heard(caplog):
    smaller("shapes")
    assert caplog.records == [] and logging.getLogger().level == logging.WARNING


# Which are offered


@pytest.fixture
def splits(tmp_path):
    """Files of a toy's splits, its train split with many rows."""

    def write(name, rows=MIN_CALIBRATION_ROWS):
        data = exported_toy(name).data
        many = tuple(values[np.arange(rows) % len(values)] for values in data.splits["train"])
        dataclasses.replace(data, splits=data.splits | {"train": many}).write(tmp_path / name)
        return SplitFile(tmp_path / name, "train"), SplitFile(tmp_path / name, "test")

    return write


def made(name, train, test, layers=BOTH, section=SECTION):
    own = exported_toy(name)
    parity = check_split(own.model, own.runs, [own.data.splits["test"]], 1e-4)
    signature = own.signature.model_copy(update={"model": "own", "parity": parity})
    return make_int8(own.model, own.onnx, signature, layers, section, train, test)


@pytest.mark.parametrize("name", WITH_LAYERS)
def test_it_is_offered_where_it_is_wanted_with_how_it_compares(name, splits):
    variant, content = made(name, *splits(name), layers=BOTH)
    offered = "Offered: it was measured to be faster (params.yaml), and it loses "
    assert variant.file == "model.int8.onnx" and variant.reason.startswith(offered)
    assert variant.equality.items == 8 and variant.equality.score
    file = onnx.load_model_from_string(as_file(content, exported_toy(name).signature, "int8"))
    properties = {entry.key: entry.value for entry in file.metadata_props}
    assert properties["variant"] == "int8" and json.loads(properties["signature"])["task"] == exported_toy(name).signature.task


def test_it_is_not_made_where_it_is_not_wanted(splits, monkeypatch):
    monkeypatch.setattr(variants, "to_int8", None)
    variant, content = made("shapes", *splits("shapes"), layers=[])
    assert content == b"" and variant.file is None and variant.equality is None
    assert variant.reason == "Not offered: params.yaml names no layers for which it was measured to be faster."


def test_without_enough_rows_to_calibrate_by_it_is_not_offered(splits):
    variant, content = made("shapes", *splits("shapes", rows=299))
    assert content == b"" and variant.reason == "Not offered: train has 299 rows for the calibration, but 300 are needed."


def with_weights(change):
    """A maker of a model whose weights are changed, in the place of to_int8."""

    def make(content, *_):
        proto = onnx.load_model_from_string(content)
        for tensor in proto.graph.initializer:
            if tensor.data_type == onnx.TensorProto.FLOAT and "network" in tensor.name:
                tensor.CopyFrom(onnx.numpy_helper.from_array(change(onnx.numpy_helper.to_array(tensor)), tensor.name))
        return proto.SerializeToString()

    return make


def test_it_is_not_offered_where_it_loses_too_much(splits, monkeypatch):
    monkeypatch.setattr(variants, "to_int8", with_weights(np.negative))
    variant, content = made("numbers", *splits("numbers"), section=SECTION.model_copy(update={"max_points_lost": 0.5}))
    assert content == b"" and variant.file is None
    own, data = exported_toy("numbers"), exported_toy("numbers").data.splits["test"]
    whole = check_split(own.model, own.runs, [data], 1e-4)["ONNX"].score["mae"]
    lost = 100 * (variant.equality.score["mae"] - whole) / data[1].std()
    assert lost > 0.5
    assert variant.reason == f"Not offered: it loses {lost:.2f} points on 8 test items, more than 0.5."


def test_it_is_not_offered_where_it_gives_no_numbers(splits, monkeypatch):
    monkeypatch.setattr(variants, "to_int8", with_weights(lambda weights: np.nan * weights))
    variant, content = made("numbers", *splits("numbers"))
    assert content == b"" and variant.reason.startswith("Not offered: int8 differs from PyTorch by nan")


@pytest.mark.parametrize(("name", "kind"), [("numbers", "convolution"), ("numbers", "linear"), ("patients", "convolution")])
def test_layers_that_the_model_lacks_are_refused_with_the_key_that_names_them(name, kind, splits):
    sentence = rf"^params\.yaml: models\.own\.int8 asks for .* \(it has no {kind} layer but its last\): name other layers, or \[\]\.$"
    with pytest.raises(UserError, match=sentence):
        made(name, *splits(name), layers=[kind])


def equality(**score):
    return Equality(items=8, max_difference=0, labels_that_differ=0, score=score)


@pytest.mark.parametrize(
    ("whole", "own", "targets", "lost"),
    [
        ({"accuracy": 0.95}, {"accuracy": 0.94}, [0, 1], 1),
        ({"accuracy": 0.95}, {"accuracy": 0.96}, [0, 1], -1),
        ({"mae": 0.2}, {"mae": 0.23}, [[0.0], [2.0]], 3),
        ({"mae": 0.2}, {"mae": 0.23}, [[0.0, 0.0], [2.0, 6.0]], 1.5),
        ({"mae": 0.2}, {"mae": 0.2}, [[8.0]], 0),
        ({"mae": 0.2}, {"mae": 0.3}, [[8.0]], np.inf),
        ({"mae": 0.2}, {"mae": 0.1}, [[8.0]], -np.inf),
    ],
)
def test_points_are_hundredths_of_an_accuracy_or_of_the_spread_of_the_targets(whole, own, targets, lost):
    class Split:
        count = len(targets)

        def read(self, *_):
            return np.array(targets)

    model = exported_toy("numbers" if "mae" in own else "shapes").model
    signature = exported_toy("numbers").signature.model_copy(update={"parity": {"ONNX": equality(**whole)}})
    assert points_lost(model, signature, equality(**own), Split()) == pytest.approx(lost, abs=1e-9)


def test_half_a_point_is_no_more_than_half_a_point():
    """One picture of 200: as a difference of floating-point numbers it is more."""
    assert 100 * (0.4 - 0.395) > 0.5
    assert exported_toy("shapes").model.task.points(0.4, 0.395, None) == 0.5


def test_rows_to_calibrate_by_are_from_all_over_train_and_cut_to_what_the_model_takes(splits):
    train, _ = splits("shapes", rows=400)
    signature = exported_toy("shapes").signature
    rows = calibration_rows(exported_toy("shapes").model, train, signature, 300)
    assert rows.shape == (300, *signature.input.shape[1:]) and rows.dtype == np.uint8
    narrow = signature.model_copy(update={"input": signature.input.model_copy(update={"shape": ["batch", 4, 6, 1]})})
    np.testing.assert_array_equal(calibration_rows(exported_toy("shapes").model, train, narrow, 300), rows[:, 2:6, 1:7])
