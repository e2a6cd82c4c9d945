"""Layers that the calibration data never reached: nothing is known of what passes through them."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Mapping

from torch import Tensor

from laconic.calibrate.evidence import LayerEvidence
from laconic.core.errors import ModelError


def reached(evidence: LayerEvidence | None) -> LayerEvidence | None:
    """Returns the evidence, or None with a warning that names the layer where nothing but zeros reached it.

    Raises:
        ModelError: what reached it is too large for its squares to be numbers.
    """
    if evidence is None:
        return None
    for moment, of in ((evidence.input_sum, "its inputs"), (evidence.gradient_sum, "the gradients at its outputs")):
        if moment is not None and not bool(_energy(moment).isfinite().all()):
            raise ModelError(
                f"{evidence.layer.parameter}: the squares of {of} add up to NaN or infinity; expected values up to "
                "about 1e15. Check the data, and the layer before it."
            )
    if _any(evidence.input_sum):
        return evidence
    warnings.warn(
        f"{evidence.layer.parameter}: the calibration data never reached this layer (nothing but zeros came), so it is "
        "coded as if there were no data: all its inputs count alike. Give data that uses it, or leave it out.",
        stacklevel=3,
    )
    return None


def reached_of(
    evidence: Mapping[str, LayerEvidence], names: Iterable[str], where: str, *, so: str, prefix: str = ""
) -> dict[str, LayerEvidence]:
    """Returns the evidence of those layers that data reached, and warns once of all others.

    Args:
        evidence: by parameter, as of `Evidence.layers`.
        names: parameters.
        where: who asks, for the warning.
        so: what becomes of the others, likewise.
        prefix: of the parameters' names in the whole model, likewise.
    """
    names = list(names)
    found = {name: evidence[name] for name in names if name in evidence and _any(evidence[name].input_sum)}
    if silent := [f"{prefix}{name}" for name in names if name not in found]:
        warnings.warn(
            f"{where}: the calibration data never reached {', '.join(silent)} (nothing but zeros came, or no product "
            f"that is known used it); {so}. Give data that uses it.",
            stacklevel=3,
        )
    return found


def _any(moment: Tensor) -> bool:
    """Whether a second moment, or its diagonal, is more than zeros; a whole one is if its diagonal is."""
    return bool(_energy(moment).any())


def _energy(moment: Tensor) -> Tensor:
    return moment if moment.dim() == 2 else moment.diagonal(dim1=1, dim2=2)
