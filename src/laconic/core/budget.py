"""What the compressed model may cost."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass

from laconic.core.errors import invalid

UNITS: dict[str, dict[str, float]] = {
    "size": {"B": 1, "KB": 1e3, "MB": 1e6, "GB": 1e9, "KiB": 2**10, "MiB": 2**20, "GiB": 2**30},
    "macs": {"MACs": 1, "KMACs": 1e3, "MMACs": 1e6, "GMACs": 1e9},
    "latency": {"us": 1e-3, "ms": 1, "s": 1e3},
    "memory": {"B": 1, "KB": 1e3, "MB": 1e6, "GB": 1e9, "KiB": 2**10, "MiB": 2**20, "GiB": 2**30},
}
PRINTED = {"size": "{:,.0f} B", "macs": "{:,.0f} MACs", "latency": "{:.4g} ms", "memory": "{:,.0f} B"}
NUMBER = re.compile(r"\s*([+-]?\d+(?:\.\d*)?(?:e[+-]?\d+)?)\s*([A-Za-z%]*)\s*", re.IGNORECASE)


@dataclass(frozen=True)
class Limit:
    """One limit: a fraction of the original's figure, or an amount in the figure's own unit."""

    value: float
    relative: bool

    def bound(self, original: float) -> float:
        """Returns the limit as an amount, given the original's figure."""
        return self.value * original if self.relative else self.value


@dataclass(frozen=True)
class Miss:
    """A limit that was not met.

    Args:
        name: the budget's field.
        measured: what the artifact has, in the figure's unit.
        bound: what it may have at most.
    """

    name: str
    measured: float
    bound: float

    def __str__(self) -> str:
        return self.said()

    def said(self, *, share: bool = False) -> str:
        """Says what was missed; `share`: the metric is a fraction that people read in points."""
        if self.name == "drop":
            return f"drop: {_drop_said(self.measured, share)} lost, at most {_drop_said(self.bound, share)} allowed"
        over = f", {self.measured / self.bound - 1:.1%} over" if self.bound else ""
        printed = PRINTED[self.name]
        return f"{self.name}: {printed.format(self.measured)}, at most {printed.format(self.bound)} allowed{over}"


@dataclass(frozen=True, kw_only=True)
class Budget:
    """Limits on the measured artifact; a field left None is not limited.

    Args:
        size: bytes of the file that is deployed: `0.25`, `"25 %"` (of the original), `"2 MB"`.
        macs: multiply-accumulates for one sample: `0.5`, `"50 %"`, `"30 MMACs"`.
        latency: median time of one inference on the target: `0.5`, `"50 %"`, `"3 ms"`.
        memory: peak memory of a process that runs the model: `0.5`, `"200 MB"`.
        drop: how much the metric may get worse, in the metric's own unit: `0.01` or `"1 %"` is one point of accuracy.

    Raises:
        UsageError: a limit is not positive, a bare number is above 1, or a unit is not known.

    Example:
        >>> print(Budget(size=0.25, latency="3 ms", drop="1 %"))
        size <= 25% of the original, latency <= 3 ms, drop <= 0.01
    """

    size: float | str | Limit | None = None
    macs: float | str | Limit | None = None
    latency: float | str | Limit | None = None
    memory: float | str | Limit | None = None
    drop: float | str | None = None

    def __post_init__(self) -> None:
        for name in UNITS:
            object.__setattr__(self, name, _limit(name, getattr(self, name)))
        object.__setattr__(self, "drop", _drop(self.drop))

    @property
    def limits(self) -> dict[str, Limit]:
        """The limits that are set, `drop` aside."""
        found = {name: getattr(self, name) for name in UNITS}
        return {name: limit for name, limit in found.items() if isinstance(limit, Limit)}

    @property
    def allowed_drop(self) -> float | None:
        """How much the metric may get worse, or None."""
        assert not isinstance(self.drop, str)
        return self.drop

    def misses(self, original: Mapping[str, float], candidate: Mapping[str, float], *, drop: float) -> tuple[Miss, ...]:
        """Compares measured figures with the limits.

        Args:
            original: `size`, `macs`, `latency`, `memory` of the original, as far as limited.
            candidate: the same of the compressed model.
            drop: by how much the metric got worse (negative: better).

        Returns:
            Every limit that is not met (a figure of NaN meets none); empty when the budget holds.
        """
        bounds = {name: limit.bound(original[name]) for name, limit in self.limits.items()}
        missed = [Miss(name, candidate[name], bound) for name, bound in bounds.items() if not candidate[name] <= bound]
        # A drop of exactly the allowed share must pass although neither is exact in binary.
        if self.allowed_drop is not None and not drop <= self.allowed_drop + 1e-9:
            missed.append(Miss("drop", drop, self.allowed_drop))
        return tuple(missed)

    def config(self) -> dict[str, str | float]:
        """Returns the limits that are set, in the form that `Budget(**config)` reads."""
        written: dict[str, str | float] = {
            name: limit.value if limit.relative else f"{limit.value!r} {_base_unit(name)}"
            for name, limit in self.limits.items()
        }
        return written if self.allowed_drop is None else {**written, "drop": self.allowed_drop}

    def __str__(self) -> str:
        return self.said()

    def said(self, *, share: bool = False) -> str:
        """Says the limits; `share`: the metric is a fraction that people read in points."""
        said = [
            f"{name} <= {100 * limit.value:.4g}% of the original"
            if limit.relative
            else f"{name} <= {PRINTED[name].format(limit.value)}"
            for name, limit in self.limits.items()
        ]
        if self.allowed_drop is not None:
            said.append(f"drop <= {_drop_said(self.allowed_drop, share)}")
        return ", ".join(said) or "no limits"


def _drop_said(amount: float, share: bool) -> str:
    if not share:
        return f"{amount:.4g}"
    points = f"{100 * amount:.4g}"
    return f"{points} point{'s' * (points != '1')}"


def _base_unit(name: str) -> str:
    return next(unit for unit, factor in UNITS[name].items() if factor == 1)


def _limit(name: str, given: float | str | Limit | None) -> Limit | None:
    if given is None or isinstance(given, Limit):
        return given
    where, units = f"Budget.{name}", UNITS[name]
    domain = f"a fraction of the original in (0, 1], or an amount such as '3 {list(units)[1]}'"
    value, unit = _number(where, given, domain)
    if not 0 < value < math.inf:
        raise invalid(where, given, domain, "A limit must be positive and finite.")
    if unit in ("", "%"):
        share = value / 100 if unit else value
        if share > 1:
            raise invalid(where, given, domain, "A number without unit is a share of the original: for 50 % write 0.5.")
        return Limit(share, relative=True)
    known = {key.lower(): factor for key, factor in units.items()}
    if unit.lower() not in known:
        raise invalid(where, given, f"one of the units {', '.join(units)}, %")
    return Limit(value * known[unit.lower()], relative=False)


def _drop(given: float | str | None) -> float | None:
    if given is None:
        return None
    domain = "a number of at least 0, in the metric's own unit"
    value, unit = _number("Budget.drop", given, domain)
    if unit not in ("", "%") or not 0 <= value < math.inf:
        raise invalid("Budget.drop", given, domain, "For one point of accuracy write 0.01 or '1 %'.")
    return value / 100 if unit else value


def _number(where: str, given: float | str, domain: str) -> tuple[float, str]:
    if not isinstance(given, str):
        return float(given), ""
    match = NUMBER.fullmatch(given)
    if match is None:
        raise invalid(where, given, domain)
    return float(match[1]), match[2]
