"""Batches of a split, on the device or in its file: every row once, in a good order that the generator fixes, from any batch on."""

import os
from itertools import chain, pairwise

import numpy as np
import pytest
import torch

from stages.common.splits import SplitFile, SplitWriter
from stages.inputs.characters import lengths
from stages.inputs.image import lengths as of_one_length
from stages.shell.errors import UserError
from stages.train import train
from stages.training import batches as module
from stages.training.batches import Batches, StreamedBatches
from stages.training.processes import Processes
from tests.toy import CPU, TOYS, Project

ROW = 16  # bytes of a numbered row: a float32 and an int64 with two to spare, since a file has a header too
ALONE = Processes()
MANY = [(7, 3), (6, 3), (2, 5), (200, 10), (203, 10), (1, 4), (40, 40), (95, 1), (100, 64)]


def on_device(count, batch_size, processes=ALONE):
    """Items that are their own number, as input and as target."""
    return Batches(np.arange(count, dtype=np.float32)[:, None], np.arange(count), batch_size, CPU, processes)


@pytest.fixture
def streamed(tmp_path, monkeypatch):
    """The same in a file, in windows of about `window` rows."""
    monkeypatch.setattr(module, "BLOCK_BYTES", 10 * ROW)

    def make(count, batch_size, processes=ALONE, window=40):
        with SplitWriter(tmp_path / "train.safetensors", (1,), "float32", (), "int64") as writer:
            writer.add(np.arange(count, dtype=np.float32)[:, None], np.arange(count))
        file = SplitFile(tmp_path, "train")
        memory = window * module.WINDOWS_IN_MEMORY * max(file.num_bytes // count, 1)
        return StreamedBatches(file, batch_size, CPU, memory, processes, of_one_length)

    return make


@pytest.fixture(params=["on the device", "streamed"])
def make(request, streamed):
    return on_device if request.param == "on the device" else streamed


def seen(pass_):
    return [targets.tolist() for _, targets in pass_]


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def test_one_pass_takes_every_row_once_and_only_the_last_batch_is_short(make):
    for count, batch_size in MANY:
        batches = make(count, batch_size)
        for pass_ in (seen(batches.in_order()), seen(batches.shuffled(generator()))):
            assert sorted(chain(*pass_)) == list(range(count)) and len(pass_) == len(batches)
            assert all(len(batch) == batch_size for batch in pass_[:-1])
        assert [*chain(*seen(batches.in_order()))] == list(range(count))


def test_the_generator_alone_fixes_the_order_and_every_pass_has_its_own(make):
    batches, one = make(203, 10), generator(1)
    first, second = seen(batches.shuffled(one)), seen(batches.shuffled(one))
    torch.rand(3)
    assert first == seen(batches.shuffled(generator(1))) and first != second
    assert first != seen(batches.shuffled(generator(2)))
    assert all(inputs[:, 0].tolist() == targets.tolist() for inputs, targets in batches.shuffled(one)), "inputs stay with their targets"


def test_a_pass_can_begin_at_any_batch_and_leaves_the_generator_as_a_whole_one(make):
    batches, whole = make(203, 10), generator()
    expected = seen(batches.shuffled(whole))
    for start in range(len(batches) + 1):
        part = generator()
        assert seen(batches.shuffled(part, start)) == expected[start:]
        assert torch.equal(whole.get_state(), part.get_state())


@pytest.mark.parametrize("count", [2, 3])
def test_several_processes_share_every_batch(count, make):
    parts = [make(203, 10, Processes(rank, count)) for rank in range(count)]
    for passes in ([seen(part.in_order()) for part in parts], [seen(part.shuffled(generator())) for part in parts]):
        assert sorted(set(chain(*chain(*passes)))) == list(range(203))
    rounds = zip(*[seen(part.shuffled(generator())) for part in parts], strict=True)
    assert all(sum(map(len, shares)) in (10, 3) for shares in rounds)


def test_rows_of_far_blocks_meet_and_neighbours_part(streamed):
    """Of 100 blocks of 10 a window holds about 10: a batch has rows of many blocks, and a row hardly ever the same neighbours twice."""
    batches, one = streamed(1000, 10, window=100), generator()
    first, second = seen(batches.shuffled(one)), seen(batches.shuffled(one))
    assert np.mean([len({row // batches.block for row in batch}) for batch in first]) > 5
    pairs = [{frozenset(pair) for batch in pass_ for pair in pairwise(batch)} for pass_ in (first, second)]
    assert len(pairs[0] & pairs[1]) < 30
    places = np.argsort([*chain(*first)])
    assert abs(np.corrcoef(places, np.arange(1000))[0, 1]) < 0.3  # chance gives windows a trend of their own, 10 of them as much as this


# Texts


def test_texts_lose_the_padding_that_their_batch_shares_and_their_targets_too():
    texts = np.array([[97, 98, 99, 0, 0], [97, 0, 0, 0, 0], [0, 0, 0, 0, 0]], dtype=np.int16)
    targets = np.where(texts > 0, texts - 97, -1).astype(np.int64)
    (inputs, cut), (alone, _) = Batches(texts, targets, 2, CPU, lengths=lengths).in_order()
    assert inputs.tolist() == [[97, 98, 99], [97, 0, 0]] and cut.tolist() == [[0, 1, 2], [0, -1, -1]]
    assert alone.tolist() == [[0]] and alone.dtype == torch.int64


def test_texts_of_like_length_come_together_so_that_little_is_padding(tmp_path):
    sizes = np.random.default_rng(0).integers(1, 21, 5000)
    rows = np.where(np.arange(20) < sizes[:, None], 97, 0).astype(np.int16)
    with SplitWriter(tmp_path / "train.safetensors", (20,), "int16", (), "int64") as writer:
        writer.add(rows, np.arange(5000))
    whole = Batches(rows, np.arange(5000), 32, CPU, lengths=lengths)
    for batches in (whole, StreamedBatches(SplitFile(tmp_path, "train"), 32, CPU, 10**7, ALONE, lengths)):
        passed = list(batches.shuffled(generator()))
        assert sorted(chain(*(targets.tolist() for _, targets in passed))) == list(range(5000))
        assert sum(len(inputs) < 32 for inputs, _ in passed) <= 1
        assert sizes.sum() <= sum(inputs.numel() for inputs, _ in passed) < 1.1 * sizes.sum(), "in random batches about 1.9 times"
        longest = [inputs.shape[1] for inputs, _ in passed]
        assert abs(np.corrcoef(np.arange(len(longest)), longest)[0, 1]) < 0.25, "short ones do not come first"


# In a file


@pytest.mark.parametrize("name", ["shapes", "words", "codes"])
def test_a_split_above_the_limit_is_streamed_and_learnt_from(name, tmp_path, monkeypatch):
    assert name in TOYS
    monkeypatch.chdir(tmp_path)
    own = Project(tmp_path, name)
    monkeypatch.setattr("stages.train.Batches", None)
    monkeypatch.setattr("stages.train.MB", 0)
    train("own")
    first = own.contents()
    own.forget()
    train("own")
    assert own.contents() == first


def test_a_pass_in_order_gives_the_rows_of_memory(tmp_path):
    own = Project(tmp_path, "shapes")
    inputs, targets = own.data.splits["train"]
    streamed = StreamedBatches(SplitFile(own.processed, "train"), 5, CPU, 2000, ALONE, of_one_length)
    for one, other in zip(streamed.in_order(), Batches(inputs, targets, 5, CPU).in_order(), strict=True):
        assert one[0].dtype == torch.uint8 and torch.equal(one[0], other[0]) and torch.equal(one[1], other[1])


def test_a_file_that_is_cut_while_it_is_read_is_named(streamed, tmp_path):
    batches = streamed(500, 10)
    os.truncate(tmp_path / "train.safetensors", 1000)
    with pytest.raises(UserError, match=r"train\.safetensors is damaged \(it has become shorter\)"):
        seen(batches.shuffled(generator()))
