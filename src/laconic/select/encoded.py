"""One weight coded by many techniques, what they have in common worked out once."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import groupby

from torch import Tensor

from laconic.calibrate import Encoder, LayerEvidence
from laconic.core.coding import Coding
from laconic.core.codings import Sparse
from laconic.core.errors import UsageError
from laconic.prune.weights import CompensatedSparsity, MaskThen
from laconic.quantize import CompensatedRounding
from laconic.quantize.compensated import rounded_together


def encoded(weight: Tensor, seen: LayerEvidence, techniques: Sequence[Encoder]) -> Iterator[tuple[Encoder, Coding]]:
    """Yields what each technique makes of a weight, in their order, without those that do not go together with it.

    Grids that differ by their bits alone are searched side by side, and a mask that several code is made once.

    Args:
        weight: finite.
        seen: what passed through its layer, best remembering.
        techniques: of one weight each.

    Raises:
        ModelError: the weight holds NaN or infinity.
    """
    layer, masks = seen.layer, dict[Encoder, Sparse]()
    for _, group in groupby(techniques, key=_alike):
        alike = list(group)
        try:
            if isinstance(alike[0], CompensatedRounding):
                grids = [one for one in alike if isinstance(one, CompensatedRounding)]
                yield from zip(alike, rounded_together(grids, weight, layer, seen), strict=True)
                continue
            for technique in alike:
                yield technique, _coded(technique, weight, seen, masks)
        except UsageError:
            continue  # It does not go together with this layer, as a codebook that would be larger than the weight.


def _coded(technique: Encoder, weight: Tensor, seen: LayerEvidence, masks: dict[Encoder, Sparse]) -> Coding:
    if isinstance(technique, MaskThen):
        known = replace(technique.mask, half=False)  # What is coded afterwards may have been rounded to half precision.
        if known not in masks:
            masks[known] = technique.mask.encode(weight, seen.layer, seen)
        return technique.within(masks[known], seen.layer, seen)
    found = technique.encode(weight, seen.layer, seen)
    if isinstance(technique, CompensatedSparsity) and isinstance(found, Sparse):
        masks[replace(technique, half=False)] = found
    return found


def _alike(technique: Encoder) -> Encoder:
    return replace(technique, bits=8) if isinstance(technique, CompensatedRounding) else technique
