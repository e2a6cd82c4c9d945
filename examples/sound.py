"""Which instrument plays? A Conv1d network on made-up tones: harmonics, vibrato, decay and noise."""

import math

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

import laconic

RATE, LENGTH = 4000, 1024
# Strength of the harmonics, decay a second, vibrato in Hz: a flute, a clarinet, a plucked string, a trumpet, a bell.
INSTRUMENTS = (
    ((1.0, 0.1, 0.05), 0.0, 5.0),
    ((1.0, 0.0, 0.7, 0.0, 0.4), 0.0, 0.0),
    ((1.0, 0.6, 0.4, 0.3, 0.2), 12.0, 0.0),
    ((0.4, 0.8, 1.0, 0.8, 0.6), 0.0, 6.0),
    ((1.0, 0.0, 0.0, 0.6, 0.0, 0.0, 0.5), 6.0, 0.0),
)


def tones(count: int, seed: int) -> tuple[Tensor, Tensor]:
    """Returns tones `[count, 1, LENGTH]` of random pitch, loudness and noise, and their instruments `[count]`."""
    generator = torch.Generator().manual_seed(seed)

    def uniform(low: float, high: float) -> Tensor:
        return low + (high - low) * torch.rand(count, 1, generator=generator)

    labels = torch.randint(len(INSTRUMENTS), (count,), generator=generator)
    time = torch.arange(LENGTH) / RATE
    pitch, start, loudness = uniform(80, 260), uniform(0, 2 * math.pi), uniform(0.3, 1)
    sound = torch.zeros(count, LENGTH)
    for label, (harmonics, decay, vibrato) in enumerate(INSTRUMENTS):
        phase = 2 * math.pi * pitch * time + 0.8 * torch.sin(2 * math.pi * vibrato * time + start)
        tone = sum(a * torch.sin(n * phase + start) for n, a in enumerate(harmonics, start=1))
        sound += (labels == label)[:, None] * tone * torch.exp(-decay * time)
    noise = 0.3 * torch.randn(count, LENGTH, generator=generator)
    return (loudness * sound + noise).unsqueeze(1), labels


def network() -> nn.Module:
    """Returns a small Conv1d network."""

    def unit(inputs: int, outputs: int, kernel: int) -> list[nn.Module]:
        conv = nn.Conv1d(inputs, outputs, kernel, stride=4, padding=kernel // 2, bias=False)
        return [conv, nn.BatchNorm1d(outputs), nn.ReLU()]

    layers = [*unit(1, 32, 31), *unit(32, 64, 9), *unit(64, 128, 5)]
    return nn.Sequential(*layers, nn.AdaptiveAvgPool1d(1), nn.Flatten(), nn.Linear(128, len(INSTRUMENTS)))


def trained(*, epochs: int = 4, seed: int = 0) -> tuple[nn.Module, laconic.Task]:
    """Returns the network after training, and what it was trained on."""
    task = laconic.Task(
        train=DataLoader(TensorDataset(*tones(2000, seed=0)), batch_size=64, shuffle=True),
        evaluate=DataLoader(TensorDataset(*tones(600, seed=1)), batch_size=200),
    )
    torch.manual_seed(seed)
    training = laconic.Training(epochs=epochs, seed=seed)
    return laconic.train(network(), task, training, objective=laconic.supervised(task)).model, task


def main(*, epochs: int = 4, recovery_epochs: int = 2, seed: int = 0) -> laconic.Result:
    """Trains, compresses, reports."""
    model, task = trained(epochs=epochs, seed=seed)
    recovery = laconic.Recovery.for_epochs(recovery_epochs, seed=seed)
    return laconic.compress(model, task, laconic.Budget(size=0.35, drop=0.01), recovery=recovery, seed=seed)


if __name__ == "__main__":
    result = main()
    print(result.report.original.score, result.report.compressed.score, result.plan, sep="\n")
