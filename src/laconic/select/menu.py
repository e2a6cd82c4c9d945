"""What is offered unless one says otherwise."""

from __future__ import annotations

from laconic.calibrate import Encoder
from laconic.factorize import ActivationAwareSVD, Factorization, LowRankPlus
from laconic.prune.weights import CompensatedSparsity, MaskThen
from laconic.quantize import CompensatedRounding, ScalarCodebook, VectorCodebook
from laconic.share import AcrossDepth, SparseDictionary

Technique = Encoder | Factorization

GRIDS: tuple[Technique, ...] = tuple(CompensatedRounding(bits=bits) for bits in (8, 6, 5, 4, 3, 2))
CODEBOOKS: tuple[Technique, ...] = (
    *(ScalarCodebook(bits=bits) for bits in (4, 3, 2, 1)),
    VectorCodebook(),
)
SPARSE: tuple[Technique, ...] = tuple(CompensatedSparsity(sparsity=s, half=True) for s in (0.5, 0.7, 0.8, 0.9, 0.95))
SPARSE_GRIDS: tuple[Technique, ...] = tuple(
    MaskThen(mask=CompensatedSparsity(sparsity=sparsity), then=CompensatedRounding(bits=bits, keep_zeros=True))
    for sparsity, bits in ((0.5, 3), (0.7, 3), (0.8, 3), (0.9, 4))
)
SPARSE_CODEBOOKS: tuple[Technique, ...] = tuple(
    MaskThen(mask=CompensatedSparsity(sparsity=sparsity), then=ScalarCodebook(bits=bits, keep_zeros=True))
    for sparsity, bits in ((0.5, 3), (0.7, 3), (0.8, 4))
)
SUMS: tuple[Technique, ...] = tuple(
    LowRankPlus(residual=CompensatedRounding(bits=bits), rank=rank) for bits, rank in ((4, 4), (3, 4), (2, 4), (2, 16))
)
DICTIONARIES: tuple[Technique, ...] = tuple(SparseDictionary(nonzeros=nonzeros) for nonzeros in (1, 2, 3))
LOW_RANK: tuple[Technique, ...] = (ActivationAwareSVD(),)

FOR_ONNX: tuple[Technique, ...] = (*GRIDS, *CODEBOOKS, *LOW_RANK)
"""What an ONNX file holds in as few bytes as it takes here, save masked grids: they take as long to price again."""

MASKS_PAY = 1 / 16
"""Share of the bytes above which masked grids are not worth their time, three fifths of a price list's for wide layers.
Plans for ResNet-20, measured, with masked grids on offer and without: 0.027 and 0.046 nats at 1/12, 0.075 and 0.065 at
1/14, 0.32 and 0.29 at 1/16; at 1/24 only they fit. On digits the same but for 1/20 (0.0050 and 0.0060)."""

MENU: tuple[Technique, ...] = (*GRIDS, *CODEBOOKS, *SPARSE, *SPARSE_GRIDS, *LOW_RANK)

TOGETHER: tuple[AcrossDepth, ...] = (AcrossDepth(steps=10),)

EVERYTHING: tuple[Technique | AcrossDepth, ...] = (*MENU, *SPARSE_CODEBOOKS, *SUMS, *DICTIONARIES, *TOGETHER)
"""For those who ask: what rarely wins on a layer, and takes its time. `AcrossDepth` makes offers for several layers
together."""
