"""Search over what does not add up: widths, depths, temperatures, orders of steps."""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol, final

import optuna
from optuna.trial import FrozenTrial, TrialState

from laconic.core.errors import ArtifactError, LaconicError, invalid
from laconic.select.space import Space, described
from laconic.select.strategies import TreeParzen

FINISHED = {TrialState.COMPLETE: "done", TrialState.PRUNED: "stopped", TrialState.FAIL: "failed"}
STARTUP = 5
"""So many trials run to their end before any is compared with them and stopped."""
SPACE = "space"


class Strategy(Protocol):
    """Chooses what is tried next, from what was tried."""

    def sampler(self, space: Space, goals: int, seen: int) -> optuna.samplers.BaseSampler:
        """Returns what draws values for a space, `seen` trials having been drawn before."""


class Stopped(Exception):  # noqa: N818 - nothing went wrong
    """Raised out of a trial that is not worth its time any more; let it pass."""


@final
class Trial:
    """One attempt.

    Args:
        values: of each dimension.
    """

    def __init__(self, values: Mapping[str, Any], inner: optuna.Trial, goals: int) -> None:
        self.values = values
        self._inner = inner
        self._goals = goals

    def report(self, value: float, step: int) -> None:
        """Tells how far it has come; ends the trial if others were better at that step.

        Args:
            value: what the objective would be now; with several goals nothing is ever stopped.
            step: counts up, such as epochs.

        Raises:
            Stopped: it is worse than the median of the others at this step.
        """
        if self._goals == 1:
            self._inner.report(value, step)
            if self._inner.should_prune():
                raise Stopped


Objective = Callable[[Trial], float | Sequence[float]]


@final
@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What came of one trial.

    Args:
        number: of the trial, from 0.
        values: of each dimension.
        goals: one number each, less is better; empty where it was stopped or failed.
        state: `done`, `stopped` early, or `failed`.
        why: the error's text where it failed.
    """

    number: int
    values: Mapping[str, Any]
    goals: tuple[float, ...]
    state: Literal["done", "stopped", "failed"]
    why: str = ""


@final
@dataclass(frozen=True, kw_only=True)
class Findings:
    """Everything that was tried, by all workers, in order."""

    outcomes: tuple[Outcome, ...]

    @property
    def done(self) -> tuple[Outcome, ...]:
        """Those that ran to their end."""
        return tuple(outcome for outcome in self.outcomes if outcome.state == "done")

    @property
    def best(self) -> Outcome:
        """The one with the least first goal.

        Raises:
            LaconicError: none ran to its end.
        """
        if not self.done:
            why = next((outcome.why for outcome in self.outcomes if outcome.why), "all were stopped")
            raise LaconicError(f"search: none of {len(self.outcomes)} trials ran to its end ({why}).")
        return min(self.done, key=lambda outcome: outcome.goals)

    @property
    def front(self) -> tuple[Outcome, ...]:
        """Those that no other beats in one goal without losing in another."""
        return tuple(one for one in self.done if not any(_beats(other.goals, one.goals) for other in self.done))


def search(
    space: Space,
    objective: Objective,
    *,
    trials: int,
    strategy: Strategy | None = None,
    goals: int = 1,
    storage: str | Path | None = None,
    name: str = "laconic",
    seconds: float = math.inf,
    seen: Callable[[Outcome], None] | None = None,
) -> Findings:
    """Looks for values that make an objective small.

    Run again with the same storage and name, it goes on where it stopped; several processes that do so at the same time
    share the work (give each strategy a seed of its own). A trial whose worker was killed is tried again by nobody and
    counted by nobody.

    Args:
        space: name -> dimension.
        objective: from a trial to one number, or as many as there are goals; less is better. An error of Laconic's own
            (a budget that cannot be met) fails the trial, others end the search.
        trials: how many are to be finished in all, by all workers and earlier runs.
        strategy: what chooses; None: `TreeParzen()`.
        goals: how many numbers the objective returns.
        storage: a file (SQLite) or the URL of a database such as `postgresql+psycopg://...`; None: memory.
        name: of the study in the storage.
        seconds: no trial begins later than this.
        seen: called after each trial of this process, so that what was found can be kept elsewhere too.

    Raises:
        ArtifactError: the storage is damaged, out of reach, or was lost while searching.
        UsageError: the space is empty, a number is out of its domain, or the study there has another space.

    Reference:
        Akiba, Sano, Yanase, Ohta and Koyama 2019, arXiv:1907.10902 (optuna).

    Example:
        >>> from laconic.select.space import Number
        >>> found = search({"x": Number(-1, 1)}, lambda trial: trial.values["x"] ** 2, trials=30)
        >>> abs(found.best.values["x"]) < 0.2
        True
    """
    if not space:
        raise invalid("search.space", dict(space), "at least one dimension")
    if trials < 1 or goals < 1:
        raise invalid("search.trials, goals", (trials, goals), "positive numbers")
    strategy = TreeParzen() if strategy is None else strategy
    end = time.monotonic() + seconds
    with _quietly(), _said_of(storage):
        study = _study(space, strategy, goals, storage, name)
    while time.monotonic() < end:
        with _quietly(), _said_of(storage):
            if sum(trial.state in FINISHED for trial in study.get_trials(deepcopy=False)) >= trials:
                break
            inner = study.ask({key: dimension.distribution for key, dimension in space.items()})
        state, found, why = _tried(objective, Trial(_values(space, inner.params), inner, goals), storage)
        with _quietly(), _said_of(storage):
            if why:
                inner.set_user_attr("why", why)
            frozen = study.tell(inner, list(found) if found else None, state=state)
        if seen is not None:
            seen(_outcome(space, frozen, why))
    with _quietly(), _said_of(storage):
        return Findings(outcomes=tuple(_outcome(space, t) for t in study.get_trials() if t.state in FINISHED))


def _study(space: Space, strategy: Strategy, goals: int, storage: str | Path | None, name: str) -> optuna.Study:
    database = None if storage is None else optuna.storages.RDBStorage(_url(storage), _engine(storage))
    pruner = optuna.pruners.MedianPruner(n_startup_trials=STARTUP)
    study = optuna.create_study(
        storage=database, study_name=name, directions=["minimize"] * goals, load_if_exists=True, pruner=pruner
    )
    wanted = [list(one) for one in described(space)]
    there = study.user_attrs.get(SPACE, wanted)
    if [list(one) for one in there] != wanted or len(study.directions) != goals:
        raise invalid(
            "search.name",
            name,
            "a study of the same dimensions and goals in the storage",
            "Name a new study, or another storage.",
        )
    study.set_user_attr(SPACE, wanted)
    study.sampler = strategy.sampler(space, goals, len(study.get_trials(deepcopy=False)))
    return study


def _tried(objective: Objective, trial: Trial, storage: str | Path | None) -> tuple[TrialState, tuple[float, ...], str]:
    try:
        found = objective(trial)
    except Stopped:
        return TrialState.PRUNED, (), ""
    except LaconicError as error:
        return TrialState.FAIL, (), str(error)
    except Exception as error:
        if _of_the_storage(error):
            raise _lost(storage, error) from error
        raise
    numbers = (float(found),) if isinstance(found, int | float) else tuple(map(float, found))
    if not all(map(math.isfinite, numbers)):
        return TrialState.FAIL, (), f"the objective is {numbers}, not finite"
    return TrialState.COMPLETE, numbers, ""


def _values(space: Space, drawn: Mapping[str, Any]) -> dict[str, Any]:
    return {name: dimension.value(drawn[name]) for name, dimension in space.items()}


def _outcome(space: Space, trial: FrozenTrial, why: str = "") -> Outcome:
    state = FINISHED[trial.state]
    return Outcome(
        number=trial.number,
        values=_values(space, trial.params),
        goals=tuple(trial.values) if state == "done" else (),
        state=state,  # type: ignore[arg-type]
        why=why or trial.user_attrs.get("why", ""),
    )


def _beats(one: Sequence[float], other: Sequence[float]) -> bool:
    return all(a <= b for a, b in zip(one, other, strict=True)) and tuple(one) != tuple(other)


def _url(storage: str | Path) -> str:
    if isinstance(storage, str) and "://" in storage:
        return storage
    path = Path(storage).absolute()
    path.parent.mkdir(parents=True, exist_ok=True)
    return f"sqlite:///{path}"


def _engine(storage: str | Path) -> dict[str, Any]:
    """Returns settings with which workers wait for each other's turn in a file."""
    return {"connect_args": {"timeout": 60}} if _url(storage).startswith("sqlite") else {}


@contextlib.contextmanager
def _said_of(storage: str | Path | None) -> Iterator[None]:
    try:
        yield
    except LaconicError:
        raise
    except Exception as error:  # whatever a database or its driver trips over
        if storage is None:
            raise
        raise _lost(storage, error) from error


def _lost(storage: str | Path | None, error: Exception) -> ArtifactError:
    reason = str(error.__cause__ or error).strip().splitlines()
    return ArtifactError(
        f"{storage}: cannot be used as a database of trials ({reason[0] if reason else type(error).__name__}). "
        "Name another storage, or put back a copy; models and plans are not in it."
    )


def _of_the_storage(error: Exception) -> bool:
    return type(error).__module__.partition(".")[0] in ("sqlalchemy", "sqlite3") or isinstance(
        error, optuna.exceptions.StorageInternalError
    )


@contextlib.contextmanager
def _quietly() -> Iterator[None]:
    before = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    try:
        yield
    finally:
        optuna.logging.set_verbosity(before)
