"""What decides the outcome of a run, in words that are the same in every process: no addresses."""

from __future__ import annotations

from dataclasses import fields, is_dataclass


def describe(value: object) -> str:
    """Returns a value in words; functions and plain objects by their names.

    Example:
        >>> describe(print), describe((1.5, "x"))
        ('builtins.print', "(1.5, 'x')")
    """
    if is_dataclass(value) and not isinstance(value, type):
        inside = ", ".join(f"{f.name}={describe(getattr(value, f.name))}" for f in fields(value))
        return f"{type(value).__name__}({inside})"
    if isinstance(value, tuple):
        return f"({', '.join(map(describe, value))})"
    if callable(value) or type(value).__repr__ is object.__repr__:
        return f"{value.__module__}.{getattr(value, '__qualname__', type(value).__qualname__)}"
    return repr(value)
