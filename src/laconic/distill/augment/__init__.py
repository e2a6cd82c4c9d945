"""Batches made anew at every step, for teacher and student alike: one way = one file.

All draw from PyTorch's global generator, which the training loop seeds, saves and restores.
"""

from collections.abc import Callable

from laconic.core.task import Batch
from laconic.distill.augment.cutmix import CutMix
from laconic.distill.augment.delete_tokens import DeleteTokens
from laconic.distill.augment.mask_tokens import MaskTokens
from laconic.distill.augment.mixup import Mixup
from laconic.distill.augment.sample_span import SampleSpan
from laconic.distill.augment.swap_halves import SwapHalves
from laconic.distill.augment.swap_near import SwapNear

Augmentation = Callable[[Batch], Batch]
"""Any function of a batch will do."""

__all__ = [
    "Augmentation",
    "CutMix",
    "DeleteTokens",
    "MaskTokens",
    "Mixup",
    "SampleSpan",
    "SwapHalves",
    "SwapNear",
]
