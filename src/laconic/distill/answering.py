"""A model that answers, and is left as it was."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn


@contextmanager
def answering(model: nn.Module) -> Iterator[torch.device]:
    """Puts a model to eval mode for a while, without gradients; yields the device on which it answers.

    Example:
        >>> model = nn.Dropout()
        >>> with answering(model) as device:
        ...     device.type, model.training
        ('cpu', False)
        >>> model.training
        True
    """
    modes = {module: module.training for module in model.modules()}
    try:
        model.eval()
        with torch.no_grad():
            yield next((parameter.device for parameter in model.parameters()), torch.device("cpu"))
    finally:
        for module, training in modes.items():
            module.training = training
