"""A smaller model in several steps, with training in between."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, get_args

import torch
from torch import Tensor, nn

from laconic.core.errors import ModelError, check_fraction, check_whole, invalid
from laconic.core.plan import Plan
from laconic.core.target import Target
from laconic.core.task import Task, check_is_task
from laconic.graph import capture, costs
from laconic.graph.axes import Axes, Axis, axes
from laconic.graph.example import example_inputs
from laconic.prune.choice import Candidates, Scope, choose
from laconic.prune.cutting import cut_out
from laconic.prune.gather import gather, inputs_of
from laconic.prune.importance import Compensated, Importance
from laconic.prune.limits import Limits, free_axes, least_for, rounding_for
from laconic.prune.narrowing import Compensation
from laconic.prune.nearness import missed
from laconic.prune.pruned import Pruned
from laconic.prune.refit import refit
from laconic.prune.savings import Measure, Savings
from laconic.prune.shared_widths import shared_widths
from laconic.prune.smaller import Smaller, refitted

Schedule = Literal["cubic", "linear", "one-shot"]


@dataclass(frozen=True, kw_only=True)
class Step:
    """Where gradual pruning has come to.

    Args:
        number: of the step that was just made, from 1.
        steps: how many there will be.
        ratio: the fraction of the original that this step aimed to have saved.
        plan: what leads from the model before this step to the model after it; `migrate` takes an optimizer along.
    """

    number: int
    steps: int
    ratio: float
    plan: Plan


AfterStep = Callable[[nn.Module, Step], nn.Module | None]


def gradually(
    model: nn.Module,
    task: Task,
    *,
    ratio: float = 0.5,
    steps: int = 3,
    schedule: Schedule = "cubic",
    after_step: AfterStep | None = None,
    of: Measure = "macs",
    importance: Importance | None = None,
    scope: Scope = "global",
    target: Target | None = None,
    round_to: int | None = None,
    least: float | Mapping[str, float] = 0.0,
    keep: Sequence[str] = (),
    compensate: Compensation | None = "weights",
    samples: int = 1024,
) -> Pruned:
    """Prunes in steps: each time, importance is found anew on the smaller model, and there is room for training.

    Args:
        model: a trained model; left untouched, also when `after_step` raises or is interrupted.
        task: its calibration data is read in each step.
        ratio: the fraction of the original to save in the end, in `[0, 1)`.
        steps: how many.
        schedule: what is saved after a fraction `t` of the steps: `"linear"`, `ratio * t`; `"cubic"`,
            `ratio * (1 - (1 - t)^3)`, which takes most while there is most to spare; `"one-shot"`, all in the first
            step.
        after_step: called after every step, the last included, with the smaller model and the `Step`; trains the model
            it is given, or returns another one of the same architecture. None: what remains is in the end fitted to the
            original, all cuts at once.
        of: of `"macs"`, `"parameters"` or `"slices"`.
        importance: as in `prune`.
        scope: as in `prune`; not None.
        target: as in `prune`.
        round_to: as in `prune`.
        least: as in `prune`, a fraction of the original.
        keep: as in `prune`.
        compensate: as in `prune`, after every step.
        samples: as in `prune`, in every step.

    Returns:
        The last model, with one plan that leads to it from the original: each axis is cut once, in the original's own
        indices, and every tensor that differs from the original's is held as values.

    Raises:
        UsageError: a number is outside its domain, or a pattern matches nothing.
        ModelError: as in `prune`; or a step's axes are not the original's.

    Reference:
        Zhu and Gupta 2017, arXiv:1710.01878, equation 1 (the cubic schedule, AGP).

    Example:
        >>> model = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2))
        >>> print(gradually(model, Task(evaluate=[torch.randn(64, 4)]), ratio=0.5, steps=2))
        Pruned: 50.0% of the MACs, 51.7% of the parameters, the model's own class
          0.weight[0]: 8 -> 4
    """
    check_is_task(task, "gradually")
    aims = list(_aims(ratio, steps, schedule))
    if compensate is not None and compensate not in get_args(Compensation):
        raise invalid("gradually.compensate", compensate, "'weights', 'statistics' or None")
    check_whole("gradually.samples", samples, 1)
    example = example_inputs(task)
    found = axes(capture(model, *example))
    course = _Course(
        task=task,
        example=example,
        original=found,
        savings=Savings(found, of),
        free=frozenset(free_axes(found, keep)),
        limits=Limits(rounding=rounding_for(target, round_to), least=least_for(found, least)),
        importance=importance or Compensated(),
        scope=scope,
        compensate=compensate,
        samples=samples,
    )
    kept: dict[Axis, Tensor] = {}
    current = model
    for number, aim in enumerate(aims, 1):
        smaller, kept = course.step(current, kept, aim)
        current = smaller.model
        if after_step is not None:
            step = Step(number=number, steps=steps, ratio=aim, plan=smaller.plan)
            current = after_step(current, step) or current
    return course.result(model, kept, ratio, None if after_step is None else current)


def _aims(ratio: float, steps: int, schedule: Schedule) -> Iterator[float]:
    """Yields the fraction of the original to have saved after each step."""
    check_fraction("gradually.ratio", ratio)
    check_whole("gradually.steps", steps, 1)
    if schedule not in get_args(Schedule):
        raise invalid("gradually.schedule", schedule, "'cubic', 'linear' or 'one-shot'")
    for number in range(1, steps + 1):
        left = 1 - number / steps
        yield ratio * {"cubic": 1 - left**3, "linear": 1 - left, "one-shot": 1.0}[schedule]


@dataclass(frozen=True, kw_only=True, eq=False)
class _Course:
    """What stays the same from step to step."""

    task: Task
    example: tuple[tuple[Any, ...], Mapping[str, Any]]
    original: Axes
    savings: Savings
    free: frozenset[Axis]
    limits: Limits
    importance: Importance
    scope: Scope
    compensate: Compensation | None
    samples: int

    def step(self, model: nn.Module, kept: dict[Axis, Tensor], aim: float) -> tuple[Smaller, dict[Axis, Tensor]]:
        """Returns the model cut once more, and what is left of the original's axes then."""
        now = axes(capture(model, *self.example))
        whose = _counterparts(self.original, kept, now)
        candidates = self._candidates(model, now, whose)
        cut = candidates.kept(choose(candidates, max(0.0, 1 - (1 - aim) / self._left(kept)), self.scope))
        smaller = self._fitted(model, now, cut, cut_out(model, now, cut, *self.example))
        before = {axis: kept.get(whose[axis], torch.arange(axis.size)) for axis in cut}
        return smaller, kept | {whose[axis]: before[axis][indices] for axis, indices in cut.items()}

    def result(self, model: nn.Module, kept: dict[Axis, Tensor], ratio: float, trained: nn.Module | None) -> Pruned:
        """Returns all steps as one, cut from the original and proven there."""
        smaller = cut_out(model, self.original, kept, *self.example)
        if trained is None:
            smaller = self._fitted(model, self.original, kept, smaller)
        else:
            smaller = refitted(model, smaller, _new_values(smaller.model, trained))
        saved, of = 1 - self._left(kept), self.savings.measure
        return Pruned(
            model=trained or smaller.model,
            plan=smaller.plan,
            kind=smaller.kind,
            why=smaller.why,
            error=smaller.error,
            axes=self.original,
            keep={axis.name: kept[axis] for axis in self.original if axis in kept},
            before=costs(self.original.graph),
            after=costs(smaller.graph or capture(smaller.model, *self.example)),
            notes=(*missed(ratio, saved, of=of, by="sizes that are allowed"), *smaller.notes),
        )

    def _left(self, kept: Mapping[Axis, Tensor]) -> float:
        sizes = {axis.atom: len(indices) for axis, indices in kept.items()}
        return self.savings.amount(sizes) / self.savings.total

    def _candidates(self, model: nn.Module, now: Axes, whose: Mapping[Axis, Axis]) -> Candidates:
        known = gather(model, now, self.importance, self.task, samples=self.samples, evidence=None)
        free = [axis for axis in now if whose[axis] in self.free]
        floors = {axis: min(1.0, self.limits.least_of(whose[axis]) * whose[axis].size / axis.size) for axis in free}
        return Candidates(
            removals={axis: self.importance.removal(axis, known) for axis in free},
            savings=Savings(now, self.savings.measure),
            limits=replace(self.limits, least=floors),
            locked=shared_widths(model, now, free),
        )

    def _fitted(self, model: nn.Module, found: Axes, keep: Mapping[Axis, Tensor], smaller: Smaller) -> Smaller:
        if not keep or self.compensate is None:
            return smaller
        batches = inputs_of(found, self.task, self.samples)
        return refitted(model, smaller, refit(found, keep, batches, weights=self.compensate == "weights"))


def _counterparts(original: Axes, kept: Mapping[Axis, Tensor], now: Axes) -> dict[Axis, Axis]:
    """Returns each axis of a smaller model -> the original's axis that it is what is left of."""
    found: dict[Axis, Axis] = {}
    for axis in now:
        alike = [
            other
            for other in original
            if _places(other) == _places(axis) and len(kept.get(other, range(other.size))) == axis.size
        ]
        alike = [other for other in alike if other.name == axis.name] or alike
        if len(alike) != 1:
            raise ModelError(
                f"gradually: {axis.name} of the smaller model is no axis of the original; expected the same layers "
                "after each step. Prune in one step, or return from after_step a model of the same architecture."
            )
        found[axis] = alike[0]
    return found


def _places(axis: Axis) -> tuple[str, frozenset[tuple[str, int]]]:
    return axis.kind, frozenset((part.tensor, part.dim) for part in axis.slices)


def _new_values(cut: nn.Module, trained: nn.Module) -> dict[str, Tensor]:
    """Returns the floating tensors of a trained model that differ from those of the cut one."""
    old, new = (dict(m.named_parameters()) | dict(m.named_buffers()) for m in (cut, trained))
    if lost := [name for name, tensor in old.items() if name not in new or new[name].shape != tensor.shape]:
        raise ModelError(
            f"gradually: {lost[0]} is not in the trained model as it was; expected a model of the same architecture. "
            "Return from after_step the model that it was given, trained."
        )
    floating = {name: tensor for name, tensor in old.items() if tensor.is_floating_point()}
    return {
        name: new[name].detach() for name, tensor in floating.items() if not torch.equal(new[name].to(tensor), tensor)
    }
