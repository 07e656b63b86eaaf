import itertools
import json

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from stages.common.splits import SplitFile, SplitWriter, by_split, choose_splits, hold_out, read_split
from stages.shell.errors import UserError


def test_chunks_are_joined_in_order_as_safetensors_reads_them(tmp_path):
    inputs, targets = np.random.default_rng(0).integers(0, 256, (10, 3, 2)).astype(np.uint8), np.arange(10)
    for name, cuts in (("train.safetensors", [0, 4, 4, 10]), ("again", [0, 10])):
        with SplitWriter(tmp_path / name, (3, 2), "uint8", (), "int64") as writer:
            for start, end in itertools.pairwise(cuts):
                writer.add(inputs[start:end], targets[start:end])
    loaded, content = load_file(tmp_path / "train.safetensors"), (tmp_path / "train.safetensors").read_bytes()
    assert loaded["inputs"].dtype == np.uint8 and loaded["targets"].dtype == np.int64
    assert loaded["inputs"].tolist() == inputs.tolist() and loaded["targets"].tolist() == targets.tolist()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["again", "train.safetensors"]
    assert content == (tmp_path / "again").read_bytes(), "the bytes do not depend on the chunks"
    length = int.from_bytes(content[:8], "little")
    assert length % 8 == 0 and json.loads(content[8 : 8 + length])["inputs"]["dtype"] == "U8"


def test_an_empty_split_is_read_back_with_its_shape(tmp_path):
    with SplitWriter(tmp_path / "val.safetensors", (5,), "int16", (5,), "int64"):
        pass
    inputs, targets = read_split(tmp_path, "val")
    assert (inputs.shape, inputs.dtype, targets.shape, targets.dtype) == ((0, 5), np.int16, (0, 5), np.int64)


@pytest.mark.parametrize(
    ("inputs", "targets", "sentence"),
    [((2, 3), (2,), "inputs of shape"), ((2, 2), (2, 1), "targets of shape"), ((2, 2), (3,), "2 inputs and 3 targets")],
)
def test_a_chunk_of_another_shape_is_refused_and_leaves_nothing(tmp_path, inputs, targets, sentence):
    with (
        pytest.raises(ValueError, match=sentence),
        SplitWriter(tmp_path / "a.safetensors", (2,), "uint8", (), "int64") as writer,
    ):
        writer.add(np.zeros(inputs), np.zeros(targets))
    assert list(tmp_path.iterdir()) == []


def test_a_damaged_or_missing_file_is_named(tmp_path):
    (tmp_path / "test.safetensors").write_bytes(b"\xff" * 20)
    with pytest.raises(UserError, match=r"test\.safetensors is damaged"):
        read_split(tmp_path, "test")
    with pytest.raises(UserError, match=r"train\.safetensors is missing"):
        read_split(tmp_path, "train")
    save_file({"inputs": np.zeros((3, 1), np.float32), "targets": np.zeros(2, np.int64)}, tmp_path / "test.safetensors")
    with pytest.raises(UserError, match=r"test\.safetensors is damaged \(it has 3 inputs and 2 targets\)"):
        read_split(tmp_path, "test")


def test_rows_are_read_from_any_places_and_a_file_that_is_cut_meanwhile_is_damaged(tmp_path):
    path = tmp_path / "test.safetensors"
    with SplitWriter(path, (2,), "float32", (), "int64") as writer:
        writer.add(np.arange(12).reshape(6, 2), np.arange(6))
    file = SplitFile(tmp_path, "test")
    assert file.take("inputs", [4, 0, 4]).tolist() == [[8, 9], [0, 1], [8, 9]] and file.take("targets", []).tolist() == []
    assert [piece.tolist() for piece in file.pieces("targets", 4)] == [[0, 1, 2, 3], [4, 5]]
    path.write_bytes(path.read_bytes()[:-4])
    with pytest.raises(UserError, match=r"is damaged \(it has become shorter\)"):
        file.read("targets", 0, 6)
    with pytest.raises(UserError, match=r"is damaged \(it is shorter than it says\)"):
        SplitFile(tmp_path, "test")


@pytest.mark.parametrize("seed", range(3))
def test_the_share_held_out_is_exact_spread_over_the_labels_and_chosen_by_the_seed(seed):
    rng = np.random.default_rng(seed)
    labels = rng.choice(7, size=1000, p=rng.dirichlet(np.ones(7)))
    held_out = hold_out(labels, 0.137, seed)
    assert held_out.sum() == 137
    for label in np.unique(labels):
        assert abs(held_out[labels == label].sum() - 0.137 * (labels == label).sum()) < 1
    assert hold_out(labels, 0.137, seed).tolist() == held_out.tolist() != hold_out(labels, 0.137, seed + 1).tolist()
    assert hold_out(np.empty(0, dtype=np.int64), 0.5, 0).tolist() == [] and not hold_out(labels, 0.0, 0).any()


def test_val_is_a_share_of_what_test_leaves_and_every_item_goes_to_its_split():
    labels, items = np.arange(100) % 2, np.arange(100)
    places = choose_splits(labels, 0, val_fraction=0.25, test_fraction=0.2)
    assert np.bincount(places).tolist() == [60, 20, 20] and np.bincount(places[labels == 1]).tolist() == [30, 10, 10]
    dealt = {"train": [], "val": [], "test": []}
    for split, inputs, targets in by_split([(items[:33], labels[:33]), (items[33:], labels[33:])], places):
        assert (inputs % 2 == targets).all()
        dealt[split] += inputs.tolist()
    assert [dealt[split] for split in ("train", "val", "test")] == [items[places == place].tolist() for place in range(3)]
