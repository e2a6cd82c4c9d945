"""What is minimised: the loss on labels, or the distance to a teacher. The loop does not know which."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from laconic.core.errors import DataError
from laconic.core.task import Batch, Task
from laconic.distill import label_loss


@dataclass(frozen=True, kw_only=True)
class Moment:
    """Where in a run a loss is asked for.

    Args:
        progress: share of the steps that are made, in [0, 1).
        parts: what `Objective.parts` has built for this run.
    """

    progress: float = 0.0
    parts: nn.Module | None = None


Terms = Callable[[nn.Module, Batch, Moment], Mapping[str, Tensor]]


@dataclass(frozen=True, kw_only=True)
class Objective:
    """A loss of a model on a batch.

    Args:
        terms: `(model, batch, moment) -> {name: scalar}`; the loss is the sum of the terms.
        name: what it is, in words that are the same in every process: a checkpoint of another objective is refused.
        teachers: models that `terms` asks. While a run lasts they lie on its device in eval mode; then they are as
            before.
        parts: `(model, batch) -> module`: builds what the objective has of its own, such as projections, from the
            model and a trial batch, both on the device of the run, the model in eval mode. It is built anew for every
            run, its parameters are trained along with the model's, it is in the checkpoint, and it is dropped in the
            end. None: there is nothing.
        after: `(model, moment)`: called after every step, for parts that follow the model, such as its running mean.

    Example:
        >>> shrink = Objective(name="shrink", terms=lambda model, batch, moment: {"norm": model.weight.square().sum()})
    """

    terms: Terms
    name: str
    teachers: tuple[nn.Module, ...] = ()
    parts: Callable[[nn.Module, Batch], nn.Module] | None = None
    after: Callable[[nn.Module, Moment], None] | None = None


def supervised(task: Task) -> Objective:
    """Returns the objective of plain training: the task's criterion on the labels."""

    def terms(model: nn.Module, batch: Batch, moment: Moment) -> Mapping[str, Tensor]:
        if batch.labels is None:
            raise DataError(
                "Task.train: a batch has no labels, and training on labels needs them. Yield (x, y) or a dict with "
                "'labels', or learn from a teacher instead."
            )
        return {"labels": label_loss(task.forward(model, batch), batch.labels, task.criterion)}

    return Objective(terms=terms, name="supervised")


def unwrapped(model: nn.Module) -> nn.Module:
    """Returns the user's own module, which several processes wrap."""
    return model.module if isinstance(model, DistributedDataParallel) else model
