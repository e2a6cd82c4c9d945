"""What is wrong with a model before anything is done with it."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn
from torch.nn.parameter import is_lazy
from torch.utils._pytree import tree_leaves

from laconic.core.errors import ModelError, invalid

LARGEST = 1e25
"""Of a weight: sums of larger ones in float32, and scales for them, are no numbers any more."""
REPEATS = 1e-3
"""How far two answers to the same inputs may be apart, of the largest number: accelerators add up in changing order."""


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


def check_repeats(model: nn.Module, first: Any, second: Any) -> None:
    """Refuses a model that answers the same inputs differently each time: nothing could be compared with it.

    Args:
        model: in eval mode.
        first: what it answered, in any structure.
        second: what it answered when it was asked again.

    Raises:
        ModelError: they differ by more than a thousandth of the largest number.
    """
    for one, other in zip(tree_leaves(first), tree_leaves(second), strict=False):
        if not (isinstance(one, Tensor) and isinstance(other, Tensor) and one.is_floating_point()):
            continue
        if one.shape != other.shape or (one.numel() and _apart(one, other) > REPEATS * float(one.detach().abs().max())):
            raise ModelError(
                f"{type(model).__name__}: answers the same inputs differently each time, in eval mode too; expected "
                "the same answers. Draw random numbers only `if self.training` (functional.dropout needs "
                "training=self.training), or pass them in as an input."
            )


def _apart(one: Tensor, other: Tensor) -> float:
    return float((one.detach() - other.detach()).abs().max())


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
