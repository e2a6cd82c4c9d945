"""One family of errors. Each message is one line: where, what was got, what was expected, how to mend it."""

from __future__ import annotations


class LaconicError(Exception):
    """Base of every error that Laconic raises on purpose; its text is meant for the user."""


class UsageError(LaconicError, ValueError):
    """An argument, option, recipe or budget is outside its domain."""


class ModelError(LaconicError):
    """The model cannot be compressed as it is (no parameters, NaN weights, cannot be exported...)."""


class DataError(LaconicError):
    """The data does not fit the model or the metric (empty loader, wrong shape, labels out of range...)."""


class TrainingError(LaconicError):
    """Training cannot go on (a loss that is not finite, a checkpoint of another run...)."""


class ArtifactError(LaconicError):
    """A file written by Laconic is missing, damaged, or not what its manifest says."""


class ExportError(LaconicError):
    """The model cannot be turned into the target runtime's format, or the runtime refuses it."""


def invalid(where: str, got: object, expected: str, mend: str = "") -> UsageError:
    """Returns the error for a value outside its domain, in the one form all of them share.

    Example:
        >>> print(invalid("Budget.size", 1.5, "a fraction in (0, 1]", "For 50 % write 0.5."))
        Budget.size: got 1.5; expected a fraction in (0, 1]. For 50 % write 0.5.
    """
    return UsageError(f"{where}: got {got!r}; expected {expected}. {mend}".rstrip())


def check_whole(where: str, value: object, least: int, most: int | None = None) -> None:
    """Refuses what is no whole number, or not between `least` and `most`.

    Raises:
        UsageError: it is refused; a float such as 4.0 and a bool are no whole numbers.

    Example:
        >>> check_whole("RoundToNearest.bits", 4, 2, 8)
    """
    if not isinstance(value, int) or isinstance(value, bool) or value < least or (most is not None and value > most):
        domain = f"of at least {least}" if most is None else f"from {least} to {most}"
        raise invalid(where, value, f"a whole number {domain}")


def check_fraction(where: str, value: object) -> None:
    """Refuses what is no number in `[0, 1)`.

    Raises:
        UsageError: it is refused; NaN and a bool are.

    Example:
        >>> check_fraction("prune.ratio", 0.5)
    """
    if not isinstance(value, int | float) or isinstance(value, bool) or not 0 <= value < 1:
        raise invalid(where, value, "a fraction in [0, 1)", "For 50 % write 0.5.")
