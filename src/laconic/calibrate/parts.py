"""Sums over the parts of a layer, and how they make up its evidence."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from math import gcd
from typing import NamedTuple

import torch
from torch import Tensor

from laconic.calibrate.evidence import LayerEvidence
from laconic.calibrate.layer import Layer
from laconic.calibrate.moments import FULL

MOST_GROUPS = 64  # A weight cut into more groups than this would take more memory for its inputs than it is worth.


class Part(NamedTuple):
    """Output channels `start` to `stop` of a layer, those of one group if it has several."""

    layer: Layer
    start: int
    stop: int

    @classmethod
    def all_of(cls, layer: Layer) -> Part:
        """Returns the part that is everything."""
        return cls(layer, 0, layer.matrix_shape[1])

    @property
    def whole(self) -> bool:
        """Whether these are all output channels."""
        return (self.start, self.stop) == (0, self.layer.matrix_shape[1])


@dataclass
class Sums:
    """Running sums of one part.

    Args:
        inputs: sum of `x x^T`, `[groups, inputs, inputs]` or its diagonal; None before the first.
        gradients: sum of `g g^T`, likewise; None as long as no output reached the model's answer.
        positions: how many there were in each group.
        differentiable: every use so far could be given a gradient.
    """

    inputs: Tensor | None = None
    gradients: Tensor | None = None
    positions: int = 0
    differentiable: bool = True

    def add_inputs(self, moment: Tensor, positions: int) -> None:
        """Adds one use's, which is not needed elsewhere."""
        self.inputs = moment if self.inputs is None else self.inputs.add_(moment)
        self.positions += positions

    def add_gradients(self, moment: Tensor) -> None:
        """Adds one use's, which is not needed elsewhere."""
        self.gradients = moment if self.gradients is None else self.gradients.add_(moment)

    def add(self, other: Sums, outputs: slice) -> None:
        """Adds the share that some of another part's outputs have in it."""
        if other.inputs is not None:
            self.add_inputs(other.inputs.clone(), other.positions)
        if other.gradients is not None and other.gradients.dim() == 3:
            self.add_gradients(other.gradients[:, outputs, outputs].clone())
        elif other.gradients is not None:
            diagonal = other.gradients[:, outputs]
            self.add_gradients(diagonal.clone() if diagonal.shape[1] > FULL else diagonal.diag_embed())
        self.differentiable &= other.differentiable


def evidence_of(parts: Mapping[Part, Sums], predictions: int) -> tuple[LayerEvidence, ...]:
    """Returns evidence, on the CPU, for every layer whose parts are complete.

    A weight that is used part by part (attention's `in_proj_weight` when keys and queries differ) becomes a layer of
    equal groups of output channels, each with its own inputs and gradients.
    """
    found = [_evidence(part.layer, [sums], predictions) for part, sums in parts.items() if part.whole]
    split: dict[Layer, dict[Part, Sums]] = {}
    for part, sums in parts.items():
        if not part.whole:
            split.setdefault(part.layer, {})[part] = sums
    for layer, members in split.items():
        groups = _groups(layer, members)
        if groups and all(group.inputs is not None for group in groups):
            found.append(_evidence(replace(layer, groups=len(groups)), groups, predictions))
    return tuple(found)


def _joined(groups: list[Tensor]) -> Tensor:
    """Returns groups in one tensor; one group as it is, since two moments of a wide layer may be too much memory."""
    return groups[0] if len(groups) == 1 else torch.cat(groups)


def _groups(layer: Layer, members: Mapping[Part, Sums]) -> list[Sums]:
    """Parts of any size as groups of one size; none if they would be too many."""
    outputs = layer.matrix_shape[1]
    size = gcd(outputs, *(edge for part in members for edge in (part.start, part.stop)))
    if outputs // size > MOST_GROUPS:
        return []
    groups = [Sums() for _ in range(outputs // size)]
    for part, sums in members.items():
        for start in range(part.start, part.stop, size):
            groups[start // size].add(sums, slice(start - part.start, start - part.start + size))
    return groups


def _evidence(layer: Layer, groups: Iterable[Sums], predictions: int) -> LayerEvidence:
    """Joins sums of groups; a layer that has groups of its own comes as one."""
    groups = list(groups)
    differentiable = all(group.differentiable for group in groups)
    _, outputs, _ = layer.matrix_shape
    shape = (layer.groups // len(groups), outputs) + ((outputs,) if outputs <= FULL else ())
    nothing = torch.zeros(shape, dtype=torch.float64)
    gradients = [nothing if g.gradients is None else g.gradients.cpu() for g in groups] if differentiable else []
    return LayerEvidence(
        layer=layer,
        input_sum=_joined([g.inputs.cpu() for g in groups if g.inputs is not None]),
        gradient_sum=_joined(gradients) if differentiable else None,
        positions=torch.tensor([g.positions for g in groups]).repeat_interleave(layer.groups // len(groups)),
        predictions=predictions,
    )
