"""Objectives that take turns: teachers that change, losses that come in later."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import cast

from torch import Tensor, nn

from laconic.core.errors import invalid
from laconic.core.task import Batch
from laconic.train.objective import Moment, Objective


def in_turn(objectives: Mapping[float, Objective]) -> Objective:
    """Returns an objective that is one after the other, each from a share of the run on.

    A student that learns from the checkpoints of its teacher's training, from easy to hard:

        in_turn({0.0: distillation(early, task, loss), 0.4: distillation(later, task, loss), 0.8: supervised(task)})

    Schedules inside see the progress of the whole run. What an objective has of its own (projections) is there from the
    start and rests outside its turn.

    Args:
        objectives: share of the run at which each begins, in [0, 1), the first at 0.

    Raises:
        UsageError: there are none, or shares are outside their domain.

    Reference:
        Jin, Peng, Wu, Liu, Liu, Liang, Yan, Hu, 2019, arXiv:1904.09149 (route-constrained optimisation).
    """
    begins = sorted(objectives)
    if not begins or begins[0] != 0 or begins[-1] >= 1:
        raise invalid("in_turn.objectives", begins, "shares of the run in [0, 1), the first of them 0")
    stages = [objectives[begin] for begin in begins]

    def turn(moment: Moment) -> int:
        return sum(begin <= moment.progress for begin in begins) - 1

    def own(moment: Moment, index: int) -> Moment:
        return replace(moment, parts=own_part(moment.parts, index))

    def terms(model: nn.Module, batch: Batch, moment: Moment) -> Mapping[str, Tensor]:
        index = turn(moment)
        return stages[index].terms(model, batch, own(moment, index))

    def after(model: nn.Module, moment: Moment) -> None:
        index = turn(moment)
        if (follow := stages[index].after) is not None:
            follow(model, own(moment, index))

    def parts(model: nn.Module, batch: Batch) -> nn.Module:
        return nn.ModuleDict(
            {str(i): stage.parts(model, batch) for i, stage in enumerate(stages) if stage.parts is not None}
        )

    return Objective(
        terms=terms,
        name="in turn " + ", ".join(f"from {begin}: {objectives[begin].name}" for begin in begins),
        teachers=tuple(dict.fromkeys(teacher for stage in stages for teacher in stage.teachers)),
        parts=parts if any(stage.parts for stage in stages) else None,
        after=after,
    )


def own_part(parts: nn.Module | None, index: int) -> nn.Module | None:
    """Returns what one of several objectives has of its own, kept in a `ModuleDict` by its number; None: nothing."""
    built = None if parts is None else cast(nn.ModuleDict, parts)
    return built[str(index)] if built is not None and str(index) in built else None
