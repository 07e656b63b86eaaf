"""The TorchScript form: what it computes is compared beside ONNX in test_onnx_file; here is what it is."""

import io
import warnings
import zipfile

import numpy as np
import pytest
import torch

from stages.exporting.torchscript import to_torchscript, without_source_paths
from tests.exported import exported_toy
from tests.toy import TOYS


def load(content):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return torch.jit.load(io.BytesIO(content), map_location="cpu")


@pytest.mark.parametrize("name", TOYS)
def test_a_loaded_script_gives_the_outputs_of_the_model_by_position(name):
    own = exported_toy(name)
    for count in (1, 5):
        inputs = own.data.raw_batch(count)
        with torch.no_grad():
            for ours, theirs in zip(own.model(inputs), load(own.script)(inputs), strict=True):
                torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("name", TOYS)
def test_the_archive_has_no_debug_records_and_is_whole(name):
    with zipfile.ZipFile(io.BytesIO(exported_toy(name).script)) as archive:
        assert archive.testzip() is None
        names = archive.namelist()
    assert not [entry for entry in names if entry.endswith((".debug_pkl", "serialization_id"))]
    assert any(entry.endswith("data.pkl") for entry in names) and any(entry.endswith(".py") for entry in names)


def test_the_archive_is_written_for_evaluation():
    assert not load(exported_toy("shapes").script).training


def test_removing_what_depends_on_the_place_removes_nothing_else():
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for name in ("m/data.pkl", "m/code/a.py", "m/code/a.py.debug_pkl", "m/constants/0", "m/.data/serialization_id"):
            archive.writestr(name, name * 3)
    with zipfile.ZipFile(io.BytesIO(without_source_paths(file.getvalue()))) as archive:
        assert {name: archive.read(name).decode() for name in archive.namelist()} == {
            name: name * 3 for name in ("m/data.pkl", "m/code/a.py", "m/constants/0")
        }


@pytest.mark.parametrize("name", ["words", "codes"])
def test_a_script_made_from_short_texts_takes_long_ones(name):
    own = exported_toy(name)
    script = load(to_torchscript(own.model, own.data.raw_batch(3)[:, :2]))
    long = torch.from_numpy(np.random.default_rng(0).integers(97, 100, (4, 50)))
    with torch.no_grad():
        torch.testing.assert_close(script(long)[0], own.model(long)[0], atol=1e-5, rtol=1e-5)
