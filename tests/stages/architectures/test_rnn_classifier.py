"""Recurrent classifiers against torch's own bidirectional layers on packed sequences."""

import pytest
import torch
from torch import nn
from torch.nn.utils.rnn import pack_padded_sequence
from torch.testing import assert_close

from stages.architectures.rnn_classifier import Params, RNNClassifier

SEED = 20261120
LENGTHS = [7, 1, 4, 7, 2]
CELLS = ["rnn", "lstm", "gru"]


def classifier(cell, num_layers=2, dropout=0.3, character_dropout=0.2):
    torch.manual_seed(SEED)
    sizes = {"embedding": 5, "hidden": 6, "num_layers": num_layers}
    params = Params(name="rnn_classifier", cell=cell, **sizes, dropout=dropout, character_dropout=character_dropout)
    return RNNClassifier(params, 3).eval()


def texts(lengths, width):
    generator = torch.Generator().manual_seed(SEED)
    rows = torch.zeros(len(lengths), width, dtype=torch.int64)
    for row, length in zip(rows, lengths, strict=True):
        row[:length] = torch.randint(1, 128, (length,), generator=generator)
    return rows


def torch_s_own(network):
    """One bidirectional layer of torch's with the network's weights."""
    first = network.layers[0].forward_layer
    own = type(first)(first.input_size, first.hidden_size, num_layers=len(network.layers), bidirectional=True, batch_first=True)
    weights = {
        f"{name.removesuffix('0')}{depth}{suffix}": tensor
        for depth, layer in enumerate(network.layers)
        for suffix, one_way in (("", layer.forward_layer), ("_reverse", layer.backward_layer))
        for name, tensor in one_way.state_dict().items()
    }
    own.load_state_dict(weights)
    return own


@pytest.mark.parametrize("num_layers", [1, 3])
@pytest.mark.parametrize("cell", CELLS)
def test_it_equals_torch_s_packed_bidirectional_layers(cell, num_layers):
    network, characters = classifier(cell, num_layers), texts(LENGTHS, width=9)
    packed = pack_padded_sequence(network.embedding(characters), torch.tensor(LENGTHS), batch_first=True, enforce_sorted=False)
    _, state = torch_s_own(network)(packed)
    last = state[0] if cell == "lstm" else state
    expected = network.classifier(torch.cat([last[-2], last[-1]], dim=1))
    assert_close(network(characters), expected, atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("cell", CELLS)
def test_neither_padding_nor_what_shares_the_batch_changes_a_result(cell):
    network, rows = classifier(cell), texts(LENGTHS, width=9)
    alone = torch.cat([network(row[:length].unsqueeze(0)) for row, length in zip(rows, LENGTHS, strict=True)])
    assert_close(network(rows), alone, atol=1e-6, rtol=1e-5)
    assert_close(network(nn.functional.pad(rows.flip(0), (0, 21))), alone.flip(0), atol=1e-6, rtol=1e-5)
    with_padding_alone = network(texts([*LENGTHS, 0], width=9))
    assert with_padding_alone.isfinite().all()
    assert_close(with_padding_alone[:5], alone, atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("rates", [{"dropout": 0.3, "character_dropout": 0.0}, {"dropout": 0.0, "character_dropout": 0.2}])
def test_dropout_is_at_work_in_training_and_only_there(rates):
    network, rows = classifier("gru", **rates), texts(LENGTHS, width=7)
    assert torch.equal(network(rows), network(rows))
    network.train()
    assert not torch.equal(network(rows), network(rows))


def test_a_hidden_character_is_hidden_whole_and_the_others_make_up_for_it():
    network, rows = classifier("gru", character_dropout=0.2).train(), texts([9] * 400, width=9)
    seen, whole = network.character_dropout(network.embedding(rows)), network.embedding(rows)
    hidden = (seen == 0).all(dim=2)
    assert 0.17 < hidden.float().mean() < 0.23
    assert_close(seen[~hidden], whole[~hidden] / 0.8)
