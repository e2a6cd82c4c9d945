"""The experiments on MNIST of Hinton, Vinyals and Dean 2015 (arXiv:1503.02531, section 3), all of them.

The teacher has 1,200 and 1,200 units, dropout, a limit on the norm of each unit's incoming weights, and images that
are moved by up to two pixels; the student has 800 and 800 and none of that, and is distilled on images that are not
moved (and, beside the paper, once on images that are). Errors are those on the 10,000 test images after the last epoch;
the paper has 67 for the teacher, 146 for the student, 74 for the student that is distilled at temperature 20. Then
digits are left out of the transfer set: all 3s (109 errors, 14 of the 1,010 threes, once the bias of the 3 is raised),
and all but 7s and 8s (13.2 % errors, at temperature 8, biases of 7 and 8 lowered). The paper chooses these biases on
test images; here they are chosen on the teacher's training images, so that each class is answered as often as it occurs
there: no test image is used for anything but the figures. Learning rates and dropout were chosen on 10,000 held-back
training images: a quarter of the hidden units and no pixel, as the usual shares, half of the units and a fifth of the
pixels, are too much for so few epochs. Networks compute in bfloat16 while they learn, in float32 while they are scored.
With `--work FOLDER` every run goes on where it was stopped.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

import laconic
import manner
import mnist
from laconic.distill import SoftLabels
from laconic.train import (
    SGD,
    Linear,
    Objective,
    Training,
    augmented,
    cached_teacher,
    distillation,
    supervised,
    train,
)

TEACHER_EPOCHS, PLAIN_EPOCHS, EPOCHS, MOVED_EPOCHS, BATCH = 90, 30, 60, 150, 256
TEACHER_RATE, RATE, DROPOUT = 0.2, 0.3, 0.25
TEMPERATURE, TEMPERATURE_OF_TWO, NORM = 20.0, 8.0, 3.5
THREE = 3
JITTER = mnist.moved(2)


class Dropout(nn.Module):
    """Dropout that draws one byte for each number: PyTorch's own takes a third of a step here."""

    def __init__(self, probability: float) -> None:
        super().__init__()
        self.dropped = round(256 * probability)

    def forward(self, x: Tensor) -> Tensor:
        if not self.training:
            return x
        drawn = torch.empty(-(-x.numel() // 8), dtype=torch.int64).random_(-(2**63), None).view(torch.uint8)
        return x * (drawn[: x.numel()].view(x.shape) >= self.dropped) * (256 / (256 - self.dropped))


def network(width: int, seed: int, dropout: float = 0.0) -> nn.Module:
    """Returns an untrained network with two hidden layers."""
    torch.manual_seed(seed)
    layers = [nn.Flatten(), nn.Linear(784, width), nn.ReLU(), nn.Linear(width, width), nn.ReLU(), nn.Linear(width, 10)]
    if dropout:
        for place in (5, 3):
            layers.insert(place, Dropout(dropout))
    return nn.Sequential(*layers)


def limited(objective: Objective) -> Objective:
    """Keeps the weights that lead into each unit at a norm of at most `NORM`, after every step."""

    def after(model: nn.Module, _moment: Any) -> None:
        with torch.no_grad():
            for layer in model.modules():
                if isinstance(layer, nn.Linear):
                    layer.weight.mul_((NORM / layer.weight.norm(dim=1, keepdim=True).clamp(min=1e-9)).clamp(max=1.0))

    return replace(objective, after=after, name=f"{objective.name}, norms limited to {NORM}")


@dataclass(frozen=True, kw_only=True)
class Runs:
    """The runs of one seed, each with a checkpoint in a folder of its own, from which it goes on."""

    folder: Path
    seed: int

    def trained(self, name: str, model: nn.Module, task: laconic.Task, objective: Objective, epochs: int) -> nn.Module:
        training = Training(
            epochs=epochs,
            optimizer=SGD(learning_rate=TEACHER_RATE if name == "teacher" else RATE),
            schedule=Linear(),
            seed=self.seed,
            mixed_precision="bf16",
            checkpoint_every=1000,
        )
        return train(model, task, training, objective=objective, work=self.folder / f"{name} {self.seed}").model

    def teacher(self, task: laconic.Task) -> nn.Module:
        objective = limited(augmented(supervised(task), JITTER))
        return self.trained("teacher", network(1200, self.seed, dropout=DROPOUT), task, objective, TEACHER_EPOCHS)

    def student(self, task: laconic.Task) -> nn.Module:
        return self.trained("student", network(800, self.seed), task, supervised(task), PLAIN_EPOCHS)

    def distilled(self, name: str, teacher: nn.Module, task: laconic.Task, temperature: float) -> nn.Module:
        # Without labels and without jitter: all that the student knows, it knows from the teacher's soft answers.
        known = cached_teacher(teacher, task, self.folder / f"answers for {name} {self.seed}", precision="float32")
        objective = distillation(known, task, SoftLabels(temperature=temperature))
        return self.trained(name, network(800, self.seed), task, objective, EPOCHS)

    def moved(self, teacher: nn.Module, task: laconic.Task) -> nn.Module:
        """Returns a student that hears the teacher's answers to moved images too, as the paper's does not."""
        objective = augmented(distillation(teacher, task, SoftLabels(temperature=TEMPERATURE)), JITTER)
        return self.trained("moved", network(800, self.seed), task, objective, MOVED_EPOCHS)

    def without(self, name: str, teacher: nn.Module, keep: tuple[int, ...], temperature: float) -> Tensor:
        """Returns the corrected test logits of a student that has seen only some digits."""
        task = mnist.task(BATCH, keep)
        student = self.distilled(name, teacher, task, temperature)
        # How often a class occurs is known from the training labels, those of the left-out digits included.
        seen, labels = answers(student, mnist.task(BATCH), "train")
        corrected = (THREE,) if len(keep) == 9 else keep
        return answers(student, task)[0] + levelled(seen, labels, corrected)


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


def main() -> None:
    """Runs the experiments."""
    folder = manner.work_folder()
    given = manner.options(__doc__ or "", ["plain", "distilled", "moved", "no3", "only78"], seeds=3)
    torch.set_num_threads(1)
    task = mnist.task(BATCH)
    labels = answers(network(1, 0), task)[1]
    names = ("teacher", "plain", "distilled", "moved", "no3", "on_3", "only78")
    found: dict[str, list[Any]] = {name: [] for name in names}
    for seed in given.seeds:
        runs = Runs(folder=folder, seed=seed)
        teacher = runs.teacher(task)
        found["teacher"].append(errors(*answers(teacher, task)))
        manner.line(f"teacher, seed {seed}", found["teacher"][-1])
        if "distilled" in given.rows:
            found["distilled"].append(errors(*answers(runs.distilled("distilled", teacher, task, TEMPERATURE), task)))
            manner.line(f"distilled, seed {seed}", found["distilled"][-1])
        if "moved" in given.rows:
            found["moved"].append(errors(*answers(runs.moved(teacher, task), task)))
            manner.line(f"on moved images, seed {seed}", found["moved"][-1])
        if "plain" in given.rows:
            found["plain"].append(errors(*answers(runs.student(task), task)))
            manner.line(f"student, seed {seed}", found["plain"][-1])
        if "only78" in given.rows:
            logits = runs.without("only 7 and 8", teacher, (7, 8), TEMPERATURE_OF_TWO)
            found["only78"].append(round(100 * errors(logits, labels) / len(labels), 2))
            manner.line(f"only 7, 8, seed {seed}", f"{found['only78'][-1]} %")
        if "no3" in given.rows:
            logits = runs.without("no 3", teacher, (0, 1, 2, 4, 5, 6, 7, 8, 9), TEMPERATURE)
            found["no3"].append(errors(logits, labels))
            found["on_3"].append(errors(logits[labels == THREE], labels[labels == THREE]))
            manner.line(f"no 3, seed {seed}", f"{found['no3'][-1]}, on 3s {found['on_3'][-1]}")
    manner.finish(
        {
            "teacher_errors": found["teacher"],
            "student_errors": found["plain"],
            "distilled_errors": found["distilled"],
            "distilled_on_moved_errors": found["moved"],
            "no3": {"errors": found["no3"], "on_3": found["on_3"]},
            "only78_error_percent": found["only78"],
            "seeds": len(given.seeds),
            "epochs": {"teacher": TEACHER_EPOCHS, "student": PLAIN_EPOCHS, "distilled": EPOCHS, "moved": MOVED_EPOCHS},
            "command": manner.command(),
            "machine": manner.machine(),
        }
    )


if __name__ == "__main__":
    main()
