"""What is tried next: by a model of what was tried, or at random."""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

import optuna

from laconic.core.errors import invalid
from laconic.select.space import Space

AFTER = 7919
"""A search that goes on draws other numbers than it began with; a prime keeps seeds apart."""


@final
@dataclass(frozen=True, kw_only=True)
class TreeParzen:
    """Prefers values that are frequent among the good trials and rare among the others; for one goal or several.

    Args:
        seed: of what is drawn.
        startup: so many trials are drawn at random first.
        jointly: looks at all dimensions together.

    Reference:
        Bergstra, Bardenet, Bengio and Kegl 2011, "Algorithms for Hyper-Parameter Optimization", section 4; Watanabe
        2023, arXiv:2304.11127.
    """

    seed: int = 0
    startup: int = 10
    jointly: bool = True

    def __post_init__(self) -> None:
        _check("TreeParzen", self.startup)

    def sampler(self, space: Space, goals: int, seen: int) -> optuna.samplers.BaseSampler:
        """Returns what draws values."""
        return optuna.samplers.TPESampler(
            seed=self.seed + AFTER * seen,
            n_startup_trials=self.startup,
            multivariate=self.jointly,
        )


@final
@dataclass(frozen=True, kw_only=True)
class GaussianProcess:
    """Where a Gaussian process expects to improve most; for few trials, each of which takes long.

    Args:
        seed: of what is drawn.
        startup: so many trials are drawn at random first.

    Reference:
        Snoek, Larochelle and Adams 2012, arXiv:1206.2944.
    """

    seed: int = 0
    startup: int = 10

    def __post_init__(self) -> None:
        _check("GaussianProcess", self.startup)

    def sampler(self, space: Space, goals: int, seen: int) -> optuna.samplers.BaseSampler:
        """Returns what draws values."""
        return optuna.samplers.GPSampler(
            seed=self.seed + AFTER * seen, n_startup_trials=self.startup, warn_independent_sampling=False
        )


@final
@dataclass(frozen=True, kw_only=True)
class AtRandom:
    """Every value alike; what any other strategy has to beat.

    Args:
        seed: of what is drawn.

    Reference:
        Bergstra and Bengio 2012, "Random Search for Hyper-Parameter Optimization".
    """

    seed: int = 0

    def sampler(self, space: Space, goals: int, seen: int) -> optuna.samplers.BaseSampler:
        """Returns what draws values."""
        return optuna.samplers.RandomSampler(seed=self.seed + AFTER * seen)


def _check(where: str, startup: int) -> None:
    if startup < 1:
        raise invalid(f"{where}.startup", startup, "a positive number of trials")
