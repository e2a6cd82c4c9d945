"""What is wrong with a model before anything is done with it."""

from __future__ import annotations

from torch import nn
from torch.nn.parameter import is_lazy

from laconic.core.errors import ModelError, invalid


def check_weights(model: nn.Module, where: str) -> None:
    """Refuses weights that are not there, or that are no numbers: whatever reads them would go on with nonsense.

    Args:
        model: any module; one without parameters passes.
        where: who asks, for the message.

    Raises:
        UsageError: it is no module.
        ModelError: a parameter, named, has no shape or no values yet, or holds NaN or infinity.

    Example:
        >>> check_weights(nn.Linear(2, 2), "prune.model")
    """
    if not isinstance(model, nn.Module):
        raise invalid(where, type(model).__name__, "a torch.nn.Module, trained")
    for name, parameter in model.named_parameters():
        if is_lazy(parameter):
            raise ModelError(f"{name}: has no shape yet; expected a trained network. Run the model on a batch first.")
        if parameter.is_meta:
            raise ModelError(f"{name}: is on the meta device, without values. Load the weights first.")
        if parameter.is_floating_point() and not parameter.isfinite().all():
            raise ModelError(f"{name}: holds NaN or infinity; expected finite weights. Check the checkpoint.")
