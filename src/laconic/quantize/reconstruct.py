"""Block by block, coded weights rounded anew so that residual and transformer blocks answer as they used to."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, final

import torch
from torch import Tensor, nn

from laconic.calibrate.untouched import untouched
from laconic.core.apply import apply
from laconic.core.coding import Coding
from laconic.core.codings import AffineGrid, Dense
from laconic.core.edit import Recode
from laconic.core.errors import check_whole, invalid
from laconic.core.plan import Plan
from laconic.core.task import Batch, Task
from laconic.quantize.reconstruct_blocks import blocks
from laconic.quantize.reconstruct_learning import Lesson, Samples, told_apart
from laconic.solve import code_in_order
from laconic.solve.in_order import Encode
from laconic.solve.lockstep import Lockstep


@final
@dataclass(frozen=True, kw_only=True)
class BlockReconstruction:
    """Learnt rounding: the codes, scales and vectors of one block after the other that keep what the block answers.

    A block reads what the model coded so far gives it, and should answer as in the original. Each weight starts at its
    code and may move to the next one towards the original weight; a draw to either code, weak at first, leaves all of
    them on the grid in the end. Scales, biases and normalisations learn along. No labels are used.

    Only a residual or transformer block is learnt that is found by itself (`reconstruct_blocks`), and in it integer
    grids whose tensor has one owner. Everything else, and a block that does no better on the quarter of the samples
    that is held back, stays as the plan codes it.

    This holds the activations of all samples at once, twice.

    Args:
        steps: of Adam, for each block.
        batch: samples a step.
        rate: at which rounding is learnt.
        seed: of the samples drawn.

    Guarantees:
        The original stays untouched; equal arguments give equal plans.
        On the held-back samples no block that changes answers worse, given what it reads.

    Reference:
        Nagel et al. 2020, arXiv:2004.10568 (AdaRound, equations 21 to 25); Li et al. 2021, arXiv:2102.05426 (BRECQ).

    Example:
        >>> from laconic.core.codings import Dense
        >>> BlockReconstruction(steps=10).improve(nn.Linear(2, 2), Plan(), Task(evaluate=[torch.randn(8, 2)]))
        Plan(edits=())
    """

    steps: int = 400
    batch: int = 32
    rate: float = 0.06
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("steps", "batch"):
            check_whole(f"quantize.BlockReconstruction.{name}", getattr(self, name), 1)
        if not self.rate > 0:
            raise invalid("quantize.BlockReconstruction.rate", self.rate, "a positive number")

    def improve(
        self, model: nn.Module, plan: Plan, task: Task, *, encode: Encode | None = None, samples: int = 1024
    ) -> Plan:
        """Returns the plan with better codes for the weights inside blocks, and with their vectors.

        Args:
            model: the original, left untouched.
            plan: what is done to it, for example by `CompensatedRounding`.
            task: its `calibrate` data is read, without labels.
            encode: codes every other weight of the plan anew, for what the blocks then give it, and corrects statistics
                and biases (`laconic.solve.code_in_order`); None: they stay as they were for the blocks before.
            samples: at most so many are read.

        Raises:
            ModelError: the model takes different paths for different batches.
        """
        changed = apply(model, plan).requires_grad_(False)
        grids = _grids(changed, plan)
        device = next((p.device for p in model.parameters()), torch.device("cpu"))
        batches = list(task.batches("calibrate", device=device, limit=samples))
        lesson = Lesson(steps=self.steps, batch=self.batch, rate=self.rate, seed=self.seed)
        with ExitStack() as stack:
            for side in (model, changed):
                stack.enter_context(untouched(side, gradients=False, seed=self.seed))
            paths = _common(blocks(changed, task, batches[0], grids), model)
            walk = _Walk(model, changed, grids, _vectors(changed, plan), lesson)
            steps = Lockstep(walk.at)
            for side in (model, changed):
                stack.enter_context(_stopping(side, paths, walk, steps))
            steps.run([partial(_answer, side, task, batch) for side in (model, changed) for batch in batches])
        learnt = _replaced(plan, walk.found)
        if encode is None or not walk.found:
            return learnt
        coded = {edit.parameter for edit in plan.recodes}
        return code_in_order(model, learnt, task, encode, parameters=coded, settled=walk.found, samples=samples)


@dataclass
class _Walk:
    """What happens at the blocks, once all passes are there: those of the original first, then those of the other."""

    original: nn.Module
    changed: nn.Module
    grids: Mapping[str, AffineGrid]
    vectors: Collection[str]
    lesson: Lesson
    inputs: list[Batch] = field(default_factory=list)
    found: dict[str, Coding] = field(default_factory=dict)
    learning: bool = False

    def at(self, place: tuple[str, str], values: list[Any]) -> list[Any]:
        side, path = place
        half = len(values) // 2
        if side == "input":
            self.inputs = values[half:]
            return values
        self.learning = True
        try:
            return values[:half] + self._learn(path, values[:half], values[half:])
        finally:
            self.learning = False

    def _learn(self, path: str, before: list[Tensor], after: list[Tensor]) -> list[Tensor]:
        """Returns what the block answers afterwards."""
        block, old = self.changed.get_submodule(path), dict(self.original.get_submodule(path).named_parameters())
        here = len(path) + 1
        grids = {name[here:]: grid for name, grid in self.grids.items() if name.startswith(f"{path}.")}
        free = [name[here:] for name in self.vectors if name.startswith(f"{path}.")]
        samples, answered = (Samples(inputs=self.inputs, wanted=wanted) for wanted in (before, after))
        known = samples.whole and answered.whole and grids.keys() <= old.keys()
        told = told_apart(block, answered) if known else None
        if told is None:
            return after
        found = self.lesson.learn(block, grids, old, replace(told, wanted=before), free=free)
        for name, coding in found.items():
            block.get_parameter(name).copy_(coding.decode())
            self.found[f"{path}.{name}"] = coding
        return [block(*batch.args, **batch.kwargs) for batch in self.inputs] if found else after


def _grids(changed: nn.Module, plan: Plan) -> dict[str, AffineGrid]:
    """Returns the integer grids that a plan leaves on weights with one owner."""
    parameters = _owned(changed)
    last = {edit.parameter: edit.coding for edit in plan.recodes}
    return {
        name: coding
        for name, coding in last.items()
        if isinstance(coding, AffineGrid)
        and name in parameters
        and parameters[name].shape == coding.shape
        and torch.equal(parameters[name].detach().cpu(), coding.decode().to(parameters[name].dtype))
    }


def _vectors(changed: nn.Module, plan: Plan) -> list[str]:
    """Returns the vectors with one owner that a plan stores as they are, if at all."""
    coded = {edit.parameter for edit in plan.recodes if not isinstance(edit.coding, Dense)}
    return [n for n, p in _owned(changed).items() if p.dim() == 1 and p.is_floating_point() and n not in coded]


def _owned(model: nn.Module) -> dict[str, Tensor]:
    """Returns the parameters that have one owner: what others read too is not learnt where one reads it."""
    parameters = dict(model.named_parameters(remove_duplicate=False))
    owners = Counter(id(p) for p in parameters.values())
    return {name: p for name, p in parameters.items() if owners[id(p)] == 1}


def _common(paths: list[str], model: nn.Module) -> list[str]:
    there = dict(model.named_modules())
    return [path for path in paths if path in there]


def _replaced(plan: Plan, found: Mapping[str, Coding]) -> Plan:
    """Returns the plan with new codings: each in the place of an old one if there is one, the others at the end."""
    last = {edit.parameter: place for place, edit in enumerate(plan) if isinstance(edit, Recode)}
    anew = {last[name]: Recode(name, coding) for name, coding in found.items() if name in last}
    added = [Recode(name, coding) for name, coding in found.items() if name not in last]
    return Plan.of([*(anew.get(place, edit) for place, edit in enumerate(plan)), *added])


@contextmanager
def _stopping(model: nn.Module, paths: list[str], walk: _Walk, steps: Lockstep) -> Iterator[None]:
    """Inside, passes wait for each other where a block begins and where it ends."""

    def enter(path: str, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        if not walk.learning:
            steps.meet(("input", path), Batch(args=args, kwargs=kwargs))

    def leave(path: str, module: nn.Module, args: tuple[Any, ...], output: Tensor) -> Tensor:
        return output if walk.learning else steps.meet(("output", path), output)

    with ExitStack() as stack:
        for path in paths:
            block = model.get_submodule(path)
            stack.callback(block.register_forward_pre_hook(partial(enter, path), with_kwargs=True).remove)
            stack.callback(block.register_forward_hook(partial(leave, path)).remove)
        yield


@torch.no_grad()
def _answer(model: nn.Module, task: Task, batch: Batch) -> None:
    task.forward(model, batch)
