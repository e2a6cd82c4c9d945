"""What all techniques that zero single weights share."""

from __future__ import annotations

from abc import ABC, abstractmethod

import torch
from torch import Tensor

from laconic.calibrate import Layer, LayerEvidence
from laconic.calibrate.view import View
from laconic.core.codings import Half, Sparse
from laconic.core.edit import Recode
from laconic.core.errors import check_fraction, invalid
from laconic.core.sound import check_codable
from laconic.prune.weights.patterns import NOfM, Pattern


class Sparsification(ABC):
    """Zeroes weights of a layer. Configs are frozen and final.

    Guarantees:
        The weight's shape stays, and the share of zeros is the sparsity, up to whole units of the pattern.
        With sparsity 0 every weight stays as it is.
    """

    sparsity: float
    pattern: Pattern
    half: bool

    @abstractmethod
    def scores(self, weight: Tensor, layer: Layer, evidence: LayerEvidence | None = None) -> Tensor:
        """Returns what the removal of each weight by itself costs, float32, of the weight's shape; scores add up."""

    @abstractmethod
    def encode(self, weight: Tensor, layer: Layer, evidence: LayerEvidence | None = None) -> Sparse:
        """Returns the weight with zeros.

        Args:
            weight: shape `layer.shape`, finite.
            layer: which dimensions are outputs and inputs.
            evidence: what passed through the layer. Where there is none, or nothing reached the layer, the smallest
                weights go; the latter is warned of by name.

        Raises:
            ModelError: the weight holds NaN or infinity.
        """

    def edit(self, weight: Tensor, layer: Layer, evidence: LayerEvidence | None = None) -> Recode:
        """Returns `encode` as an edit of the layer's parameter."""
        return Recode(layer.parameter, self.encode(weight, layer, evidence))


def checked(technique: Sparsification) -> None:
    """Refuses settings outside their domain."""
    where, sparsity = f"prune.weights.{type(technique).__name__}.sparsity", technique.sparsity
    check_fraction(where, sparsity)
    if isinstance(technique.pattern, NOfM) and abs(sparsity - technique.pattern.sparsity) > 1e-9:
        raise invalid(where, sparsity, f"{technique.pattern.sparsity:g}, which is what {technique.pattern} means")


def finite(weight: Tensor, layer: Layer) -> Tensor:
    """Returns a weight as float32 on the CPU.

    Raises:
        ModelError: it holds NaN or infinity.
    """
    check_codable(weight, layer.parameter)
    return weight.detach().cpu().float()


def energies(evidence: LayerEvidence) -> Tensor:
    """Returns the second moment of each input by itself, float64 `[groups, inputs]`."""
    A = evidence.A
    return A if A.dim() == 2 else A.diagonal(dim1=1, dim2=2)


def pulls(evidence: LayerEvidence) -> Tensor:
    """Returns the second moment of the gradient at each output, float64 `[groups, outputs]`; ones without gradients."""
    if evidence.gradient_sum is None:
        return torch.ones(evidence.layer.matrix_shape[:2], dtype=torch.float64)
    G = evidence.G
    return G if G.dim() == 2 else G.diagonal(dim1=1, dim2=2)


def in_single(scores: Tensor) -> Tensor:
    """Returns scores as float32; what is too large for that becomes the largest number."""
    return scores.clamp(max=torch.finfo(torch.float32).max).float()


def removing(
    technique: Sparsification, weight: Tensor, layer: Layer, scores: Tensor, *, by_row: bool = False
) -> Sparse:
    """Returns a weight with the least scores' weights zero, all others as they are."""
    layout = View.of(layer, whole_kernels=False).layout
    removed = technique.pattern.removed(layout.matrix, technique.sparsity)
    kept = layout.restore(technique.pattern.keep(layout.view(scores), removed, by_row=by_row))
    return stored(technique, weight, layer, kept)


def stored(technique: Sparsification, weight: Tensor, layer: Layer, kept: Tensor) -> Sparse:
    """Returns a weight inside a mask in the fewest bytes that the technique's pattern allows."""
    layout = View.of(layer, whole_kernels=False).layout
    inner = Half.of(weight) if technique.half else None
    return Sparse.of(weight, kept, inner=inner, layout=layout, **technique.pattern.storage(layout.matrix))
