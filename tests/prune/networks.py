"""Two small networks that tests prune: one stays of its class, the other becomes a graph."""

import torch
from torch import Tensor, nn
from torch.nn import functional


class Plain(nn.Module):
    """Its code runs at any size."""

    def __init__(self, width: int = 8) -> None:
        super().__init__()
        self.stem, self.norm = nn.Conv2d(3, width, 3, padding=1), nn.BatchNorm2d(width)
        self.act, self.drop = nn.ReLU(), nn.Dropout(0.2)
        self.body = nn.Conv2d(width, 2 * width, 3)
        self.head = nn.Linear(2 * width, 4)

    def forward(self, x: Tensor) -> Tensor:
        """Returns `[n, 4]` from `[n, 3, h, w]`."""
        x = self.drop(self.act(self.norm(self.stem(x))))
        return self.head(functional.relu(self.body(x)).mean((2, 3)))


class Padded(Plain):
    """A shortcut between zero channels, whose number is written in the code, as in He et al. 2015, option A."""

    def __init__(self, width: int = 8) -> None:
        super().__init__(width)
        self.second = nn.Conv2d(2 * width, 2 * width, 3, padding=1)
        self.beside = width // 2

    def forward(self, x: Tensor) -> Tensor:
        """Returns `[n, 4]` from `[n, 3, h, w]`."""
        x = self.drop(self.act(self.norm(self.stem(x))))
        y = self.second(functional.relu(self.body(x)))
        x = functional.pad(x[:, :, 1:-1, 1:-1], (0, 0, 0, 0, self.beside, self.beside))
        return self.head(functional.relu(x + y).mean((2, 3)))


def images() -> Tensor:
    """Thirty-two images."""
    return torch.randn(32, 3, 6, 6, generator=torch.Generator().manual_seed(1))
