import json

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from stages.common.splits import SplitFile, SplitWriter, hold_out, read_split
from stages.shell.errors import UserError


def test_chunks_are_joined_in_order_as_safetensors_reads_them(tmp_path):
    inputs, targets = np.random.default_rng(0).integers(0, 256, (10, 3, 2)).astype(np.uint8), np.arange(10)
    with SplitWriter(tmp_path / "train.safetensors", (3, 2), "uint8", (), "int64") as writer:
        for start, end in ((0, 4), (4, 4), (4, 10)):
            writer.add(inputs[start:end], targets[start:end])
    loaded = load_file(tmp_path / "train.safetensors")
    assert loaded["inputs"].dtype == np.uint8 and loaded["targets"].dtype == np.int64
    assert loaded["inputs"].tolist() == inputs.tolist() and loaded["targets"].tolist() == targets.tolist()
    assert [path.name for path in tmp_path.iterdir()] == ["train.safetensors"]


def test_the_bytes_do_not_depend_on_the_chunks(tmp_path):
    values = np.arange(12, dtype=np.float32).reshape(6, 2)
    for name, step in (("one", 1), ("all", 6)):
        with SplitWriter(tmp_path / name, (2,), "float32", (2,), "float32") as writer:
            for start in range(0, 6, step):
                writer.add(values[start : start + step], -values[start : start + step])
    assert (tmp_path / "one").read_bytes() == (tmp_path / "all").read_bytes()


def test_an_empty_split_is_read_back_with_its_shape(tmp_path):
    with SplitWriter(tmp_path / "val.safetensors", (5,), "int16", (5,), "int64"):
        pass
    inputs, targets = read_split(tmp_path, "val")
    assert (inputs.shape, inputs.dtype, targets.shape, targets.dtype) == ((0, 5), np.int16, (0, 5), np.int64)


def test_tensors_begin_at_a_multiple_of_eight_bytes(tmp_path):
    with SplitWriter(tmp_path / "a.safetensors", (1,), "int16", (), "int64") as writer:
        writer.add(np.zeros((4, 1)), np.zeros(4))
    content = (tmp_path / "a.safetensors").read_bytes()
    length = int.from_bytes(content[:8], "little")
    assert length % 8 == 0 and json.loads(content[8 : 8 + length])["inputs"]["dtype"] == "I16"


def test_an_error_in_the_block_leaves_nothing(tmp_path):
    with pytest.raises(RuntimeError), SplitWriter(tmp_path / "a.safetensors", (1,), "uint8", (), "int64") as writer:
        writer.add(np.zeros((4, 1)), np.zeros(4))
        raise RuntimeError
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("inputs", "targets", "sentence"),
    [((2, 3), (2,), "inputs of shape"), ((2, 2), (2, 1), "targets of shape"), ((2, 2), (3,), "2 inputs and 3 targets")],
)
def test_a_chunk_of_another_shape_is_refused(tmp_path, inputs, targets, sentence):
    with (
        pytest.raises(ValueError, match=sentence),
        SplitWriter(tmp_path / "a.safetensors", (2,), "uint8", (), "int64") as writer,
    ):
        writer.add(np.zeros(inputs), np.zeros(targets))


def test_a_damaged_or_missing_file_is_named(tmp_path):
    (tmp_path / "test.safetensors").write_bytes(b"\xff" * 20)
    with pytest.raises(UserError, match=r"test\.safetensors is damaged"):
        read_split(tmp_path, "test")
    with pytest.raises(UserError, match=r"train\.safetensors is missing"):
        read_split(tmp_path, "train")


def test_a_file_with_fewer_targets_than_inputs_is_damaged(tmp_path):
    save_file({"inputs": np.zeros((3, 1), np.float32), "targets": np.zeros(2, np.int64)}, tmp_path / "test.safetensors")
    with pytest.raises(UserError, match=r"test\.safetensors is damaged \(it has 3 inputs and 2 targets\)"):
        read_split(tmp_path, "test")


def test_rows_are_read_from_any_places(tmp_path):
    with SplitWriter(tmp_path / "test.safetensors", (2,), "float32", (), "int64") as writer:
        writer.add(np.arange(12).reshape(6, 2), np.arange(6))
    file = SplitFile(tmp_path, "test")
    assert file.take("inputs", [4, 0, 4]).tolist() == [[8, 9], [0, 1], [8, 9]] and file.take("targets", []).tolist() == []
    assert [piece.tolist() for piece in file.pieces("targets", 4)] == [[0, 1, 2, 3], [4, 5]]


@pytest.mark.parametrize("seed", range(5))
def test_the_share_held_out_is_exact_and_spread_over_the_labels(seed):
    rng = np.random.default_rng(seed)
    labels = rng.choice(7, size=1000, p=rng.dirichlet(np.ones(7)))
    held_out = hold_out(labels, 0.137, seed)
    assert held_out.sum() == 137
    for label in np.unique(labels):
        assert abs(held_out[labels == label].sum() - 0.137 * (labels == label).sum()) < 1


def test_the_seed_alone_chooses_what_is_held_out():
    labels = np.arange(100) % 3
    assert hold_out(labels, 0.3, 1).tolist() == hold_out(labels, 0.3, 1).tolist() != hold_out(labels, 0.3, 2).tolist()


def test_nothing_is_held_out_of_nothing_or_at_a_share_of_zero():
    assert hold_out(np.empty(0, dtype=np.int64), 0.5, 0).tolist() == []
    assert not hold_out(np.zeros(10), 0.0, 0).any()
