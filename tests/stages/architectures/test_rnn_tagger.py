"""The lesson's three recurrent networks: stepped by hand, torch's RNN on one-hot characters, and behind an embedding."""

import torch
from torch.nn import functional
from torch.testing import assert_close

from stages.architectures.rnn_tagger import Params, RNNByCell, RNNTagger


def tagger(**changes):
    torch.manual_seed(20261120)
    section = {"name": "rnn_tagger", "cell": "rnn", "embedding": None, "hidden": 4, "num_layers": 1, "linear": False}
    return RNNTagger(Params(**section | changes), 4).eval()


def test_rnn_cell_equals_torch_s_cell_stepped_through_time_and_learns():
    torch.manual_seed(20261120)
    network, x = RNNByCell(3, 5), torch.randn(2, 6, 3)
    states, state = [], torch.zeros(2, 5)
    for step in range(6):
        state = network.cell(x[:, step], state)
        states.append(state)
    output, last = network(x)
    assert_close(output, torch.stack(states, dim=1))
    assert_close(last, state)
    output.square().sum().backward()
    assert all(weight.grad is not None and weight.grad.any() for weight in network.parameters())


def test_rnn_and_rnn_cell_are_one_network():
    by_cell, whole = tagger(cell="rnn_cell"), tagger()
    whole.layers.load_state_dict({f"{name}_l0": tensor for name, tensor in by_cell.layers.cell.state_dict().items()})
    indices = torch.tensor([[2, 1, 3, 3, 4]])
    assert_close(by_cell(indices), whole(indices))


def test_characters_without_an_embedding_are_one_hot_and_padding_is_all_zeros():
    network, seen = tagger(), []
    network.layers.register_forward_pre_hook(lambda _, arguments: seen.append(arguments[0]))
    network(torch.tensor([[1, 4, 0]]))
    assert torch.equal(seen[0], torch.cat([functional.one_hot(torch.tensor([0, 3]), 4), torch.zeros(1, 4)]).unsqueeze(0))


def test_padding_behind_a_text_does_not_change_its_logits():
    network = tagger(embedding=10, hidden=8, num_layers=2, linear=True)
    short, padded = torch.tensor([[2, 1, 3]]), torch.tensor([[2, 1, 3, 0, 0]])
    assert_close(network(short), network(padded)[:, :3])
