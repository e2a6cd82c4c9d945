"""Weights as learned values: k-means in the metric that matters."""

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
class ScalarCodebook:
    """Weights as `2**bits` learned values, shared by the layer or by groups of its rows.

    The values are the best ones for weights that count as the energy of their inputs and, where it was gathered, of
    their outputs' gradients says (k-means in one dimension, exact on
    a histogram). Then, as far as `A` knows of inputs that go together, inputs get their values one by one, the error of
    each is passed on, and the values are refitted to what was chosen: least squares of the layer's output,
    `tr(dW A dW^T)`.

    Args:
        bits: 1 to 8.
        rows: output channels (rows of an embedding) that share their values; None: all.
        scaled: divide each channel by its root mean square first, and store that.
        compensate: False gives each weight the nearest value.
        damping: added to the diagonal of `A`, as a share of its mean; more for less trust in the calibration data.
        rounds: of refitting values and choosing them anew.
        keep_zeros: weights that are zero stay zero, inside a mask, and count for nothing else; codes are stored for
            the rest alone.

    Guarantees:
        The layer's output changes no more on the calibration data than with k-means and nearest values.

    Reference:
        Han, Mao and Dally 2016, arXiv:1510.00149 (deep compression); Frantar et al. 2022, arXiv:2210.17323.

    Example:
        >>> import torch
        >>> layer = Layer(parameter="fc.weight", kind="linear", shape=(32, 64))
        >>> coding = ScalarCodebook(bits=3).encode(torch.randn(32, 64), layer)
        >>> str(coding), coding.size_bytes
        ('8 learned values, scaled per channel', 848)
    """

    bits: int = 4
    rows: int | None = None
    scaled: bool = True
    compensate: bool = True
    damping: float = 0.01
    rounds: int = 1
    keep_zeros: bool = False

    def __post_init__(self) -> None:
        check_whole("quantize.ScalarCodebook.bits", self.bits, 1, 8)
        check_whole("quantize.ScalarCodebook.rounds", self.rounds, 0)
        if self.rows is not None:
            check_whole("quantize.ScalarCodebook.rows", self.rows, 1)
        if not self.damping > 0:
            raise invalid("quantize.ScalarCodebook.damping", self.damping, "a positive number")

    def encode(self, weight: Tensor, layer: Layer, evidence: LayerEvidence | None = None) -> Codebook | Sparse:
        """Returns the weight as learned values.

        Args:
            weight: shape `layer.shape`, finite.
            layer: which dimensions are outputs and inputs.
            evidence: what passed through the layer; None: all weights count alike, each takes the nearest value.

        Raises:
            ModelError: the weight holds NaN or infinity.
            UsageError: the values and codes would take more bytes than the weight.
        """
        words = Words(bits=self.bits, rows=self.rows, scaled=self.scaled)
        words.check(layer, "quantize.ScalarCodebook")
        rounds = self.rounds if self.compensate else None
        return coded(weight, layer, evidence, words, damping=self.damping, rounds=rounds, keep_zeros=self.keep_zeros)

    def edit(self, weight: Tensor, layer: Layer, evidence: LayerEvidence | None = None) -> Recode:
        """Returns `encode` as an edit of the layer's parameter."""
        return Recode(layer.parameter, self.encode(weight, layer, evidence))
