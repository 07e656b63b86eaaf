"""The exported file of a table's model: raw words and numbers in, and what PyTorch makes of them out."""

import numpy as np
import onnx
import onnxruntime
import pytest
import torch

from examples.cells import reader_of
from stages.common.meta import Column
from stages.exporting.parity import check_parity, check_split, run_torch
from stages.inputs import table
from stages.shell.errors import UserError
from tests.exported import SECTION, export, exported_toy
from tests.toy import NUMBER, TINY_TABLE, Data, build, describe, measured, table_of

FLAG = Column(type="category", levels=["NA", "dé", "x"])


def only(columns, rows):
    """A model of a table of such columns alone."""
    rows = np.array(rows, np.float32)
    splits = dict.fromkeys(("train", "val", "test"), (rows, (np.arange(len(rows)) % 3).astype(np.int64)))
    data = Data(describe("own", measured(table_of(columns), rows), "multiclass", ["a", "b", "c"], None, splits), splits)
    torch.manual_seed(0)
    return export("own", build(TINY_TABLE, data.meta), data)


MADE = {
    "yachts": lambda: exported_toy("yachts"),
    "yields": lambda: exported_toy("yields"),
    "only numbers": lambda: only({"a": NUMBER, "b": NUMBER}, [[1, np.nan], [2, 5], [4, 6], [7, 7]]),
    "only categories": lambda: only({"a": FLAG, "b": FLAG}, [[2, 3], [4, 1], [2, 3], [4, 4]]),
}


@pytest.mark.parametrize("name", MADE)
def test_it_gives_what_pytorch_gives_with_unknown_words_gaps_and_extreme_numbers(name):
    own = MADE[name]()
    inputs, targets = own.data.splits["test"]
    differences = check_parity(own.model, own.runs, inputs, 1e-4)
    assert set(differences) == {"ONNX", "TorchScript"}
    whole = check_split(own.model, own.runs, [(inputs, targets)], 1e-4)["ONNX"]
    assert (whole.items, whole.labels_that_differ) == (len(inputs), 0)
    strange = np.concatenate(list(table.cases([inputs], own.data.meta.input)))
    assert all(np.isfinite(output).all() for output in own.runs["ONNX"](strange))


@pytest.mark.parametrize("name", MADE)
def test_it_takes_only_what_the_model_needs_by_operators_that_all_runtimes_know(name):
    own = MADE[name]()
    proto = onnx.load_model_from_string(own.onnx)
    wanted = {"only numbers": ["features"], "only categories": ["categories"]}.get(name, ["features", "categories"])
    assert [value.name for value in proto.graph.input] == [entry.name for entry in own.signature.entries] == wanted
    kinds = {value.name: value.type.tensor_type.elem_type for value in proto.graph.input}
    assert kinds == {one: {"features": onnx.TensorProto.FLOAT, "categories": onnx.TensorProto.STRING}[one] for one in wanted}
    opsets = {one.domain: one.version for one in proto.opset_import}
    assert opsets == {"": own.signature.opset} | ({"ai.onnx.ml": 2} if "categories" in wanted else {})
    assert {node.op_type for node in proto.graph.node if node.domain} == ({"LabelEncoder"} if "categories" in wanted else set())
    assert len({value.type.tensor_type.shape.dim[0].dim_param for value in (*proto.graph.input, *proto.graph.output)}) == 1


def test_raw_cells_give_what_their_rows_give_and_words_are_taken_as_they_stand():
    """From text by the signature alone; the rows, which the model was made of, are what PyTorch is asked with."""
    own = exported_toy("yachts")
    raw = [
        {"length": "12.5", "built": "1970-01-03 00:00", "flag": "dé", "harbour": "harbour 9"},
        {"length": "", "built": "", "flag": "", "harbour": " "},
        {"length": "nan", "built": "1970-01-03 12:00", "flag": "de\u0301", "harbour": "Harbour 9"},
        {"length": "1e30", "built": "9999-12-31 23:59", "flag": "white, red", "harbour": "harbour 1"},
        {"length": "-3", "built": "1969-12-31 00:01", "flag": "NA", "harbour": "1e400"},
    ]
    rows = [[12.5, 2, 0, 3, 11], [np.nan, np.nan, np.nan, 1, 1], [np.nan, 2, 43200, 3, 0], [1e30, 2932896, 86340, 4, 3], [-3, -1, 60, 2, 0]]
    columns = {name: column.spec() for name, column in own.signature.columns.items()}
    read = [{name: reader_of(columns[name])(cell) for name, cell in row.items()} for row in raw]
    numbers = np.array([[row["length"], *row["built"]] for row in read], dtype=np.float32)
    words = np.array([[row[name] for name in own.signature.categories] for row in read], dtype=object)
    assert [feature.name for feature in own.signature.features] == ["length", "built", "built (second of the day)"]
    session = onnx_session(own)
    outputs = session.run(None, {"features": numbers, "categories": words})
    for given, expected in zip(outputs, run_torch(own.model, np.array(rows, np.float32)), strict=True):
        np.testing.assert_allclose(given, expected, atol=1e-6)


def onnx_session(own):
    from onnxruntime import InferenceSession

    return InferenceSession(own.onnx, providers=["CPUExecutionProvider"])


@pytest.mark.parametrize(("share", "is_right"), [(0.9, True), (1.1, False)])
def test_numbers_may_differ_by_the_tolerance_in_deviations_of_each_target(share, is_right):
    own, std = exported_toy("yields"), np.array(exported_toy("yields").data.meta.target.std, dtype=np.float64)
    assert std[0] > 1e3 and std[1] < 0.1
    for place in (0, 1):
        off = np.zeros(2)
        off[place] = share * 1e-2 * std[place]

        def run(batch, off=off):
            return [(run_torch(own.model, batch)[0] + off).astype(np.float32)]

        if is_right:
            assert check_parity(own.model, {"ONNX": run}, own.data.splits["test"][0], 1e-2)["ONNX"] == pytest.approx(9e-3, rel=0.05)
        else:
            with pytest.raises(UserError, match=r"^ONNX differs from PyTorch by 0\.011 on a batch of 1x3"):
                check_parity(own.model, {"ONNX": run}, own.data.splits["test"][0], 1e-2)


@pytest.mark.parametrize("name", ["yachts", "shapes"])
def test_it_says_the_class_in_words_where_that_is_asked_for(name):
    plain = exported_toy(name)
    section = SECTION.model_copy(update={"names": {"class": "verdict"}})
    own = export("own", plain.model, plain.data, section)
    assert plain.signature.class_name is None and "class_name" not in plain.signature.model_dump()
    session = onnxruntime.InferenceSession(own.onnx)
    label, words = session.run(["label", "verdict"], own.feed(own.batch(8)))
    assert words.tolist() == [own.signature.classes[place] for place in label]
    assert own.signature.class_name.name == "verdict"


def test_a_regression_has_no_class_to_say():
    plain = exported_toy("yields")
    section = SECTION.model_copy(update={"names": {"class": "verdict"}})
    assert export("own", plain.model, plain.data, section).signature.class_name is None
