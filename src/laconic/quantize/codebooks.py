"""What scalar and vector codebooks share: words are learnt, given to vectors under compensation, and refitted."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor

from laconic.calibrate import Layer, LayerEvidence, reached
from laconic.core.bits import packed_size
from laconic.core.blocks import Blocks
from laconic.core.codings import Codebook, Sparse
from laconic.core.errors import invalid
from laconic.core.nearest import nearest_words
from laconic.core.sound import check_codable
from laconic.quantize.clusters import number_words, vector_words
from laconic.quantize.codebook_search import compensated, relative, shares, stored
from laconic.quantize.view import SMALLEST

HALF = torch.finfo(torch.float16)
MOST_NUMBERS = 2**16  # Of which words are learnt.
VECTORS_A_WORD = 64


@final
@dataclass(frozen=True, kw_only=True)
class Words:
    """How a weight is cut into vectors, and what words there are for them.

    Args:
        bits: of a code; there are `2**bits` words.
        length: elements of a vector.
        stages: words that are summed.
        rows: channels that share a table; None: all.
        scaled: divide each channel by its root mean square first.
    """

    bits: int
    length: int = 1
    stages: int = 1
    rows: int | None = None
    scaled: bool = True

    def vectors(self, layer: Layer) -> Blocks:
        """Returns the vectors of a layer's weight: consecutive inputs of an output."""
        return Blocks(shape=layer.shape, axis=layer.output_axis, group_size=self.length)

    def tables(self, layer: Layer) -> int:
        """Returns how many tables a layer's weight has."""
        return 1 if self.rows is None else math.ceil(layer.shape[layer.output_axis] / self.rows)

    def check(self, layer: Layer, where: str) -> None:
        """Refuses words that would take more bytes than the weight itself.

        Raises:
            UsageError: they do; `where` says who asked.
        """
        vectors = self.vectors(layer)
        books = 2 * self.stages * self.tables(layer) * 2**self.bits * self.length
        total = books + packed_size(self.stages * vectors.count, self.bits) + 2 * self.scaled * vectors.channels
        whole = 4 * math.prod(layer.shape)
        if total >= whole > 0:
            raise invalid(
                f"{where}({layer.parameter}).bits",
                self.bits,
                f"a codebook smaller than the layer: {books:,} bytes of words, {total:,} with codes, for {whole:,}",
                "Use fewer bits or shorter vectors for this layer, or another technique.",
            )


def coded(
    weight: Tensor,
    layer: Layer,
    evidence: LayerEvidence | None,
    words: Words,
    *,
    damping: float,
    rounds: int | None,
    keep_zeros: bool,
) -> Codebook | Sparse:
    """Returns the weight as words, compensated as far as the evidence allows.

    Args:
        weight: finite.
        layer: its layer.
        evidence: what passed through it.
        words: what there are.
        damping: added to the diagonal of `A`, as a share of its mean.
        rounds: of refitting words and choosing them anew; None: nearest words.
        keep_zeros: whether zeros stay, inside a mask.
    """
    kept, evidence = weight.detach().cpu() != 0 if keep_zeros else None, reached(evidence)
    found = learnt(weight, layer, evidence, words, 0, kept)
    if rounds is not None and evidence is not None and evidence.input_sum.dim() == 3:
        found = compensated(found, weight, evidence, damping=damping, rounds=rounds, kept=kept)
    return found if kept is None else Sparse.around(found, kept)


def learnt(
    weight: Tensor, layer: Layer, evidence: LayerEvidence | None, words: Words, seed: int, kept: Tensor | None = None
) -> Codebook:
    """Returns the weight with words by k-means, each vector at the nearest one.

    Elements weigh as the diagonals of the second moments of inputs and, where known, of output gradients say, times the
    square of their channel's scale. What `kept`, bool of the weight's shape, leaves out counts for nothing.

    Raises:
        ModelError: the weight holds NaN or infinity.
    """
    check_codable(weight, layer.parameter)
    weight, vectors = weight.detach().cpu().float(), words.vectors(layer)
    kept = torch.ones(layer.shape, dtype=torch.bool) if kept is None else kept
    scale = _scales(weight, vectors, kept) if words.scaled else None
    spread = _by_vector(vectors, torch.ones(vectors.channels) if scale is None else scale.float())
    values = vectors.split(weight) / spread
    mass = vectors.split(_mass(layer, evidence) * kept) * (spread / spread.max()).square()
    rows = words.rows or max(vectors.channels, 1)
    books = _books(values, mass, words, rows * (len(values) // max(vectors.channels, 1)), seed)
    blank = torch.zeros(words.stages, vectors.count, dtype=torch.uint8)
    return Codebook.of(vectors=vectors, rows=rows, books=stored(books), scale=scale, codes=blank).encode_within(
        weight, kept
    )


def _books(values: Tensor, mass: Tensor, words: Words, together: int, seed: int) -> Tensor:
    """Learns the tables, each from the vectors of its rows: `[stages, tables, words, length]`."""
    generator, tables, together = torch.Generator().manual_seed(seed), [], max(together, 1)
    for part, share in zip(torch.split(values, together), torch.split(mass, together), strict=True):
        stages, most = [], MOST_NUMBERS if words.length == 1 else VECTORS_A_WORD * 2**words.bits
        counted = share.any(1)
        part, share = (part[counted], share[counted]) if counted.any() else (part, share + 1)
        step = math.ceil(len(part) / most)
        left, share = part[::step], share[::step]
        for _ in range(words.stages):
            stages.append(_learnt_words(left, share / share.mean(), 2**words.bits, generator))
            left = left - stages[-1][nearest_words(left[None], stages[-1][None, None])[0, 0]]
        tables.append(torch.stack(stages))
    return torch.stack(tables, 1)


def _learnt_words(values: Tensor, mass: Tensor, count: int, generator: torch.Generator) -> Tensor:
    if not len(values):
        return torch.zeros(count, values.shape[1])
    if values.shape[1] == 1:
        return number_words(values[:, 0], mass[:, 0], count)[:, None]
    return vector_words(values, mass, count, generator)


def _mass(layer: Layer, evidence: LayerEvidence | None) -> Tensor:
    """How much each element of a weight counts: the energy of its input, and its output's share."""
    if evidence is None:
        return torch.ones(layer.shape)
    return layer.weight(shares(layer, evidence)[:, :, None] * relative(evidence.A)[:, None, :])


def _scales(weight: Tensor, vectors: Blocks, kept: Tensor) -> Tensor:
    """The root mean square of what is kept of each channel, as it is stored; next to nothing where that is zero."""
    channels = Blocks(shape=vectors.shape, axis=vectors.axis)
    counts = channels.split(kept.double()).sum(1).clamp_min(1)
    sizes = (channels.split(weight).double().square().sum(1) / counts).sqrt().float()
    alive = sizes > SMALLEST
    scale = stored(torch.where(alive, sizes, sizes.max().clamp_min(SMALLEST)))
    return torch.where(alive, scale, HALF.smallest_normal * HALF.eps if scale.dtype == torch.float16 else SMALLEST)


def _by_vector(vectors: Blocks, scale: Tensor) -> Tensor:
    return scale.repeat_interleave(vectors.count // max(vectors.channels, 1))[:, None]
