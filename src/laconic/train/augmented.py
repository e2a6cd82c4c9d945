"""An objective that sees other batches than the loader gives."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from torch import Tensor, nn

from laconic.core.task import Batch
from laconic.distill.augment import Augmentation
from laconic.train.describe import describe
from laconic.train.objective import Moment, Objective


def augmented(objective: Objective, *augmentations: Augmentation) -> Objective:
    """Returns an objective whose batches are changed first, one augmentation after the other.

    Teacher and student are asked about the same changed batch. What is drawn repeats when a run is resumed.

    Args:
        objective: such as `distillation(teacher, task, loss)`.
        augmentations: such as `Mixup()`, `MaskTokens(mask=103)` or any function from batch to batch.

    Example:
        >>> from laconic.distill.augment import Mixup
        >>> augmented(Objective(name="plain", terms=lambda model, batch, moment: {}), Mixup()).name
        'plain on batches changed by Mixup(alpha=1.0)'
    """
    if not augmentations:
        return objective

    def terms(model: nn.Module, batch: Batch, moment: Moment) -> Mapping[str, Tensor]:
        for augmentation in augmentations:
            batch = augmentation(batch)
        return objective.terms(model, batch, moment)

    said = ", ".join(map(describe, augmentations))
    return replace(objective, terms=terms, name=f"{objective.name} on batches changed by {said}")
