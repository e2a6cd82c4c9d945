"""A soft decision tree of depth 8 on MNIST: grown on labels, and on the answers of a network.

60,000 training images, all 10,000 test images; accuracy after the last epoch, nothing chosen on test. The paper
(arXiv:1711.09784) has 94.45 % on labels and 96.76 % distilled, both with the greatest path. Each tree is scored
with the mixture of its leaves and with its greatest path alone. Once the tree hears the network's answers to the
training images alone, which are kept on disk, and once to those images moved by up to a pixel, as the network itself
has learned. Weight decay, the weight of the balance and the moves were chosen on 10,000 held-back training images. With
`--work FOLDER` every run goes on where it was stopped.
"""

from __future__ import annotations

import statistics
from pathlib import Path

import torch
from torch import nn

import laconic
import manner
import mnist
from laconic.distill import SoftTree
from laconic.train import AdamW, Cosine, Objective, Training, augmented, cached_teacher, supervised, train, tree_growth

DEPTH, EPOCHS, TEACHER_EPOCHS, BATCH = 8, 40, 20, 128
DECAY, BALANCE, TEMPERATURE = 0.1, 0.02, 2.0
MOVED = mnist.moved(1)
ROWS = ("labels", "distilled", "moved")


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
    return round(100 * torch.cat(hits).mean().item(), 2)


def objective(row: str, task: laconic.Task, teacher: nn.Module, folder: Path) -> Objective:
    """Returns what a tree of this row learns from."""
    if row == "labels":
        return tree_growth(task, balance=BALANCE)
    if row == "moved":
        return augmented(tree_growth(task, teacher=teacher, temperature=TEMPERATURE, balance=BALANCE), MOVED)
    known = cached_teacher(teacher, task, folder / "answers", precision="float32")
    return tree_growth(task, teacher=known, temperature=TEMPERATURE, balance=BALANCE)


def grown(task: laconic.Task, learnt: Objective, seed: int, work: Path) -> tuple[float, float]:
    """Returns the accuracy of a new tree: of the mixture, and of the greatest path."""
    torch.manual_seed(seed)
    tree = SoftTree(inputs=784, classes=10, depth=DEPTH)
    train(tree, task, training(EPOCHS, 1e-2, seed), objective=learnt, work=work)
    mixture = accuracy(tree, task)
    tree.answer = "greatest path"
    return mixture, accuracy(tree, task)


def training(epochs: int, rate: float, seed: int) -> Training:
    return Training(
        epochs=epochs,
        optimizer=AdamW(learning_rate=rate, weight_decay=DECAY),
        schedule=Cosine(warmup=0.1),
        seed=seed,
        checkpoint_every=1000,
    )


def main() -> None:
    """Grows the trees."""
    folder = manner.work_folder()
    given = manner.options(__doc__ or "", ROWS, seeds=3)
    torch.set_num_threads(1)
    task = mnist.task(BATCH)
    taught = augmented(supervised(task), MOVED)
    teacher = train(network(), task, training(TEACHER_EPOCHS, 4e-3, 0), objective=taught, work=folder / "teacher").model
    known = accuracy(teacher, task)
    manner.line("teacher", f"{known:.2f} %")
    found: dict[str, list[tuple[float, float]]] = {}
    for row in given.rows:
        learnt = objective(row, task, teacher, folder)
        found[row] = [grown(task, learnt, seed, folder / f"tree {row} {seed}") for seed in given.seeds]
        manner.line(row, *(f"{mixture:.2f} / {path:.2f} %" for mixture, path in found[row]))
    mixtures, paths = (
        {row: round(statistics.mean(run[place] for run in runs), 2) for row, runs in found.items()} for place in (0, 1)
    )
    manner.finish(
        {
            "teacher": known,
            "mixture": mixtures,
            "greatest_path": paths,
            "runs": found,
            "seeds": len(given.seeds),
            "epochs": EPOCHS,
            "command": manner.command(),
            "machine": manner.machine(),
        }
    )


if __name__ == "__main__":
    main()
