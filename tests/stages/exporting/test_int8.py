"""INT8 is offered only where params.yaml names layers and it loses little."""

import dataclasses

import numpy as np
import onnx
import onnx.numpy_helper
import pytest

from stages.common.splits import SplitFile
from stages.exporting import forms
from stages.exporting.forms import calibration_rows, make_int8
from stages.exporting.parity import check_split
from stages.exporting.section import MIN_CALIBRATION_ROWS, Int8
from stages.modelling.model import Model
from stages.shell.errors import UserError
from tests.exported import exported_toy

SECTION = Int8(max_points_lost=100, calibration_rows=300)


@pytest.fixture
def splits(tmp_path):
    """Files of a toy's splits, its train split with many rows."""

    def write(name, rows=MIN_CALIBRATION_ROWS):
        data = exported_toy(name).data
        many = tuple(values[np.arange(rows) % len(values)] for values in data.splits["train"])
        dataclasses.replace(data, splits=data.splits | {"train": many}).write(tmp_path / name)
        return SplitFile(tmp_path / name, "train"), SplitFile(tmp_path / name, "test")

    return write


def made(name, train, test, layers=("convolution", "linear"), section=SECTION):
    own = exported_toy(name)
    parity = check_split(own.model, own.runs, [own.data.splits["test"]], 1e-4)
    signature = own.signature.model_copy(update={"model": "own", "parity": parity})
    return make_int8(own.model, own.onnx, signature, layers, section, train, test)


@pytest.mark.parametrize("name", ["patients", "shapes", "spots"])
def test_it_is_offered_where_it_is_wanted_with_how_it_compares(name, splits):
    variant, content = made(name, *splits(name))
    offered = "Offered: it was measured to be faster (params.yaml), and it loses "
    assert content and variant.file == "model.int8.onnx" and variant.reason.startswith(offered)
    assert variant.equality.items == 8 and variant.equality.score


def test_it_is_not_made_where_it_is_not_wanted_or_cannot_be_calibrated(splits, monkeypatch):
    monkeypatch.setattr(forms, "to_int8", None)
    variant, content = made("shapes", *splits("shapes"), layers=[])
    assert content == b"" and variant.file is None and variant.equality is None
    assert variant.reason == "Not offered: params.yaml names no layers for which it was measured to be faster."
    variant, content = made("shapes", *splits("words", rows=299))
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


def test_it_is_not_offered_where_it_loses_too_much_or_gives_no_numbers(splits, monkeypatch):
    files = splits("numbers")
    monkeypatch.setattr(forms, "to_int8", with_weights(np.negative))
    variant, content = made("numbers", *files, section=SECTION.model_copy(update={"max_points_lost": 0.5}))
    assert content == b"" and variant.file is None
    own, data = exported_toy("numbers"), exported_toy("numbers").data.splits["test"]
    whole = check_split(own.model, own.runs, [data], 1e-4)["ONNX"].score["mae"]
    lost = 100 * (variant.equality.score["mae"] - whole) / data[1].std()
    assert lost > 0.5 and variant.reason == f"Not offered: it loses {lost:.2f} points on 8 test items, more than 0.5."

    monkeypatch.setattr(forms, "to_int8", with_weights(lambda weights: np.nan * weights))
    variant, content = made("numbers", *files)
    assert content == b"" and variant.reason.startswith("Not offered: int8 differs from PyTorch by nan")


@pytest.mark.parametrize(("name", "kind"), [("numbers", "linear"), ("patients", "convolution")])
def test_layers_that_the_model_lacks_are_refused_with_the_key_that_names_them(name, kind, splits):
    sentence = rf"^params\.yaml: models\.own\.int8 asks for .* \(it has no {kind} layer but its last\): name other layers, or \[\]\.$"
    with pytest.raises(UserError, match=sentence):
        made(name, *splits(name), layers=[kind])


def test_rows_to_calibrate_by_are_from_all_over_train_and_cut_to_what_the_model_takes(splits):
    train, _ = splits("shapes", rows=400)
    own = exported_toy("shapes")
    rows = calibration_rows(own.model, train, 300)
    assert rows.shape == (300, *own.signature.input.shape[1:]) and rows.dtype == np.uint8
    smaller = own.data.meta.input.model_copy(update={"shape": [4, 6, 1]})
    narrow = Model(own.model.network, own.data.meta.model_copy(update={"input": smaller}))
    np.testing.assert_array_equal(calibration_rows(narrow, train, 300), rows[:, 2:6, 1:7])
