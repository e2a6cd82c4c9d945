"""A transformer for images of 28 x 28 pixels whose attention and values can be heard."""

from __future__ import annotations

from collections import OrderedDict

import torch
from torch import Tensor, nn

HEADS, PATCH, PATCHES = 4, 7, 16


class Attention(nn.Module):
    """Self-attention; `maps` and `values` hand on what goes through them."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.queries, self.keys, self.values = (nn.Linear(width, width) for _ in range(3))
        self.maps = nn.Softmax(-1)
        self.joined = nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        """Maps `[samples, positions, width]` to the same shape."""
        queries, keys, values = (
            layer(x).unflatten(-1, (HEADS, -1)).transpose(1, 2) for layer in (self.queries, self.keys, self.values)
        )
        maps = self.maps(queries @ keys.mT / queries.shape[-1] ** 0.5)
        return self.joined((maps @ values).transpose(1, 2).flatten(2))


class Block(nn.Module):
    """Attention and two layers of neurons, each behind a norm and beside a shortcut."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.first, self.second = nn.LayerNorm(width), nn.LayerNorm(width)
        self.attention = Attention(width)
        self.neurons = nn.Sequential(nn.Linear(width, 2 * width), nn.GELU(), nn.Linear(2 * width, width))

    def forward(self, x: Tensor) -> Tensor:
        """Maps `[samples, positions, width]` to the same shape."""
        x = x + self.attention(self.first(x))
        return x + self.neurons(self.second(x))


class Patches(nn.Module):
    """Cuts images into patches, with a position of its own each."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.cut = nn.Conv2d(1, width, PATCH, stride=PATCH)
        self.places = nn.Parameter(0.02 * torch.randn(1, PATCHES, width))

    def forward(self, images: Tensor) -> Tensor:
        """Maps `[samples, 1, 28, 28]` to `[samples, 16, width]`."""
        return self.cut(images).flatten(2).mT + self.places


class MeanOfTokens(nn.Module):
    """The mean over positions."""

    def forward(self, x: Tensor) -> Tensor:
        """Maps `[samples, positions, width]` to `[samples, width]`."""
        return x.mean(1)


def transformer(width: int, depth: int, seed: int) -> nn.Module:
    """Returns an untrained transformer with ten classes."""
    torch.manual_seed(seed)
    layers = {
        "patches": Patches(width),
        "blocks": nn.Sequential(*(Block(width) for _ in range(depth))),
        "norm": nn.LayerNorm(width),
        "mean": MeanOfTokens(),
        "head": nn.Linear(width, 10),
    }
    return nn.Sequential(OrderedDict(layers))
