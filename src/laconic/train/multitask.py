"""One student and several tasks, each with its own teacher, data, labels and loss."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, final

import torch
from torch import Tensor, nn

from laconic.core.errors import DataError, invalid
from laconic.core.task import Batch, Task
from laconic.train.in_turn import own_part
from laconic.train.objective import Moment, Objective
from laconic.train.training import count_batches

TASK = "laconic_task"
"""The entry of a batch that says which task it is of; models never see it."""


def multitask(
    tasks: Mapping[str, Task], objectives: Mapping[str, Objective], *, tau: float = 1.0, batches: int | None = None
) -> tuple[Task, Objective]:
    """Returns the task and the objective of learning several tasks at once, a batch of one of them at a time.

    A batch is of task i with probability `size_i^tau / sum_j size_j^tau`, sizes in batches: 1 is in proportion, 0 all
    alike. A task whose data is at its end starts anew. How the student's head for a task is asked is the task's own
    business, `Task(call=lambda model, batch: model(*batch.args, head="topics"))`; label sets may differ.

        topics = Task(train=..., evaluate=..., call=partial(ask, head="topics"))
        tones = Task(train=..., evaluate=..., call=partial(ask, head="tones"))
        task, objective = multitask(
            {"topics": topics, "tones": tones},
            {"topics": distillation(teacher, topics, SoftLabels(), teacher_task=its_own),
             "tones": distillation(other, tones, SoftLabels(), teacher_task=its_own)}, tau=0.5)
        train(student, task, Training(epochs=3), objective=objective)

    Args:
        tasks: by name.
        objectives: of each task, by the same names.
        tau: in [0, 1] usually; 0 or more.
        batches: of one epoch; None: as many as all tasks have together.

    Returns:
        A task for `train`, whose `evaluate` is that of the first task (score each task by itself), and the objective.

    Raises:
        UsageError: no tasks, other names, or a tau outside its domain.
        DataError: a task has no training batches.

    Reference:
        Yang, Cui, Chen, Che, Liu, Wang, Hu, 2020, arXiv:2002.12620 (MultiTaskDistiller of TextBrewer); sampling as in
        Raffel et al., 2020, arXiv:1910.10683, section 3.5.2.
    """
    if not tasks or set(tasks) != set(objectives):
        raise invalid("multitask", (sorted(tasks), sorted(objectives)), "tasks and objectives of the same names")
    if not 0 <= tau < float("inf"):
        raise invalid("multitask.tau", tau, "0 or a positive number", "1 is in proportion to size, 0 all alike.")
    mixture = Mixture(tasks=tuple(tasks.values()), names=tuple(tasks), tau=tau, batches=batches)
    first = next(iter(tasks.values()))

    def split(raw: Any) -> Batch:
        name, given = raw if isinstance(raw, _Drawn) else (next(iter(tasks)), raw)
        batch = tasks[name].split(given)
        return replace(batch, kwargs={**batch.kwargs, TASK: name})

    joint = replace(first, train=mixture, split=split, call=_own_call(tasks))
    return joint, _joint(tasks, objectives, tau)


@final
class _Drawn(tuple[str, Any]):
    """A task's name and what its loader gave."""


@final
@dataclass(frozen=True, kw_only=True)
class Mixture:
    """Batches of several tasks, drawn by size; what can be walked again and again.

    Args:
        tasks: with training data.
        names: of them.
        tau: exponent of their sizes.
        batches: of one walk; None: as many as all have together.
    """

    tasks: Sequence[Task]
    names: Sequence[str]
    tau: float
    batches: int | None = None

    def sizes(self) -> list[int]:
        """Returns how many batches each task has.

        Raises:
            DataError: one has none.
        """
        found = [count_batches(task.loader("train")) for task in self.tasks]
        for name, size in zip(self.names, found, strict=True):
            if size == 0:
                raise DataError(f"multitask: the training data of {name!r} yields no batches; expected at least one.")
        return found

    def __len__(self) -> int:
        return self.batches or sum(self.sizes())

    def __iter__(self) -> Iterator[_Drawn]:
        """Yields batches; what is drawn follows the global generator, which the loop seeds for every epoch."""
        odds = torch.tensor(self.sizes(), dtype=torch.float64) ** self.tau
        running: dict[int, Iterator[Any]] = {}
        # Drawn at once, so that what the loaders draw does not change it.
        for index in torch.multinomial(odds, len(self), replacement=True).tolist():
            given = next(running.get(index, iter(())), None)
            if given is None:
                running[index] = iter(self.tasks[index].loader("train"))
                given = next(running[index])
            yield _Drawn((self.names[index], given))


def _own_call(tasks: Mapping[str, Task]) -> Callable[[nn.Module, Batch], Any]:
    def call(model: nn.Module, batch: Batch) -> Any:
        name, bare = _apart(batch, next(iter(tasks)))
        return tasks[name].call(model, bare)

    return call


def _apart(batch: Batch, default: str) -> tuple[str, Batch]:
    """Returns the name of a batch's task, and the batch without it."""
    name = batch.kwargs.get(TASK, default)
    return name, replace(batch, kwargs={key: value for key, value in batch.kwargs.items() if key != TASK})


def _joint(tasks: Mapping[str, Task], objectives: Mapping[str, Objective], tau: float) -> Objective:
    names = list(tasks)

    def own(moment: Moment, name: str) -> Moment:
        return replace(moment, parts=own_part(moment.parts, names.index(name)))

    def terms(model: nn.Module, batch: Batch, moment: Moment) -> Mapping[str, Tensor]:
        name, bare = _apart(batch, names[0])
        found = objectives[name].terms(model, bare, own(moment, name))
        return {f"{name}: {term}": value for term, value in found.items()}

    def parts(model: nn.Module, batch: Batch) -> nn.Module:
        built = {}
        for index, name in enumerate(names):
            if (build := objectives[name].parts) is not None:
                built[str(index)] = build(model, next(tasks[name].batches("train", device=batch.inputs[0].device)))
        return nn.ModuleDict(built)

    def after(model: nn.Module, moment: Moment) -> None:
        for name in names:
            if (follow := objectives[name].after) is not None:
                follow(model, own(moment, name))

    each = list(objectives.values())
    return Objective(
        terms=terms,
        name=f"several tasks by size^{tau}: " + ", ".join(f"{name}: {objectives[name].name}" for name in names),
        teachers=tuple(dict.fromkeys(teacher for objective in each for teacher in objective.teachers)),
        parts=parts if any(objective.parts for objective in each) else None,
        after=after if any(objective.after for objective in each) else None,
    )
