"""Weights as words: several inputs of an output at once, by product and residual quantisation."""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

from torch import Tensor

from laconic.calibrate import Layer, LayerEvidence
from laconic.core.codings import Codebook, Sparse
from laconic.core.edit import Recode
from laconic.core.errors import check_whole, invalid
from laconic.quantize.codebooks import Words, coded


@final
@dataclass(frozen=True, kw_only=True)
class VectorCodebook:
    """Each run of `length` inputs of an output as one of `2**bits` learned words, or as a sum of several.

    `bits * stages / length` bits a weight, and the words themselves. Words are learnt by k-means in which weights count
    as their inputs' energy says, the next stage's from what the stages before leave. Then vectors get their words one
    after the other, nearest in the sense of what the inputs to come cannot make up for, the error of each is passed on,
    and the words are refitted to what was chosen: least squares of the layer's output, `tr(dW A dW^T)`.

    Args:
        bits: of a code, 1 to 8.
        length: inputs of a vector, 1 to 64. For 3x3 convolutions 9 is one kernel.
        stages: words that are summed, 1 to 8.
        scaled: divide each channel by its root mean square first, and store that.
        damping: added to the diagonal of `A`, as a share of its mean; more for less trust in the calibration data.
        rounds: of refitting words and choosing them anew; 0 and no `A`: the nearest words.
        keep_zeros: weights that are zero stay zero, inside a mask, and count for nothing else; codes are stored for
            the rest alone.

    Guarantees:
        The layer's output changes no more on the calibration data than with k-means and nearest words.

    Reference:
        Stock et al. 2020, arXiv:1907.05686 (product quantisation for activations); Egiazarian et al. 2024,
        arXiv:2401.06118 (AQLM: sums of words); van Baalen et al. 2024, arXiv:2402.15319 (GPTVQ: compensation).

    Example:
        >>> import torch
        >>> layer = Layer(parameter="fc.weight", kind="linear", shape=(64, 64))
        >>> coding = VectorCodebook(bits=6, length=4).encode(torch.randn(64, 64), layer)
        >>> str(coding), coding.size_bytes
        ('64 words of 4, scaled per channel', 1408)
    """

    bits: int = 8
    length: int = 4
    stages: int = 1
    scaled: bool = True
    damping: float = 0.01
    rounds: int = 1
    keep_zeros: bool = False

    def __post_init__(self) -> None:
        check_whole("quantize.VectorCodebook.bits", self.bits, 1, 8)
        check_whole("quantize.VectorCodebook.length", self.length, 1, 64)
        check_whole("quantize.VectorCodebook.stages", self.stages, 1, 8)
        check_whole("quantize.VectorCodebook.rounds", self.rounds, 0)
        if not self.damping > 0:
            raise invalid("quantize.VectorCodebook.damping", self.damping, "a positive number")

    def encode(self, weight: Tensor, layer: Layer, evidence: LayerEvidence | None = None) -> Codebook | Sparse:
        """Returns the weight as words.

        Args:
            weight: shape `layer.shape`, finite.
            layer: which dimensions are outputs and inputs.
            evidence: what passed through the layer; None: all weights count alike, each vector takes the nearest word.

        Raises:
            ModelError: the weight holds NaN or infinity.
            UsageError: words and codes would take more bytes than the weight.
        """
        words = Words(bits=self.bits, length=self.length, stages=self.stages, scaled=self.scaled)
        words.check(layer, "quantize.VectorCodebook")
        return coded(
            weight, layer, evidence, words, damping=self.damping, rounds=self.rounds, keep_zeros=self.keep_zeros
        )

    def edit(self, weight: Tensor, layer: Layer, evidence: LayerEvidence | None = None) -> Recode:
        """Returns `encode` as an edit of the layer's parameter."""
        return Recode(layer.parameter, self.encode(weight, layer, evidence))
