import copy
from functools import cache

import pytest
import torch
from torch import nn

from laconic import Task, distill
from laconic.core.errors import ModelError, UsageError
from laconic.train import AdamW, Inversion, Training, remembered_images, supervised, train
from laconic.train.inversion import _statistics

CLASSES = 3


def stripes(samples, seed):
    """Images whose class is the row that is bright."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(CLASSES, (samples,), generator=generator)
    x = 0.3 * torch.randn(samples, 1, 6, 6, generator=generator)
    for i, label in enumerate(labels.tolist()):
        x[i, :, 2 * label : 2 * label + 2] += 1.5
    return x, labels


def network(width, seed):
    torch.manual_seed(seed)
    return nn.Sequential(
        nn.Conv2d(1, width, 3, padding=1), nn.BatchNorm2d(width), nn.ReLU(),
        nn.Flatten(), nn.Linear(36 * width, CLASSES),
    )  # fmt: skip


@cache
def _taught():
    batches = [stripes(32, seed) for seed in range(8)]
    task = Task(train=batches, evaluate=[stripes(300, 99)])
    training = Training(epochs=4, optimizer=AdamW(learning_rate=0.01))
    return train(network(6, 0), task, training, objective=supervised(task)).model, task


def taught():
    teacher, task = _taught()
    return copy.deepcopy(teacher), task


def made(teacher, task, steps=60, **options):
    how = Inversion(steps=steps, learning_rate=0.1, shift=0, **options)
    return remembered_images(teacher, task, shape=(1, 6, 6), classes=CLASSES, batch_size=48, inversion=how)


def accuracy(model, task):
    with torch.no_grad():
        ((x, y),) = task.evaluate
        return (model(x).argmax(1) == y).float().mean().item()


def test_images_are_of_their_class_and_have_the_statistics_that_the_teacher_remembers():
    teacher, task = taught()
    (batch,) = made(teacher, task)
    (noise,) = made(teacher, task, steps=1)

    def apart(images):
        with torch.no_grad():
            inside = teacher[0](images)
            return (inside.mean((0, 2, 3)) - teacher[1].running_mean).norm().item()

    assert (teacher(batch.args[0]).argmax(1) == batch.labels).float().mean() > 0.95
    assert apart(batch.args[0]) < 0.2 * apart(noise.args[0])
    assert set(batch.labels.tolist()) == {0, 1, 2}


def test_a_student_that_never_saw_data_learns_from_them():
    teacher, task = taught()
    made_up = Task(train=made(teacher, task) * 8, evaluate=task.evaluate)
    student = network(3, 5)
    before = accuracy(student.eval(), task)
    distill(teacher, student, made_up, training=Training(epochs=6, optimizer=AdamW(learning_rate=0.01)))
    assert accuracy(teacher, task) > 0.95
    assert accuracy(student, task) > max(0.8, before + 0.2)


def test_the_same_seed_makes_the_same_images_and_the_teacher_is_left_as_it_was():
    teacher, task = taught()
    teacher.train()
    before = {name: tensor.clone() for name, tensor in teacher.state_dict().items()}
    state = torch.get_rng_state()
    one, other = (made(teacher, task, steps=3)[0].args[0] for _ in range(2))
    assert torch.equal(one, other) and torch.equal(torch.get_rng_state(), state)
    assert teacher.training and all(p.requires_grad and p.grad is None for p in teacher.parameters())
    assert all(torch.equal(tensor, before[name]) for name, tensor in teacher.state_dict().items())
    assert not any(module._forward_pre_hooks for module in teacher.modules())


def test_the_loss_at_the_first_step_is_the_papers():
    # One pixel of 1 in one image and -1 in the other: mean 0, variance 1; the layer remembers mean 2 and variance 4.
    layer = nn.BatchNorm2d(1)
    layer.running_mean.fill_(2)
    layer.running_var.fill_(4)
    with _statistics([layer]) as distances:
        layer.eval()(torch.tensor([1.0, -1.0]).view(2, 1, 1, 1))
    assert distances[0].item() == pytest.approx(2 + 3)


def test_a_teacher_that_remembers_nothing_and_wrong_numbers_are_refused():
    teacher, task = network(2, 0), Task(evaluate=[torch.zeros(1, 1, 6, 6)])
    with pytest.raises(ModelError, match="no batch normalisation"):
        remembered_images(nn.Linear(2, 2), task, shape=(2,), classes=2)
    for wrong in ({"classes": 0}, {"batches": 0}, {"batch_size": 1}):
        with pytest.raises(UsageError, match=f"remembered_images.{next(iter(wrong))}"):
            remembered_images(teacher, task, **{"shape": (1, 6, 6), "classes": 3, **wrong})
    for wrong in ({"steps": 0}, {"learning_rate": 0}, {"statistics": -1}):
        with pytest.raises(UsageError, match=f"Inversion.{next(iter(wrong))}"):
            Inversion(**wrong)
