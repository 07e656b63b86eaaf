"""Smaller forms of an ONNX file: what they are, and that only those are offered that params.yaml names and that lose little."""

import dataclasses
import json
import logging

import numpy as np
import onnx
import onnx.numpy_helper
import pytest

from stages.common.errors import UserError
from stages.common.splits import SplitFile
from stages.exporting import variants
from stages.exporting.parity import Equality, check_split, run_torch
from stages.exporting.runners import onnx_runner
from stages.exporting.section import MIN_CALIBRATION_ROWS, Variants, Wanted
from stages.exporting.variants import as_file, calibration_rows, make_variants, points_lost, to_fp16, to_int8
from tests.exported import exported, exported_toy
from tests.toy import TOYS

WITHOUT_RECURRENCE = ["numbers", "patients", "shapes", "spots"]
CRASHING = ["codes"]  # of its FP16 form a session of ONNX Runtime crashes
WITH_LAYERS = ["patients", "shapes", "spots"]  # before their last, which INT8 leaves as it is
FORMS = [*((name, "int8") for name in WITH_LAYERS), *((name, "fp16") for name in TOYS if name not in CRASHING)]
SECTION = Variants(max_points_lost=100, calibration_rows=300)
BOTH, FP16 = Wanted(int8=["convolution", "linear"], fp16=True), Wanted(int8=[], fp16=True)


def smaller(name, form):
    own = exported_toy(name)
    return to_int8(own.onnx, own.signature.input.name, own.batch(40)) if form == "int8" else to_fp16(own.onnx)


@pytest.mark.parametrize(("name", "form"), FORMS)
def test_a_smaller_form_is_a_whole_onnx_file_that_takes_and_gives_the_same(name, form):
    own, content = exported_toy(name), smaller(name, form)
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
    proto = onnx.load_model_from_string(smaller(name, "int8"))
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


@pytest.mark.parametrize("name", WITHOUT_RECURRENCE)
def test_fp16_halves_the_weights(name):
    proto = onnx.load_model_from_string(smaller(name, "fp16"))
    assert {tensor.data_type for tensor in proto.graph.initializer if len(tensor.dims) >= 2} == {onnx.TensorProto.FLOAT16}


@pytest.mark.parametrize(("name", "form"), FORMS)
def test_making_it_twice_gives_the_same_bytes(name, form):
    assert smaller(name, form) == smaller(name, form)


def test_what_the_quantizer_advises_on_the_root_logger_is_not_heard(caplog):
    smaller("shapes", "int8")
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


def made(name, section, train, test, wanted=BOTH):
    own = exported_toy(name)
    pieces = [own.data.splits["test"]]
    parity = check_split(own.model, own.runs, pieces, 1e-4)
    signature = own.signature.model_copy(update={"model": "own", "parity": parity})
    result = list(make_variants(own.model, own.onnx, signature, wanted, section, train, test))
    return {form: variant for form, variant, _ in result}, {form: content for form, _, content in result}


@pytest.mark.parametrize("name", [name for name in TOYS if name not in CRASHING])
def test_a_form_that_is_wanted_is_offered_with_how_it_compares(name, splits):
    offered, content = made(name, SECTION, *splits(name), BOTH if name in WITH_LAYERS else FP16)
    assert offered.keys() == {"int8", "fp16"}
    if name not in WITH_LAYERS:
        offered.pop("int8")
    for form, variant in offered.items():
        assert variant.file == f"model.{form}.onnx" and variant.reason.startswith(
            "Offered, for params.yaml says that it was measured to be faster; it loses "
        )
        assert variant.equality.items == 8 and variant.equality.score
        file = onnx.load_model_from_string(as_file(content[form], exported_toy(name).signature, form))
        properties = {entry.key: entry.value for entry in file.metadata_props}
        assert properties["variant"] == form and json.loads(properties["signature"])["task"] == exported_toy(name).model.task


def test_a_form_that_is_not_wanted_is_not_made(splits, monkeypatch):
    monkeypatch.setattr(variants, "to_int8", None)
    monkeypatch.setattr(variants, "to_fp16", None)
    offered, content = made("shapes", SECTION, *splits("shapes"), Wanted(int8=[], fp16=False))
    assert content == {"int8": b"", "fp16": b""}
    for variant in offered.values():
        assert variant.file is None and variant.equality is None
        assert variant.reason == "Not offered: params.yaml does not say that it was measured to be faster."


def test_int8_without_enough_rows_to_calibrate_by_is_not_offered(splits):
    offered, content = made("shapes", SECTION, *splits("shapes", rows=299))
    assert offered["int8"].reason == "Not offered: train has 299 rows to calibrate by, and 300 are needed."
    assert content["int8"] == b"" and offered["fp16"].file == "model.fp16.onnx"


def test_a_form_that_loses_too_much_is_not_offered(splits, monkeypatch):
    def ruined(content):
        proto = onnx.load_model_from_string(content)
        for tensor in proto.graph.initializer:
            if tensor.data_type == onnx.TensorProto.FLOAT and "network" in tensor.name:
                tensor.CopyFrom(onnx.numpy_helper.from_array(-onnx.numpy_helper.to_array(tensor), tensor.name))
        return proto.SerializeToString()

    monkeypatch.setattr(variants, "to_fp16", ruined)
    train, test = splits("numbers")
    offered, content = made("numbers", SECTION.model_copy(update={"max_points_lost": 0.5}), train, test, FP16)
    assert content["fp16"] == b"" and offered["fp16"].file is None
    own, data = exported_toy("numbers"), exported_toy("numbers").data.splits["test"]
    whole = check_split(own.model, own.runs, [data], 1e-4)["ONNX"].score["mae"]
    lost = 100 * (offered["fp16"].equality.score["mae"] - whole) / data[1].std()
    assert lost > 0.5
    assert offered["fp16"].reason == f"Not offered: it loses {lost:.2f} points on 8 test items, more than 0.5."


def test_a_form_that_gives_no_numbers_is_not_offered(splits, monkeypatch):
    def overflowing(content):
        proto = onnx.load_model_from_string(content)
        for tensor in proto.graph.initializer:
            if tensor.data_type == onnx.TensorProto.FLOAT and "network" in tensor.name:
                tensor.CopyFrom(onnx.numpy_helper.from_array(np.nan * onnx.numpy_helper.to_array(tensor), tensor.name))
        return proto.SerializeToString()

    monkeypatch.setattr(variants, "to_fp16", overflowing)
    offered, content = made("numbers", SECTION, *splits("numbers"), FP16)
    assert content["fp16"] == b"" and offered["fp16"].reason.startswith("Not offered: fp16 differs from PyTorch by nan")


def test_a_form_that_cannot_be_made_is_said_with_the_key_that_names_it(splits):
    reason = r"ONNX Runtime does not load it \(exit code -?\d+\)"
    sentence = rf"^params\.yaml: models\.own\.variants\.fp16 asks for a form that cannot be made \({reason}\): set it to false\.$"
    with pytest.raises(UserError, match=sentence):
        made("codes", SECTION, *splits("codes"), FP16)


@pytest.mark.parametrize(("name", "kind"), [("numbers", "convolution"), ("numbers", "linear"), ("patients", "convolution")])
def test_int8_of_layers_that_the_model_lacks_is_said_with_the_key_that_names_them(name, kind, splits):
    sentence = (
        rf"^params\.yaml: models\.own\.variants\.int8 asks for .* \(it has no {kind} layer but its last\): name other layers, or \[\]\.$"
    )
    with pytest.raises(UserError, match=sentence):
        made(name, SECTION, *splits(name), Wanted(int8=[kind], fp16=False))


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

    signature = exported_toy("numbers").signature.model_copy(update={"parity": {"ONNX": equality(**whole)}})
    assert points_lost(signature, equality(**own), Split()) == pytest.approx(lost, abs=1e-9)


def test_half_a_point_is_no_more_than_half_a_point():
    """One picture of 200: as a difference of floating-point numbers it is more."""
    assert 100 * (0.4 - 0.395) > 0.5
    signature = exported_toy("shapes").signature.model_copy(update={"parity": {"ONNX": equality(accuracy=0.4)}})
    assert points_lost(signature, equality(accuracy=0.395), None) == 0.5


def test_rows_to_calibrate_by_are_from_all_over_train_and_cut_to_what_the_model_takes(splits):
    train, _ = splits("shapes", rows=400)
    signature = exported_toy("shapes").signature
    rows = calibration_rows(train, signature, 300)
    assert rows.shape == (300, *signature.input.shape[1:]) and rows.dtype == np.uint8
    narrow = signature.model_copy(update={"input": signature.input.model_copy(update={"shape": ["batch", 4, 6, 1]})})
    np.testing.assert_array_equal(calibration_rows(train, narrow, 300), rows[:, 2:6, 1:7])
