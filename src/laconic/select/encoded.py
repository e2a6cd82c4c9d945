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
    masks: dict[Encoder, Sparse] = {}
    for _, group in groupby(techniques, key=_alike):
        alike = list(group)
        grids = [one for one in alike if isinstance(one, CompensatedRounding)]
        try:
            if grids:
                yield from zip(alike, rounded_together(grids, weight, seen.layer, seen), strict=True)
            for technique in [] if grids else alike:
                yield technique, _coded(technique, weight, seen, masks)
        except UsageError:
            continue  # It does not go together with this layer, as a codebook that would be larger than the weight.


def _coded(technique: Encoder, weight: Tensor, seen: LayerEvidence, masks: dict[Encoder, Sparse]) -> Coding:
    inner = technique.mask if isinstance(technique, MaskThen) else technique
    if not isinstance(inner, CompensatedSparsity):
        return technique.encode(weight, seen.layer, seen)
    # Whether what is left is rounded to half precision does not matter to what codes it.
    known = replace(inner, half=False)
    if known not in masks or not isinstance(technique, MaskThen):
        masks[known] = inner.encode(weight, seen.layer, seen)
    found = masks[known]
    return technique.within(found, seen.layer, seen) if isinstance(technique, MaskThen) else found


def _alike(technique: Encoder) -> Encoder:
    return replace(technique, bits=8) if isinstance(technique, CompensatedRounding) else technique
