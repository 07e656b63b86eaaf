"""What signature.json says of a model, and that it is enough to use the model without this repository."""

import hashlib

import numpy as np
import pytest

from stages.common.meta import Resize
from stages.common.signature import Feature
from stages.exporting.section import Export
from stages.exporting.signature import Signature, hashes_of
from stages.inputs.features import facts
from tests.exported import SECTION, signature_of
from tests.toy import PARAMS, TOYS, toy, toy_model


def of_toy(name: str, section: Export = SECTION) -> Signature:
    return signature_of("own", toy_model(name), toy(name), section)


@pytest.mark.parametrize("name", TOYS)
def test_it_describes_the_dataset_s_inputs_and_classes_and_survives_json(name):
    meta, signature = toy(name).meta, of_toy(name)
    assert (signature.model, signature.dataset, signature.task, signature.opset) == ("own", name, meta.task, SECTION.opset)
    part = toy(name).part
    assert signature.kind == meta.input.kind and signature.input == signature.entries[0]
    assert tuple(entry.name for entry in signature.entries) == part.NAMES
    assert (signature.classes, signature.numbers, signature.alphabet) == (meta.classes, meta.outputs, meta.input.alphabet)
    assert [feature.name for feature in signature.features or []] == (
        part.table_of(meta.input).numbers if meta.input.table else meta.input.names or []
    )
    assert all(entry.meaning for entry in (signature.input, *signature.outputs))
    assert Signature.model_validate_json(signature.model_dump_json()) == signature


def test_the_names_are_those_of_params():
    names = {name: f"my_{name}" for name in ("image", "features", "characters", "probabilities", "label", "prediction")}
    section = Export.model_validate(PARAMS["export"] | {"names": names})
    signature = of_toy("codes", section)
    assert [entry.name for entry in (signature.input, *signature.outputs)] == ["my_characters", "my_probabilities", "my_label"]
    assert list(signature.golden["outputs"]) == ["my_probabilities", "my_label"]
    assert of_toy("spots", section).outputs[0].name == "my_prediction"


def test_axes_of_any_size_units_missing_values_and_how_photographs_are_resized_are_told():
    assert {
        name: [entry.dynamic_axes() for entry in (of_toy(name).input, *of_toy(name).outputs)] for name in ("spots", "words", "codes")
    } == {
        "spots": [{0: "batch"}, {0: "batch"}],
        "words": [{0: "batch", 1: "length"}, {0: "batch"}, {0: "batch"}],
        "codes": [{0: "batch", 1: "length"}] * 3,
    }
    assert of_toy("patients").input.meaning == "a, b, c: raw, not scaled. NaN is missing; so is 0 in b."
    assert of_toy("spots").outputs[0].meaning == "row (pixels), column (pixels)"
    model, resize = toy_model("shapes"), Resize(shorter_side=256, crop=224)
    model.meta = model.meta.model_copy(update={"input": model.meta.input.model_copy(update={"resize": resize})})
    assert signature_of("own", model, toy("shapes")).resize == resize


ROWS = np.array([[1, 0, np.nan], [3, 2, np.nan], [-1, 4, np.nan], [np.nan, 0, np.nan]], dtype=np.float32)


@pytest.mark.parametrize("size", [1, 2, 4])
def test_features_are_measured_without_missing_values(size):
    pieces = [ROWS[start : start + size] for start in range(0, len(ROWS), size)]
    assert facts(toy("patients").meta, pieces, {"b": "mm"}) == [
        Feature(name="a", unit="", low=-1, high=3, mean=1, zero_is_missing=False),
        Feature(name="b", unit="mm", low=2, high=4, mean=3, zero_is_missing=True),
        Feature(name="c", unit="", low=None, high=None, mean=None, zero_is_missing=False),
    ]


def test_the_hashes_are_of_the_weights_of_what_they_were_trained_by_and_of_all_splits(tmp_path):
    for name in ("checkpoint", "train", "val", "test"):
        (tmp_path / f"{name}.safetensors").write_bytes(name.encode())
    trained = {"architecture": {"name": "mlp"}, "data": {}, "training": {"recipe": {"lr": 0.1}, "seed": 3, "best_epoch": 2, "epochs": 3}}
    hashes = hashes_of(tmp_path, tmp_path, trained)
    params = b'{"architecture": {"name": "mlp"}, "recipe": {"lr": 0.1}, "seed": 3}'
    expected = [hashlib.sha256(content).hexdigest() for content in (b"checkpoint", params, b"trainvaltest")]
    assert list(hashes.values()) == expected


@pytest.mark.parametrize("name", TOYS)
def test_the_golden_input_is_one_row_that_the_model_takes_and_nobody_s_data(name):
    data = toy(name)
    row, (rows, _) = data.part.golden(data.meta.input), data.splits["test"]
    assert (row.dtype, row.ndim) == (rows.dtype, rows.ndim) and len(row) == 1
    if data.length is None:
        assert row.shape[1:] == rows.shape[1:]
    if data.meta.input.kind == "image":
        assert len(np.unique(row)) > 50, "a picture of one colour would not tell one network from another"
        assert not (row == rows).all(axis=(1, 2, 3)).any()
