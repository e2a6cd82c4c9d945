"""Half the work, without training: a network that reads handwriting, pruned, saved and read back."""

import tempfile

import torch
from torch import nn

import laconic
from laconic.demo import digits


class Block(nn.Module):
    """A shortcut: the layer before it and its own last layer can only shrink together."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.Sequential(nn.Conv2d(24, 48, 3, padding=1), nn.ReLU(), nn.Conv2d(48, 24, 3, padding=1))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.relu(x + self.inner(x))


def network() -> nn.Module:
    """Returns a small convolutional network."""
    return nn.Sequential(
        nn.Conv2d(1, 24, 3, padding=1), Block(), nn.AdaptiveAvgPool2d(4), nn.Flatten(), nn.Linear(384, 10)
    )


def accuracy(model: nn.Module, task: laconic.Task) -> float:
    """Returns the fraction of the evaluation data that the model gets right."""
    with torch.no_grad():
        hits = [task.forward(model, batch).argmax(1) == batch.labels for batch in task.batches("evaluate")]
    return float(torch.cat(hits).float().mean())


def main(*, epochs: int = 3, ratio: float = 0.5) -> tuple[laconic.Pruned, dict[str, float]]:
    """Trains, looks, prunes, saves, reads back."""
    task = digits()
    torch.manual_seed(0)
    training = laconic.Training(epochs=epochs, optimizer=laconic.AdamW(learning_rate=3e-3), seed=0)
    model = laconic.train(network(), task, training, objective=laconic.supervised(task)).model.eval()
    print(laconic.axes(model, task))
    pruned = laconic.prune(model, task, ratio=ratio)
    print(pruned)
    with tempfile.TemporaryDirectory() as folder:
        again = laconic.load_pruned(pruned.save(f"{folder}/small"), network()).model
    return pruned, {name: accuracy(m, task) for name, m in (("original", model), ("pruned", again))}


if __name__ == "__main__":
    print(main()[1])
