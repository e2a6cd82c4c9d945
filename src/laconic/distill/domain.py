"""Domains that several losses share."""

from __future__ import annotations

from laconic.core.errors import invalid


def check_temperature(where: str, temperature: float) -> None:
    """Raises a `UsageError` unless the temperature is positive and finite."""
    if not 0 < temperature < float("inf"):
        raise invalid(f"{where}.temperature", temperature, "a positive number", "Usual values are 1 to 20.")


def check_share(where: str, hard_weight: float) -> None:
    """Raises a `UsageError` unless the share of the loss on labels is one."""
    if not 0 <= hard_weight <= 1:
        raise invalid(f"{where}.hard_weight", hard_weight, "a share in [0, 1]", "For 10 % write 0.1.")


def check_weight(where: str, weight: float) -> None:
    """Raises a `UsageError` unless a weight is 0 or positive and finite."""
    if not 0 <= weight < float("inf"):
        raise invalid(where, weight, "0 or a positive number")
