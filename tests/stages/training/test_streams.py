"""Batches of a split that stays in its file: every row once, in a good order that the generator fixes, from any batch on."""

import os
import random
from itertools import chain, pairwise

import numpy as np
import pytest
import torch

from stages.common.splits import SplitFile, SplitWriter
from stages.inputs.characters import lengths
from stages.shell.errors import UserError
from stages.train import train
from stages.training import streams
from stages.training.batches import Batches
from stages.training.processes import Processes
from stages.training.streams import StreamedBatches
from tests.toy import CPU, TOYS, Project

ROW = 16  # bytes of a numbered row: a float32 and an int64 with two to spare, since a file has a header too


@pytest.fixture(autouse=True)
def _small_blocks(monkeypatch):
    monkeypatch.setattr(streams, "BLOCK_BYTES", 10 * ROW)


@pytest.fixture
def numbered(tmp_path):
    """Rows that are their own number, as input and as target, in windows of about `window` rows."""

    def make(count, batch_size, window=40, processes=None):
        with SplitWriter(tmp_path / "train.safetensors", (1,), "float32", (), "int64") as writer:
            writer.add(np.arange(count, dtype=np.float32)[:, None], np.arange(count))
        file = SplitFile(tmp_path, "train")
        return StreamedBatches(file, batch_size, CPU, window * streams.WINDOWS_IN_MEMORY * max(file.num_bytes // count, 1), processes)

    return make


def seen(pass_):
    return [targets.tolist() for _, targets in pass_]


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize(("count", "batch_size"), [(200, 10), (203, 10), (7, 3), (1, 4), (40, 40), (95, 1), (100, 64)])
def test_one_pass_takes_every_row_once_and_only_the_last_batch_is_short(count, batch_size, numbered):
    batches = numbered(count, batch_size)
    for pass_ in (seen(batches.in_order()), seen(batches.shuffled(generator()))):
        assert sorted(chain(*pass_)) == list(range(count)) and len(pass_) == len(batches)
        assert all(len(batch) == batch_size for batch in pass_[:-1])
    assert [*chain(*seen(batches.in_order()))] == list(range(count))


def test_inputs_stay_with_their_targets(numbered):
    for inputs, targets in numbered(203, 10).shuffled(generator()):
        assert inputs[:, 0].tolist() == targets.tolist()


def test_the_generator_fixes_the_order_and_every_pass_has_its_own(numbered):
    batches, one = numbered(203, 10), generator(1)
    first, second = seen(batches.shuffled(one)), seen(batches.shuffled(one))
    assert first == seen(batches.shuffled(generator(1))) and first != second
    assert first != seen(batches.shuffled(generator(2)))


@pytest.mark.parametrize("start", [0, 1, 3, 4, 5, 19, 20, 21])
def test_a_pass_can_begin_at_any_batch_and_leaves_the_generator_as_a_whole_one(start, numbered):
    batches, whole, part = numbered(203, 10), generator(), generator()
    expected = seen(batches.shuffled(whole))
    assert seen(batches.shuffled(part, start)) == expected[start:]
    assert torch.equal(whole.get_state(), part.get_state())


def test_rows_of_far_blocks_meet_and_neighbours_part(numbered):
    """Of 100 blocks of 10 a window holds about 10: a batch has rows of many blocks, and a row hardly ever the same neighbours twice."""
    batches, one = numbered(1000, 10, window=100), generator()
    first, second = seen(batches.shuffled(one)), seen(batches.shuffled(one))
    assert np.mean([len({row // batches.block for row in batch}) for batch in first]) > 5
    pairs = [{frozenset(pair) for batch in pass_ for pair in pairwise(batch)} for pass_ in (first, second)]
    assert len(pairs[0] & pairs[1]) < 30
    places = np.argsort([*chain(*first)])
    assert abs(np.corrcoef(places, np.arange(1000))[0, 1]) < 0.3  # chance gives windows a trend of their own, 10 of them as much as this


@pytest.mark.parametrize("count", [2, 3])
def test_several_processes_share_every_batch(count, numbered):
    parts = [numbered(203, 10, processes=Processes(rank, count)) for rank in range(count)]
    for passes in ([seen(part.in_order()) for part in parts], [seen(part.shuffled(generator())) for part in parts]):
        assert sorted(set(chain(*chain(*passes)))) == list(range(203))
    rounds = zip(*[seen(part.shuffled(generator())) for part in parts], strict=True)
    assert all(sum(map(len, shares)) in (10, 3) for shares in rounds)


def test_texts_come_by_length_and_without_shared_padding(tmp_path):
    rng = np.random.default_rng(0)
    rows = np.zeros((400, 12), dtype=np.int16)
    for row in rows:
        row[: rng.integers(1, 13)] = 97
    with SplitWriter(tmp_path / "train.safetensors", (12,), "int16", (), "int64") as writer:
        writer.add(rows, np.arange(400))
    batches = StreamedBatches(SplitFile(tmp_path, "train"), 8, CPU, 10**6, lengths=lengths)
    inputs = [inputs for inputs, _ in batches.shuffled(generator())]
    assert all(batch.dtype == torch.int64 and (batch != 0).any(dim=0).all() for batch in inputs)
    assert np.mean([batch.shape[1] for batch in inputs]) < 9


@pytest.mark.parametrize("name", TOYS)
def test_a_split_above_the_limit_is_streamed_and_learnt_from(name, tmp_path, monkeypatch):
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
    streamed = StreamedBatches(SplitFile(own.processed, "train"), 5, CPU, 2000)
    for one, other in zip(streamed.in_order(), Batches(inputs, targets, 5, CPU).in_order(), strict=True):
        assert torch.equal(one[0], other[0]) and torch.equal(one[1], other[1])
    assert torch.equal(streamed.first(3), torch.from_numpy(inputs[:3]))


def test_rows_are_read_from_wherever_they_lie(numbered):
    seed = int.from_bytes(os.urandom(4), "little")
    print("seed", seed)
    rng, file = random.Random(seed), numbered(500, 10).file
    for _ in range(20):
        places = [(start, rng.randint(start, 500)) for start in (rng.randint(0, 500) for _ in range(4))]
        expected = [*chain(*(range(*place) for place in places))]
        assert file.read_all("targets", places).tolist() == expected
        assert file.read_all("inputs", places)[:, 0].tolist() == expected


def damaged(path, content):
    path.write_bytes(content(path.read_bytes()))


@pytest.mark.parametrize(
    "content",
    [
        lambda content: b"",
        lambda content: content[:-1],
        lambda content: b"\xff" * 8 + content[8:],
        lambda content: content[:8] + b"x" + content[9:],
        lambda content: content.replace(b"inputs", b"outputs"),
        lambda content: content.replace(b'"F32"', b'"F99"'),
    ],
)
def test_a_damaged_file_is_named(content, numbered, tmp_path):
    numbered(50, 10)
    damaged(tmp_path / "train.safetensors", content)
    with pytest.raises(UserError, match=r"train\.safetensors is damaged .*: run python -m stages\.preprocess .* again"):
        SplitFile(tmp_path, "train")


def test_a_file_that_is_cut_while_it_is_read_is_named(numbered, tmp_path):
    batches = numbered(500, 10)
    os.truncate(tmp_path / "train.safetensors", 1000)
    with pytest.raises(UserError, match=r"train\.safetensors is damaged \(it has become shorter\)"):
        seen(batches.shuffled(generator()))
