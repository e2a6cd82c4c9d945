"""What is wrong with a model before anything is done with it."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from laconic.core.errors import ModelError, invalid

LARGEST = 1e25
"""Of a weight: sums of larger ones in float32, and scales for them, are no numbers any more."""


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
        check_finite(parameter, name)


def check_finite(weight: Tensor, name: str) -> None:
    """Refuses a weight that holds NaN or infinity.

    Raises:
        ModelError: it does; `name` is the parameter's.
    """
    if weight.is_floating_point() and not bool(weight.isfinite().all()):
        raise ModelError(f"{name}: holds NaN or infinity; expected finite weights. Check the checkpoint.")


def check_codable(weight: Tensor, name: str) -> None:
    """Refuses a weight that no technique can code: with NaN, infinity, or numbers beyond 1e25.

    Raises:
        ModelError: it is refused; `name` is the parameter's.
    """
    check_finite(weight, name)
    if weight.numel() and (largest := float(weight.detach().abs().max())) > LARGEST:
        raise ModelError(f"{name}: holds {largest:.3g}; expected weights up to {LARGEST:g}. Check the checkpoint.")
