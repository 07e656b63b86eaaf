"""The ONNX form of every model of params.yaml, with fresh weights: what a consumer loads, and that it computes what PyTorch does."""

import copy
import json

import numpy as np
import onnx
import onnxruntime
import pytest
import torch

from stages.exporting.onnx_file import to_onnx, with_metadata
from stages.exporting.signature import describe
from stages.shell.errors import UserError
from tests.exported import LARGE, NAMES, OPSET, TOLERANCE, Exported, export, exported, exported_toy, facts_of
from tests.toy import MODELS, PARAMS, TOYS, data_of, moved_model, toy, toy_model

TEXTS = [name for name in MODELS if PARAMS["datasets"][PARAMS["models"][name]["dataset"]]["kind"] in ("names", "sequence")]
BATCHES = [
    pytest.param(name, count, marks=pytest.mark.slow) if count == 64 and name in LARGE else (name, count)
    for name in MODELS
    for count in (1, 2, 7, 64)
]
LENGTHS = [1, 2, 3, 5, 11, 40]


def session_of(own: Exported) -> onnxruntime.InferenceSession:
    return onnxruntime.InferenceSession(own.onnx, providers=["CPUExecutionProvider"])


def texts(own, lengths, width):
    """Random texts over what the model knows, padded to `width`."""
    rng = np.random.default_rng(20261120)
    known = [ord(character) for character in own.model.meta.input.alphabet or "ABCXYZabcxyz'- "]
    rows = np.zeros((len(lengths), width), dtype=np.int64)
    for row, length in zip(rows, lengths, strict=True):
        row[:length] = rng.choice(known, length)
    return rows


@pytest.mark.parametrize("name", MODELS)
def test_the_file_passes_the_checker_and_holds_all_its_weights(name):
    proto = onnx.load_model_from_string(exported(name).onnx)
    onnx.checker.check_model(proto, full_check=True)
    assert [(entry.domain, entry.version) for entry in proto.opset_import] == [("", OPSET)]
    assert all(tensor.data_location == onnx.TensorProto.DEFAULT and not tensor.external_data for tensor in proto.graph.initializer)
    num_weights = sum(weight.numel() for weight in exported(name).model.network.parameters())
    assert len(exported(name).onnx) > 0.99 * num_weights * 4  # batch normalisation is folded into the convolutions


@pytest.mark.parametrize("name", MODELS)
def test_names_types_and_shapes_are_those_that_consumers_are_promised(name):
    data, session = data_of(name), session_of(exported(name))
    shape, kind = data.meta.input.shape, data.meta.input.kind
    promised = {
        "image": ("image", "tensor(uint8)", ["batch", *shape]),
        "features": ("features", "tensor(float)", ["batch", *shape]),
        "characters": ("characters", "tensor(int64)", ["batch", "length"]),
    }
    assert [(entry.name, entry.type, entry.shape) for entry in session.get_inputs()] == [promised[kind]]
    outputs = [(entry.name, entry.type, entry.shape) for entry in session.get_outputs()]
    if data.meta.task == "regression":
        assert outputs == [("prediction", "tensor(float)", ["batch", len(data.meta.outputs)])]
    else:
        leading = ["batch", "length"] if data.meta.task == "sequence" else ["batch"]
        labels = [*leading, len(data.meta.classes)] if data.meta.task == "multilabel" else leading
        assert outputs == [("probabilities", "tensor(float)", [*leading, len(data.meta.classes)]), ("label", "tensor(int64)", labels)]


@pytest.mark.parametrize("name", MODELS)
def test_the_file_is_what_its_signature_says(name):
    own = exported(name)
    session = session_of(own)
    types = {"uint8": "tensor(uint8)", "float32": "tensor(float)", "int64": "tensor(int64)"}
    described = [own.signature.input, *own.signature.outputs]
    found = [*session.get_inputs(), *session.get_outputs()]
    assert [(entry.name, types[entry.dtype], entry.shape) for entry in described] == [
        (entry.name, entry.type, entry.shape) for entry in found
    ]
    metadata = session.get_modelmeta().custom_metadata_map
    assert json.loads(metadata["signature"]) == own.signature.model_dump()


@pytest.mark.parametrize(("name", "count"), BATCHES)
def test_batches_of_every_size_equal_pytorch(name, count):
    own = exported(name)
    differences = own.largest_differences(own.batch(count))
    assert max(differences.values()) <= TOLERANCE, differences


@pytest.mark.parametrize("length", LENGTHS)
@pytest.mark.parametrize("name", TEXTS)
def test_texts_of_every_length_equal_pytorch(name, length):
    own = exported(name)
    for count in (1, 3):
        differences = own.largest_differences(texts(own, [max(1, length - place) for place in range(count)], length))
        assert max(differences.values()) <= TOLERANCE, differences


@pytest.mark.parametrize("form", ["ONNX", "TorchScript"])
@pytest.mark.parametrize("name", TEXTS)
def test_padding_and_neighbours_do_not_change_a_text_s_outputs(name, form):
    run, lengths = exported(name).runs[form], [5, 1, 3]
    rows = texts(exported(name), lengths, 12)
    together = run(rows)
    for place, length in enumerate(lengths):
        probabilities, label = run(rows[place : place + 1, :length])
        of_characters = slice(0, length) if label.ndim == 2 else ...
        np.testing.assert_allclose(together[0][place][of_characters], probabilities[0], atol=TOLERANCE)
        np.testing.assert_array_equal(together[1][place][of_characters], label[0])


@pytest.mark.parametrize("name", [name for name in MODELS if name not in LARGE])
def test_a_row_s_outputs_depend_on_no_other_row(name):
    own = exported(name)
    batch = own.batch(7)
    for run in own.runs.values():
        np.testing.assert_allclose(run(batch)[0][3:4], run(batch[3:4])[0], atol=TOLERANCE)


# What a consumer may well send


@pytest.mark.parametrize("name", TEXTS)
def test_code_points_out_of_range_count_as_question_marks(name):
    own = exported(name)
    strange = np.array([[97, 128, -1, 20_013, 2**40]])
    asked = np.array([[97, 63, 63, 63, 63]])
    for run in own.runs.values():
        np.testing.assert_array_equal(run(strange)[0], run(asked)[0])


@pytest.mark.parametrize("name", TEXTS)
def test_a_row_of_padding_alone_does_no_harm(name):
    own = exported(name)
    rows = np.concatenate([texts(own, [4], 6), np.zeros((1, 6), dtype=np.int64)])
    for run in own.runs.values():
        assert np.isfinite(run(rows)[0]).all()
        np.testing.assert_allclose(run(rows)[0][:1], run(rows[:1])[0], atol=TOLERANCE)
    assert max(own.largest_differences(rows).values()) <= TOLERANCE


FEATURES = [name for name in MODELS if PARAMS["models"][name]["dataset"] in ("line", "hours", "diabetes")]


@pytest.mark.parametrize("name", FEATURES)
def test_a_missing_feature_is_imputed(name):
    own = exported(name)
    missing = own.batch(3).copy()
    missing[:, 0] = np.nan
    imputed = missing.copy()
    imputed[:, 0] = (own.model.meta.input.mean or [0.0])[0]
    for run in own.runs.values():
        assert np.isfinite(run(missing)[0]).all()
        np.testing.assert_allclose(run(missing)[0], run(imputed)[0], atol=1e-6)


def test_a_zero_is_missing_only_where_the_dataset_says_so():
    own = exported_toy("patients")  # 0 is missing in its second feature, whose mean is 3.5
    rows = np.array([[1, 0, 1], [1, 3.5, 1], [0, 3.5, 1]], dtype=np.float32)
    for run in own.runs.values():
        zero, mean, other = run(rows)[0]
        np.testing.assert_allclose(zero, mean, atol=1e-6)
        assert abs(other - mean).max() > 1e-4


@pytest.mark.parametrize("name", TOYS)
@pytest.mark.parametrize("opset", [13, 20])
def test_the_oldest_and_the_newest_opset_work_too(name, opset):
    own = export(name, toy_model(name), toy(name), opset)
    assert onnx.load_model_from_string(own.onnx).opset_import[0].version == opset
    assert max(own.largest_differences(own.batch(7)).values()) <= TOLERANCE


# The same bytes


@pytest.mark.parametrize("name", [name for name in MODELS if name not in LARGE])
def test_exporting_twice_gives_the_same_bytes(name):
    own = exported(name)
    again = to_onnx(moved_model(name), data_of(name).raw_batch(3), own.signature, OPSET)
    assert with_metadata(again, own.signature) == own.onnx


def test_other_weights_give_other_bytes():
    model = copy.deepcopy(moved_model("names_gru"))
    next(model.network.parameters()).data[1, 0] += 1e-3
    other = export("names_gru", model, data_of("names_gru"))
    assert other.onnx != exported("names_gru").onnx


def test_a_network_that_onnx_has_no_words_for_is_refused_in_a_sentence():
    model, data = toy_model("shapes"), toy("shapes")
    model.network = torch.nn.Sequential(torch.nn.AdaptiveAvgPool2d(3), torch.nn.Flatten(), torch.nn.Linear(9, 3))
    signature = describe("own", data.meta, NAMES, OPSET, facts_of(toy_model("shapes"), data))
    with pytest.raises(UserError, match=r"^own cannot be written as ONNX with opset \d+: .*adaptive_avg_pool2d.*") as refused:
        to_onnx(model, data.raw_batch(3), signature, OPSET)
    assert "\n" not in str(refused.value)
