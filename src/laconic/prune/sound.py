"""Whether a model runs at all, before anything is done with it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import nn

from laconic.core.errors import LaconicError
from laconic.core.sound import check_repeats
from laconic.graph.failure import does_not_run


def check_runs(model: nn.Module, args: Sequence[Any], kwargs: Mapping[str, Any]) -> None:
    """Runs the model twice: `torch.export` lets inputs of a wrong type pass, and nothing is proven of random answers.

    Raises:
        ModelError: it fails, and says where; or it answers differently the second time.
    """
    modes = {module: module.training for module in model.modules()}
    try:
        for module in modes:
            module.training = False
        with torch.no_grad():
            check_repeats(model, model(*args, **kwargs), model(*args, **kwargs))
    except LaconicError:
        raise
    except Exception as failure:  # Whatever the user's code raises.
        raise does_not_run(type(model).__name__, failure) from failure
    finally:
        for module, training in modes.items():
            module.training = training
