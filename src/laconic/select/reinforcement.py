"""Reinforcement learning as a way to search: an actor that decides dimension after dimension, and its critic."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, final

import optuna
import torch
from optuna.distributions import BaseDistribution
from optuna.trial import FrozenTrial, TrialState
from torch import Tensor, nn

from laconic.core.errors import invalid
from laconic.select.space import Space
from laconic.select.strategies import AFTER

CRITIC_RATE, ACTOR_RATE = 1e-2, 1e-3
BATCH, UPDATES = 64, 8
FOLLOW = 0.05
"""By so much the target networks follow the learning ones in each step."""


@final
@dataclass(frozen=True, kw_only=True)
class Reinforcement:
    """Deep deterministic policy gradient over the dimensions in turn, as HAQ chooses the bits of each layer.

    One trial is one episode, one dimension one step; the action is a share of the dimension's domain, and every step is
    rewarded by how much better the trial was than those before it.

    Args:
        seed: of weights and noise.
        startup: so many episodes are drawn at random first.
        noise: of the actions after those, as a standard deviation; it shrinks by `decay` with each episode.
        decay: in (0, 1].
        features: dimension -> numbers that describe it, such as a layer's sizes; as many for each.

    Reference:
        Wang, Liu, Lin, Lin and Han 2019, arXiv:1811.08886 (HAQ), section 3; Lillicrap et al. 2015, arXiv:1509.02971.
    """

    seed: int = 0
    startup: int = 20
    noise: float = 0.5
    decay: float = 0.98
    features: Mapping[str, Sequence[float]] | None = None

    def __post_init__(self) -> None:
        if self.startup < 1:
            raise invalid("Reinforcement.startup", self.startup, "a positive number of episodes")
        if not self.noise > 0 or not 0 < self.decay <= 1:
            raise invalid(
                "Reinforcement.noise, decay", (self.noise, self.decay), "a positive number, and one in (0, 1]"
            )

    def sampler(self, space: Space, goals: int, seen: int) -> optuna.samplers.BaseSampler:
        """Returns what draws values.

        Raises:
            UsageError: there are several goals, or a dimension has no features while others do.
        """
        if goals != 1:
            raise invalid("Reinforcement: goals", goals, "one", "For several use TreeParzen.")
        return _Sampler(self, space, seen)


class _Sampler(optuna.samplers.BaseSampler):
    """Learns from the trials that are finished; after a restart, from those that the storage holds."""

    def __init__(self, given: Reinforcement, space: Space, seen: int) -> None:
        self._given = given
        self._space = dict(space)
        self._random = torch.Generator().manual_seed(given.seed + AFTER * seen)
        self._states = _states(space, given.features)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(given.seed)
            self._agent = _Agent(self._states.shape[1] + 1)
        self._known: set[int] = set()

    def infer_relative_search_space(self, study: optuna.Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        """Returns all dimensions: they are decided in one go."""
        return {name: dimension.distribution for name, dimension in self._space.items()}

    def sample_relative(
        self, study: optuna.Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """Returns a value for each dimension, in order."""
        self._learn(study)
        shares = zip(self._space, self._shares(), strict=True)
        return {name: self._space[name].at(share) for name, share in shares if name in search_space}

    def sample_independent(
        self, study: optuna.Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        """Returns a value at random; not needed as long as trials are drawn whole."""
        share = 0.0 if param_distribution.single() else float(torch.rand((), generator=self._random))
        return self._space[param_name].at(share)

    def _shares(self) -> list[float]:
        count = len(self._known)
        if count < self._given.startup:
            return torch.rand(len(self._space), generator=self._random).tolist()
        spread = self._given.noise * self._given.decay ** (count - self._given.startup)
        shares: list[float] = []
        for state in self._states:
            action = self._agent.act(_with_last(state, shares))
            shares.append(_truncated(action, spread, self._random))
        return shares

    def _learn(self, study: optuna.Study) -> None:
        finished = [t for t in study.get_trials(deepcopy=False) if t.state == TrialState.COMPLETE]
        fresh = [trial for trial in finished if trial.number not in self._known]
        for trial in fresh:
            self._known.add(trial.number)
        if len(finished) >= self._given.startup and fresh:
            rewards = -torch.tensor([float(trial.value or 0.0) for trial in finished])
            rewards = (rewards - rewards.mean()) / rewards.std().clamp(min=1e-12)
            shares = torch.tensor([[d.share(t.params[name]) for name, d in self._space.items()] for t in finished])
            self._agent.learn(*_steps(self._states, shares, rewards), self._random)


class _Agent:
    """Actor and critic, and the slower copies that they learn from."""

    def __init__(self, inputs: int) -> None:
        self._actor, self._critic = _network(inputs, nn.Sigmoid()), _network(inputs + 1, nn.Identity())
        self._slow_actor, self._slow_critic = _network(inputs, nn.Sigmoid()), _network(inputs + 1, nn.Identity())
        self._slow_actor.load_state_dict(self._actor.state_dict())
        self._slow_critic.load_state_dict(self._critic.state_dict())
        self._actor_steps = torch.optim.Adam(self._actor.parameters(), ACTOR_RATE)
        self._critic_steps = torch.optim.Adam(self._critic.parameters(), CRITIC_RATE)

    def act(self, state: Tensor) -> float:
        """Returns a share for one state, `[features]`."""
        with torch.no_grad():
            return float(self._actor(state))

    def learn(
        self, states: Tensor, actions: Tensor, rewards: Tensor, after: Tensor, last: Tensor, random: torch.Generator
    ) -> None:
        """Takes some steps on transitions, one a row."""
        for _ in range(UPDATES):
            rows = torch.randint(len(states), (BATCH,), generator=random)
            with torch.no_grad():
                coming = self._slow_critic(torch.cat([after[rows], self._slow_actor(after[rows])], 1))
                wanted = rewards[rows] + (1 - last[rows]) * coming
            error = (self._critic(torch.cat([states[rows], actions[rows]], 1)) - wanted).square().mean()
            _step(self._critic_steps, error)
            worth = self._critic(torch.cat([states[rows], self._actor(states[rows])], 1)).mean()
            _step(self._actor_steps, -worth)
            for slow, quick in ((self._slow_actor, self._actor), (self._slow_critic, self._critic)):
                for old, new in zip(slow.parameters(), quick.parameters(), strict=True):
                    old.data.lerp_(new.data, FOLLOW)


def _network(inputs: int, end: nn.Module) -> nn.Sequential:
    return nn.Sequential(nn.Linear(inputs, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 1), end)


def _step(steps: torch.optim.Optimizer, loss: Tensor) -> None:
    steps.zero_grad()
    loss.backward()  # type: ignore[no-untyped-call]
    steps.step()


def _states(space: Space, features: Mapping[str, Sequence[float]] | None) -> Tensor:
    """Returns what is known of each dimension before it is decided, `[dimensions, features]`, each in [0, 1]."""
    count = len(space)
    place = torch.linspace(0, 1, count)[:, None]
    rows = [place, torch.eye(count)]
    if features is not None:
        missing = sorted(set(space) - set(features))
        if missing or len({len(features[name]) for name in space}) > 1:
            expected = "as many numbers for every dimension"
            raise invalid("Reinforcement.features", missing or "different lengths", expected)
        told = torch.tensor([list(features[name]) for name in space], dtype=torch.float32)
        low, high = told.amin(0), told.amax(0)
        rows.append((told - low) / (high - low).clamp(min=1e-12))
    return torch.cat(rows, 1)


def _with_last(state: Tensor, shares: Sequence[float]) -> Tensor:
    """Returns a state and the action before it."""
    return torch.cat([state, torch.tensor([shares[-1] if shares else 1.0])])


def _steps(states: Tensor, shares: Tensor, rewards: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Returns every step of every episode: state, action, reward, next state, whether it was the last."""
    episodes, count = shares.shape
    before = torch.cat([torch.ones(episodes, 1), shares[:, :-1]], 1)
    full = torch.cat([states.expand(episodes, -1, -1), before[..., None]], 2)
    after = torch.cat([full[:, 1:], full[:, -1:]], 1)
    last = torch.zeros(episodes, count)
    last[:, -1] = 1
    # Only the end of an episode says how good it was.
    earned = rewards[:, None] * last
    return full.flatten(0, 1), shares.reshape(-1, 1), earned.reshape(-1, 1), after.flatten(0, 1), last.reshape(-1, 1)


def _truncated(middle: float, spread: float, random: torch.Generator) -> float:
    """Returns a draw from a normal distribution cut to [0, 1]."""
    for _ in range(100):
        drawn = middle + spread * float(torch.randn((), generator=random))
        if 0 <= drawn <= 1:
            return drawn
    return min(1.0, max(0.0, middle))
