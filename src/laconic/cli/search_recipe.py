"""Numbers of a recipe that are looked for by validation before the run."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from laconic.cli.follow import follow
from laconic.cli.recipe import Recipe
from laconic.cli.recipe_text import recipe_of
from laconic.cli.run_lessons import run_lessons
from laconic.core.errors import UsageError


def searched(recipe: Recipe) -> Recipe:
    """Returns the recipe with the numbers that validated best; without `search` the recipe as it is.

    Each trial teaches a student of its own and takes the best score on what is held back of the training data.

    Raises:
        UsageError: a place that the recipe does not have, or no validation.
        LaconicError: no trial ran to its end.
    """
    if recipe.search is None:
        return recipe
    if recipe.validation is None:
        raise UsageError("recipe: got search without validation; expected data to choose on. Add validation: {}.")
    from laconic.select.search import Trial, search  # Takes as long to import as all the rest.
    from laconic.select.space import Number

    wanted = recipe.search
    for place in wanted.space:
        _set(copy.deepcopy(dict(recipe.written)), place, 0.0)
    space = {place: Number(between.low, between.high, log=between.log) for place, between in wanted.space.items()}

    def lost(trial: Trial) -> float:
        teacher, learner, task, lessons = follow(_with(recipe, trial.values, folder=f"trial-{_digest(trial.values)}"))
        scores = run_lessons(teacher, learner, task, lessons, _silent).scores
        best = max(score for _, score in scores) if task.score.higher_is_better else -min(score for _, score in scores)
        return -best

    found = search(space, lost, trials=wanted.trials, storage=wanted.storage).best
    return _with(recipe, found.values)


def _with(recipe: Recipe, values: Mapping[str, Any], folder: str | None = None) -> Recipe:
    """Returns the recipe with some numbers in their places, and without its search."""
    written: dict[str, Any] = copy.deepcopy(dict(recipe.written))
    written.pop("search")
    for place, value in values.items():
        _set(written, place, value)
    if folder is not None:
        written.pop("trackers", None)
        if recipe.work is not None:
            written["work"] = str(Path(recipe.work) / folder)
    return recipe_of(written, "recipe")


def _digest(values: Mapping[str, Any]) -> str:
    return "-".join(f"{value:.6g}" for value in values.values())


def _set(written: dict[str, Any], place: str, value: float) -> None:
    """Puts a number where the keys of a place lead to.

    Raises:
        UsageError: they lead nowhere.
    """
    at: Any = written
    keys = place.split(".")
    for number, key in enumerate(keys):
        last = number == len(keys) - 1
        index: Any = int(key) - 1 if isinstance(at, Sequence) and not isinstance(at, str) and key.isdigit() else key
        there = index in range(len(at)) if isinstance(index, int) else isinstance(at, dict) and (last or key in at)
        if not there:
            raise UsageError(
                f"recipe: search: space: got {place!r}, of which {key!r} is not there; expected keys of the recipe "
                "such as loss.SoftLabels.temperature. Write the value that the search starts from in its place."
            )
        if last:
            at[index] = value
        else:
            at = at[index]


def _silent(step: int, total: int, loss: float) -> None:
    """Says nothing."""
