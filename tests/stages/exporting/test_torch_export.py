"""model.pt2: it computes what PyTorch does, holds nobody's data and no path, and is the same bytes again."""

import io
import json
import zipfile

import numpy as np
import pytest
import torch

from stages.exporting.parity import run_torch
from stages.exporting.runners import torch_export_runner
from stages.exporting.torch_export import to_pt2
from stages.shell.errors import UserError
from tests.exported import exported_toy
from tests.toy import TOYS, toy_model

TEXTS = [name for name in TOYS if exported_toy(name).data.length]


def entries(content: bytes) -> dict[str, bytes]:
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        return {name.partition("/")[2]: archive.read(name) for name in archive.namelist()}


@pytest.mark.parametrize("count", [1, 2, 7])
@pytest.mark.parametrize("name", TOYS)
def test_batches_of_every_size_equal_pytorch(name, count):
    own = exported_toy(name)
    expected, outputs = run_torch(own.model, own.batch(count)), torch_export_runner(own.pt2, own.data.length)(own.batch(count))
    assert [(output.dtype, output.shape) for output in outputs] == [(output.dtype, output.shape) for output in expected]
    np.testing.assert_allclose(outputs[0], expected[0], atol=1e-5)
    np.testing.assert_array_equal(outputs[-1].round(4), expected[-1].round(4))


@pytest.mark.parametrize("name", TEXTS)
def test_shorter_texts_are_padded_and_their_outputs_cut_back(name):
    own = exported_toy(name)
    run = torch_export_runner(own.pt2, own.data.length)
    for width in (1, 2, own.data.length):
        batch = own.batch(5)[:, :width]
        for ours, theirs in zip(run_torch(own.model, batch), run(batch), strict=True):
            np.testing.assert_allclose(theirs, ours, atol=1e-5)


@pytest.mark.parametrize("name", TOYS)
def test_weights_are_raw_numbers_and_no_pickle(name):
    content = entries(exported_toy(name).pt2)
    for kind in ("weights", "constants"):
        for one in json.loads(content[f"data/{kind}/model_{kind}_config.json"])["config"].values():
            assert one["use_pickle"] is False


@pytest.mark.parametrize("name", TOYS)
def test_the_program_says_nothing_of_the_python_it_was_made_by(name):
    program = entries(exported_toy(name).pt2)["models/model.json"].decode()
    assert '"target": "torch.ops.aten.' in program
    assert "stack_trace" not in program and ".py" not in program and "stages." not in program


@pytest.mark.parametrize("name", TOYS)
def test_exporting_twice_gives_the_same_bytes(name):
    own = exported_toy(name)
    assert to_pt2("own", own.model, own.data.raw_batch(3)) == to_pt2("own", own.model, own.data.raw_batch(3))


def test_a_network_whose_way_depends_on_its_numbers_is_refused_in_a_sentence():
    class Choosy(torch.nn.Module):
        def forward(self, x):
            return x * 2 if x.sum() > 0 else x

    model = toy_model("numbers")
    model.network = Choosy()
    with pytest.raises(UserError, match=r"^own cannot be exported by torch\.export: \S.*\.$") as refused:
        to_pt2("own", model, torch.ones(3, 2))
    assert "\n" not in str(refused.value)
