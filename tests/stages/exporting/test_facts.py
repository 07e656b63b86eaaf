"""What a signature says beside meta.json: what train has of each feature, hashes, and the golden input."""

import hashlib

import numpy as np
import pytest

from stages.common.signature import Feature
from stages.exporting.facts import hash_of, params_of
from stages.inputs.features import facts
from stages.shell.errors import UserError
from tests.toy import MODELS, TOYS, data_of, toy

ROWS = np.array([[1, 0, np.nan], [3, 2, np.nan], [-1, 4, np.nan], [np.nan, 0, np.nan]], dtype=np.float32)


@pytest.mark.parametrize("size", [1, 2, 4])
def test_features_are_measured_without_missing_values(size):
    pieces = [ROWS[start : start + size] for start in range(0, len(ROWS), size)]
    assert facts(toy("patients").meta, pieces, {"b": "mm"}) == [
        Feature(name="a", unit="", low=-1, high=3, mean=1, zero_is_missing=False),
        Feature(name="b", unit="mm", low=2, high=4, mean=3, zero_is_missing=True),
        Feature(name="c", unit="", low=None, high=None, mean=None, zero_is_missing=False),
    ]


def test_a_unit_of_no_feature_is_refused():
    with pytest.raises(
        UserError, match=r"^params\.yaml: datasets\.patients\.about\.units has d, which is not a feature; expected some of a, b, c\.$"
    ):
        facts(toy("patients").meta, [ROWS], {"d": "mm"})


def test_the_hash_is_of_the_files_one_after_another(tmp_path):
    for name, content in (("a", b"first"), ("b", b"second")):
        (tmp_path / name).write_bytes(content)
    assert hash_of(tmp_path / "a", tmp_path / "b") == hashlib.sha256(b"firstsecond").hexdigest()


def test_params_are_those_that_the_weights_were_trained_by():
    trained = {"architecture": {"name": "mlp"}, "data": {}, "training": {"recipe": {"lr": 0.1}, "seed": 3, "best_epoch": 2, "epochs": 3}}
    assert params_of(trained) == {"architecture": {"name": "mlp"}, "recipe": {"lr": 0.1}, "seed": 3}


@pytest.mark.parametrize("data", [*map(data_of, MODELS), *map(toy, TOYS)], ids=[*MODELS, *TOYS])
def test_the_golden_input_is_one_row_that_the_model_takes_and_nobody_s_data(data):
    row, (rows, _) = data.part.golden(data.meta.input), data.splits["test"]
    assert (row.dtype, row.ndim) == (rows.dtype, rows.ndim) and len(row) == 1
    if data.meta.input.kind != "characters":
        assert row.shape[1:] == rows.shape[1:]
    if data.meta.input.kind == "image":
        assert len(np.unique(row)) > 50, "a picture of one colour would not tell one network from another"
        assert not (row == rows).all(axis=(1, 2, 3)).any()
