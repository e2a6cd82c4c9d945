"""A soft decision tree of depth 8 on MNIST: grown on labels, and on the answers of a network.

60,000 training images, all 10,000 test images; accuracy after the last epoch, nothing chosen on test. The paper
(arXiv:1711.09784) has 94.45 % on labels and 96.76 % distilled, both with the greatest path. Each tree is scored
with the mixture of its leaves and with its greatest path alone. The teacher's answers are kept on disk. With
`--work FOLDER` every run goes on where it was stopped.
"""

from __future__ import annotations

import statistics
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.utils.data import BatchSampler, DataLoader, RandomSampler, SequentialSampler, TensorDataset

import laconic
import manner
from laconic.distill import SoftTree
from laconic.train import AdamW, Training, cached_teacher, supervised, train, tree_growth

DEPTH, EPOCHS, TEACHER_EPOCHS = 8, 40, 20


def mnist() -> laconic.Task:
    """Returns the data, pixels from 0 to 1."""
    read = manner.shared_data()

    def loader(split: str, *, shuffle: bool) -> DataLoader[Any]:
        images, labels = (torch.from_numpy(part.copy()) for part in read.mnist(split))
        data = TensorDataset(images[:, None].float() / 255, labels.long())
        order = RandomSampler(data) if shuffle else SequentialSampler(data)
        return DataLoader(data, sampler=BatchSampler(order, 128, drop_last=False), batch_size=None)

    return laconic.Task(train=loader("train", shuffle=True), evaluate=loader("test", shuffle=False))


def network() -> nn.Module:
    """Returns an untrained convolutional network, as the paper's teacher is one."""
    torch.manual_seed(0)
    return nn.Sequential(
        *(nn.Conv2d(1, 32, 3, stride=2, padding=1), nn.BatchNorm2d(32), nn.ReLU()),
        *(nn.Conv2d(32, 64, 3, stride=2, padding=1), nn.BatchNorm2d(64), nn.ReLU()),
        *(nn.Flatten(), nn.Dropout(0.3), nn.Linear(49 * 64, 128), nn.ReLU(), nn.Linear(128, 10)),
    )


def accuracy(model: nn.Module, task: laconic.Task) -> float:
    """Returns the share of test images that are classified right, in percent."""
    model.eval()
    with torch.no_grad():
        hits = [(task.forward(model, b).argmax(-1) == b.labels).float() for b in task.batches("evaluate")]
    return 100 * torch.cat(hits).mean().item()


def grown(task: laconic.Task, teacher: nn.Module | None, seed: int, folder: Path) -> tuple[float, float]:
    """Returns the accuracy of a new tree: of the mixture, and of the greatest path."""
    torch.manual_seed(seed)
    tree = SoftTree(inputs=784, classes=10, depth=DEPTH)
    training = Training(epochs=EPOCHS, optimizer=AdamW(learning_rate=1e-2), seed=seed, checkpoint_every=1000)
    objective = tree_growth(task, teacher=teacher, temperature=2.0 if teacher else 1.0)
    train(
        tree, task, training, objective=objective, work=folder / f"tree {'distilled' if teacher else 'labels'} {seed}"
    )
    mixture = accuracy(tree, task)
    tree.answer = "greatest path"
    return mixture, accuracy(tree, task)


def main() -> None:
    """Grows the trees."""
    folder = manner.work_folder()
    given = manner.options(__doc__ or "", ["labels", "distilled"], seeds=1)
    torch.set_num_threads(1)
    task = mnist()
    teacher = network()
    training = Training(epochs=TEACHER_EPOCHS, optimizer=AdamW(learning_rate=2e-3), checkpoint_every=1000)
    train(teacher, task, training, objective=supervised(task), work=folder / "teacher")
    manner.line("teacher", f"{accuracy(teacher, task):.2f} %")
    known = cached_teacher(teacher, task, folder / "answers", precision="float32")
    found: dict[str, list[tuple[float, float]]] = {}
    for row in given.rows:
        taught = known if row == "distilled" else None
        found[row] = [grown(task, taught, seed, folder) for seed in given.seeds]
        manner.line(row, *(f"{mixture:.2f} / {path:.2f} %" for mixture, path in found[row]))
    means = {
        row: [round(statistics.mean(runs), 2) for runs in zip(*pairs, strict=True)] for row, pairs in found.items()
    }
    nothing = [None, None]
    manner.finish(
        {
            "tree_on_labels": means.get("labels", nothing)[0],
            "tree_on_labels_greatest_path": means.get("labels", nothing)[1],
            "distilled": means.get("distilled", nothing)[0],
            "greatest_path": means.get("distilled", nothing)[1],
            "seeds": len(given.seeds),
            "epochs": EPOCHS,
            "command": manner.command(),
            "machine": manner.machine(),
        }
    )


if __name__ == "__main__":
    main()
