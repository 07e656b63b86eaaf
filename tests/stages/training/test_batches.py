"""Batches of a split that lies whole on the device."""

from itertools import chain

import numpy as np
import pytest
import torch

from stages.inputs.characters import lengths
from stages.training.batches import Batches
from tests.toy import CPU


def numbered(count, batch_size):
    """Items that are their own number, as input and as target."""
    return Batches(np.arange(count, dtype=np.float32)[:, None], np.arange(count), batch_size, CPU)


def seen(pass_):
    return [targets.tolist() for _, targets in pass_]


@pytest.mark.parametrize(("count", "batch_size", "sizes"), [(7, 3, [3, 3, 1]), (6, 3, [3, 3]), (2, 5, [2]), (3, 1, [1, 1, 1])])
def test_one_pass_takes_every_item_once(count, batch_size, sizes):
    batches = numbered(count, batch_size)
    in_order, shuffled = seen(batches.in_order()), seen(batches.shuffled(torch.Generator().manual_seed(0)))
    assert [len(batch) for batch in in_order] == [len(batch) for batch in shuffled] == sizes and len(batches) == len(sizes)
    assert [*chain(*in_order)] == list(range(count)) == sorted(chain(*shuffled))


def test_inputs_stay_with_their_targets():
    for inputs, targets in numbered(50, 8).shuffled(torch.Generator().manual_seed(0)):
        assert inputs[:, 0].tolist() == targets.tolist()


def test_the_generator_alone_fixes_the_order():
    batches = numbered(50, 8)
    first = seen(batches.shuffled(torch.Generator().manual_seed(1)))
    torch.manual_seed(99)
    torch.rand(3)
    assert seen(batches.shuffled(torch.Generator().manual_seed(1))) == first
    assert seen(batches.shuffled(torch.Generator().manual_seed(2))) != first


def test_every_pass_has_an_order_of_its_own():
    batches, generator = numbered(50, 8), torch.Generator().manual_seed(1)
    assert seen(batches.shuffled(generator)) != seen(batches.shuffled(generator))


def test_pictures_stay_bytes_until_they_are_used():
    pictures = np.zeros((4, 8, 8, 1), dtype=np.uint8)
    batches = Batches(pictures, np.zeros(4, dtype=np.int64), 2, CPU)
    assert {inputs.dtype for inputs, _ in batches.in_order()} == {torch.uint8}


TEXTS = np.array([[97, 98, 99, 0, 0], [97, 0, 0, 0, 0], [97, 98, 0, 0, 0]], dtype=np.int16)


def test_texts_lose_the_padding_that_their_batch_shares():
    batches = Batches(TEXTS, np.arange(3), 2, CPU, lengths=lengths)
    shapes = [(inputs.shape, inputs.dtype, targets.shape) for inputs, targets in batches.in_order()]
    assert shapes == [((2, 3), torch.int64, (2,)), ((1, 2), torch.int64, (1,))]


def test_targets_of_a_sequence_are_cut_with_their_text():
    targets = np.where(TEXTS > 0, TEXTS - 97, -1).astype(np.int64)
    (inputs, cut), _ = Batches(TEXTS, targets, 2, CPU, lengths=lengths).in_order()
    assert inputs.tolist() == [[97, 98, 99], [97, 0, 0]] and cut.tolist() == [[0, 1, 2], [0, -1, -1]]


def test_texts_of_padding_alone_keep_one_place():
    (inputs, _), *_ = Batches(np.zeros((2, 4), dtype=np.int16), np.zeros(2, dtype=np.int64), 2, CPU, lengths=lengths).in_order()
    assert inputs.tolist() == [[0], [0]]


def texts(count, batch_size):
    """Texts of 1 to 20 characters, each row's number as its target."""
    sizes = np.random.default_rng(0).integers(1, 21, count)
    rows = np.where(np.arange(20) < sizes[:, None], 97, 0).astype(np.int16)
    return Batches(rows, np.arange(count), batch_size, CPU, lengths=lengths)


@pytest.mark.parametrize(("count", "batch_size"), [(1000, 32), (33, 32), (5, 32), (1, 1)])
def test_a_pass_over_texts_takes_every_one_once(count, batch_size):
    batches = texts(count, batch_size)
    passed = seen(batches.shuffled(torch.Generator().manual_seed(0)))
    assert sorted(chain(*passed)) == list(range(count)) and len(passed) == len(batches)
    assert sum(len(batch) < batch_size for batch in passed) <= 1


def test_texts_of_like_length_come_together_so_that_little_is_padding():
    batches = texts(5000, 32)
    passed = [inputs for inputs, _ in batches.shuffled(torch.Generator().manual_seed(0))]
    computed, needed = sum(inputs.numel() for inputs in passed), int(batches.lengths.sum())
    assert needed <= computed < 1.1 * needed, "in random batches almost every one has a text of 20: about 1.9 times what is needed"


def test_texts_meet_others_in_every_pass_and_short_ones_do_not_come_first():
    batches, generator = texts(5000, 32), torch.Generator().manual_seed(0)
    passes = [seen(batches.shuffled(generator)) for _ in range(2)]
    assert not {frozenset(batch) for batch in passes[0]} & {frozenset(batch) for batch in passes[1]}
    longest = [int(batches.lengths[batch].max()) for batch in passes[0]]
    assert abs(np.corrcoef(np.arange(len(longest)), longest)[0, 1]) < 0.25
