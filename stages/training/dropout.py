"""Dropout that begins late: a network that may first learn without it is far sooner good, and as good in the end.

Late dropout is described in Liu et al., Dropout Reduces Underfitting, 2023, https://arxiv.org/abs/2303.01500.
"""

from torch import nn

from stages.shell.errors import UserError

KINDS = (nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.Dropout3d, nn.AlphaDropout, nn.FeatureAlphaDropout)


class LateDropout:
    """Sets the rates of a network's dropout layers at the start of each epoch, and nothing else affects them.

    `late`: the share of all `epochs` without dropout, to the nearest epoch; null: there is dropout from the start.
    """

    def __init__(self, network: nn.Module, late: float | None, epochs: int, key: str):
        self.rates = [(layer, layer.p) for layer in network.modules() if isinstance(layer, KINDS)]
        if late is not None and not any(rate for _, rate in self.rates):
            raise UserError(f"params.yaml: {key}.late_dropout needs a network with dropout, but this one has none: set it to null.")
        self.begins_after = round((late or 0) * epochs)
        self.is_on = True

    def start_epoch(self, epoch: int) -> None:
        """`epoch` counts from 1."""
        self.is_on = epoch > self.begins_after
        for layer, rate in self.rates:
            layer.p = rate if self.is_on else 0.0
