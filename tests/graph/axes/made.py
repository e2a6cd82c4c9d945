"""What the patterns are made of."""

import torch
from torch import nn


class Made(nn.Module):
    """A forward pass written as a function of the module."""

    def __init__(self, forward, **parts):
        super().__init__()
        for name, part in parts.items():
            if isinstance(part, nn.Parameter):
                self.register_parameter(name, part)
            else:
                setattr(self, name, part)
        self.function = forward

    def forward(self, *args):
        return self.function(self, *args)


def weight(*shape):
    return nn.Parameter(torch.randn(*shape))


def image(channels=3, side=8):
    return torch.randn(2, channels, side, side)


def tokens(width=12, length=5):
    return torch.randn(2, length, width)
