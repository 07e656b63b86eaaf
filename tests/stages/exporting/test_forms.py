"""The exported forms of a model of every family: they compute what PyTorch does, are whole files, and are the same bytes from any place."""

import hashlib
import io
import json
import logging
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import onnx
import onnx.numpy_helper
import onnxruntime
import pytest
import torch

from stages.exporting.forms import (
    NODES,
    onnx_runner,
    to_int8,
    to_onnx,
    to_pt2,
    to_torchscript,
    torch_export_runner,
    torchscript_runner,
    without_advice,
)
from stages.exporting.parity import check_parity, run_torch
from stages.shell.errors import UserError
from tests.exported import LARGE, SECTION, TOLERANCE, export, exported, exported_toy, signature_of
from tests.toy import MODELS, ROOT, TINY_NGRAMS, TOYS, Data, architecture_of, build, describe, measured_on, toy, toy_model

FAMILIES = list({architecture_of(name)["name"]: name for name in MODELS}.values())
SMALL = [name for name in FAMILIES if name not in LARGE]
PT2 = ["mnist_cnn", "hello_embedding"]  # torch.export takes seconds for a model
TYPES = {"uint8": "tensor(uint8)", "float32": "tensor(float)", "int64": "tensor(int64)"}


@pytest.mark.parametrize("name", FAMILIES)
def test_a_model_of_every_family_is_one_file_that_is_what_its_signature_says_and_computes_what_pytorch_does(name):
    own = exported(name)
    proto = onnx.load_model_from_string(own.onnx)
    onnx.checker.check_model(proto, full_check=True)
    assert [(entry.domain, entry.version) for entry in proto.opset_import] == [("", SECTION.opset)]
    assert all(tensor.data_location == onnx.TensorProto.DEFAULT and not tensor.external_data for tensor in proto.graph.initializer)
    session = onnxruntime.InferenceSession(own.onnx, providers=["CPUExecutionProvider"])
    described, found = [own.signature.input, *own.signature.outputs], [*session.get_inputs(), *session.get_outputs()]
    assert [(one.name, TYPES[one.dtype], one.shape) for one in described] == [(one.name, one.type, one.shape) for one in found]
    assert json.loads(session.get_modelmeta().custom_metadata_map["signature"]) == own.signature.model_dump()
    if name in LARGE:  # a row of it takes long
        assert max(own.largest_differences(own.batch(2)).values()) <= TOLERANCE
    else:
        check_parity(own.model, own.runs, own.data.splits["test"][0], TOLERANCE)


@pytest.mark.parametrize("name", TOYS)
def test_the_oldest_and_the_newest_opset_work_too(name):
    for opset in (max(13, getattr(toy(name).part, "OPSET", 0)), 20):
        own = export(name, toy_model(name), toy(name), SECTION.model_copy(update={"opset": opset}))
        assert onnx.load_model_from_string(own.onnx).opset_import[0].version == opset
        assert max(own.largest_differences(own.batch(7)).values()) <= TOLERANCE


@pytest.mark.parametrize("name", ["words", "codes"])
def test_strange_texts_do_no_harm(name):
    own = exported_toy(name)
    strange, asked = np.array([[97, 128, -1, 20_013, 2**40]]), np.array([[97, 63, 63, 63, 63]])
    padding = np.array([[97, 98, 0], [0, 0, 0]])
    for run in own.runs.values():
        np.testing.assert_array_equal(run(strange)[0], run(asked)[0])
        assert np.isfinite(run(padding)[0]).all()
        np.testing.assert_allclose(run(padding)[0][:1], run(padding[:1])[0], atol=TOLERANCE)
    traced_short = torchscript_runner(to_torchscript(own.model, own.data.raw_batch(3)[:, :2]))
    long = np.random.default_rng(0).integers(97, 100, (4, 50))
    np.testing.assert_allclose(traced_short(long)[0], run_torch(own.model, long)[0], atol=1e-5)


def test_a_missing_feature_is_imputed_and_a_zero_only_where_the_dataset_says_so():
    own = exported_toy("patients")  # 0 is missing in its second feature, whose mean is 3.5
    rows = np.array([[1, 0, 1], [1, np.nan, 1], [1, 3.5, 1], [0, 3.5, 1]], dtype=np.float32)
    for run in own.runs.values():
        zero, missing, mean, other = run(rows)[0]
        np.testing.assert_allclose([zero, missing], [mean, mean], atol=1e-6)
        assert abs(other - mean).max() > 1e-4


def test_a_network_that_a_form_has_no_words_for_is_refused_in_a_sentence():
    model, data = toy_model("shapes"), toy("shapes")
    signature = signature_of("own", model, data)
    model.network = torch.nn.Sequential(torch.nn.AdaptiveAvgPool2d(3), torch.nn.Flatten(), torch.nn.Linear(9, 3))
    with pytest.raises(UserError, match=r"^own cannot be written as ONNX with opset \d+: .*adaptive_avg_pool2d.*\.$"):
        to_onnx(model, data.raw_batch(3), signature)

    class Choosy(torch.nn.Module):
        def forward(self, x):
            return x * 2 if x.sum() > 0 else x

    model = toy_model("numbers")
    model.network = Choosy()
    with pytest.raises(UserError, match=r"^own cannot be exported by torch\.export: \S.*\.$"):
        to_pt2("own", model, torch.ones(3, 2))


# The archives


def entries(content):
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        assert archive.testzip() is None
        assert {entry.date_time[0] for entry in archive.infolist()} == {1980}, "zip's first year: no time was set"
        return {name.partition("/")[2]: archive.read(name) for name in archive.namelist()}


def test_a_torchscript_archive_is_whole_without_debug_records_and_for_evaluation():
    for name in TOYS:
        content = entries(exported_toy(name).script)
        assert not [entry for entry in content if entry.endswith((".debug_pkl", "serialization_id"))]
        assert "data.pkl" in content and any(entry.endswith(".py") for entry in content)
        with without_advice():
            assert not torch.jit.load(io.BytesIO(exported_toy(name).script)).training


def test_a_torch_export_archive_has_raw_weights_and_says_nothing_of_the_python_it_was_made_by():
    for name in ("patients", "shapes", "codes"):
        content = entries(exported_toy(name).pt2)
        for kind in ("weights", "constants"):
            for one in json.loads(content[f"data/{kind}/model_{kind}_config.json"])["config"].values():
                assert one["use_pickle"] is False
        program = content["models/model.json"].decode()
        assert '"target": "torch.ops.aten.' in program
        assert "stack_trace" not in program and ".py" not in program and "stages." not in program


# The same bytes from any place

COMMAND = """
import hashlib, json, sys
from tests.exported import exported
from stages.exporting.forms import to_int8
result = {}
for name in json.loads(sys.argv[1]):
    own = exported(name)
    forms = [own.onnx, own.script]
    if own.signature.kind == "image":
        forms.append(to_int8(own.onnx, own.feed, own.batch(40)))
    if name in json.loads(sys.argv[2]):
        forms.append(own.pt2)
    result[name] = [hashlib.sha256(content).hexdigest() for content in forms]
print(json.dumps(result))
"""


@pytest.mark.slow
def test_the_bytes_do_not_depend_on_where_the_code_lies(tmp_path):
    """Every form of a small model of each family, by two copies of the code in folders of their own, and here."""
    processes = []
    for folder in ("a", "another place/with a longer name"):
        root = tmp_path / folder
        (root / "tests").mkdir(parents=True)
        (root / "cwd").mkdir()
        for name in ("stages", "examples", "data/schemas"):
            shutil.copytree(ROOT / name, root / name, ignore=shutil.ignore_patterns("__pycache__"))
        for name in ("params.yaml", "tests/toy.py", "tests/exported.py"):
            shutil.copy(ROOT / name, root / name)
        command, environment = [sys.executable, "-c", COMMAND, json.dumps(SMALL), json.dumps(PT2)], os.environ | {"PYTHONPATH": str(root)}
        processes.append(subprocess.Popen(command, cwd=root / "cwd", env=environment, stdout=subprocess.PIPE, text=True))
    first, second = (json.loads(process.communicate()[0]) for process in processes)
    assert first == second and list(first) == SMALL
    assert [hashes[0] for hashes in first.values()] == [hashlib.sha256(exported(name).onnx).hexdigest() for name in SMALL]


def test_no_path_of_the_machine_is_in_a_file():
    # As they would stand in a traceback or a debug record.
    paths = [path.encode() for path in (str(ROOT), sys.prefix, f"{sys.base_prefix}/", "site-packages", f"{Path.home()}/")]
    for name in SMALL:
        own = exported(name)
        contents = {"onnx": own.onnx, **entries(own.script), **(entries(own.pt2) if name in PT2 else {})}
        assert [(name, entry, path) for entry, content in contents.items() for path in paths if path in content] == []


def test_texts_may_have_any_number_of_classes_at_once():
    """Many more than the shortest text has characters, in every form."""
    classes, texts = [f"class {number}" for number in range(30)], toy("zines").splits
    targets = np.random.default_rng(0).integers(0, 2, (24, 30)).astype(np.uint8)
    splits = {split: (inputs, targets[: len(inputs)]) for split, (inputs, _) in texts.items()}
    data = Data(describe("own", toy("zines").meta.input, "multilabel", classes, None, splits), splits)
    own = export("own", measured_on(data, build(TINY_NGRAMS, data.meta, 0)), data)
    runs = own.runs | {"torch.export": torch_export_runner(own.pt2, data.length)}
    assert check_parity(own.model, runs, splits["test"][0], TOLERANCE, {"torch.export": data.length}).keys() == runs.keys()


# INT8

WITH_LAYERS = ["patients", "shapes", "spots"]  # before their last, which INT8 leaves as it is


@pytest.mark.parametrize("name", WITH_LAYERS)
def test_the_smaller_form_takes_and_gives_the_same_with_weights_of_7_bits_and_a_scale_for_each_channel(name, caplog):
    own = exported_toy(name)
    content = to_int8(own.onnx, own.feed, own.batch(40))
    assert caplog.records == [] and logging.root.manager.disable == logging.NOTSET, "only its advice is not heard"
    proto = onnx.load_model_from_string(content)
    onnx.checker.check_model(proto, full_check=True)
    assert {node.domain for node in proto.graph.node} == {""}, "only what every ONNX runtime knows"
    for batch in (own.batch(1), own.batch(7)):
        expected, outputs = run_torch(own.model, batch), onnx_runner(content, own.signature, 1, own.feed)(batch)
        assert [(output.dtype, output.shape) for output in outputs] == [(output.dtype, output.shape) for output in expected]
        assert np.abs(outputs[0] - expected[0]).max() <= 0.1 * max(1, np.abs(expected[0]).max())
    tensors = {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in proto.graph.initializer}
    weights = {tensor: values for tensor, values in tensors.items() if values.dtype == np.int8 and values.ndim >= 2}
    assert weights
    for tensor, values in weights.items():
        scale = tensors[tensor.replace("_quantized", "_scale")]
        assert scale.ndim == 1 and len(scale) in values.shape and np.abs(values.astype(int)).max() <= 64


@pytest.mark.parametrize(
    ("kinds", "quantised"),
    [(["convolution"], {"Conv": 3, "Gemm": 0}), (["linear"], {"Conv": 0, "Gemm": 1}), (list(NODES), {"Conv": 3, "Gemm": 1})],
)
def test_layers_of_the_kinds_that_are_named_are_quantised_but_for_the_last(kinds, quantised):
    own = exported("cifar10_cnn")
    graph = onnx.load_model_from_string(to_int8(own.onnx, own.feed, own.batch(40), kinds)).graph
    made_by = {output: node.op_type for node in graph.node for output in node.output}
    layers = {kind: [node for node in graph.node if node.op_type == kind] for kind in quantised}
    on_8_bits = {kind: [made_by.get(node.input[1]) == "DequantizeLinear" for node in nodes] for kind, nodes in layers.items()}
    assert {kind: sum(flags) for kind, flags in on_8_bits.items()} == quantised
    assert len(on_8_bits["Conv"]) == 3 and len(on_8_bits["Gemm"]) == 2 and not on_8_bits["Gemm"][-1]
