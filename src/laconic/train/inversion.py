"""Images that a teacher remembers: data for its student where there are none."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from laconic.core.errors import ModelError, check_whole, invalid
from laconic.core.task import Batch, Task, cross_entropy
from laconic.distill.answering import answering
from laconic.train import randomness

NORMALISATIONS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)


@dataclass(frozen=True, kw_only=True)
class Inversion:
    """How images are made from noise: by descending, for some steps, a loss of the teacher on them.

    `cross_entropy(teacher(x), y) + statistics * R(x) + variation * V(x) + norm * mean(x^2)`

    `R` is the sum over batch normalisations of the distances of the batch's mean and variance from the running ones,
    `|mean - running mean| + |variance - running variance|`, `V` the mean squared difference of neighbouring pixels.

    Args:
        steps: of Adam, from 1.
        learning_rate: of Adam, positive.
        statistics: weight of R.
        variation: weight of V.
        norm: weight of the squared pixels.
        shift: images are moved by at most so many pixels before each step, so that none is made for one position.

    Reference:
        Yin, Molchanov, Li, Alvarez, Mallya, Hoiem, Jha, Kautz, 2020, arXiv:1912.08795, equations 2 to 4.
    """

    steps: int = 500
    learning_rate: float = 0.05
    statistics: float = 1.0
    variation: float = 1e-2
    norm: float = 1e-3
    shift: int = 2

    def __post_init__(self) -> None:
        check_whole("Inversion.steps", self.steps, 1)
        if not 0 < self.learning_rate < float("inf"):
            raise invalid("Inversion.learning_rate", self.learning_rate, "a positive number")
        for name in ("statistics", "variation", "norm", "shift"):
            if not 0 <= getattr(self, name) < float("inf"):
                raise invalid(f"Inversion.{name}", getattr(self, name), "0 or a positive number")


def remembered_images(
    teacher: nn.Module,
    task: Task,
    *,
    shape: Sequence[int],
    classes: int,
    batches: int = 1,
    batch_size: int = 128,
    inversion: Inversion | None = None,
    seed: int = 0,
) -> list[Batch]:
    """Returns batches of images made from what the teacher's batch normalisations remember of its training data.

    They are `task.train` of another task: `replace(task, train=remembered_images(...))`. They show what the teacher
    looks for, not what there was; a student taught on them is to be checked on real data.

    Args:
        teacher: with batch normalisation; left as it is.
        task: how it is called; its data is not read.
        shape: of one image, `[channels, height, width]`, in the range that the teacher expects.
        classes: labels are drawn evenly from 0 to `classes - 1`.
        batches: how many.
        batch_size: images of one batch, from 2; statistics are compared batch by batch, so that larger is better.
        inversion: how; None: `Inversion()`.
        seed: of noise, labels and shifts.

    Raises:
        UsageError: a number outside its domain.
        ModelError: the teacher has no batch normalisation with running statistics.
    """
    for name, value, least in (("classes", classes, 1), ("batches", batches, 1), ("batch_size", batch_size, 2)):
        check_whole(f"remembered_images.{name}", value, least)
    how = inversion or Inversion()
    layers = [m for m in teacher.modules() if isinstance(m, NORMALISATIONS) and m.running_mean is not None]
    if not layers:
        raise ModelError(
            f"remembered_images: {type(teacher).__name__} has no batch normalisation with running statistics; "
            "expected at least one. Only such a teacher remembers what its data was like."
        )
    device = next((p.device for p in teacher.parameters()), torch.device("cpu"))
    with randomness.undisturbed(device), _still(teacher):
        randomness.seed_all(seed, 0)
        found = []
        for _ in range(batches):
            labels = torch.randint(classes, (batch_size,)).to(device)
            noise = torch.randn(batch_size, *shape).to(device)
            found.append(_made(teacher, task, layers, noise, labels, how))
        return found


def _made(
    teacher: nn.Module, task: Task, layers: Sequence[nn.Module], images: Tensor, labels: Tensor, how: Inversion
) -> Batch:
    """Returns one batch of images."""
    images = images.requires_grad_()
    optimizer = torch.optim.Adam([images], lr=how.learning_rate)
    for _ in range(how.steps):
        moved = _moved(images, how.shift)
        with _statistics(layers) as distances:
            logits = task.forward(teacher, Batch(args=(moved,)))
        loss = cross_entropy(logits, labels) + how.norm * images.square().mean()
        loss = loss + how.statistics * torch.stack(distances).sum() + how.variation * _variation(images)
        (images.grad,) = torch.autograd.grad(loss, [images])
        optimizer.step()
    return Batch(args=(images.detach().cpu(),), labels=labels.cpu())


@contextmanager
def _statistics(layers: Sequence[nn.Module]) -> Iterator[list[Tensor]]:
    """Collects how far the inputs of batch normalisations are from what these remember."""
    distances: list[Tensor] = []

    def listen(module: nn.Module, args: tuple[Tensor, ...]) -> None:
        over = [d for d in range(args[0].dim()) if d != 1]
        mean, variance = args[0].mean(over), args[0].var(over, unbiased=False)
        wanted = (module.get_buffer("running_mean"), module.get_buffer("running_var"))
        distances.append(torch.stack([_length(a - b) for a, b in zip((mean, variance), wanted, strict=True)]).sum())

    handles = [layer.register_forward_pre_hook(listen) for layer in layers]
    try:
        yield distances
    finally:
        for handle in handles:
            handle.remove()


def _length(vector: Tensor) -> Tensor:
    return (vector.square().sum() + 1e-12).sqrt()  # With a gradient at zero.


def _moved(images: Tensor, shift: int) -> Tensor:
    """Returns images moved by a random number of pixels, what leaves on one side coming back on the other."""
    if shift == 0 or images.dim() != 4:
        return images
    down, right = torch.randint(-shift, shift + 1, (2,)).tolist()
    return images.roll((down, right), (2, 3))


def _variation(images: Tensor) -> Tensor:
    """Returns the mean squared difference of neighbours, over all dimensions of positions."""
    found = [images.diff(dim=d).square().mean() for d in range(2, images.dim()) if images.shape[d] > 1]
    return torch.stack(found).sum() if found else images.new_zeros(())


@contextmanager
def _still(model: nn.Module) -> Iterator[None]:
    """Puts a model to eval mode and its parameters out of the gradient's way for a while."""
    wanted = [(parameter, parameter.requires_grad) for parameter in model.parameters()]
    try:
        model.requires_grad_(False)
        with answering(model), torch.enable_grad():
            yield
    finally:
        for parameter, requires in wanted:
            parameter.requires_grad_(requires)
