"""The experiments on MNIST of Hinton, Vinyals and Dean 2015 (arXiv:1503.02531, section 3), all of them.

The teacher has 1,200 and 1,200 units, dropout, a limit on the norm of each unit's incoming weights, and images that
are moved by up to two pixels; the student has 800 and 800 and none of that. Errors are those on the 10,000 test images
after the last epoch; the paper has 67 for the teacher, 146 for the student, 74 for the student that is distilled at
temperature 20. Then digits are left out of the transfer set: all 3s (109 errors, 14 of the 1,010 threes, once the bias
of the 3 is raised), and all but 7s and 8s (13.2 % errors, at temperature 8, biases of 7 and 8 lowered). The paper
chooses these biases on test images; here they are chosen on the teacher's training images, so that each class is
answered as often as it occurs there: no test image is used for anything but the figures.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import BatchSampler, DataLoader, RandomSampler, SequentialSampler, TensorDataset

import laconic
import manner
from laconic.core.task import Batch
from laconic.distill import SoftLabels
from laconic.train import SGD, Linear, Objective, Training, augmented, distillation, supervised, train

TEACHER_EPOCHS, EPOCHS, BATCH = 60, 30, 128
TEMPERATURE, TEMPERATURE_OF_TWO, NORM, SHIFT = 20.0, 8.0, 3.5, 2
THREE = 3


def mnist(keep: tuple[int, ...] = tuple(range(10))) -> laconic.Task:
    """Returns the data, pixels from 0 to 1, with these digits alone in the training images."""
    read = manner.shared_data()

    def loader(split: str, *, shuffle: bool) -> DataLoader[Any]:
        images, labels = (torch.from_numpy(part.copy()) for part in read.mnist(split))
        chosen = torch.isin(labels.long(), torch.tensor(keep)) if shuffle else torch.ones(len(labels), dtype=torch.bool)
        data = TensorDataset(images[chosen][:, None].float() / 255, labels[chosen].long())
        order = RandomSampler(data) if shuffle else SequentialSampler(data)
        return DataLoader(data, sampler=BatchSampler(order, BATCH, drop_last=False), batch_size=None)

    return laconic.Task(train=loader("train", shuffle=True), evaluate=loader("test", shuffle=False))


def network(width: int, seed: int, dropout: float = 0.0) -> nn.Module:
    """Returns an untrained network with two hidden layers."""
    torch.manual_seed(seed)
    first = nn.Sequential(nn.Dropout(0.2 if dropout else 0.0), nn.Linear(784, width), nn.ReLU(), nn.Dropout(dropout))
    second = nn.Sequential(nn.Linear(width, width), nn.ReLU(), nn.Dropout(dropout))
    return nn.Sequential(nn.Flatten(), first, second, nn.Linear(width, 10))


def jitter(batch: Batch) -> Batch:
    """Moves each image by up to two pixels; what leaves is gone."""
    (images,) = batch.args
    padded = nn.functional.pad(images, [SHIFT] * 4)
    moves = torch.randint(2 * SHIFT + 1, (len(images), 2))
    rows = (moves[:, :1] + torch.arange(28))[:, :, None]
    columns = (moves[:, 1:] + torch.arange(28))[:, None, :]
    samples = torch.arange(len(images))[:, None, None]
    return replace(batch, args=(padded[samples, 0, rows, columns][:, None],))


def limited(objective: Objective) -> Objective:
    """Keeps the weights that lead into each unit at a norm of at most `NORM`, after every step."""

    def after(model: nn.Module, _moment: Any) -> None:
        with torch.no_grad():
            for layer in model.modules():
                if isinstance(layer, nn.Linear):
                    layer.weight.mul_((NORM / layer.weight.norm(dim=1, keepdim=True).clamp(min=1e-9)).clamp(max=1.0))

    return replace(objective, after=after, name=f"{objective.name}, norms limited to {NORM}")


def trained_teacher(task: laconic.Task, seed: int) -> nn.Module:
    training = Training(epochs=TEACHER_EPOCHS, optimizer=SGD(learning_rate=0.1), schedule=Linear(), seed=seed)
    objective = limited(augmented(supervised(task), jitter))
    return train(network(1200, seed, dropout=0.5), task, training, objective=objective).model


def budget(seed: int) -> Training:
    return Training(epochs=EPOCHS, optimizer=SGD(learning_rate=0.1), schedule=Linear(), seed=seed)


def distilled(teacher: nn.Module, task: laconic.Task, seed: int, temperature: float) -> nn.Module:
    # Without labels and without jitter: all that the student knows, it knows from the teacher's soft answers.
    objective = distillation(teacher, task, SoftLabels(temperature=temperature))
    return train(network(800, seed), task, budget(seed), objective=objective).model


def answers(model: nn.Module, task: laconic.Task, part: str = "evaluate") -> tuple[Tensor, Tensor]:
    """Returns the logits and the labels of one part."""
    with torch.no_grad():
        found = [(task.forward(model, batch), batch.labels) for batch in task.batches(part)]
    return torch.cat([logits for logits, _ in found]), torch.cat([labels for _, labels in found])


def errors(logits: Tensor, labels: Tensor) -> int:
    return int((logits.argmax(1) != labels).sum())


def levelled(logits: Tensor, labels: Tensor, classes: tuple[int, ...]) -> Tensor:
    """Returns what is to be added to the logits, so that each of some classes is answered as often as it occurs."""
    bias = torch.zeros(10)
    for _ in range(200):
        before = bias.clone()
        for digit in classes:
            others = (logits + bias).clone()
            others[:, digit] = -torch.inf
            # The number at which exactly the share of this class is answered with it.
            margins = (others.amax(1) - logits[:, digit]).sort().values
            bias[digit] = margins[int((labels == digit).sum())]
        if torch.allclose(bias, before, atol=1e-4):
            break
    return bias


def without(teacher: nn.Module, whole: laconic.Task, seed: int, keep: tuple[int, ...], temperature: float) -> Tensor:
    """Returns the corrected test logits of a student that has seen only some digits."""
    student = distilled(teacher, mnist(keep), seed, temperature)
    seen, labels = answers(student, whole, "train")
    corrected = (THREE,) if len(keep) == 9 else keep
    return answers(student, whole)[0] + levelled(seen, labels, corrected)


def main() -> None:
    """Runs the experiments."""
    given = manner.options(__doc__ or "", ["plain", "distilled", "no3", "only78"], seeds=3)
    torch.set_num_threads(1)
    task = mnist()
    labels = answers(network(1, 0), task)[1]
    found: dict[str, list[Any]] = {"teacher": [], "plain": [], "distilled": [], "no3": [], "on_3": [], "only78": []}
    for seed in given.seeds:
        teacher = trained_teacher(task, seed)
        found["teacher"].append(errors(*answers(teacher, task)))
        manner.line(f"teacher, seed {seed}", found["teacher"][-1])
        if "plain" in given.rows:
            student = train(network(800, seed), task, budget(seed), objective=supervised(task)).model
            found["plain"].append(errors(*answers(student, task)))
            manner.line(f"student, seed {seed}", found["plain"][-1])
        if "distilled" in given.rows:
            found["distilled"].append(errors(*answers(distilled(teacher, task, seed, TEMPERATURE), task)))
            manner.line(f"distilled, seed {seed}", found["distilled"][-1])
        if "no3" in given.rows:
            logits = without(teacher, task, seed, (0, 1, 2, 4, 5, 6, 7, 8, 9), TEMPERATURE)
            found["no3"].append(errors(logits, labels))
            found["on_3"].append(errors(logits[labels == THREE], labels[labels == THREE]))
            manner.line(f"no 3, seed {seed}", f"{found['no3'][-1]}, on 3s {found['on_3'][-1]}")
        if "only78" in given.rows:
            logits = without(teacher, task, seed, (7, 8), TEMPERATURE_OF_TWO)
            found["only78"].append(round(100 * errors(logits, labels) / len(labels), 2))
            manner.line(f"only 7, 8, seed {seed}", f"{found['only78'][-1]} %")
    manner.finish(
        {
            "teacher_errors": found["teacher"],
            "student_errors": found["plain"],
            "distilled_errors": found["distilled"],
            "no3": {"errors": found["no3"], "on_3": found["on_3"]},
            "only78_error_percent": found["only78"],
            "seeds": len(given.seeds),
            "epochs": {"teacher": TEACHER_EPOCHS, "student": EPOCHS},
            "command": manner.command(),
            "machine": manner.machine(),
        }
    )


if __name__ == "__main__":
    main()
