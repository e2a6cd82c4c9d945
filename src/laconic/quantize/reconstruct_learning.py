"""Which way weights on grids are rounded, learnt on the outputs of a part of a model."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, final

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional
from torch.utils._pytree import tree_flatten, tree_leaves, tree_map, tree_unflatten

from laconic.core.coding import Coding
from laconic.core.codings import AffineGrid, Dense
from laconic.core.task import Batch

HELD_BACK = 4  # Every so many samples, one is held back to see whether what was learnt is true of others.
SHARE = 0.05  # Of a step that a weight stands away from its code at first; at zero it could not be moved.
STRETCH = 0.1  # How far the sigmoid is stretched over both ends, so that it comes to rest at them.
WARM_UP = 0.2  # Share of the steps before weights are drawn to either code.
STRENGTH = 3.0  # Of that draw, beside an error that is a share of the outputs' energy.
SHARPNESS = (20.0, 2.0)  # Of that draw, from first to last: at first only those near the middle are left alone.
ALONE = 1e-2  # Of the largest answer: further from what it was, a sample answers to something else.
TINY = torch.finfo(torch.float32).tiny
FLOAT_RATE = 3e-3  # At which scales (in logarithms) and the floats beside them learn.


@final
@dataclass(frozen=True, kw_only=True)
class Samples:
    """What goes into a part of a model, and what should come out.

    Args:
        inputs: one `Batch` a batch.
        wanted: one tensor a batch, samples first.
        common: which of the inputs, counted through, all samples share, though they may be as long as a batch.
    """

    inputs: Sequence[Batch]
    wanted: Sequence[Tensor]
    common: frozenset[int] = frozenset()

    @property
    def whole(self) -> bool:
        """Whether inputs and outputs count the same samples, so that some of them can be taken."""
        pairs = zip(self.inputs, self.wanted, strict=True)
        return all(batch.inputs and batch.inputs[0].shape[:1] == wanted.shape[:1] != () for batch, wanted in pairs)

    def split(self) -> tuple[Samples, Samples]:
        """Returns those to learn from, and those held back; batches without any are left out."""
        learnt, held, count = [], [], 0
        for place, wanted in enumerate(self.wanted):
            back = (torch.arange(count, count + len(wanted)) + 1) % HELD_BACK == 0
            learnt.append(self._taken(place, (~back).nonzero().flatten()))
            held.append(self._taken(place, back.nonzero().flatten()))
            count += len(wanted)
        return self._of(learnt), self._of(held)

    @torch.no_grad()
    def answers_alone(self, part: nn.Module) -> bool:
        """Whether a part answers every other sample of the first batch as it answers it among all of them."""
        batch, wanted = self._taken(0, torch.arange(0, len(self.wanted[0]), 2))
        try:
            found = part(*batch.args, **batch.kwargs)
        except RuntimeError:  # Sizes that do not go together.
            return False
        near = ALONE * float(wanted.abs().max()) if wanted.numel() else 0.0
        return bool(found.shape == wanted.shape and ((found - wanted).abs() <= near).all())

    def draw(self, count: int, generator: torch.Generator) -> tuple[Batch, Tensor]:
        """Returns some samples of one batch, none twice."""
        place = int(torch.randint(len(self.inputs), (), generator=generator))
        return self._taken(place, torch.randperm(len(self.wanted[place]), generator=generator)[:count])

    def _of(self, pairs: Sequence[tuple[Batch, Tensor]]) -> Samples:
        full = [(batch, wanted) for batch, wanted in pairs if len(wanted)]
        return replace(self, inputs=[batch for batch, _ in full], wanted=[wanted for _, wanted in full])

    def _taken(self, place: int, index: Tensor) -> tuple[Batch, Tensor]:
        batch, wanted = self.inputs[place], self.wanted[place]
        index = index.to(wanted.device)
        leaves, structure = tree_flatten((batch.args, dict(batch.kwargs)))
        for at, value in enumerate(leaves):
            if isinstance(value, Tensor) and value.shape[:1] == wanted.shape[:1] and at not in self.common:
                leaves[at] = value[index]
        args, kwargs = tree_unflatten(leaves, structure)
        return Batch(args=args, kwargs=kwargs), wanted[index]


def told_apart(part: nn.Module, samples: Samples) -> Samples | None:
    """Finds out which inputs are each sample's own where their sizes leave it open, by asking for some samples alone.

    Args:
        part: answers `samples.wanted` to `samples.inputs`.
        samples: of one batch or more.

    Returns:
        The samples, with what they have in common; None where the part does not answer each sample by itself.
    """
    first, *others = [tree_leaves((batch.args, dict(batch.kwargs))) for batch in samples.inputs]
    long = [at for at, leaf in enumerate(first) if isinstance(leaf, Tensor) and len(leaf.shape[:1])]
    long = [
        at for at in long if len(first[at]) == len(samples.wanted[0]) and first[at] is not samples.inputs[0].inputs[0]
    ]
    open_ = [at for at in long if all(_same(leaves[at], first[at]) for leaves in others)]
    ways = [(), *((at,) for at in open_), tuple(open_)] if open_ else []
    tried = [replace(samples, common=frozenset(way)) for way in ways]
    return next((each for each in tried if each.answers_alone(part)), None) if tried else samples


def _same(one: object, other: Tensor) -> bool:
    return isinstance(one, Tensor) and torch.equal(one, other)


@final
@dataclass(frozen=True, kw_only=True)
class Lesson:
    """How much is learnt.

    Args:
        steps: of Adam.
        batch: samples a step.
        rate: at which rounding is learnt.
        seed: of the samples drawn.
    """

    steps: int
    batch: int
    rate: float
    seed: int

    def learn(
        self,
        part: nn.Module,
        grids: Mapping[str, AffineGrid],
        weights: Mapping[str, Tensor],
        samples: Samples,
        *,
        free: Collection[str],
    ) -> dict[str, Coding]:
        """Returns new codings of a part's weights and of its vectors (biases, normalisations), by name.

        Args:
            part: answers as it is coded; left as it is. It learns in float32 and is judged in its own dtype.
            grids: how its weights are coded.
            weights: what they were before.
            samples: what it reads, and what it should answer.
            free: which of its vectors may change.

        Returns:
            Nothing where what was learnt is no better on the samples held back.
        """
        learnt, held = samples.split()
        if not (learnt.inputs and held.inputs):
            return {}
        rounded = {name: _LearntGrid(grid, weights[name]) for name, grid in grids.items()}
        vectors = {name: part.get_parameter(name).detach().to(torch.float32, copy=True) for name in free}
        with torch.enable_grad():
            self._fit(part, rounded, vectors, learnt)
        found: dict[str, Coding] = {name: grid.coding() for name, grid in rounded.items()}
        found |= {name: Dense.of(vector) for name, vector in vectors.items()}
        decoded = {name: coding.decode().to(part.get_parameter(name)) for name, coding in found.items()}
        return found if _error(part, decoded, held) < _error(part, {}, held) else {}

    def _fit(
        self, part: nn.Module, rounded: Mapping[str, _LearntGrid], vectors: Mapping[str, Tensor], samples: Samples
    ) -> None:
        generator = torch.Generator().manual_seed(self.seed)
        beside = [*(grid.stretch for grid in rounded.values()), *(v.requires_grad_() for v in vectors.values())]
        codes = [grid.logit for grid in rounded.values()]
        optimizer = torch.optim.Adam([{"params": codes, "lr": self.rate}, {"params": beside, "lr": FLOAT_RATE}])
        count = sum(logit.numel() for logit in codes)
        fixed = _single({**dict(part.named_parameters()), **dict(part.named_buffers())})
        for step in range(self.steps):
            batch, wanted = samples.draw(self.batch, generator)
            values = fixed | {name: grid.value() for name, grid in rounded.items()} | dict(vectors)
            answer = functional_call(part, values, *_single((batch.args, dict(batch.kwargs)))).float()
            wanted = wanted.float()
            error = functional.mse_loss(answer, wanted) / wanted.square().mean().clamp_min(TINY)
            optimizer.param_groups[1]["lr"] = FLOAT_RATE * _falling(step / self.steps)
            progress = (step / self.steps - WARM_UP) / (1 - WARM_UP)
            if progress >= 0:
                sharpness = SHARPNESS[1] + (SHARPNESS[0] - SHARPNESS[1]) * _falling(progress)
                between = torch.stack([grid.between(sharpness) for grid in rounded.values()]).sum() / count
                error = error + STRENGTH * between
            optimizer.zero_grad()
            torch.autograd.backward(error)
            optimizer.step()


@final
class _LearntGrid:
    """A weight on a grid, each element somewhere between its code and the next one towards the original weight."""

    def __init__(self, grid: AffineGrid, weight: Tensor) -> None:
        self.grid, device = grid, weight.device
        self.start = grid.scale.float()[:, None].to(device)  # Half precision would be too little for Adam.
        zero = torch.zeros(1) if grid.zero_point is None else grid.zero_point.float()[:, None]
        self.zero = zero.to(device)
        self.codes = grid.blocks.split(grid.integers().float().to(device))
        wanted = grid.blocks.split(weight.detach().float()) / self.start + self.zero
        way = torch.where(wanted >= self.codes, 1.0, -1.0)
        aim = self.codes + way
        outside = (aim < grid.lowest) | (aim > grid.lowest + 2**grid.bits - 1)
        self.way = torch.where(outside, -way, way)
        share = torch.full_like(self.codes, SHARE)
        self.logit = ((share + STRETCH) / (1 + STRETCH - share)).log().requires_grad_()
        self.stretch = torch.zeros_like(self.start).requires_grad_()

    def share(self) -> Tensor:
        """Returns how far each element has gone towards the other code, from 0 to 1."""
        return (self.logit.sigmoid() * (1 + 2 * STRETCH) - STRETCH).clamp(0, 1)

    def between(self, sharpness: float) -> Tensor:
        """Returns the sum of what each element pays for lying between two codes."""
        return (1 - (2 * self.share() - 1).abs().pow(sharpness)).sum()

    def value(self) -> Tensor:
        """Returns the weight, with gradients."""
        return self._at(self.share())

    def coding(self) -> AffineGrid:
        """Returns the weight at the nearer of each two codes."""
        with torch.no_grad():
            scale = (self.start * self.stretch.exp()).flatten().to(self.grid.scale)
            return replace(self.grid, scale=scale).encode(self._at((self.share() > 0.5).float()).cpu())

    def _at(self, share: Tensor) -> Tensor:
        codes = self.codes + self.way * share - self.zero
        return self.grid.blocks.join(codes * (self.start * self.stretch.exp()))


@torch.no_grad()
def _error(part: nn.Module, values: Mapping[str, Tensor], samples: Samples) -> float:
    return sum(
        float((functional_call(part, dict(values), batch.args, dict(batch.kwargs)) - wanted).double().square().sum())
        for batch, wanted in zip(samples.inputs, samples.wanted, strict=True)
    )


def _single(tensors: Any) -> Any:
    """Returns anything that holds tensors, numbers in it as float32: gradients in half precision are too coarse."""
    return tree_map(lambda t: t.float() if isinstance(t, Tensor) and t.is_floating_point() else t, tensors)


def _falling(progress: float) -> float:
    """From 1 to 0 along half a cosine."""
    return 0.5 * (1 + math.cos(math.pi * progress))
