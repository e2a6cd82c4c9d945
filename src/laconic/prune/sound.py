"""What is wrong with a model or its inputs before anything is done with them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import nn
from torch.nn.parameter import is_lazy

from laconic.core.errors import LaconicError, ModelError, invalid
from laconic.graph.failure import does_not_run


def check_weights(model: nn.Module) -> None:
    """Refuses weights that are not there, or that are no numbers: whatever ranks or fits them would rank nonsense.

    Raises:
        UsageError: it is no module.
        ModelError: names the parameter.

    Example:
        >>> check_weights(nn.Linear(2, 2))
    """
    if not isinstance(model, nn.Module):
        raise invalid("prune.model", type(model).__name__, "a torch.nn.Module, trained")
    for name, parameter in model.named_parameters():
        if is_lazy(parameter):
            raise ModelError(f"{name}: has no shape yet; expected a trained network. Run the model on a batch first.")
        if parameter.is_meta:
            raise ModelError(f"{name}: is on the meta device, without values. Load the weights first.")
        if parameter.is_floating_point() and not parameter.isfinite().all():
            raise ModelError(f"{name}: holds NaN or infinity; expected finite weights. Check the checkpoint.")


def check_runs(model: nn.Module, args: Sequence[Any], kwargs: Mapping[str, Any]) -> None:
    """Runs the model once: `torch.export` lets inputs of a wrong type pass.

    Raises:
        ModelError: it fails; says where.
    """
    modes = {module: module.training for module in model.modules()}
    try:
        for module in modes:
            module.training = False
        with torch.no_grad():
            model(*args, **kwargs)
    except LaconicError:
        raise
    except Exception as failure:  # Whatever the user's code raises.
        raise does_not_run(type(model).__name__, failure) from failure
    finally:
        for module, training in modes.items():
            module.training = training
