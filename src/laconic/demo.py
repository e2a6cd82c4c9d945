"""The main job on real data that ships with scikit-learn: handwritten digits, a convolutional network, one command."""

from __future__ import annotations

from collections import OrderedDict

import torch
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from laconic.core.budget import Budget
from laconic.core.task import Task
from laconic.train import AdamW, Progress, Training, supervised, train

BUDGET = Budget(size=0.05, latency=0.7, drop=0.006)
RECOVERY_EPOCHS = 6


def digits(*, batch_size: int = 64) -> Task:
    """Returns 1,797 images of 8 x 8 pixels in 10 classes: 1,437 to train on, 360 held out."""
    images, labels = load_digits(return_X_y=True)
    parts = train_test_split(images / 16, labels, test_size=360, stratify=labels, random_state=0)
    train_x, test_x, train_y, test_y = (torch.from_numpy(part) for part in parts)

    def loader(x: Tensor, y: Tensor, *, shuffle: bool) -> DataLoader[tuple[Tensor, ...]]:
        data = TensorDataset(x.float().view(-1, 1, 8, 8), y)
        return DataLoader(data, batch_size=batch_size, shuffle=shuffle)

    return Task(train=loader(train_x, train_y, shuffle=True), evaluate=loader(test_x, test_y, shuffle=False))


def network() -> nn.Module:
    """Returns a small convolutional network with batch normalisation, about 140,000 parameters."""

    def unit(inputs: int, outputs: int) -> nn.Module:
        layers = {
            "conv": nn.Conv2d(inputs, outputs, 3, padding=1, bias=False),
            "norm": nn.BatchNorm2d(outputs),
            "act": nn.ReLU(),
        }
        return nn.Sequential(OrderedDict(layers))

    return nn.Sequential(
        OrderedDict(
            stem=unit(1, 32),
            low=unit(32, 32),
            pool=nn.MaxPool2d(2),
            middle=unit(32, 64),
            high=unit(64, 192),
            mean=nn.AdaptiveAvgPool2d(1),
            flat=nn.Flatten(),
            head=nn.Linear(192, 10),
        )
    )


def trained_network(task: Task, *, seed: int = 0, epochs: int = 5, progress: Progress | None = None) -> nn.Module:
    """Returns the network, trained in seconds."""
    torch.manual_seed(seed)
    training = Training(epochs=epochs, optimizer=AdamW(learning_rate=2e-3), seed=seed)
    return train(network(), task, training, objective=supervised(task), progress=progress).model
